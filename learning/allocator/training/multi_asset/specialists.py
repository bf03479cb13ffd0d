"""
Phase 1 of the multi-asset book: a specialist for each group, by PPO, in processes of their own.

A specialist trades its group's instruments alone, with the budget that its limits leave it, and
is exported as the bottom policy of that group. Processes are spawned with one thread each; rows
of their curves come back through a queue. One that dies takes nothing with it: the others go on,
all checkpoints stay, and a resumed run trains what is not finished. It knows no top policy.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser
from agents.allocator.policy_file import PolicyCard, save_policy
from config.allocator import DirectSettings, EpisodeSettings, PpoSettings, RewardSettings
from config.errors import QuarterdeckError, RunIncomplete
from config.settings import Settings
from learning.allocator.evaluation.policy_paths import largest_budget, run_policy, specialist_act
from learning.allocator.training.phase_results import (
    PhaseResult,
    finished,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.ppo import Row, train_ppo
from learning.allocator.training.warm_up import Pupil, first_lesson, market_of, rows_of, shares_of
from learning.datasets.dataset import Dataset, training_rows
from learning.datasets.group_dataset import only_group
from learning.datasets.windows import Split
from learning.envs.environments import Arena, SpecialistEnvironment

POLICY = "policy"
LEAST_BUDGET = 0.5  # of the most that a specialist is given
FIRST_MOVE = 0.1  # of an untrained specialist, in actions a session: it buys, and holds
PATIENCE_SECONDS = 1.0  # between looks at whether a process still lives

type Progress = Callable[[str, Row], None]


@dataclass(frozen=True)
class Job:
    """What a process needs to train one specialist; `book` holds its group alone."""

    book: Dataset
    group: str
    groups: tuple[str, ...]
    parts: Split
    norm: Normaliser
    direct: DirectSettings | None
    ppo: PpoSettings
    reward: RewardSettings
    episode: EpisodeSettings
    settings: Settings
    folder: Path
    timesteps: int
    seed: int
    resume: bool


def train_specialists(
    book: Dataset,
    parts: Split,
    direct: DirectSettings | None,
    ppo: PpoSettings,
    reward: RewardSettings,
    episode: EpisodeSettings,
    settings: Settings,
    folder: Path,
    *,
    timesteps: int,
    seed: int,
    processes: int,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, PhaseResult]:
    """
    Train a specialist for each group of the book, `processes` at a time; return them by group.

    Each has its folder in `folder`, with its policy in `policy`. Raises what a specialist raised,
    or RunIncomplete where its process died, once the others have ended; a resumed run goes on
    from the checkpoints, and takes finished ones as they are.
    """
    norm = Normaliser.fit(*training_rows(book, parts))
    results: dict[str, PhaseResult] = {}
    jobs = []
    for number, group in enumerate(book.groups):
        own = folder / group
        if resume and (done := finished(own, timesteps)) is not None:
            results[group] = done
            continue
        jobs.append(
            Job(
                book=only_group(book, group),
                group=group,
                groups=book.groups,
                parts=parts,
                norm=norm,
                direct=direct,
                ppo=ppo,
                reward=reward,
                episode=episode,
                settings=settings,
                folder=own,
                timesteps=timesteps,
                seed=seed + number,
                resume=resume,
            )
        )
    results |= _run(jobs, processes, progress)
    return {group: results[group] for group in book.groups}


def train_specialist(job: Job, progress: Callable[[Row], None] | None = None) -> PhaseResult:
    """
    Train one specialist in this process and write its policy, curve and summary.

    `progress` is told rows of both curves: the first lesson's have an epoch, PPO's have steps.
    """
    book, parts, settings = job.book, job.parts, job.settings
    most = largest_budget(len(book.symbols), settings.limits)
    arena = Arena(book, parts.train, parts.train, job.norm, settings, job.reward, job.episode)
    torch.manual_seed(job.seed)
    net = BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS), holds=True)
    torch.nn.init.constant_(net.head.bias, FIRST_MOVE)
    environment = SpecialistEnvironment(
        arena, job.ppo.envs, job.seed, budget=(LEAST_BUDGET * most, most)
    )

    def validate(actor: BottomNet | TopNet) -> float:
        act = specialist_act(book, job.norm, cast(BottomNet, actor), most)
        return run_policy(book, parts.validation, settings, act).sharpe

    meta = identity(f"specialist {job.group}", book, parts, job.seed) | {
        "settings": msgspec.to_builtins([job.direct, job.ppo, job.reward, job.episode, settings])
    }
    first = first_lesson(
        arena,
        net,
        lambda rng, books: _pupil(environment, net, books, rng),
        lambda: validate(net),
        job.folder,
        job.direct,
        seed=job.seed,
        meta=meta,
        resume=job.resume,
        progress=None if progress is None else lambda _, row: progress(dict(row)),
    )
    learned = train_ppo(
        environment,
        net,
        job.ppo,
        validate,
        job.folder,
        timesteps=job.timesteps,
        seed=job.seed,
        meta=meta,
        resume=job.resume,
        progress=progress,
    )
    card = PolicyCard(
        kind="bottom",
        book=book.name,
        name=f"ppo-{job.group}",
        groups=job.groups,
        group=job.group,
        hidden=net.encoder.hidden,
        normaliser=job.norm,
        holds=True,
        gross=most,
        trained=training_record(book, parts, learned.steps, job.seed),
    )
    save_policy(job.folder / POLICY, learned.actor, card)
    result = PhaseResult(
        phase=f"specialist {job.group}",
        folder=str(job.folder),
        steps=learned.steps,
        seconds=learned.seconds | first.seconds,
        measures={
            "validation_sharpe": learned.best_sharpe,
            "best_step": float(learned.best_step),
            "budget": most,
            **first.measures,
        },
        policies={f"bottom-{job.group}": POLICY},
    )
    write_result(result)
    return result


def _pupil(
    environment: SpecialistEnvironment, net: BottomNet, books: int, rng: np.random.Generator
) -> Pupil:
    """Return books with budgets as the form's episodes draw them, placed by the network."""
    budget, elsewhere = (torch.from_numpy(drawn).float() for drawn in environment.draw(rng, books))
    shortable = torch.tensor(environment.arena.book.shortable).float()

    def place(features: Tensor, macro: Tensor, held: Tensor) -> Tensor:
        rows = rows_of(features, held, shortable, budget.unsqueeze(-1).expand_as(held))
        market = market_of(macro, held.abs().sum(dim=-1) + elsewhere)
        means: Tensor = net(rows, market)
        return budget.unsqueeze(-1) * shares_of(means, shortable)

    return Pupil(place, budget)


