"""
The phases of each book, in order: what each is given, and the folder that it writes.

    multi-asset   1 specialists, 2 meta-controller over frozen specialists, 3 both together
    equity        1 macro pre-training (with its sector graph), 2 micro pre-training,
                  3 macro PPO over the micro policy, 4 micro TD3 + HER, 5 both together

A phase reads the policies of the phases before it from their folders and writes its own; nothing
but policy folders passes between phases. This module knows no command line and no algorithm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agents.allocator.policy_file import ANY_GROUP, CARD_FILE
from agents.arrays import Float32Array
from backtest.market.market_data import MarketData
from backtest.sources import open_source
from config.allocator import SPLITS, TrainingSettings
from config.errors import ConfigError
from config.files.whole import whole_folder
from config.sources import SIMULATOR
from learning.allocator.training.phase_results import PhaseResult, read_result
from learning.allocator.training.training_run import Progress, Row, TrainingRun
from learning.datasets.dataset import Dataset, real_dataset, simulated_dataset, split
from learning.datasets.markets import BookName
from learning.datasets.windows import Split, market_counts

POLICIES = "policies"


@dataclass(frozen=True)
class Training:
    """A book's training under way; `progress` takes a part's name, what is done, of how much."""

    dataset: Dataset
    parts: Split
    settings: TrainingSettings
    folder: Path
    resume: bool
    progress: Callable[[str, int, int], None]
    market: MarketData | None = None  # what a real dataset was made of

    def place(self, phase: str, part: str = "") -> Path:
        """Return the folder of a phase, or of a part of one."""
        return self.phase(phase).folder(self.folder) / part

    def run(self, phase: str, part: str = "", *, what: str = "", of: int = 0) -> TrainingRun:
        """Return what the trainer of a phase, or of a part of one, is given; it reports `what`."""
        return TrainingRun(
            dataset=self.dataset,
            split=self.parts,
            settings=self.settings,
            folder=self.place(phase, part),
            seed=self.settings.seed,
            resume=self.resume,
            progress=lambda done, _: self.progress(what, done, of),
        )

    def phase(self, name: str) -> Phase:
        """Return a phase of the book."""
        return next(phase for phase in phases_of(self.dataset.name) if phase.name == name)

    def policies(self, phase: str) -> dict[str, Path]:
        """
        Return the policies of an earlier phase by slot.

        Raises ConfigError where that phase has not ended.
        """
        found = _policies(self.phase(phase).finished(self))
        if not found:
            raise ConfigError(f"expected phase {phase} to be finished first, was not")
        return found


@dataclass(frozen=True)
class Phase:
    """One phase: its place in the order, its name, what runs it, and the slots that it fills."""

    number: int
    name: str
    run: Callable[[Training], object]
    slots: tuple[str, ...]  # "bottom-*" is one a group

    def folder(self, training: Path) -> Path:
        """Return its folder in that of a training."""
        return training / f"{self.number}-{self.name}"

    def finished(self, training: Training) -> tuple[PhaseResult, ...]:
        """Return what the phase left, nothing unless all its policies are there."""
        found = results_of(self.folder(training.folder))
        wanted = {s.replace("*", group) for s in self.slots for group in training.dataset.groups}
        return found if wanted <= _policies(found).keys() else ()


def phases_of(book: BookName) -> tuple[Phase, ...]:
    """Return the phases of a book, in order."""
    return _PHASES[book]


def open_dataset(
    settings: TrainingSettings, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, Split, MarketData | None]:
    """Return a training's dataset, its parts, and the market that a real one is made of."""
    wanted = settings.dataset
    market = None
    if wanted.source == SIMULATOR:
        dataset = simulated(settings, wanted.first_seed, wanted.seeds, progress)
    else:
        market = open_source(wanted.source, start=wanted.start, end=wanted.end)
        dataset = real_dataset(
            wanted.name,
            market,
            settings.trading,
            symbols=wanted.symbols,
            start=wanted.start,
            own_costs=wanted.own_costs,
        )
    return dataset, split(dataset, wanted.split, settings.episode), market


