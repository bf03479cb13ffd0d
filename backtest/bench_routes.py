"""
The supervisor's bench: learn to route on the simulated market, against routers that cannot.

Every learner meets the same cases in the same order, one decision and one reward at a time, from
its fresh prior. Accuracy is over the last fifth of the decisions (2,000 of 10,000) and counts a
route whose expected reward is within `TIE` of the best as right; the regret share is cumulative
from the first decision, exploration included: (oracle - learner) / (oracle - uniform routing).
Both are in expected rewards, in closed form, so that luck in the rewards does not enter the
marks. `docs/supervisor.md` says how noisy the rewards are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.protocols import Supervisor
from agents.supervisor.baselines import AlwaysAll, UniformRouter
from agents.supervisor.lin_ucb import LinUCB
from backtest.simulator.market import simulate
from backtest.simulator.routes import POOL, RouteMarket, route_market
from config.errors import ConfigError
from config.settings import SupervisorSettings
from config.simulator import SimulatorSettings

TIE = 0.05  # of the mean standard deviation between a case's routes
LIN_UCB_ALPHA = 0.2
MARKET = SimulatorSettings(sessions=1_000)
CURVE_POINTS = 101


@dataclass(frozen=True)
class RouteBenchRow:
    """
    One learner, or router that learns nothing, on one seed.

    `regret` is cumulative at `CURVE_POINTS` evenly spaced decisions, in units of uniform routing's
    whole regret, so its last number is `regret_share`. `reward_noise` is the deviation of a
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


def bench_routes(
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
        market = route_market(simulate(MARKET, seed), chosen.junior_price)
        routers: list[tuple[str, Supervisor]] = [
            ("NeuralUCB", NeuralUCB.fresh(chosen, seed)),
            ("LinUCB", LinUCB(LIN_UCB_ALPHA)),
            ("uniform", UniformRouter(seed)),
            ("always-all", AlwaysAll()),
        ]
        for name, router in routers:
            row = play(name, router, market, seed, decisions, pool)
            rows.append(row)
            if progress is not None:
                progress(row)
    return rows


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
        arm = router.select(context[None], ("case",))[0].arm
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
    )


def plot_regret(rows: Sequence[RouteBenchRow], path: Path) -> None:
    """Write an HTML plot of cumulative regret, one line a router and seed."""
    import plotly.graph_objects as go

    colours = {"NeuralUCB": "#1f77b4", "LinUCB": "#ff7f0e", "uniform": "#7f7f7f"}
    figure = go.Figure()
    for row in rows:
        figure.add_scatter(
            x=(_curve(row.decisions) + 1).tolist(),
            y=row.regret,
            name=f"{row.learner}, seed {row.seed}",
            line_color=colours.get(row.learner, "#d62728"),
        )
    figure.update_layout(
        title="Cumulative regret on the simulated market, uniform routing's whole regret = 1",
        xaxis_title="decisions",
        yaxis_title="regret share",
    )
    figure.write_html(path, include_plotlyjs=True, div_id="regret")


def _curve(decisions: int) -> NDArray[np.int64]:
    return np.linspace(0, decisions - 1, CURVE_POINTS).astype(np.int64)
