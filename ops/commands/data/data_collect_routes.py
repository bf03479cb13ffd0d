"""The command `data collect-routes` collects what the supervisor learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import (
    Config,
    End,
    Json,
    Minds,
    Seed,
    SourceChoice,
    Start,
    Symbols,
    out_to,
    settings_under,
)


def data_collect_routes(
    out: Annotated[Path, out_to("the routes' Parquet file")],
    source: SourceChoice = None,
    num: Annotated[
        int, typer.Option(min=7, help="Trajectories, one a route: whole cases of seven.")
    ] = 10_000,
    start: Start = None,
    end: End = None,
    symbols: Symbols = None,
    minds: Minds = "rules",
    config: Config = "simulator",
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Run all seven routes on every case of a source and keep what each came to."""
    from ops.composition.supervisor_training import collect
    from ops.printing import open_console, print_facts

    settings = settings_under(
        config or "simulator",
        source=source,
        start=start,
        end=end,
        symbols=symbols,
        minds=minds,
        seed=seed,
    )
    print_facts(collect(settings, num, out, open_console(as_json)), as_json)
