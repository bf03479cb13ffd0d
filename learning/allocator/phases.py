"""
The phases of each book, in order: what a phase is given, and where it leaves what it found.

    multi-asset   1 specialists, 2 meta-controller over frozen specialists, 3 both together
    equity        1 macro pre-training (with its sector graph), 2 micro pre-training,
                  3 macro PPO over the micro policy, 4 micro TD3 + HER, 5 both together

A phase reads the policies of the phases before it from their folders and writes its own; nothing
passes between phases but policy folders. It knows no command line and no algorithm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from agents.allocator.policy_file import ANY_GROUP
from agents.arrays import Float32Array
from backtest.market.market_data import MarketData
from backtest.sources import open_source
from config.allocator import TrainingSettings
from config.errors import ConfigError
from config.sources import SIMULATOR
from learning.allocator.training.phase_results import PhaseResult, read_result
from learning.datasets.dataset import Dataset, real_book, simulated_book, split
from learning.datasets.markets import BookName
from learning.datasets.windows import Split

POLICIES = "policies"

type Told = Callable[[str, int, int], None]  # what, done, of


class Given(TypedDict):
    """What every trainer is given by name: its folder, the seed, and whether to go on there."""

    folder: Path
    seed: int
    resume: bool


@dataclass(frozen=True)
class Training:
    """A book's training under way; `progress` is told what is done of each part."""

    book: Dataset
    parts: Split
    settings: TrainingSettings
    folder: Path
    resume: bool
    progress: Told
    market: MarketData | None = None  # what a real book was made of

    def place(self, phase: str, part: str = "") -> Path:
        """Return the folder of a phase, or of a part of one."""
        return self.phase(phase).folder(self.folder) / part

    def given(self, phase: str, part: str = "") -> Given:
        """Return what the trainer of a phase, or of a part of one, is given by name."""
        return Given(folder=self.place(phase, part), seed=self.settings.seed, resume=self.resume)

    def phase(self, name: str) -> Phase:
        """Return a phase of the book."""
        return next(phase for phase in phases_of(self.book.name) if phase.name == name)

    def policies(self, phase: str) -> dict[str, Path]:
        """
        Return the policies of an earlier phase by slot.

        Raises ConfigError where that phase has not ended.
        """
        found = _policies(self.phase(phase).finished(self))
        if not found:
            raise ConfigError(f"expected phase {phase} to be finished first, was not")
        return found

    def steps(self, what: str, of: int) -> Callable[[Mapping[str, float]], None]:
        """Return a listener for phases that report rows with their steps."""
        return lambda row: self.progress(what, int(row["steps"]), of)

    def epochs(self, what: str, of: int) -> Callable[[int, Mapping[str, float]], None]:
        """Return a listener for phases that count."""
        return lambda done, row: self.progress(what, done, of)


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
        wanted = {s.replace("*", group) for s in self.slots for group in training.book.groups}
        return found if wanted <= _policies(found).keys() else ()


def phases_of(book: BookName) -> tuple[Phase, ...]:
    """Return the phases of a book, in order."""
    return _PHASES[book]


def open_book(
    settings: TrainingSettings, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, Split, MarketData | None]:
    """Return the book that settings name, its parts, and the market that a real one is made of."""
    wanted = settings.book
    market = None
    if wanted.source == SIMULATOR:
        book = simulated(settings, wanted.first_seed, wanted.seeds, progress)
    else:
        market = open_source(wanted.source, start=wanted.start, end=wanted.end)
        book = real_book(
            wanted.name,
            market,
            settings.trading,
            symbols=wanted.symbols,
            own_costs=wanted.own_costs,
        )
    return book, split(book, wanted.split, settings.episode), market


