"""`bench ablations`: what parts of a training are worth, as a table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from ops.composition.allocator_training import read_settings

RESULT = "ablations.json"


def ablate(
    training: Path,
    out: Path,
    *,
    seeds: int,
    timesteps: int | None,
    epochs: int | None,
    as_json: bool,
) -> None:
    """Train the variants of a training's book and show the differences."""
    from ops.bench.ablations import ablate as run

    replace = msgspec.structs.replace
    settings = read_settings(training)
    if timesteps is not None:
        settings = replace(settings, joint=replace(settings.joint, timesteps=timesteps))
    if epochs is not None:
        settings = replace(settings, macro=replace(settings.macro, epochs=epochs))
    console = Console(stderr=as_json)
    first = settings.seed
    with console.status("training") as status:
        found = run(
            training,
            settings,
            range(first, first + seeds),
            out,
            processes=settings.processes,
            progress=lambda done, of: status.update(f"{done} of {of} trainings"),
        )
    report = {
        "training": training.name,
        "timesteps": settings.joint.timesteps,
        "macro_epochs": settings.macro.epochs,
        "seeds": list(range(first, first + seeds)),
        "differences": msgspec.to_builtins(found),
    }
    (out / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if as_json:
        print(json.dumps(report))
        return
    table = Table(title=f"{settings.dataset.name}, {seeds} seeds: as set less the variant")
    for head in ("variant", "measure", "as set", "varied", "difference", "95%"):
        table.add_column(head, justify="left" if head in ("variant", "measure") else "right")
    for d in found:
        table.add_row(
            d.variant,
            d.measure,
            f"{sum(d.as_set) / seeds:.4f}",
            f"{sum(d.varied) / seeds:.4f}",
            f"{d.difference:+.4f}",
            f"[{d.interval[0]:+.4f}, {d.interval[1]:+.4f}]",
        )
    console.print(table)
    console.print(f"figures: {out / RESULT}", soft_wrap=True)