def _run(jobs: Sequence[Job], processes: int, progress: Progress | None) -> dict[str, PhaseResult]:
    """Run the jobs in spawned processes, `processes` at a time."""
    context = multiprocessing.get_context("spawn")
    inbox: multiprocessing.Queue[tuple[str, Any]] = context.Queue()
    waiting, alive = list(jobs), dict[str, SpawnProcess]()
    results: dict[str, PhaseResult] = {}
    failures: dict[str, Exception] = {}
    # jobs go by file: through the pipe of a process that dies at its start, `start` never returns
    desk = tempfile.TemporaryDirectory(prefix="quarterdeck-")
    try:
        while waiting or alive:
            while waiting and len(alive) < processes:
                job = waiting.pop(0)
                letter = Path(desk.name) / job.group
                letter.write_bytes(pickle.dumps(job))
                process = context.Process(target=_work, args=(letter, inbox), name=job.group)
                process.start()
                alive[job.group] = process
            gone = [group for group, process in alive.items() if not process.is_alive()]
            for group, message in _messages(inbox):
                if isinstance(message, PhaseResult):
                    results[group] = message
                elif isinstance(message, Exception):
                    failures[group] = message
                elif progress is not None:
                    progress(group, message)
            for group in gone:
                code = alive.pop(group).exitcode
                if group not in results and group not in failures:
                    failures[group] = RunIncomplete(
                        f"specialist {group}: expected its process to finish, was exit code "
                        f"{code}; its checkpoints stay, and a resumed run goes on from them"
                    )
    finally:
        for process in alive.values():
            process.terminate()
            process.join()
        desk.cleanup()
    if failures:
        raise next(iter(failures.values()))
    return results


def _messages(inbox: multiprocessing.Queue[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return what has come in, after waiting a moment for the first of it."""
    found = []
    try:
        found.append(inbox.get(timeout=PATIENCE_SECONDS))
        while True:
            found.append(inbox.get_nowait())
    except queue.Empty:
        return found


def _work(letter: Path, outbox: multiprocessing.Queue[tuple[str, Any]]) -> None:
    """Train in a process of one's own; what goes wrong is said, not printed."""
    torch.set_num_threads(1)
    job: Job = pickle.loads(letter.read_bytes())
    letter.unlink()
    try:
        outbox.put((job.group, train_specialist(job, lambda row: outbox.put((job.group, row)))))
    except QuarterdeckError as e:
        outbox.put((job.group, type(e)(f"specialist {job.group}: {e}")))
