"""
Measures what a part of the allocator's training adds: with and without it, over several seeds.

Every variant is trained with every seed from the same earlier policies and evaluated on the same
held-out windows, so that a difference is of one seed's two trainings; its interval is Student's
over the seeds. Trainings run side by side in processes of their own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import torch
from rich.console import Console
from scipy.stats import t as student

from config.allocator import TrainingSettings
from config.errors import ConfigError
from config.files.whole import sweep_below
from learning.allocator.evaluation.examine import whole_dataset
from learning.allocator.evaluation.policy_paths import run_policy
from learning.allocator.phases import (
    Training,
    embeddings_of,
    open_dataset,
    policies_by_phase,
    run_joint,
    run_macro_pretraining,
)
from learning.allocator.training.phase_results import CURVE_FILE, read_curve, read_result
from learning.child_process import begin
from learning.datasets.markets import BookName
from ops.printing import make_table, print_json, write_json

RESULT = "ablations.json"
AS_SET = "as set"
VARIANTS: dict[BookName, tuple[str, ...]] = {
    "multi-asset": (AS_SET, "without projection", "without curriculum"),
    "equity": (AS_SET, "without graph"),
}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of one variant against the training as set: per seed, mean and 95% interval."""

    variant: str
    measure: str
    as_set: tuple[float, ...]
    varied: tuple[float, ...]
    difference: float  # as set less varied
    interval: tuple[float, float]


@dataclass(frozen=True)
class _Job:
    training: Path
    settings: TrainingSettings
    variant: str
    folder: Path


def ablate(
    training: Path,
    settings: TrainingSettings,
    seeds: Sequence[int],
    folder: Path,
    *,
    processes: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Difference]:
    """
    Return what projection and curriculum (multi-asset) or the graph (equity) are worth.

    A multi-asset `training` has its first two phases behind it. What was trained before in
    `folder` is not trained again. Raises ConfigError for fewer than two seeds.
    """
    if len(seeds) < 2:
        raise ConfigError(f"expected at least two seeds for an interval, was {len(seeds)}")
    sweep_below(folder)
    variants = VARIANTS[settings.dataset.name]
    jobs = [
        _Job(
            training,
            msgspec.structs.replace(settings, seed=seed),
            name,
            folder / f"{name.replace(' ', '-')}-{seed}",
        )
        for seed in seeds
        for name in variants
    ]
    found: dict[tuple[str, int], dict[str, float]] = {}
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=begin
    ) as pool:
        futures = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            found[job.variant, job.settings.seed] = future.result()
            progress(len(found), len(jobs))
    return [
        _difference(name, measure, found, seeds)
        for name in variants
        if name != AS_SET
        for measure in found[AS_SET, seeds[0]]
    ]


def _difference(
    variant: str,
    measure: str,
    found: Mapping[tuple[str, int], Mapping[str, float]],
    seeds: Sequence[int],
) -> Difference:
    own = np.array([found[AS_SET, seed][measure] for seed in seeds])
    varied = np.array([found[variant, seed][measure] for seed in seeds])
    gap = own - varied
    half = float(student.ppf(0.975, len(seeds) - 1)) * float(gap.std(ddof=1))
    half /= math.sqrt(len(seeds))
    mean = float(gap.mean())
    return Difference(
        variant=variant,
        measure=measure,
        as_set=tuple(own.tolist()),
        varied=tuple(varied.tolist()),
        difference=mean,
        interval=(mean - half, mean + half),
    )


def _run(job: _Job) -> dict[str, float]:
    """Train one variant with one seed, unless that was done, and return its measures."""
    torch.set_num_threads(1)
    settings = _varied(job.settings, job.variant)
    dataset, parts, market = open_dataset(settings)
    training = Training(dataset, parts, settings, job.folder, True, lambda *_: None, market)
    return _macro(training) if dataset.name == "equity" else _joint(training, job.training)


def _macro(training: Training) -> dict[str, float]:
    place = training.place("macro-pretraining", "macro")
    result = read_result(place) or run_macro_pretraining(training)
    wanted = ("test_allocation_loss", "test_hidden_accuracy", "test_label_accuracy")
    return {name: value for name, value in result.measures.items() if name in wanted}


def _joint(training: Training, earlier: Path) -> dict[str, float]:
    """Train the joint phase over the policies of an earlier training's first two."""
    dataset, settings = training.dataset, training.settings
    before = policies_by_phase(earlier, dataset.name)
    if "meta" not in before:
        raise ConfigError(f"expected two finished phases in {earlier}, was less")
    folder = training.place("joint")
    if read_result(folder) is None:
        run_joint(training, before["meta"])
    after = policies_by_phase(training.folder, dataset.name)["joint"]
    gross = settings.limits.max_gross * settings.limits.headroom
    acts = whole_dataset(dataset, "joint", after, gross, lambda top: embeddings_of(dataset, top))
    path = run_policy(dataset, training.parts.test, settings.trading, acts["joint"])
    curve = read_curve(folder / CURVE_FILE)
    found = [row["validation_sharpe"] for row in curve if math.isfinite(row["validation_sharpe"])]
    rewards = [row["reward"] for row in curve]
    return {
        "test_sharpe": path.sharpe,  # of what is exported, which may be the earlier policies
        "joint_validation_sharpe": max(found),
        "reward_of_last_half": float(np.mean(rewards[len(rewards) // 2 :])),
    }


def _varied(settings: TrainingSettings, variant: str) -> TrainingSettings:
    replace = msgspec.structs.replace
    if variant == "without projection":
        return replace(settings, joint=replace(settings.joint, projection=False))
    if variant == "without curriculum":
        curriculum = replace(settings.joint.curriculum, enabled=False)
        return replace(settings, joint=replace(settings.joint, curriculum=curriculum))
    return replace(settings, graph=None) if variant == "without graph" else settings


def print_ablations(
    training: Path,
    settings: TrainingSettings,
    seeds: Sequence[int],
    found: Sequence[Difference],
    folder: Path,
    console: Console,
    as_json: bool,
) -> None:
    """Print the differences of a training's variants, and keep them in `folder`."""
    report = {
        "training": training.name,
        "timesteps": settings.joint.timesteps,
        "macro_epochs": settings.macro.epochs,
        "seeds": list(seeds),
        "differences": found,
    }
    write_json(folder / RESULT, report)
    if as_json:
        print_json(report)
        return
    title = f"{settings.dataset.name}, {len(seeds)} seeds: as set less the variant"
    heads = ("variant", "measure", "as set", "varied", "difference", "95%")
    rows = [
        (
            d.variant,
            d.measure,
            f"{np.mean(d.as_set):.4f}",
            f"{np.mean(d.varied):.4f}",
            f"{d.difference:+.4f}",
            f"[{d.interval[0]:+.4f}, {d.interval[1]:+.4f}]",
        )
        for d in found
    ]
    console.print(make_table(title, heads, rows, words=heads[:2]))
    console.print(f"figures: {folder / RESULT}", soft_wrap=True)
