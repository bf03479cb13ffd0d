"""
Phase 1 of the multi-asset book: a specialist for each group, trained by PPO in its own process.

A specialist trades its group's instruments alone, with the budget that its limits leave it, and
is exported as the bottom policy of that group. Processes are spawned with one thread each; rows
of their curves come back through a queue. Where one dies, the others go on, all checkpoints stay,
and a resumed run trains what is not finished. It knows no top policy.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from config.errors import QuarterdeckError, RunIncomplete
from learning.allocator.evaluation.policy_paths import largest_budget, run_policy, specialist_act
from learning.allocator.training.phase_results import (
    PhaseResult,
    finished,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.ppo import train_ppo
from learning.allocator.training.training_run import Progress, Row, TrainingRun, no_progress
from learning.allocator.training.warm_up import (
    RolloutPolicy,
    market_of,
    rows_of,
    shares_of,
    warm_up,
)
from learning.child_process import begin
from learning.datasets.dataset import training_rows
from learning.datasets.group_dataset import only_group
from learning.envs.environments import SpecialistEnvironment

POLICY = "policy"
LEAST_BUDGET = 0.5  # of the most that a specialist is given
FIRST_MOVE = 0.1  # of an untrained specialist, in actions a session: it buys, and holds
PATIENCE_SECONDS = 1.0  # between looks at whether a process still lives


@dataclass(frozen=True)
class Job:
    """
    What a process needs to train one specialist.

    The run's dataset holds its group alone; `groups` are all of the book's, and `norm` is fitted
    on all of them.
    """

    run: TrainingRun
    group: str
    groups: tuple[str, ...]
    norm: Normaliser


def train_specialists(
    run: TrainingRun, progress_of: Callable[[str], Progress] = lambda _: no_progress
) -> dict[str, PhaseResult]:
    """
    Train a specialist for each group of the book, several at a time; return them by group.

    Each has a folder of its own in the run's, with its policy in `policy`; `progress_of` returns
    a group's listener, in place of the run's own. Raises what a specialist raised,
    or RunIncomplete where its process died, once the others have ended; a resumed run goes on
    from the checkpoints, and takes finished ones as they are.
    """
    dataset = run.dataset
    norm = Normaliser.fit(*training_rows(dataset, run.split))
    results: dict[str, PhaseResult] = {}
    jobs = []
    for number, group in enumerate(dataset.groups):
        own = replace(
            run,
            dataset=only_group(dataset, group),
            folder=run.folder / group,
            seed=run.seed + number,
            progress=no_progress,  # a process's rows go through its queue
        )
        if (done := finished(own, run.settings.specialist_timesteps)) is not None:
            results[group] = done
        else:
            jobs.append(Job(own, group, dataset.groups, norm))
    listeners = {group: progress_of(group) for group in dataset.groups}
    results |= _run_jobs(jobs, run.settings.processes, listeners)
    return {group: results[group] for group in dataset.groups}


def train_specialist(job: Job) -> PhaseResult:
    """
    Train one specialist in this process and write its policy, curve and summary.

    The run's progress hears rows of both curves: the warm-up's have an epoch, PPO's have steps.
    """
    run, s = job.run, job.run.settings
    dataset, trading = run.dataset, s.trading
    most = largest_budget(len(dataset.symbols), s.limits)
    arena = run.arena(job.norm)
    torch.manual_seed(run.seed)
    net = BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS), holds=True)
    torch.nn.init.constant_(net.head.bias, FIRST_MOVE)
    environment = SpecialistEnvironment(
        arena, s.ppo.envs, run.seed, budget=(LEAST_BUDGET * most, most)
    )

    def validate(actor: BottomNet | TopNet) -> float:
        act = specialist_act(dataset, job.norm, cast(BottomNet, actor), most)
        return run_policy(dataset, run.split.validation, trading, act).sharpe

    meta = identity(f"specialist {job.group}", run) | {
        "settings": msgspec.to_builtins([s.direct, s.ppo, s.reward, s.episode, trading])
    }
    warmed = warm_up(
        run,
        arena,
        net,
        lambda rng, books: _rollout_policy(environment, net, books, rng),
        lambda: validate(net),
        meta,
    )
    learned = train_ppo(
        run, environment, net, validate, timesteps=s.specialist_timesteps, meta=meta
    )
    card = PolicyCard(
        kind="bottom",
        book=dataset.name,
        name=f"ppo-{job.group}",
        groups=job.groups,
        group=job.group,
        hidden=net.encoder.hidden,
        normaliser=job.norm,
        holds=True,
        gross=most,
        trained=training_record(run, learned.steps),
    )
    save_policy(run.folder / POLICY, learned.actor, card)
    result = PhaseResult(
        phase=f"specialist {job.group}",
        folder=str(run.folder),
        steps=learned.steps,
        seconds=learned.seconds | warmed.seconds,
        measures={
            "validation_sharpe": learned.best_sharpe,
            "best_step": float(learned.best_step),
            "budget": most,
            **warmed.measures,
        },
        policies={f"bottom-{job.group}": POLICY},
    )
    write_result(result)
    return result


def _rollout_policy(
    environment: SpecialistEnvironment, net: BottomNet, books: int, rng: np.random.Generator
) -> RolloutPolicy:
    """Return how the network places books whose budgets are drawn as episodes draw them."""
    budget, elsewhere = (torch.from_numpy(drawn).float() for drawn in environment.draw(rng, books))
    shortable = torch.tensor(environment.arena.dataset.shortable).float()

    def place(features: Tensor, macro: Tensor, held: Tensor) -> Tensor:
        rows = rows_of(features, held, shortable, budget.unsqueeze(-1).expand_as(held))
        market = market_of(macro, held.abs().sum(dim=-1) + elsewhere)
        means: Tensor = net(rows, market)
        return budget.unsqueeze(-1) * shares_of(means, shortable)

    return RolloutPolicy(place, budget)


def _run_jobs(
    jobs: Sequence[Job], processes: int, listeners: Mapping[str, Progress]
) -> dict[str, PhaseResult]:
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
                else:
                    listeners[group](*message)
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
    """Train in a process of its own; an error goes into the queue and is not printed."""
    begin()
    torch.set_num_threads(1)
    job: Job = pickle.loads(letter.read_bytes())
    letter.unlink()

    def progress(done: int, row: Row) -> None:
        outbox.put((job.group, (done, dict(row))))

    try:
        done = train_specialist(replace(job, run=replace(job.run, progress=progress)))
        outbox.put((job.group, done))
    except QuarterdeckError as e:
        outbox.put((job.group, type(e)(f"specialist {job.group}: {e}")))
