"""The command `bench library` measures the experience library's speed."""

from typing import Annotated

import typer

from ops.commands import options


def bench_library(
    rows: Annotated[int, typer.Option(min=1)] = 400_000,
    decisions: Annotated[int, typer.Option(min=1)] = 1_000_000,
    as_json: options.Json = False,
) -> None:
    """Measure the experience library: rows/s written, and the best thousand of many read."""
    from ops.bench.library import measure_library
    from ops.printing import print_facts

    print_facts(measure_library(rows=rows, decisions=decisions), as_json)
