"""
Measures how the supervisor learns to route on the simulated market, beside routers that do not.

Every learner meets the same cases in the same order, one decision and one reward at a time, from
its fresh prior. Accuracy is over the last fifth of the decisions (2,000 of 10,000) and counts a
route whose expected reward is within `TIE` of the best as right; the regret share is cumulative
from the first decision, exploration included: (oracle - learner) / (oracle - uniform routing).
Both are in expected rewards, in closed form, so that luck in the rewards does not enter the
marks. A route costs what `ANSWER` says of its juniors, at the settings' prices. How noisy the
rewards are, `pool` decides: docs/supervisor.md.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from agents.messages import JUNIORS, ROUTES, JuniorName
from agents.protocols import Supervisor
from agents.supervisor.lin_ucb import LinUCB
from agents.supervisor.plain_routers import AlwaysAll, UniformRouter
from agents.supervisor.reward import route_cost
from backtest.report.curves import Curve, Panel, write_curves
from backtest.simulator.best_routes import POOL, RouteMarket, route_market
from backtest.simulator.simulated_market import simulate
from config.errors import ConfigError
from config.settings import SupervisorSettings
from config.simulator import SimulatorSettings
from ops.printing import PALETTE

TIE = 0.05  # of the mean standard deviation between a case's routes
MARKET = SimulatorSettings(sessions=1_000)
CURVE_POINTS = 101
EVERYONE = np.ones((1, len(JUNIORS)), dtype=bool)  # has evidence, in every case of this market
WINDOW = 1_000  # decisions that a point of the accuracy curve looks back on

# tokens and seconds of one answer: what a served small language model takes for our prompts.
# Assumed, not measured: the rule-backed juniors take none of either.
ANSWER: dict[JuniorName, tuple[int, float]] = {
    "news": (450, 1.2),
    "technical": (380, 0.9),
    "fundamental": (420, 1.0),
}
COLOURS = {
    "NeuralUCB": PALETTE[0],
    "LinUCB": PALETTE[1],
    "uniform": PALETTE[4],
    "always-all": PALETTE[3],
}


@dataclass(frozen=True)
class RouteBenchRow:
    """
    One learner, or router that learns nothing, on one seed.

    `regret` is cumulative at `CURVE_POINTS` evenly spaced decisions, in units of uniform routing's
    whole regret, so its last number is `regret_share`; `accuracies` is the accuracy over the last
    `WINDOW` decisions, or all so far, at the same points. `reward_noise` is the deviation of a
    realised reward around its expectation over the mean deviation between routes.
    `ms_per_decision` is wall time of select and update.
    """

    learner: str
    seed: int
    decisions: int
    accuracy: float
    regret_share: float
    mean_reward: float
    reward_noise: float
    ms_per_decision: float
    regret: tuple[float, ...]
    accuracies: tuple[float, ...]


def measure_routes(
    seeds: Iterable[int] = range(5),
    decisions: int = 10_000,
    pool: int = POOL,
    settings: SupervisorSettings | None = None,
    progress: Callable[[RouteBenchRow], None] | None = None,
) -> list[RouteBenchRow]:
    """
    Return a row for every seed and router: NeuralUCB, LinUCB, uniform, always-all.

    Raises ConfigError if the market has fewer cases than decisions.
    """
    from agents.supervisor.neural_ucb import NeuralUCB

    chosen = settings or SupervisorSettings()
    rows = []
    for seed in seeds:
        market = route_market(simulate(MARKET, seed), bench_costs(chosen))
        routers: list[tuple[str, Supervisor]] = [
            ("NeuralUCB", NeuralUCB(chosen, seed)),
            ("LinUCB", LinUCB()),
            ("uniform", UniformRouter(seed)),
            ("always-all", AlwaysAll()),
        ]
        for name, router in routers:
            row = play(name, router, market, seed, decisions, pool)
            rows.append(row)
            if progress is not None:
                progress(row)
    return rows


def bench_costs(settings: SupervisorSettings) -> FloatArray:
    """Return the cost of each route in reward units, (7,): juniors, their tokens, the slowest."""
    return np.array(
        [
            route_cost(
                arm,
                sum(ANSWER[name][0] for name in names),
                max(ANSWER[name][1] for name in names),
                settings,
            )
            for arm, names in enumerate(ROUTES)
        ]
    )


def play(
    name: str, router: Supervisor, market: RouteMarket, seed: int, decisions: int, pool: int
) -> RouteBenchRow:
    """Let one router decide and learn; the cases come in an order that the seed shuffles."""
    if decisions > len(market.contexts):
        raise ConfigError(
            f"expected at most {len(market.contexts)} decisions on this market, was {decisions}"
        )
    order = np.random.default_rng([seed, 1]).permutation(len(market.contexts))[:decisions]
    generator = np.random.default_rng([seed, 2])
    arms, rewards = np.empty(decisions, dtype=np.int64), np.empty(decisions)
    spent = 0.0
    for k, case in enumerate(order.tolist()):
        context = market.contexts[case]
        began = time.perf_counter()
        arm = router.select(context[None], ("case",), EVERYONE)[0].arm
        spent += time.perf_counter() - began
        rewards[k] = market.draw(case, arm, pool, generator)
        began = time.perf_counter()
        router.update(context, arm, rewards[k])
        spent += time.perf_counter() - began
        arms[k] = arm
    expected = market.expected[order]
    got, best = expected[np.arange(decisions), arms], expected.max(axis=1)
    regret, uniform = best - got, float((best - expected.mean(axis=1)).sum())
    last = slice(-(decisions // 5), None)
    return RouteBenchRow(
        learner=name,
        seed=seed,
        decisions=decisions,
        accuracy=float((regret[last] <= TIE * market.spread).mean()),
        regret_share=float(regret.sum() / uniform),
        mean_reward=float(got.mean()),
        reward_noise=float((rewards - got).std() / market.spread),
        ms_per_decision=1e3 * spent / decisions,
        regret=tuple((np.cumsum(regret)[_curve(decisions)] / uniform).tolist()),
        accuracies=_accuracies(regret <= TIE * market.spread),
    )


def row_facts(rows: Sequence[RouteBenchRow]) -> dict[str, dict[str, float]]:
    """Return each learner's figures on each seed, rounded, by its name and seed."""
    return {
        f"{row.learner} seed {row.seed}": {
            "accuracy": round(row.accuracy, 4),
            "regret_share": round(row.regret_share, 4),
            "reward_noise": round(row.reward_noise, 2),
            "ms_per_decision": round(row.ms_per_decision, 3),
        }
        for row in rows
    }


