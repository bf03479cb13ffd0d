"""The command `bench ablations` measures what the parts of a training add."""

from pathlib import Path
from typing import Annotated

import typer

from config.files.in_use import in_use
from ops.commands import options


def bench_ablations(
    training: Annotated[Path, typer.Argument(help="The folder of a `train allocator`.")],
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each variant.")] = 5,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each joint training; its own by default.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each macro pre-training.")
    ] = None,
    out: Annotated[Path | None, options.out_to("trainings; TRAINING/ablations by default")] = None,
    as_json: options.Json = False,
) -> None:
    """Train without projection, without curriculum or without graph, over several seeds."""
    from ops.composition.training.allocator_training import read_settings

    settings = read_settings(training, timesteps=timesteps, epochs=epochs)
    seeds_of = range(settings.seed, settings.seed + seeds)
    place = out or training / "ablations"
    with in_use(place):
        from ops.bench.ablations import ablate, print_ablations
        from ops.printing import open_console

        console = open_console(as_json)
        with console.status("training") as status:
            found = ablate(
                training,
                settings,
                seeds_of,
                place,
                processes=settings.processes,
                progress=lambda done, of: status.update(f"{done} of {of} trainings"),
            )
        print_ablations(training, settings, seeds_of, found, place, console, as_json)