def simulated(
    settings: TrainingSettings,
    first_seed: int,
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Return a book of simulated markets like those that settings name, of so many seeds."""
    return simulated_book(
        settings.book.name,
        seeds=range(first_seed, first_seed + seeds),
        sessions=settings.book.sessions,
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
    """Copy the newest policy of each slot to where `backtest --allocator` looks, all at once."""
    *_, newest = policies_by_phase(training.folder, training.book.name).values()
    partial, place = training.folder / f".{POLICIES}.partial", training.folder / POLICIES
    shutil.rmtree(partial, ignore_errors=True)
    for slot, source in newest.items():
        shutil.copytree(source, partial / slot)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)


def _policies(results: Iterable[PhaseResult]) -> dict[str, Path]:
    """Return the policies that results name, by slot."""
    return {slot: Path(r.folder) / place for r in results for slot, place in r.policies.items()}


def _specialists(training: Training) -> None:
    from learning.allocator.training.multi_asset.specialists import train_specialists

    s = training.settings

    def told(group: str, row: Mapping[str, float]) -> None:
        if s.direct is not None and "epoch" in row:
            training.progress(f"{group}, first lesson", int(row["epoch"]), s.direct.epochs)
        else:
            training.progress(group, int(row["steps"]), s.specialist_timesteps)

    train_specialists(
        training.book,
        training.parts,
        s.direct,
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        timesteps=s.specialist_timesteps,
        processes=s.processes,
        progress=told,
        **training.given("specialists"),
    )


def _meta(training: Training) -> None:
    from learning.allocator.training.multi_asset.meta import train_meta

    s = training.settings
    train_meta(
        training.book,
        training.parts,
        _bottom_policies(training.policies("specialists")),
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        timesteps=s.meta_timesteps,
        progress=training.steps("meta-controller", s.meta_timesteps),
        **training.given("meta"),
    )


def run_macro_pretraining(training: Training) -> PhaseResult:
    """Train the sector graph, where there is to be one, and then the macro policy; return that."""
    from learning.allocator.training.equity.macro import pretrain_macro
    from learning.allocator.training.equity.sector_graph import train_graph

    s = training.settings
    graph = None
    if s.graph is not None:
        graph = training.place("macro-pretraining", "graph")
        if not (training.resume and read_result(graph)):
            train_graph(
                training.book,
                training.parts,
                s.graph,
                progress=training.epochs("sector graph", s.graph.epochs),
                **training.given("macro-pretraining", "graph"),
            )
    return pretrain_macro(
        training.book,
        training.parts,
        s.macro,
        targets=s.target,
        progress=training.epochs("macro pre-training", s.macro.epochs),
        graph_folder=graph,
        gross=s.limits.max_gross * s.limits.headroom,
        **training.given("macro-pretraining", "macro"),
    )


def _micro_pretraining(training: Training) -> None:
    from learning.allocator.training.equity.micro import pretrain_micro

    s = training.settings
    pretrain_micro(
        training.book,
        training.parts,
        s.micro,
        targets=s.target,
        progress=training.epochs("micro pre-training", s.micro.epochs),
        **training.given("micro-pretraining"),
    )


def _macro_ppo(training: Training) -> None:
    from learning.allocator.training.equity.macro_ppo import train_macro_ppo

    s = training.settings
    train_macro_ppo(
        training.book,
        training.parts,
        training.policies("macro-pretraining")["top"],
        training.policies("micro-pretraining")["bottom"],
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        timesteps=s.macro_timesteps,
        progress=training.steps("macro PPO", s.macro_timesteps),
        **training.given("macro-ppo"),
    )


def _micro_her(training: Training) -> None:
    from learning.allocator.training.equity.hindsight import train_micro_her

    s = training.settings
    train_micro_her(
        training.book,
        training.parts,
        training.policies("micro-pretraining")["bottom"],
        training.policies("macro-ppo")["top"],
        s.her,
        trading=s.trading,
        progress=training.epochs("micro TD3 + HER", s.her.timesteps),
        **training.given("micro-td3-her"),
    )


def _joint(training: Training) -> None:
    *earlier, last = phases_of(training.book.name)
    for phase in earlier:
        training.policies(phase.name)  # raises where it has not ended
    found = policies_by_phase(training.folder, training.book.name)
    run_joint(training, champion(training, {k: v for k, v in found.items() if k != last.name}))


def champion(training: Training, found: Mapping[str, Mapping[str, Path]]) -> Mapping[str, Path]:
    """
    Return the whole book's policies that validate best, of those as they stood after each phase.

    A phase may reach what it is trained for and cost the book more than it brings: what comes
    after goes on from the best, not from the newest.
    """
    from learning.allocator.evaluation.examine import whole_book
    from learning.allocator.evaluation.policy_paths import run_policy

    book, s = training.book, training.settings.trading
    gross = s.limits.max_gross * s.limits.headroom
    sharpes = {}
    for phase, policies in found.items():
        if "top" not in policies:
            continue
        for act in whole_book(
            book, phase, policies, gross, lambda top: embeddings_of(book, top)
        ).values():
            sharpes[phase] = run_policy(book, training.parts.validation, s, act).sharpe
    return found[max(sharpes, key=lambda phase: sharpes[phase])]


def run_joint(training: Training, policies: Mapping[str, Path]) -> None:
    """Run the joint phase from given policies by slot: the top and all bottoms."""
    from learning.allocator.training.joint.joint import train_joint
    from learning.datasets.crises import with_crises

    s, top = training.settings, policies["top"]
    book, crises = with_crises(
        training.book,
        training.parts,
        s.trading,
        count=s.joint.curriculum.crises,
        market=training.market,
        own_costs=s.book.own_costs,
    )
    train_joint(
        book,
        training.parts,
        top,
        _bottom_policies(policies),
        s.trading,
        s.joint,
        s.reward,
        s.episode,
        crises=crises,
        embeddings=embeddings_of(book, top),
        progress=training.steps("joint", s.joint.timesteps),
        **training.given("joint"),
    )


def embeddings_of(book: Dataset, top: Path) -> Float32Array | None:
    """Return the embeddings (M, T, G, 64) that a top policy's folder asks for, None for none."""
    from agents.allocator.graph import load_graph
    from agents.allocator.policy_file import GRAPH_FILE
    from learning.allocator.training.equity.sector_graph import embeddings

    file = top / GRAPH_FILE
    return embeddings(book, load_graph(file)) if file.is_file() else None


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