def seen_seeds(settings: TrainingSettings) -> tuple[range, ...]:
    """Return the seeds of the simulated markets that a training learns from or chooses by."""
    from learning.datasets.crises import CRISIS_SEEDS

    own = settings.dataset
    train, validation, _ = market_counts(own.seeds, own.split or SPLITS[own.name])
    return (
        range(own.first_seed, own.first_seed + train + validation),
        range(CRISIS_SEEDS, CRISIS_SEEDS + settings.joint.curriculum.crises),
    )


def simulated(
    settings: TrainingSettings,
    first_seed: int,
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Return a dataset of simulated markets like those of some settings, of so many seeds."""
    return simulated_dataset(
        settings.dataset.name,
        seeds=range(first_seed, first_seed + seeds),
        sessions=settings.dataset.sessions,
        settings=settings.trading,
        progress=progress,
    )


def results_of(folder: Path) -> tuple[PhaseResult, ...]:
    """Return the summaries under a phase's folder: its own, or those of its parts."""
    own = read_result(folder)
    if own is not None:
        return (own,)
    parts = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(r for part in parts if part.is_dir() and (r := read_result(part)) is not None)


def policies_by_phase(folder: Path, book: BookName) -> dict[str, dict[str, Path]]:
    """Return the newest policy of each slot as it stood after each finished phase, in order."""
    newest: dict[str, Path] = {}
    found = {}
    for phase in phases_of(book):
        results = results_of(phase.folder(folder))
        newest |= _policies(results)
        if results:
            found[phase.name] = dict(newest)
    return found


def publish(training: Training) -> None:
    """
    Copy the newest policy of each slot to where `backtest --allocator` looks, all at once.

    Nothing is done where they lie there already. Raises ConfigError where they cannot be written.
    """
    *_, newest = policies_by_phase(training.folder, training.dataset.name).values()
    place = training.folder / POLICIES
    lying = {path.parent.name: path.parent for path in place.glob(f"*/{CARD_FILE}")}
    if _cards(lying) == _cards(newest):
        return
    with whole_folder(place) as fresh:
        for slot, source in newest.items():
            shutil.copytree(source, fresh / slot)


def _cards(policies: Mapping[str, Path]) -> dict[str, bytes]:
    """Return policies' cards by slot; a card holds the hashes of the files beside it."""
    return {slot: (folder / CARD_FILE).read_bytes() for slot, folder in policies.items()}


def _policies(results: Iterable[PhaseResult]) -> dict[str, Path]:
    """Return the policies that results name, by slot."""
    return {slot: Path(r.folder) / place for r in results for slot, place in r.policies.items()}


def _specialists(training: Training) -> None:
    from learning.allocator.training.multi_asset.specialists import train_specialists

    s = training.settings

    def progress_of(group: str) -> Progress:
        def progress(done: int, row: Row) -> None:
            if s.direct is not None and "epoch" in row:
                training.progress(f"{group}, warm-up", done, s.direct.epochs)
            else:
                training.progress(group, done, s.specialist_timesteps)

        return progress

    train_specialists(training.run("specialists"), progress_of)


def _meta(training: Training) -> None:
    from learning.allocator.training.multi_asset.meta import train_meta

    run = training.run("meta", what="meta-controller", of=training.settings.meta_timesteps)
    train_meta(run, _bottom_policies(training.policies("specialists")))


def run_macro_pretraining(training: Training) -> PhaseResult:
    """Train the sector graph, where there is to be one, and then the macro policy; return that."""
    from learning.allocator.training.equity.macro import pretrain_macro
    from learning.allocator.training.equity.sector_graph import train_graph

    s, phase = training.settings, "macro-pretraining"
    graph = None
    if s.graph is not None:
        graph = training.place(phase, "graph")
        if not (training.resume and read_result(graph)):
            train_graph(training.run(phase, "graph", what="sector graph", of=s.graph.epochs))
    run = training.run(phase, "macro", what="macro pre-training", of=s.macro.epochs)
    return pretrain_macro(run, graph)


def _micro_pretraining(training: Training) -> None:
    from learning.allocator.training.equity.micro import pretrain_micro

    epochs = training.settings.micro.epochs
    pretrain_micro(training.run("micro-pretraining", what="micro pre-training", of=epochs))


def _macro_ppo(training: Training) -> None:
    from learning.allocator.training.equity.macro_ppo import train_macro_ppo

    train_macro_ppo(
        training.run("macro-ppo", what="macro PPO", of=training.settings.macro_timesteps),
        training.policies("macro-pretraining")["top"],
        training.policies("micro-pretraining")["bottom"],
    )


def _micro_her(training: Training) -> None:
    from learning.allocator.training.equity.hindsight import train_micro_her

    train_micro_her(
        training.run("micro-td3-her", what="micro TD3 + HER", of=training.settings.her.timesteps),
        training.policies("micro-pretraining")["bottom"],
        training.policies("macro-ppo")["top"],
    )


def _joint(training: Training) -> None:
    *earlier, last = phases_of(training.dataset.name)
    for phase in earlier:
        training.policies(phase.name)  # raises where it has not ended
    found = policies_by_phase(training.folder, training.dataset.name)
    run_joint(training, champion(training, {k: v for k, v in found.items() if k != last.name}))


def champion(training: Training, found: Mapping[str, Mapping[str, Path]]) -> Mapping[str, Path]:
    """
    Return the whole book's policies that validate best, of those as they stood after each phase.

    A phase may reach what it is trained for and cost the book more than it brings: what comes
    after goes on from the best, not from the newest.
    """
    from learning.allocator.evaluation.examine import whole_dataset
    from learning.allocator.evaluation.policy_paths import run_policy

    dataset, s = training.dataset, training.settings.trading
    gross = s.limits.max_gross * s.limits.headroom
    sharpes = {}
    for phase, policies in found.items():
        if "top" not in policies:
            continue
        for act in whole_dataset(
            dataset, phase, policies, gross, lambda top: embeddings_of(dataset, top)
        ).values():
            sharpes[phase] = run_policy(dataset, training.parts.validation, s, act).sharpe
    return found[max(sharpes, key=lambda phase: sharpes[phase])]


def run_joint(training: Training, policies: Mapping[str, Path]) -> None:
    """Run the joint phase from given policies by slot: the top and all bottom policies."""
    from learning.allocator.training.joint.joint import train_joint
    from learning.datasets.crises import with_crises

    s, top = training.settings, policies["top"]
    dataset, crises = with_crises(
        training.dataset,
        training.parts,
        s.trading,
        count=s.joint.curriculum.crises,
        market=training.market,
        start=s.dataset.start,
        own_costs=s.dataset.own_costs,
    )
    run = training.run("joint", what="joint", of=s.joint.timesteps)
    train_joint(
        replace(run, dataset=dataset),
        top,
        _bottom_policies(policies),
        crises=crises,
        embeddings=embeddings_of(dataset, top),
    )


def embeddings_of(dataset: Dataset, top: Path) -> Float32Array | None:
    """Return the embeddings (M, T, G, 64) that a top policy's folder asks for, None for none."""
    from agents.allocator.graph import load_graph
    from agents.allocator.policy_file import GRAPH_FILE
    from learning.allocator.training.equity.sector_graph import embeddings

    file = top / GRAPH_FILE
    return embeddings(dataset, load_graph(file)) if file.is_file() else None


def _bottom_policies(policies: Mapping[str, Path]) -> dict[str, Path]:
    """Return the bottom policies by their groups, the one of all groups by "*"."""
    return {
        slot.removeprefix("bottom").removeprefix("-") or ANY_GROUP: path
        for slot, path in policies.items()
        if slot != "top"
    }


_PHASES: dict[BookName, tuple[Phase, ...]] = {
    "multi-asset": (
        Phase(1, "specialists", _specialists, ("bottom-*",)),
        Phase(2, "meta", _meta, ("top",)),
        Phase(3, "joint", _joint, ("top", "bottom-*")),
    ),
    "equity": (
        Phase(1, "macro-pretraining", run_macro_pretraining, ("top",)),
        Phase(2, "micro-pretraining", _micro_pretraining, ("bottom",)),
        Phase(3, "macro-ppo", _macro_ppo, ("top",)),
        Phase(4, "micro-td3-her", _micro_her, ("bottom",)),
        Phase(5, "joint", _joint, ("top", "bottom")),
    ),
}
