"""What a route is worth on the simulated market, against brute force and against the tape."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.stats import norm

from agents.features.routing_context import CONTEXT_NAMES
from agents.messages import ROUTES
from backtest.simulator.best_routes import (
    HIT_WINDOW,
    HORIZON,
    MEMBERS,
    RouteMarket,
    clipped_moments,
    expected_rewards,
    regime_filter,
    route_market,
)
from backtest.simulator.simulated_market import SimulatedMarket, simulate
from config.errors import ConfigError
from config.settings import SupervisorSettings
from config.simulator import SimulatorSettings
from ops.bench.routes import bench_costs, measure_routes, plot_learning

COSTS = 0.01 * MEMBERS.sum(axis=1)  # a junior's price and nothing else


@pytest.fixture(scope="module")
def simulated() -> SimulatedMarket:
    return simulate(SimulatorSettings(sessions=400), seed=0)


@pytest.fixture(scope="module")
def market(simulated: SimulatedMarket) -> RouteMarket:
    return route_market(simulated, COSTS)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.3), (0.7, 0.4), (-1.5, 0.2), (0.2, 3.0)])
def test_moments_of_a_clipped_view_equal_numerical_integration(mean, deviation) -> None:
    grid = np.linspace(mean - 10 * deviation, mean + 10 * deviation, 400_001)
    weight = norm.pdf(grid, mean, deviation) * (grid[1] - grid[0])
    clipped = np.clip(grid, -1.0, 1.0)
    first, second = clipped_moments(np.array(mean), np.array(deviation))
    assert first == pytest.approx((clipped * weight).sum(), abs=1e-6)
    assert second == pytest.approx((clipped**2 * weight).sum(), abs=1e-6)


def test_expected_reward_equals_brute_monte_carlo(market: RouteMarket) -> None:
    generator = np.random.default_rng(0)
    for case in (0, 700, 2500):
        for arm in range(len(ROUTES)):
            draws = [market.draw(case, arm, 20_000, generator) for _ in range(20)]
            error = np.std(draws) / np.sqrt(len(draws))
            assert np.mean(draws) == pytest.approx(market.expected[case, arm], abs=4.5 * error)


def test_a_price_on_juniors_is_paid_for_each_one_asked() -> None:
    sizes, errors = np.array([[0.5, 0.2, 0.9]]), np.array([[0.2, 0.3, 0.4]])
    free = expected_rewards(sizes, errors, np.zeros(7))
    cut = free - expected_rewards(sizes, errors, 25 * COSTS)
    assert cut[0] == pytest.approx([0.25 * len(route) for route in ROUTES])


def test_a_junior_without_error_is_worth_asking_and_one_without_evidence_is_not() -> None:
    sizes, errors = np.array([[0.8, 0.0, 0.0]]), np.array([[0.05, 1.0, 1.0]])
    assert ROUTES[int(expected_rewards(sizes, errors, COSTS).argmax())] == ("news",)


def test_contexts_hold_sixteen_numbers_between_zero_and_one(market: RouteMarket) -> None:
    assert market.contexts.shape[1] == len(CONTEXT_NAMES) == 16
    assert market.contexts.min() >= 0.0
    assert market.contexts.max() <= 1.0
    assert market.regret(5, int(market.best[5])) == 0.0


def test_contexts_know_nothing_of_later_sessions(market: RouteMarket) -> None:
    longer = route_market(simulate(SimulatorSettings(sessions=460), seed=0), COSTS)
    n = len(market.contexts)
    assert np.array_equal(longer.contexts[:n], market.contexts[:n])
    assert np.array_equal(longer.evidence[:n], market.evidence[:n])


def test_the_evidence_points_the_way_that_the_tape_goes() -> None:
    truth = simulate(SimulatorSettings(sessions=2_000, instruments=24), seed=1)
    evidence = route_market(truth, COSTS).evidence
    price = truth.log_price - truth.log_price.mean(axis=1, keepdims=True)
    first = HORIZON + HIT_WINDOW
    ahead = (price[first + HORIZON :] - price[first:-HORIZON]).ravel()
    seen = evidence[: len(ahead)]
    slopes = np.linalg.lstsq(seen, ahead, rcond=None)[0]
    assert (slopes > 0.0).all()
    assert (np.sign(seen.sum(axis=1)) == np.sign(ahead)).mean() > 0.53


def test_every_route_is_best_somewhere_and_no_route_everywhere(market: RouteMarket) -> None:
    share = np.bincount(market.best, minlength=7) / len(market.best)
    assert share.max() < 0.5
    assert (share > 0.01).sum() >= 5


def test_regime_filter_beats_the_prior(simulated: SimulatedMarket) -> None:
    believed = regime_filter(simulated)
    assert believed.sum(axis=1) == pytest.approx(1.0)
    right = (believed.argmax(axis=1) == simulated.regime).mean()
    assert right > np.bincount(simulated.regime).max() / len(simulated.regime)


def test_bench_refuses_more_decisions_than_cases() -> None:
    with pytest.raises(ConfigError, match="at most"):
        measure_routes(seeds=[0], decisions=10**6)


def test_bench_gives_a_row_a_router_and_a_plot(tmp_path) -> None:
    rows = measure_routes(seeds=[1], decisions=200, pool=10)
    assert [r.learner for r in rows] == ["NeuralUCB", "LinUCB", "uniform", "always-all"]
    again = measure_routes(seeds=[1], decisions=200, pool=10)
    assert [r.regret_share for r in rows] == [r.regret_share for r in again]
    assert rows[2].regret_share == pytest.approx(1.0, abs=0.2)
    assert rows[0].regret[-1] == pytest.approx(rows[0].regret_share)
    assert msgspec.json.decode(msgspec.json.encode(rows))[3]["learner"] == "always-all"
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    plot_learning(rows, first)
    plot_learning(rows, second)
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()


def test_a_route_costs_its_juniors_their_tokens_and_the_slowest_one() -> None:
    only = SupervisorSettings(junior_price=0.0, token_price=0.0, second_price=1.0)
    assert bench_costs(only) == pytest.approx([1.2, 0.9, 1.0, 1.2, 1.2, 1.0, 1.2])
    tokens = SupervisorSettings(junior_price=0.0, token_price=1.0, second_price=0.0)
    assert bench_costs(tokens)[6] == pytest.approx(1.25)
    everything = bench_costs(SupervisorSettings())
    assert everything[6] == pytest.approx(0.03 + 0.002 * 1.25 + 0.001 * 1.2)
