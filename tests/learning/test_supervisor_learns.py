"""The supervisor first solves a trivial problem, then the simulated market's routes."""

from __future__ import annotations

import numpy as np
import pytest

from agents.protocols import Supervisor
from agents.supervisor.neural_ucb import NeuralUCB
from agents.supervisor.plain_routers import UniformRouter
from backtest.simulator.best_routes import route_market
from backtest.simulator.simulated_market import simulate
from config.settings import SupervisorSettings
from ops.bench.routes import MARKET, bench_costs, measure_routes, play


def identity_accuracy(router: Supervisor, *, distraction: bool) -> float:
    """
    The reward is 1 for the arm that the context's first seven numbers point at, else 0.

    With distraction the other nine numbers are noise, without it they never change.
    """
    generator = np.random.default_rng(0)
    right = []
    for _ in range(1_500):
        context = generator.uniform(0.0, 1.0, 16)
        context[:7] *= 0.3
        if not distraction:
            context[7:] = 0.5
        best = int(generator.integers(0, 7))
        context[best] = generator.uniform(0.7, 1.0)
        arm = router.select(context[None], ["A"], np.ones((1, 3), dtype=bool))[0].arm
        router.update(context, arm, float(arm == best))
        right.append(arm == best)
    return float(np.mean(right[-500:]))


@pytest.mark.parametrize("distraction", [False, True])
def test_supervisor_learns_the_arm_that_the_context_names(distraction: bool) -> None:
    learner = NeuralUCB(SupervisorSettings(), seed=0)
    assert identity_accuracy(learner, distraction=distraction) > 0.95
    assert identity_accuracy(UniformRouter(seed=0), distraction=distraction) < 0.25


def test_supervisor_learns_routes_on_the_simulated_market_better_than_a_line_can() -> None:
    neural, linear, uniform, everyone = measure_routes(seeds=[1], decisions=2_500)
    assert neural.accuracy > 0.75
    assert neural.accuracy > linear.accuracy + 0.05
    assert neural.regret_share < 0.12
    assert neural.regret_share < linear.regret_share < uniform.regret_share
    assert neural.mean_reward > linear.mean_reward > everyone.mean_reward


def test_supervisor_routes_no_better_than_chance_when_rewards_tell_nothing() -> None:
    class Deaf(NeuralUCB):
        def update(self, context: np.ndarray, action: int, reward: float) -> None:
            super().update(context, action, 0.0)

    market = route_market(simulate(MARKET, 0), bench_costs(SupervisorSettings()))
    row = play("deaf", Deaf(SupervisorSettings(hidden=32), 0), market, 0, 600, 10)
    assert row.regret_share > 0.5


@pytest.mark.slow
def test_supervisor_meets_both_figures_on_five_seeds() -> None:
    rows = [r for r in measure_routes() if r.learner == "NeuralUCB"]
    assert [r.accuracy > 0.85 for r in rows] == [True] * 5
    assert [r.regret_share < 0.05 for r in rows] == [True] * 5
