"""
Evaluates finished trainings on held-out windows, next to the baselines and the oracles.

Trainings are of one kind and differ by their seed: a policy's name has a path a seed. Every
phase's policies are run as they were left: each specialist on its own group with all of its
budget, then whole books. On simulated markets the two oracles are evaluated, too: by their own
account, and the filter's targets once more through the same twin, which shows what the same gate,
stops and whole lots leave of them. The module knows no command line.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.policy_file import ANY_GROUP, load_policy, read_card
from agents.allocator.trained import check_groups
from agents.arrays import BoolArray, Float32Array, FloatArray
from backtest.simulator.oracles import filter_outlook, oracle_run, oracle_sharpe, state_outlook
from config.errors import ConfigError
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.allocator.evaluation.evaluate import (
    Evaluation,
    Share,
    baselines,
    evaluate,
    share_of,
    sharpe_difference,
)
from learning.allocator.evaluation.policy_paths import (
    Act,
    PolicyPath,
    largest_budget,
    run_policy,
    specialist_act,
    tiered_act,
)
from learning.child_process import begin
from learning.datasets.dataset import Dataset
from learning.datasets.group_dataset import only_group
from learning.datasets.markets import BookName, simulated_market
from learning.datasets.windows import Window
from learning.envs.bottom_policies import BottomPolicies
from learning.twin.twin import Twin

EQUAL_BUDGETS = "specialists, equal budgets"

type Phases = Mapping[str, Mapping[str, Path]]  # policy folders by phase and slot
type Paths = dict[str, list[PolicyPath]]  # by name: one a seed, of a baseline one alone
type Embed = Callable[[Path], Float32Array | None]
type Progress = Callable[[str], None]


class Oracles(msgspec.Struct, frozen=True, kw_only=True):
    """
    The oracles' Sharpe ratios on one scope, a row a window.

    `state` and `filter` as they reckon themselves, without stops, VaR or whole lots;
    `filter_in_twin` through the same venue and gate as the policies.
    """

    state: tuple[float, ...]
    filter: tuple[float, ...]
    filter_in_twin: tuple[float, ...]
    filter_in_twin_pooled: float


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """
    Evaluations by scope ("book", or a group), differences of Sharpe ratios, and oracles.

    A difference is [first less second]: its value and 95% interval. `shares` are what learned
    policies have of the filter oracle and of it in the twin, by scope, policy and oracle.
    """

    evaluations: dict[str, list[Evaluation]]
    differences: dict[str, dict[str, Any]]
    oracles: dict[str, Oracles]
    shares: dict[str, dict[str, dict[str, Share]]]


def examine(
    dataset: Dataset,
    windows: Sequence[Window],
    settings: Settings,
    trainings: Sequence[Phases],
    *,
    seed: int,
    oracles: bool = True,
    processes: int = 2,
    embed: Embed = lambda _: None,
    progress: Progress = lambda _: None,
) -> tuple[Examination, Paths]:
    """
    Return every policy's figures on the windows, and the whole books' paths by name.

    `trainings` differ by their seed alone; of each, the policy folders by phase and slot, every
    phase with what it had of earlier ones. `embed` returns the sectors' embeddings for a top
    policy's folder. Specialists of groups that the dataset has not are left out. Raises
    ConfigError where trainings ended different phases, where the dataset has groups that a
    policy never saw, and what loading does.
    """
    for slots in chain.from_iterable(phases.values() for phases in trainings):
        for folder in slots.values():
            check_groups(read_card(folder), dataset.groups)
    if len({tuple(phases) for phases in trainings}) > 1:
        raise ConfigError("expected the same finished phases in all trainings, was not")
    scopes, paths = _run(dataset, windows, settings, trainings, embed, progress)
    found: dict[str, Oracles] = {}
    if oracles and dataset.simulator is not None:
        progress("oracles")
        found = _oracles(dataset, scopes, windows, settings, processes)
    progress("intervals")
    evaluations = {
        scope: [evaluate(name, scopes[scope], windows, of, seed) for name, of in every.items()]
        for scope, every in paths.items()
    }
    baseline_names = list(baselines(dataset, 1.0))
    whole = paths["book"]
    names = [name for name in whole if name not in baseline_names]
    pairs = [(a, b) for k, a in enumerate(names) for b in (*names[:k], *baseline_names)]
    examined = Examination(
        evaluations=evaluations,
        differences={
            f"{a} less {b}": sharpe_difference(whole[a], whole[b], dataset.sessions_per_year, seed)
            for a, b in pairs
        },
        oracles=found,
        shares={
            scope: {
                v.name: _shares(v, of, seed)
                for v in evaluations[scope]
                if v.name not in baseline_names
            }
            for scope, of in found.items()
        },
    )
    return examined, whole


def _run(
    dataset: Dataset,
    windows: Sequence[Window],
    settings: Settings,
    trainings: Sequence[Phases],
    embed: Embed,
    progress: Progress,
) -> tuple[dict[str, Dataset], dict[str, Paths]]:
    """Return the datasets by scope, and the paths of all that run on them."""
    scopes, paths = {"book": dataset}, dict[str, Paths](book={})

    def run(scope: str, acts: Mapping[str, Act]) -> None:
        for name, act in acts.items():
            progress(name if scope == "book" else scope)
            path = run_policy(scopes[scope], windows, settings, act)
            paths.setdefault(scope, {}).setdefault(name, []).append(path)

    gross = settings.limits.max_gross * settings.limits.headroom
    budgets = {"book": gross}
    for phases in trainings:
        for slot, folder in sorted(next(iter(phases.values())).items()):
            net, card = load_policy(folder)
            if isinstance(net, BottomNet) and card.group in dataset.groups:
                own = scopes.setdefault(card.group, only_group(dataset, card.group))
                budgets[card.group] = largest_budget(len(own.symbols), settings.limits)
                act = specialist_act(own, card.normaliser, net, budgets[card.group])
                run(card.group, {slot: act})
    for scope, own in scopes.items():
        run(scope, baselines(own, budgets[scope]))
    for phases in trainings:
        for phase, slots in phases.items():
            run("book", whole_dataset(dataset, phase, slots, gross, embed))
    return scopes, paths


def _shares(evaluation: Evaluation, oracles: Oracles, seed: int) -> dict[str, Share]:
    own = np.array(evaluation.sharpes)
    return {
        "filter": share_of(own, np.array(oracles.filter), seed),
        "filter_in_twin": share_of(own, np.array(oracles.filter_in_twin), seed),
    }


def whole_dataset(
    dataset: Dataset, phase: str, slots: Mapping[str, Path], gross: float, embed: Embed
) -> dict[str, Act]:
    """
    Return the acts of one phase's policies over the whole book; none without all bottom policies.

    Without a top every group gets the same budget; `embed` as in `examine`.
    """
    loaded = {slot: load_policy(folder) for slot, folder in slots.items()}
    nets: dict[str, BottomNet] = {}
    for net, card in loaded.values():
        if isinstance(net, BottomNet):
            places = dataset.groups if card.group == ANY_GROUP else (card.group,)
            nets |= dict.fromkeys(places, net)
    if not set(nets) >= set(dataset.groups):
        return {}
    bottom_policies = BottomPolicies(dataset, nets)
    norm = next(card.normaliser for _, card in loaded.values())
    if "top" not in loaded:
        even = np.full(len(dataset.groups), gross / len(dataset.groups))
        share: Any = lambda twin: np.tile(even, (twin.batch, 1))  # noqa: E731
        return {EQUAL_BUDGETS: tiered_act(dataset, norm, share, bottom_policies, gross)}
    top, card = loaded["top"]
    return {
        phase: tiered_act(
            dataset,
            card.normaliser,
            cast(TopNet, top),
            bottom_policies,
            card.gross,
            embed(slots["top"]),
        )
    }


def _oracles(
    dataset: Dataset,
    scopes: Mapping[str, Dataset],
    windows: Sequence[Window],
    settings: Settings,
    processes: int,
) -> dict[str, Oracles]:
    """Return the oracles that may hold each scope's instruments, on simulated markets."""
    assert dataset.simulator is not None
    held = [np.isin(dataset.symbols, own.symbols) for own in scopes.values()]
    jobs = [
        (dataset.name, dataset.simulator, dataset.seeds[w.market], settings, held) for w in windows
    ]
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=begin
    ) as pool:
        answers = list(pool.map(_asked, jobs))
    place = {w.market: k for k, w in enumerate(windows)}
    found = {}
    for scope, mask, of in zip(scopes, held, zip(*answers, strict=True), strict=True):
        targets = np.stack([weights for _, _, weights in of])[:, :, mask]

        def follow(twin: Twin, targets: FloatArray = targets) -> FloatArray:
            rows = [place[m] for m in twin.market.tolist()]
            return np.nan_to_num(targets[rows, twin.t])

        path = run_policy(scopes[scope], windows, settings, follow)
        found[scope] = Oracles(
            state=tuple(state for state, _, _ in of),
            filter=tuple(filtered for _, filtered, _ in of),
            filter_in_twin=tuple(path.sharpes.tolist()),
            filter_in_twin_pooled=path.sharpe,
        )
    return found


def _asked(
    job: tuple[BookName, SimulatorSettings, int, Settings, list[BoolArray]],
) -> list[tuple[float, float, FloatArray]]:
    """
    Return one market's oracles, of each mask of what they may hold.

    Their Sharpe ratios, and the filter's targets (T, N).
    """
    name, simulator, seed, settings, held = job
    market = simulated_market(name, simulator, seed)
    state, filtered = state_outlook(market), filter_outlook(market)
    found = []
    for mask in held:
        known, believed = (
            oracle_run(market, outlook, settings.market.cost_frac, settings.limits, tradable=mask)
            for outlook in (state, filtered)
        )
        ratios = oracle_sharpe(market, known.equity), oracle_sharpe(market, believed.equity)
        found.append((*ratios, believed.weights))
    return found