def plot_learning(rows: Sequence[RouteBenchRow], path: Path) -> None:
    """Write a PNG of accuracy and cumulative regret: each router's mean and range over seeds."""
    by_name: dict[str, list[RouteBenchRow]] = {}
    for row in rows:
        by_name.setdefault(row.learner, []).append(row)
    x = _curve(rows[0].decisions) + 1

    def curves(of: Callable[[RouteBenchRow], tuple[float, ...]]) -> tuple[Curve, ...]:
        return tuple(
            Curve(name, COLOURS[name], x, np.array([of(row) for row in mine]))
            for name, mine in by_name.items()
        )

    seeds = len({row.seed for row in rows})
    write_curves(
        path,
        (
            Panel(
                f"Accuracy over the last {WINDOW:,} decisions",
                "decisions",
                f"share of right routes, mean and range of {seeds} seeds",
                curves(lambda row: row.accuracies),
                (0.0, 1.0),
            ),
            Panel(
                "Cumulative regret, exploration and costs included",
                "decisions",
                "share of uniform routing's whole regret",
                curves(lambda row: row.regret),
                (0.0, None),
            ),
        ),
    )


def _accuracies(right: NDArray[np.bool_]) -> tuple[float, ...]:
    counted = np.concatenate([[0.0], np.cumsum(right)])
    end = _curve(len(right)) + 1
    begin = np.maximum(end - WINDOW, 0)
    return tuple(((counted[end] - counted[begin]) / (end - begin)).tolist())


def _curve(decisions: int) -> NDArray[np.int64]:
    return np.linspace(0, decisions - 1, CURVE_POINTS).astype(np.int64)
