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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.allocator.observation import Float32Array
from backtest.market import MarketData
from backtest.sources import open_source
from config.allocator import TrainingSettings
from config.errors import ConfigError
from learning.allocator.book import Book, real_book, simulated_book, split
from learning.allocator.markets import BookName
from learning.allocator.results import PhaseResult, read_result
from learning.allocator.windows import Split

POLICIES = "policies"
SIMULATOR = "simulator"

type Told = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True)
class Training:
    """A book's training under way; `progress` is told what is done of each part."""

    book: Book
    parts: Split
    settings: TrainingSettings
    folder: Path
    resume: bool
    progress: Told
    market: MarketData | None = None  # what a real book was made of

    def place(self, phase: str) -> Path:
        """Return the folder of a phase."""
        number = [p.name for p in phases_of(self.book.name)].index(phase) + 1
        return self.folder / f"{number}-{phase}"

    def policy(self, phase: str, slot: str) -> Path:
        """
        Return where an earlier phase left a policy.

        Raises ConfigError where that phase has not ended.
        """
        for result in results_of(self.place(phase)):
            if slot in result.policies:
                return Path(result.folder) / result.policies[slot]
        raise ConfigError(f"expected phase {phase} to be finished first, was none of its {slot}")

    def policies(self, phase: str) -> dict[str, Path]:
        """Return all policies of an earlier phase by slot."""
        found = {
            slot: Path(result.folder) / place
            for result in results_of(self.place(phase))
            for slot, place in result.policies.items()
        }
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
    """One phase: its place in the order, its name, and what runs it."""

    number: int
    name: str
    run: Callable[[Training], tuple[PhaseResult, ...]]

    def finished(self, training: Training) -> tuple[PhaseResult, ...]:
        """Return what the phase left, nothing unless all its policies are there."""
        found = results_of(training.place(self.name))
        slots = {slot for result in found for slot in result.policies}
        if self.name == "specialists":
            wanted = {f"bottom-{group}" for group in training.book.groups}
        else:
            wanted = {"top"} if self.name in ("meta", "macro-pretraining", "macro-ppo") else slots
        return found if found and wanted <= slots else ()


def phases_of(book: BookName) -> tuple[Phase, ...]:
    """Return the phases of a book, in order."""
    runs = _MULTI_ASSET if book == "multi-asset" else _EQUITY
    return tuple(Phase(k + 1, name, run) for k, (name, run) in enumerate(runs.items()))


def open_book(
    settings: TrainingSettings, progress: Callable[[int, int], None] | None = None
) -> tuple[Book, Split, MarketData | None]:
    """Return the book that settings name, its parts, and the market that a real one is made of."""
    wanted = settings.book
    market = None
    if wanted.source == SIMULATOR:
        book = simulated_book(
            wanted.name,
            seeds=range(wanted.first_seed, wanted.first_seed + wanted.seeds),
            sessions=wanted.sessions,
            settings=settings.trading,
            progress=progress,
        )
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
        results = results_of(folder / f"{phase.number}-{phase.name}")
        for result in results:
            newest |= {s: Path(result.folder) / place for s, place in result.policies.items()}
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


def _specialists(training: Training) -> tuple[PhaseResult, ...]:
    from learning.allocator.specialists import train_specialists

    s = training.settings
    results = train_specialists(
        training.book,
        training.parts,
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        training.place("specialists"),
        timesteps=s.specialist_timesteps,
        seed=s.seed,
        processes=s.processes,
        resume=training.resume,
        progress=lambda group, row: training.progress(
            group, int(row["steps"]), s.specialist_timesteps
        ),
    )
    return tuple(results.values())


def _meta(training: Training) -> tuple[PhaseResult, ...]:
    from learning.allocator.meta import train_meta

    s = training.settings
    result = train_meta(
        training.book,
        training.parts,
        by_group(training.policies("specialists")),
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        training.place("meta"),
        timesteps=s.meta_timesteps,
        seed=s.seed,
        resume=training.resume,
        progress=training.steps("meta-controller", s.meta_timesteps),
    )
    return (result,)


def _joint_multi_asset(training: Training) -> tuple[PhaseResult, ...]:
    bottoms = by_group(training.policies("specialists"))
    return run_joint(training, training.policy("meta", "top"), bottoms)


