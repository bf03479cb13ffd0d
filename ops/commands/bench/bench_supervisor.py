"""The command `bench supervisor` measures how well the routes are learned."""

from pathlib import Path
from typing import Annotated

import typer

from config.files.in_use import in_use
from config.files.paths import check_file
from ops.commands import options


def bench_supervisor(
    decisions: Annotated[int, typer.Option(min=100)] = 10_000,
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    pool: Annotated[
        int, typer.Option(min=1, help="Look-alike cases that one reward averages; 1: a desk's.")
    ] = 1_000,
    out: Annotated[Path | None, options.out_to("the curves, a PNG; not drawn by default")] = None,
    as_json: options.Json = False,
) -> None:
    """Measure the routes' accuracy and regret on the simulator, against three baselines."""
    if out is not None:
        check_file(out)
    with in_use(out):
        from ops.bench.routes import measure_routes, plot_learning, row_facts
        from ops.printing import print_facts

        rows = measure_routes(seeds=range(seeds), decisions=decisions, pool=pool)
        if out is not None:
            plot_learning(rows, out)
        print_facts(row_facts(rows), as_json)
