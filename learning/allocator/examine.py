"""
A finished training on windows that it never saw, beside those who learned nothing and the oracles.

Every phase's policies are run as they were left: each specialist on its own group with all of its
budget, then whole books. In a simulated book the two oracles stand beside them, as they reckon
themselves and, the filter's targets once more, through the same twin: what the same gate, stops
and whole lots leave of them. It knows no command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import Float32Array
from agents.allocator.policy_file import ANY_GROUP, load_policy
from agents.protocols import FloatArray
from backtest.simulator.oracles import OracleRun, filter_oracle, sharpe, state_oracle
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.allocator.book import Book
from learning.allocator.evaluate import Act, PolicyPath, run_policy, specialist_act, tiered_act
from learning.allocator.judge import Verdict, baselines, judge, sharpe_difference
from learning.allocator.markets import BookName, simulated_market
from learning.allocator.specialists import largest_budget
from learning.allocator.windows import Window
from learning.envs.bottoms import Bottoms
from learning.envs.sub_book import only_group
from learning.envs.twin import Twin

EQUAL_BUDGETS = "specialists, equal budgets"


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
    Verdicts by scope ("book", or a group) and name, differences of Sharpe ratios, oracles.

    A difference is [first less second]: its value and 95% interval.
    """

    verdicts: dict[str, list[Verdict]]
    differences: dict[str, dict[str, Any]]
    oracles: dict[str, Oracles]


def examine(
    book: Book,
    windows: Sequence[Window],
    settings: Settings,
    phases: Mapping[str, Mapping[str, Path]],
    *,
    seed: int,
    oracles: bool = True,
    processes: int = 2,
    embed: Callable[[Path], Float32Array | None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Examination, dict[str, PolicyPath]]:
    """
    Return every policy's figures on the windows, and the whole books' paths by name.

    `phases` are policy folders by phase and slot, each with what it had of earlier phases;
    `embed` returns the sectors' embeddings for a top policy's folder. Raises what loading does.
    """
    gross = settings.limits.max_gross * settings.limits.headroom
    scopes: dict[str, Book] = {"book": book}
    paths: dict[str, dict[str, PolicyPath]] = {"book": {}}
    first = next(iter(phases.values()))
    for slot, folder in sorted(first.items()):
        net, card = load_policy(folder)
        if isinstance(net, BottomNet) and card.group != ANY_GROUP:
            own = scopes[card.group] = only_group(book, card.group)
            budget = largest_budget(len(own.symbols), settings.limits)
            acts = {slot: specialist_act(own, card.normaliser, net, budget)}
            acts |= baselines(own, budget)
            progress(card.group)
            paths[card.group] = {
                name: run_policy(own, windows, settings, act) for name, act in acts.items()
            }
    acts = dict(baselines(book, gross))
    for phase, slots in phases.items():
        acts |= whole_book(book, phase, slots, gross, embed)
    for name, act in acts.items():
        progress(name)
        paths["book"][name] = run_policy(book, windows, settings, act)

    found: dict[str, Oracles] = {}
    if oracles and book.simulator is not None:
        for scope, own in scopes.items():
            progress(f"oracles, {scope}")
            found[scope] = _oracles(book, own, windows, settings, processes)
    verdicts = {
        scope: [judge(name, scopes[scope], windows, path, seed) for name, path in of.items()]
        for scope, of in paths.items()
    }
    names = [name for name in paths["book"] if name not in baselines(book, gross)]
    pairs = [(a, b) for k, a in enumerate(names) for b in (*names[:k], "equal weight")]
    differences = {
        f"{a} less {b}": sharpe_difference(paths["book"][a], paths["book"][b], seed)
        for a, b in pairs
    }
    examined = Examination(verdicts=verdicts, differences=differences, oracles=found)
    return examined, paths["book"]


def whole_book(
    book: Book,
    phase: str,
    slots: Mapping[str, Path],
    gross: float,
    embed: Callable[[Path], Float32Array | None],
) -> dict[str, Act]:
    """
    Return the acts of one phase's policies over the whole book; none without all bottoms.

    Without a top every group gets the same budget; `embed` as in `examine`.
    """
    loaded = {slot: load_policy(folder) for slot, folder in slots.items()}
    nets: dict[str, BottomNet] = {}
    for net, card in loaded.values():
        if isinstance(net, BottomNet):
            places = book.groups if card.group == ANY_GROUP else (card.group,)
            nets |= dict.fromkeys(places, net)
    if set(nets) != set(book.groups):
        return {}
    bottoms = Bottoms(book, nets)
    norm = next(card.normaliser for _, card in loaded.values())
    if "top" not in loaded:
        even = np.full(len(book.groups), gross / len(book.groups))
        share: Any = lambda twin: np.tile(even, (twin.batch, 1))  # noqa: E731
        return {EQUAL_BUDGETS: tiered_act(book, norm, share, bottoms, gross)}
    top, card = loaded["top"]
    return {
        phase: tiered_act(
            book, card.normaliser, cast(TopNet, top), bottoms, card.gross, embed(slots["top"])
        )
    }


def _oracles(
    book: Book, own: Book, windows: Sequence[Window], settings: Settings, processes: int
) -> Oracles:
    """Return the oracles that may hold `own`'s instruments, on simulated markets."""
    assert book.simulator is not None
    held = np.isin(book.symbols, own.symbols)
    jobs = [(book.name, book.simulator, book.seeds[w.market], settings, held) for w in windows]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(_asked, jobs))
    targets = np.stack([weights for _, _, weights in answers])[:, :, held]
    place = {w.market: k for k, w in enumerate(windows)}

    def follow(twin: Twin) -> FloatArray:
        rows = [place[m] for m in twin.market.tolist()]
        return np.nan_to_num(targets[rows, twin.t])

    path = run_policy(own, windows, settings, follow)
    return Oracles(
        state=tuple(a[0] for a in answers),
        filter=tuple(a[1] for a in answers),
        filter_in_twin=tuple(path.sharpes.tolist()),
        filter_in_twin_pooled=path.sharpe,
    )


def _asked(
    job: tuple[BookName, SimulatorSettings, int, Settings, Any],
) -> tuple[float, float, FloatArray]:
    """Return one market's oracles: their Sharpe ratios and the filter's targets (T, N)."""
    name, simulator, seed, settings, held = job
    market = simulated_market(name, simulator, seed)

    def run(oracle: Callable[..., OracleRun]) -> OracleRun:
        return oracle(market, settings.market.cost_frac, settings.limits, tradable=held)

    state, filtered = run(state_oracle), run(filter_oracle)
    return sharpe(market, state.equity), sharpe(market, filtered.equity), filtered.weights
