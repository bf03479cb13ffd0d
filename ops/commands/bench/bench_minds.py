"""The command `bench minds` measures language models as minds."""

from enum import StrEnum
from typing import Annotated

import typer

from ops.commands import options


class Measured(StrEnum):
    """The minds that are language models."""

    EMBEDDED = "embedded"
    VLLM = "vllm"


def bench_minds(
    minds: Annotated[Measured, typer.Option(help="Which are measured.")] = Measured.EMBEDDED,
    prompts: Annotated[int, typer.Option(min=1, help="Questions asked for validity.")] = 1_000,
    decisions: Annotated[int, typer.Option(min=1, help="Decisions timed.")] = 4,
    config: options.Config = "minds",
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Measure language models: valid answers, speed, the hierarchy's overhead, the cache."""
    settings = options.settings_under(config or "minds", minds=minds.value, seed=seed)
    from ops.bench.minds import measure_minds
    from ops.printing import print_facts

    print_facts(measure_minds(settings, prompts=prompts, decisions=decisions), as_json)
