"""
Trains an allocator: its data, its phases in order, and a summary of what came of them.

A training owns a folder: `training.json` says what it is of, each phase has a folder of its own,
`policies/` holds what the last finished phase exported, for `backtest --allocator`. What is
finished is never run again; `--resume` goes on, from the middle of a phase too. The phases
themselves are `learning.allocator.phases`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import TaskID

from config.allocator import TRAININGS, TrainingSettings
from config.errors import ConfigError, one_line
from config.files.in_use import in_use
from config.files.json_text import read_json
from config.files.paths import check_folder
from config.files.whole import sweep_below, sweep_inside
from config.settings import load_struct
from config.sources import check_source
from ops.printing import PALETTE, progress_bar, write_json

if TYPE_CHECKING:
    from backtest.market.market_data import MarketData
    from learning.allocator.training.phase_results import PhaseResult
    from learning.datasets.dataset import Dataset
    from learning.datasets.windows import Split

TRAINING_FILE, SUMMARY_FILE = "training.json", "summary.json"
MOST_CURVES = 4
CURVES = (  # of all phases' curves, what is drawn first
    "validation_sharpe",
    "validation_loss",
    "validation_goal_distance",
    "reward",
    "train_loss",
    "hidden_accuracy",
    "limits_hit",
    "turnover",
    "conflict_share",
    "entropy",
)


@dataclass(frozen=True)
class Request:
    """What the command line asked for; `phase` None is all of them."""

    settings: TrainingSettings
    folder: Path
    phase: int | None
    resume: bool


def settings_of(
    book: str, preset: str, config: str | None, overrides: dict[str, Any]
) -> TrainingSettings:
    """
    Return the settings of a book's preset, or of a file.

    Raises ConfigError where the file is of another book.
    """
    name = config or (book if preset == "full" else f"{book}-{preset}")
    settings = load_struct(TrainingSettings, name, TRAININGS, overrides)
    if settings.dataset.name != book:
        raise ConfigError(f"expected settings of the {book} book, was {settings.dataset.name}")
    return settings


def train(request: Request, console: Console) -> dict[str, Any]:
    """
    Run the phases that are asked for and not finished, and return the summary of all.

    Raises ConfigError where the folder is no training's, or another process trains in it.
    """
    with in_use(request.folder):
        sweep_inside(request.folder)
        _check(request)
        sweep_below(request.folder)
        return _train(request, console)


def _train(request: Request, console: Console) -> dict[str, Any]:
    settings, folder = request.settings, request.folder
    from learning.allocator.phases import open_dataset
    from learning.allocator.training.phase_results import CURVE_FILE, WARM_UP
    from learning.allocator.training.renamed import folder_as_now

    with progress_bar(console, width=24) as bar:
        task = bar.add_task("dataset", total=None)
        dataset, parts, market = open_dataset(
            settings, lambda done, of: bar.update(task, completed=done, total=of)
        )
    results = _run_phases(request, dataset, parts, market, console)
    summary = {
        "book": settings.dataset.name,
        "source": dataset.source,
        "seed": settings.seed,
        "phases": {name: msgspec.to_builtins(found) for name, found in results.items()},
    }
    write_json(folder / SUMMARY_FILE, summary)
    for result in chain.from_iterable(results.values()):
        _plot(result.phase, Path(result.folder) / result.curve)
        warm_up = folder_as_now(Path(result.folder) / WARM_UP) / CURVE_FILE
        if warm_up.is_file():
            _plot(f"{result.phase}, warm-up", warm_up)
    return summary


def _run_phases(
    request: Request, dataset: Dataset, parts: Split, market: MarketData | None, console: Console
) -> dict[str, tuple[PhaseResult, ...]]:
    """Run what is asked for and not finished, and return what all finished phases left."""
    from learning.allocator.phases import Training, phases_of, publish

    results = {}
    with progress_bar(console, width=24) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        training = Training(
            dataset, parts, request.settings, request.folder, request.resume, progress, market
        )
        phases = phases_of(dataset.name)
        asked = [phase for phase in phases if request.phase in (None, phase.number)]
        left = [phase for phase in asked if not phase.finished(training)]
        _claim(request, dataset.digest, finished=not left)
        if any(phase.finished(training) for phase in phases):
            publish(training)  # a kill may have come between a phase's end and this
        if not left:
            console.print(f"finished before: {', '.join(phase.name for phase in asked)}")
        for phase in left:
            phase.run(training)
            publish(training)
        for phase in phases:
            if found := phase.finished(training):
                results[phase.name] = found
    return results


def read_settings(
    training: Path, *, timesteps: int | None = None, epochs: int | None = None
) -> TrainingSettings:
    """
    Return the settings that a training was begun with.

    `timesteps` replaces the joint phase's, `epochs` the macro pre-training's.
    Raises ConfigError where the folder holds no training, or settings that are none.
    """
    file = training / TRAINING_FILE
    if not file.is_file():
        raise ConfigError(f"expected a training's folder, was {training}")
    settings = _settings_in(file)
    replace = msgspec.structs.replace
    if timesteps is not None:
        settings = replace(settings, joint=replace(settings.joint, timesteps=timesteps))
    if epochs is not None:
        settings = replace(settings, macro=replace(settings.macro, epochs=epochs))
    return settings


def _read_training(file: Path) -> dict[str, Any]:
    """
    Return what a training's folder is of, under the names of now.

    Raises ConfigError where the file is not what `_claim` wrote, or a part of it.
    """
    from learning.allocator.training.renamed import as_now

    return as_now("training", read_json(file, dict[str, Any], "a training"))


def _settings_in(file: Path) -> TrainingSettings:
    try:
        return msgspec.convert(_read_training(file).get("settings"), TrainingSettings)
    except msgspec.ValidationError as e:
        raise ConfigError(f"expected a training's settings in {file}, was: {one_line(e)}") from e


def _check(request: Request) -> None:
    """Raise ConfigError for a phase that the book has not, or a folder that is in use."""
    folder = request.folder
    begun = (folder / TRAINING_FILE).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not begun:
        raise ConfigError(f"expected a new folder or an earlier training, was {folder}")
    if begun and not request.resume and request.phase is None:
        raise ConfigError(f"expected --resume or a new folder, was a training begun in {folder}")
    if begun:
        read_settings(folder)
    check_folder(folder)
    check_source(request.settings.dataset.source)
    from learning.allocator.phases import phases_of

    names = [phase.name for phase in phases_of(request.settings.dataset.name)]
    if request.phase is not None and not 1 <= request.phase <= len(names):
        raise ConfigError(
            f"expected a phase of 1 to {len(names)} ({', '.join(names)}), was {request.phase}"
        )


def _claim(request: Request, dataset_digest: str, *, finished: bool) -> None:
    """
    Write what the folder is of, or hold a training that goes on to it.

    One that is finished learns nothing more, so its data may have been made by other code.
    """
    settings = request.settings
    identity = {
        "book": settings.dataset.name,
        "dataset_digest": dataset_digest,
        "settings_digest": _settings_digest(settings),
        "settings": msgspec.to_builtins(settings),
    }
    path = request.folder / TRAINING_FILE
    if path.is_file():
        before = _read_training(path)
        # taken anew: the digest that was kept is of the settings' names of then
        before["settings_digest"] = _settings_digest(read_settings(request.folder))
        for name in ("settings_digest",) if finished else ("dataset_digest", "settings_digest"):
            if before.get(name) != identity[name]:
                what = name.removesuffix("_digest")
                raise ConfigError(
                    f"expected the {what} that {request.folder} was begun with, was another"
                )
        return
    write_json(path, identity)


def _settings_digest(settings: TrainingSettings) -> str:
    """Return the hash of settings but for the phases' lengths: each phase checks its own."""
    lengthless = msgspec.structs.replace(
        settings,
        specialist_timesteps=1,
        meta_timesteps=1,
        macro_timesteps=1,
        processes=1,
        her=msgspec.structs.replace(settings.her, timesteps=1),
        joint=msgspec.structs.replace(settings.joint, timesteps=1),
    )
    return hashlib.sha256(msgspec.json.encode(lengthless, order="deterministic")).hexdigest()


def _plot(phase: str, file: Path) -> None:
    """Draw a curve beside its file: what the phase is judged by, as far as it was recorded."""
    import numpy as np

    from backtest.report.curves import Curve, Panel, write_curves
    from learning.allocator.training.phase_results import read_curve

    rows = read_curve(file)
    if not rows:
        return
    x_name = next(iter(rows[0]))
    panels = []
    for name in CURVES:
        if name not in rows[0]:
            continue
        x, y = np.array([[row[x_name], row[name]] for row in rows]).T
        known = np.isfinite(y)
        if known.sum() > 1:
            curve = Curve(name, PALETTE[0], x[known].astype(np.int64), y[known][None])
            panels.append(Panel(f"{phase}: {name}", x_name, name, (curve,)))
    if panels:
        write_curves(file.with_suffix(".png"), tuple(panels[:MOST_CURVES]))