def run_macro_pretraining(training: Training) -> tuple[PhaseResult, ...]:
    """Train the sector graph, where there is to be one, and the macro policy; in that order."""
    from learning.allocator.graph import train_graph
    from learning.allocator.macro import pretrain_macro

    s, folder = training.settings, training.place("macro-pretraining")
    results: list[PhaseResult] = []
    graph_folder = None
    if s.graph is not None:
        graph_folder = folder / "graph"
        graph = read_result(graph_folder) if training.resume else None
        results.append(
            graph
            or train_graph(
                training.book,
                training.parts,
                s.graph,
                graph_folder,
                seed=s.seed,
                resume=training.resume,
                progress=training.epochs("sector graph", s.graph.epochs),
            )
        )
    results.append(
        pretrain_macro(
            training.book,
            training.parts,
            s.macro,
            folder / "macro",
            targets=s.target,
            seed=s.seed,
            resume=training.resume,
            progress=training.epochs("macro pre-training", s.macro.epochs),
            graph_folder=graph_folder,
            gross=s.limits.max_gross * s.limits.headroom,
        )
    )
    return tuple(results)


def _micro_pretraining(training: Training) -> tuple[PhaseResult, ...]:
    from learning.allocator.micro import pretrain_micro

    s = training.settings
    result = pretrain_micro(
        training.book,
        training.parts,
        s.micro,
        training.place("micro-pretraining"),
        targets=s.target,
        seed=s.seed,
        resume=training.resume,
        progress=training.epochs("micro pre-training", s.micro.epochs),
    )
    return (result,)


def _macro_ppo(training: Training) -> tuple[PhaseResult, ...]:
    from learning.allocator.macro_ppo import train_macro_ppo

    s = training.settings
    result = train_macro_ppo(
        training.book,
        training.parts,
        training.policy("macro-pretraining", "top"),
        training.policy("micro-pretraining", "bottom"),
        s.ppo,
        s.reward,
        s.episode,
        s.trading,
        training.place("macro-ppo"),
        timesteps=s.macro_timesteps,
        seed=s.seed,
        resume=training.resume,
        progress=training.steps("macro PPO", s.macro_timesteps),
    )
    return (result,)


def _micro_her(training: Training) -> tuple[PhaseResult, ...]:
    from learning.allocator.her import train_micro_her

    s = training.settings
    result = train_micro_her(
        training.book,
        training.parts,
        training.policy("micro-pretraining", "bottom"),
        training.policy("macro-ppo", "top"),
        s.her,
        training.place("micro-td3-her"),
        trading=s.trading,
        seed=s.seed,
        resume=training.resume,
        progress=training.epochs("micro TD3 + HER", s.her.timesteps),
    )
    return (result,)


def _joint_equity(training: Training) -> tuple[PhaseResult, ...]:
    bottoms = {"*": training.policy("micro-td3-her", "bottom")}
    return run_joint(training, training.policy("macro-ppo", "top"), bottoms)


def run_joint(
    training: Training, top: Path, bottoms: Mapping[str, Path]
) -> tuple[PhaseResult, ...]:
    """Run the joint phase from given policies."""
    from learning.allocator.crises import with_crises
    from learning.allocator.joint import train_joint

    s = training.settings
    book, crises = with_crises(
        training.book,
        training.parts,
        s.trading,
        count=s.joint.curriculum.crises,
        market=training.market,
        own_costs=s.book.own_costs,
    )
    result = train_joint(
        book,
        training.parts,
        top,
        bottoms,
        s.trading,
        s.joint,
        s.reward,
        s.episode,
        training.place("joint"),
        seed=s.seed,
        crises=crises,
        embeddings=embeddings_of(book, top),
        resume=training.resume,
        progress=training.steps("joint", s.joint.timesteps),
    )
    return (result,)


def embeddings_of(book: Book, top: Path) -> Float32Array | None:
    """Return the embeddings (M, T, G, 64) that a top policy's folder asks for, None for none."""
    from agents.allocator.graph import load_graph
    from agents.allocator.policy_file import GRAPH_FILE
    from learning.allocator.graph import embeddings

    file = top / GRAPH_FILE
    return embeddings(book, load_graph(file)) if file.is_file() else None


def by_group(policies: Mapping[str, Path]) -> dict[str, Path]:
    """Return bottom policies by their groups' names."""
    return {slot.removeprefix("bottom-"): path for slot, path in policies.items()}


_MULTI_ASSET: dict[str, Callable[[Training], tuple[PhaseResult, ...]]] = {
    "specialists": _specialists,
    "meta": _meta,
    "joint": _joint_multi_asset,
}
_EQUITY: dict[str, Callable[[Training], tuple[PhaseResult, ...]]] = {
    "macro-pretraining": run_macro_pretraining,
    "micro-pretraining": _micro_pretraining,
    "macro-ppo": _macro_ppo,
    "micro-td3-her": _micro_her,
    "joint": _joint_equity,
}
