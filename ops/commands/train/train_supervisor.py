"""The command `train supervisor` trains the router on collected routes."""

from pathlib import Path
from typing import Annotated

import typer

from config.files.in_use import in_use
from ops.commands import options


def train_supervisor(
    routes: Annotated[Path, typer.Option(help="A file of `data collect-routes`.")],
    out: Annotated[Path, options.out_to("the state folder, for `backtest --state`")],
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    batch: Annotated[int, typer.Option(min=1)] = 32,
    lr: Annotated[
        float, typer.Option(min=1e-8, callback=options.finite, help="Adam's learning rate.")
    ] = 1e-3,
    config: options.Config = "simulator",
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Fit a supervisor to collected routes; validate it on the last fifth of them."""
    from ops.composition.training.supervisor_training import train
    from ops.display.route_validation import print_validation
    from ops.printing import open_console

    settings = options.settings_under(config or "simulator", seed=seed)
    console = open_console(as_json)
    with in_use(out):
        report = train(settings, routes, out, epochs=epochs, batch=batch, lr=lr, console=console)
    print_validation(report, out, console, as_json)
