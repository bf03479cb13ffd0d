"""The command `data collect-routes` collects what the supervisor learns from."""

from pathlib import Path
from typing import Annotated

import typer

from config.files.in_use import in_use
from ops.commands import options


def data_collect_routes(
    out: Annotated[Path, options.out_to("the routes' Parquet file")],
    source: options.SourceChoice = None,
    num: Annotated[
        int, typer.Option(min=7, help="Trajectories, one a route: whole cases of seven.")
    ] = 10_000,
    start: options.Start = None,
    end: options.End = None,
    symbols: options.Symbols = None,
    minds: options.Minds = "rules",
    config: options.Config = "simulator",
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Run all seven routes on every case of a source and keep what each came to."""
    from ops.composition.training.supervisor_training import collect
    from ops.printing import open_console, print_facts

    settings = options.settings_under(
        config or "simulator",
        source=source,
        start=start,
        end=end,
        symbols=symbols,
        minds=minds,
        seed=seed,
    )
    with in_use(out):
        print_facts(collect(settings, num, out, open_console(as_json)), as_json)
