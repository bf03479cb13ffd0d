"""`train`: the learners, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import Group, Json, Seed

train_app = typer.Typer(cls=Group, help="Train the learners offline.", no_args_is_help=True)


@train_app.command("supervisor")
def train_supervisor(
    routes: Annotated[Path, typer.Option(help="A file of `data collect-routes`.")],
    out: Annotated[Path, typer.Option(help="The state folder, for `backtest --state`.")],
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    batch: Annotated[int, typer.Option(min=1)] = 32,
    lr: Annotated[float, typer.Option(min=1e-8, help="Adam's learning rate.")] = 1e-3,
    profile: Annotated[
        str, typer.Option("--profile", "--config", help="A profile's name or a YAML file.")
    ] = "simulator",
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit a supervisor to collected routes; validate it on the last fifth of them."""
    from config.settings import load_settings
    from ops.composition.supervisor_training import train

    settings = load_settings(profile, {"seed": seed})
    train(settings, routes, out, epochs=epochs, batch=batch, lr=lr, as_json=as_json)


class BookName(StrEnum):
    """The books that can be trained."""

    MULTI_ASSET = "multi-asset"
    EQUITY = "equity"


class Preset(StrEnum):
    """How long a training is."""

    FULL = "full"
    QUICK = "quick"


@train_app.command("allocator")
def train_allocator(
    book: Annotated[BookName, typer.Option(help="Which book.")],
    preset: Annotated[
        Preset, typer.Option(help="SPEC's lengths, or minutes that only show that it runs.")
    ] = Preset.FULL,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file like those in config/allocator.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Real bars, as `data check` takes them; else simulated.")
    ] = None,
    phase: Annotated[int | None, typer.Option(min=1, help="This phase alone.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was cut.")] = False,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each phase that learns by reinforcement.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The training's folder; runs/allocator-<book> by default.")
    ] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Train the allocator's policies phase by phase; what is finished is never run again."""
    from ops.composition.allocator_training import Request, settings_of, train

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
    train(Request(settings, folder, phase, resume), as_json=as_json)
