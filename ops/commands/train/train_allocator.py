"""The command `train allocator` trains the policies of a book, phase by phase."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.commands import options


class BookName(StrEnum):
    """The books that can be trained."""

    MULTI_ASSET = "multi-asset"
    EQUITY = "equity"


class Preset(StrEnum):
    """How long a training is."""

    FULL = "full"
    QUICK = "quick"


def train_allocator(
    book: Annotated[BookName, typer.Option(help="Which book.")],
    preset: Annotated[
        Preset, typer.Option(help="Full lengths, or minutes that only show that it runs.")
    ] = Preset.FULL,
    config: options.Config = None,
    source: Annotated[
        str | None, typer.Option(help="Real bars, as `data check` takes them; else simulated.")
    ] = None,
    phase: Annotated[int | None, typer.Option(min=1, help="This phase alone.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was cut.")] = False,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each phase that learns by reinforcement.")
    ] = None,
    out: Annotated[
        Path | None, options.out_to("the training's folder; runs/allocator-<book> by default")
    ] = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """
    Train the allocator's policies phase by phase; what is finished is never run again.

    `--config` takes a file like those in config/allocator in place of the preset.
    """
    from ops.composition.training.allocator_training import Request, settings_of, train
    from ops.printing import open_console

    overrides = {
        "dataset.source": source,
        "specialist_timesteps": timesteps,
        "meta_timesteps": timesteps,
        "macro_timesteps": timesteps,
        "her.timesteps": timesteps,
        "joint.timesteps": timesteps,
        "seed": seed,
    }
    settings = settings_of(book.value, preset.value, config, overrides)
    folder = out or Path("runs") / f"allocator-{book.value}"
    console = open_console(as_json)
    summary = train(Request(settings, folder, phase, resume), console)
    from ops.display.training_summary import print_training

    print_training(summary, folder, console, as_json)
