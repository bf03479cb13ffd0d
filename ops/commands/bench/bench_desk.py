"""The command `bench desk` measures the desk's speed beside the bare engine's."""

from typing import Annotated

import typer

from ops.commands import options


def bench_desk(
    sessions: Annotated[
        int, typer.Option(min=2, help="Sessions of 390 bars; trading begins after 60.")
    ] = 80,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Compare the desk's bars/s with the bare engine's, on 1-minute bars of 8 instruments."""
    from ops.bench.desk import measure_desk
    from ops.printing import print_facts

    print_facts(measure_desk(sessions=sessions, seed=seed or 0), as_json)
