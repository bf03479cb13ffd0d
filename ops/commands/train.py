"""`train`: the learners, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import Json, Seed

train_app = typer.Typer(help="Train the learners offline.", no_args_is_help=True)


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
    from ops.supervisor import train

    settings = load_settings(profile, {"seed": seed})
    train(settings, routes, out, epochs=epochs, batch=batch, lr=lr, as_json=as_json)
