"""The command `bench hostile` measures what an adversary's news achieves."""

from enum import StrEnum
from typing import Annotated

import typer

from ops.commands import options


class Attacked(StrEnum):
    """The minds that hostile news are tried on."""

    FOOLED = "fooled"
    EMBEDDED = "embedded"
    VLLM = "vllm"


def bench_hostile(
    minds: Annotated[
        Attacked, typer.Option(help="Who is attacked; fooled obeys the attacker.")
    ] = Attacked.FOOLED,
    decisions: Annotated[int, typer.Option(min=1, help="Decisions of each kind's run.")] = 1,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Attack the whole path with hostile news; exit 1 if anything gets past schema or gate."""
    from ops.bench.hostile import attack_all, open_backend, print_attacks, suite_settings

    settings = suite_settings(minds.value)
    with open_backend(settings, minds.value) as backend:
        rows = attack_all(settings, backend, decisions=decisions, seed=seed or 0)
    print_attacks(rows, minds.value, as_json)
    if any(row.harms for row in rows):
        raise typer.Exit(1)
