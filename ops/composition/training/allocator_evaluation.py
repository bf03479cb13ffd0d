"""
Evaluates trainings of the allocator on held-out sessions: a report as JSON, and a plot.

Several trainings are one with several seeds: whatever else differs between them is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from backtest.market.sessions import parse_day, stamp_text
from config.allocator import TrainingSettings
from config.errors import ConfigError
from config.files.in_use import in_use
from config.files.paths import check_folder
from config.sources import SIMULATOR, book_of, check_source
from ops.composition.training.allocator_training import read_settings
from ops.printing import PALETTE, write_json

RESULT, PLOT = "examination.json", "examination.png"


@dataclass(frozen=True)
class Request:
    """
    What the command line asked for.

    `trainings` are folders, one a seed. `source` and `after` (YYYY-MM-DD) name another market
    than the one that was trained on, and the day after which it is held out, `symbols` a choice
    of a real market's instruments; `fresh` so many simulated ones that no phase has seen, their
    seeds from `first_seed` on, None for those after the training's; `cost_frac` another cost per
    fill; `windows` how many of the held-out ones, None for all.
    """

    trainings: tuple[Path, ...]
    out: Path
    source: str | None
    after: str
    symbols: tuple[str, ...]
    fresh: int | None
    first_seed: int | None
    own_costs: bool
    cost_frac: float | None
    windows: int | None
    oracles: bool


def evaluate(request: Request, console: Console) -> dict[str, Any]:
    """
    Run what trainings left on sessions that they never saw, and return the report.

    Raises ConfigError where another process uses the folder that it goes to.
    """
    check_folder(request.out)
    seeds, settings = _settings(request)
    with in_use(request.out):
        return _evaluate(request, seeds, settings, console)


def _evaluate(
    request: Request, seeds: list[int], settings: TrainingSettings, console: Console
) -> dict[str, Any]:
    from learning.allocator.evaluation.examine import examine
    from learning.allocator.phases import embeddings_of, policies_by_phase

    trainings = [policies_by_phase(folder, settings.dataset.name) for folder in request.trainings]
    for folder, phases in zip(request.trainings, trainings, strict=True):
        if not phases:
            raise ConfigError(f"expected a finished phase in {folder}, was none")
    with console.status("market") as status:
        dataset, windows = _held_out(
            request, settings, lambda done, of: status.update(f"market {done} of {of}")
        )
        windows = windows[: request.windows]
        examined, paths = examine(
            dataset,
            windows,
            settings.trading,
            trainings,
            seed=settings.seed,
            oracles=request.oracles,
            processes=settings.processes,
            embed=lambda folder: embeddings_of(dataset, folder),
            progress=lambda what: status.update(what),
        )
    report = {
        "training": ", ".join(folder.name for folder in request.trainings),
        "seeds": seeds,
        "source": dataset.source,
        "symbols": list(dataset.symbols),
        "market_seeds": list(dataset.seeds),
        "windows": [[w.market, w.start, w.stop] for w in windows],
        "first": stamp_text(min(int(dataset.ts[w.market, w.start]) for w in windows)),
        "last": stamp_text(max(int(dataset.ts[w.market, w.stop]) for w in windows)),
        "cost_frac": settings.market.cost_frac,
        "own_costs": settings.dataset.own_costs,
        "notes": [*dataset.notes, *_left_out(trainings, dataset.groups)],
        **msgspec.to_builtins(examined),
    }
    write_json(request.out / RESULT, report)
    _plot(paths, request.out / PLOT)
    return report


def _settings(request: Request) -> tuple[list[int], TrainingSettings]:
    """
    Return the trainings' seeds and their settings, with other costs where asked for.

    Raises ConfigError where they differ in more than their seeds, or have the same, where fresh
    markets are asked for beside a source or of trainings on a real one, or have seeds that were
    trained on, and where symbols are chosen of a simulated market.
    """
    every = [read_settings(folder) for folder in request.trainings]
    settings, seeds = every[0], [other.seed for other in every]
    for folder, other in zip(request.trainings, every, strict=True):
        path = _difference(settings, msgspec.structs.replace(other, seed=settings.seed))
        if path:
            raise ConfigError(
                f"expected trainings that differ by their seed alone, was another {path} "
                f"in {folder}"
            )
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"expected a seed of its own in each training, was {seeds}")
    if request.first_seed is not None and request.fresh is None:
        raise ConfigError("expected --first-seed beside --fresh-markets, was without")
    if request.fresh is not None and request.source is not None:
        raise ConfigError("expected --source or --fresh-markets, was both")
    if request.fresh is not None and settings.dataset.source != SIMULATOR:
        raise ConfigError(
            "--fresh-markets: expected a training on simulated markets, "
            f"was one on {settings.dataset.source}"
        )
    if request.fresh is not None:
        _check_unseen(_fresh_seeds(request, settings), settings)
    if request.after:
        parse_day(request.after, "after")
    if request.source is not None:
        check_source(_real_source(request.source, settings.dataset.name))
    if request.symbols:
        if request.source is None and settings.dataset.source == SIMULATOR:
            raise ConfigError(
                "--symbols: expected --source or a training on real data, was simulated markets"
            )
        dataset = msgspec.structs.replace(settings.dataset, symbols=request.symbols)
        settings = msgspec.structs.replace(settings, dataset=dataset)
    if request.own_costs:
        dataset = msgspec.structs.replace(settings.dataset, own_costs=True)
        settings = msgspec.structs.replace(settings, dataset=dataset)
    if request.cost_frac is not None:
        market = msgspec.structs.replace(settings.market, cost_frac=request.cost_frac)
        settings = msgspec.structs.replace(settings, market=market)
    return seeds, settings


def _fresh_seeds(request: Request, settings: TrainingSettings) -> range:
    """Return the seeds of the fresh markets, by default those after all of the training's."""
    own, count = settings.dataset, request.fresh or 0
    first = own.first_seed + own.seeds if request.first_seed is None else request.first_seed
    return range(first, first + count)


