"""The command `bench parity` compares the training twin with the engine, to the cent."""

from typing import Annotated

import typer

from ops.commands import options


def bench_parity(
    schedules: Annotated[int, typer.Option(min=1, help="Random schedules, kinds in turn.")] = 48,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Run random schedules through the engine and the training twin; exit 1 on a difference."""
    from ops.bench.environments import compare_worlds, print_parity

    results = compare_worlds(schedules, seed or 0)
    print_parity(results, seed or 0, as_json)
    if any(result.difference for result in results):
        raise typer.Exit(1)