def _check_unseen(seeds: range, settings: TrainingSettings) -> None:
    """Raise ConfigError where a training learned from markets of these seeds, or chose by them."""
    from learning.allocator.phases import seen_seeds

    for seen in seen_seeds(settings):
        if max(seen.start, seeds.start) < min(seen.stop, seeds.stop):
            raise ConfigError(
                "--first-seed: expected fresh markets of other seeds than training and "
                f"validation had ({seen.start} to {seen.stop - 1}), was {seeds.start} to "
                f"{seeds.stop - 1}"
            )


def _real_source(name: str, own: str) -> str:
    """
    Return the source that a name gives; `BOOK:SOURCE` is taken where the book is the trainings'.

    Raises ConfigError for another book, or the simulator.
    """
    book, source = book_of(name)
    if book not in (None, own):
        raise ConfigError(f"--source: expected the {own} book, was {name}")
    if source == SIMULATOR:
        raise ConfigError(f"--source: expected real bars, was {name}: see --fresh-markets")
    return source


def _left_out(
    trainings: Sequence[Mapping[str, Mapping[str, Path]]], groups: Sequence[str]
) -> list[str]:
    """Return a note for each specialist, of any phase, of whose group a market has nothing."""
    slots = {slot for phases in trainings for own in phases.values() for slot in own}
    places = {f"bottom-{group}" for group in groups}
    idle = sorted(slot for slot in slots - places if slot.startswith("bottom-"))
    return [f"policy {slot} is left out: no instruments of its group" for slot in idle]


def _difference(first: Any, second: Any) -> str:
    """Return the dotted path of the first field in which settings differ, "" for none."""
    for name in first.__struct_fields__ if first != second else ():
        own, other = getattr(first, name), getattr(second, name)
        if own != other:
            nested = isinstance(own, msgspec.Struct) and type(own) is type(other)
            return f"{name}.{_difference(own, other)}" if nested else name
    return ""


def _held_out(
    request: Request, settings: TrainingSettings, progress: Callable[[int, int], None]
) -> tuple[Any, Any]:
    """Return the dataset to evaluate trainings on, and windows of it that none of them saw."""
    from backtest.sources import open_source
    from learning.allocator.phases import open_dataset, simulated
    from learning.datasets.dataset import held_out, real_dataset

    own = settings.dataset
    if request.fresh is not None:
        seeds = _fresh_seeds(request, settings)
        dataset = simulated(settings, seeds.start, len(seeds), progress)
    elif request.source is not None:
        dataset = real_dataset(
            own.name,
            open_source(_real_source(request.source, own.name)),
            settings.trading,
            symbols=own.symbols,
            start=request.after or None,
            own_costs=own.own_costs,
        )
    else:
        dataset, parts, _ = open_dataset(settings, progress)
        return dataset, parts.test
    return dataset, held_out(dataset, settings.episode, after=request.after)


def _plot(paths: dict[str, Any], path: Path) -> None:
    from backtest.report.curves import Curve, Panel, write_curves

    curves = []
    for (name, runs), colour in zip(paths.items(), cycle(PALETTE), strict=False):
        growth = np.stack([np.nan_to_num(run.growth).mean(axis=0) for run in runs])
        worth = np.cumprod(1.0 + growth, axis=1)
        curves.append(Curve(name, colour, np.arange(worth.shape[1]), worth))
    panel = Panel("Held out, net of costs: mean over windows", "sessions", "equity", tuple(curves))
    write_curves(path, (panel,))
