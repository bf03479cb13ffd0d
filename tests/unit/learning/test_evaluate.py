"""A policy's figures, and those who learned nothing."""

import numpy as np
import pytest

from backtest.statistics.intervals import difference_interval
from backtest.statistics.var import kupiec
from learning.allocator.evaluation.evaluate import (
    REBALANCE,
    baselines,
    evaluate,
    share_of,
    sharpe_difference,
)
from learning.allocator.evaluation.policy_paths import PolicyPath, run_policy
from learning.datasets.windows import Window
from tests.learning.made_dataset import LOOSE, made_dataset

WINDOWS = (Window(0, 65, 135),)
FIGURES = ("sharpe", "sharpe_interval", "annual_return", "max_drawdown", "turnover", "by_regime")


@pytest.fixture
def dataset(make_market):
    return made_dataset(make_market)


def made_path(excess, *, beyond=None, var_frac=0.03, weights=None):
    excess = np.atleast_2d(np.asarray(excess, dtype=np.float64))
    none = np.zeros(excess.shape, dtype=bool)
    return PolicyPath(
        growth=excess,
        risk_free=np.zeros_like(excess),
        turnover=np.full(excess.shape, 0.01),
        limited=none,
        var_frac=np.broadcast_to(var_frac, excess.shape).astype(np.float64),
        loss_beyond_limit=none if beyond is None else np.atleast_2d(beyond),
        weights=np.zeros((*excess.shape, 4)) if weights is None else weights,
        max_var=0.02,
    )


def test_buy_and_hold_trades_once_and_equal_weight_when_it_is_time(dataset):
    acts = baselines(dataset, 0.9)
    held = run_policy(dataset, WINDOWS, LOOSE, acts["buy-and-hold"]).turnover[0]
    assert held[0] > 0.8
    assert not held[1:].any()
    even = run_policy(dataset, WINDOWS, LOOSE, acts["equal weight"]).turnover[0]
    assert np.flatnonzero(even).tolist() == [0, REBALANCE, 2 * REBALANCE, 3 * REBALANCE]


def test_a_baseline_starts_anew_in_every_run(dataset):
    act = baselines(dataset, 0.9)["equal weight"]
    first, second = (run_policy(dataset, WINDOWS, LOOSE, act).turnover for _ in range(2))
    assert np.array_equal(first, second)


def test_sixty_forty_is_of_books_of_stocks_alone(dataset):
    assert "60/40" not in baselines(dataset, 0.9)


def test_figures_are_those_of_the_path(dataset):
    rng = np.random.default_rng(0)
    excess = 0.001 + 0.01 * rng.standard_normal(70)
    found = evaluate("some", dataset, WINDOWS, [made_path(excess)], 0)
    assert found.sharpe == pytest.approx(excess.mean() / excess.std(ddof=1) * 252**0.5)
    low, high = found.sharpe_interval
    assert low < found.sharpe < high
    assert found.win_rate == pytest.approx((excess > 0).mean())
    assert found.turnover == pytest.approx(2.52)
    worth = np.concatenate([[1.0], np.cumprod(1 + excess)])
    assert found.max_drawdown == pytest.approx((1 - worth / np.maximum.accumulate(worth)).max())


def test_use_is_each_groups_share_of_equity(dataset):
    weights = np.tile([0.1, -0.2, 0.0, 0.4], (1, 70, 1))
    found = evaluate("some", dataset, WINDOWS, [made_path(np.zeros(70), weights=weights)], 0)
    assert found.use == pytest.approx({"first": 0.3, "second": 0.4})
    assert found.sharpe is None  # no variance: undefined, and not 0


def test_a_difference_is_of_both_on_the_same_sessions():
    rng = np.random.default_rng(0)
    luck = 0.01 * rng.standard_normal(400)
    better, worse = [made_path(luck + 0.002)], [made_path(luck)]
    found = sharpe_difference(better, worse, 252, 0)
    low, high = found["sharpe_interval"]
    assert 0 < low < found["sharpe"] < high
    assert sharpe_difference(worse, worse, 252, 0)["sharpe"] == 0.0


def made_luck(sessions=400):
    return 0.01 * np.random.default_rng(1).standard_normal(sessions)


def made_seeds(count, spread, sessions=400):
    """Return paths of one luck whose means differ by up to `spread` of its deviation."""
    luck = 0.01 * np.random.default_rng(0).standard_normal(sessions)
    return [made_path(luck + 0.01 * (0.05 + m)) for m in spread * np.linspace(-1, 1, count)]


def width(interval):
    return interval[1] - interval[0]


def test_intervals_of_one_seed_are_close_to_those_of_the_statistics(dataset):
    (first,), second = made_seeds(1, 0.0, 1000), made_path(made_luck(1000))
    a, b = (path.growth[0] for path in (first, second))
    wanted = difference_interval(a, b, seed=3).times(252**0.5).bounds
    found = sharpe_difference([first], [second], 252, 3)["sharpe_interval"]
    assert found == pytest.approx(wanted, rel=0.1)


def test_seeds_that_came_out_alike_have_the_interval_of_one(dataset):
    path = made_path(made_luck(70))
    one, four = (evaluate("some", dataset, WINDOWS, [path] * count, 0) for count in (1, 4))
    for name in FIGURES:
        assert getattr(four, name) == pytest.approx(getattr(one, name), nan_ok=True)
    assert four.seeds == (one.sharpe,) * 4
    assert (one.kupiec_p is not None, four.kupiec_p) == (True, None)


def test_seeds_that_differ_widen_the_interval_and_their_mean_is_the_ratio(dataset):
    alike, apart = (
        evaluate("some", dataset, WINDOWS, made_seeds(4, spread, 70), 0) for spread in (0.0, 0.5)
    )
    assert width(apart.sharpe_interval) > 1.1 * width(alike.sharpe_interval)
    assert apart.sharpe == pytest.approx(np.mean(apart.seeds))
    assert apart.sharpes == pytest.approx([apart.sharpe], rel=0.01)
    assert min(apart.seeds) < alike.sharpe < max(apart.seeds)


def test_the_three_figures_of_the_var_are_told_apart(dataset):
    growth, var = np.full(70, 0.001), np.full(70, 0.01)
    growth[[10, 11]] = -0.015  # beyond that day's VaR, within the limit of 2%
    growth[40] = -0.025  # beyond the limit, within that day's VaR
    var[40] = 0.03  # beyond the limit itself
    var[:5] = np.nan  # nothing held
    found = evaluate(
        "some", dataset, WINDOWS, [made_path(growth, var_frac=var, beyond=growth < -0.02)], 0
    )
    assert found.var_within_limit == pytest.approx(64 / 65)
    assert found.var_coverage == pytest.approx(63 / 65)
    assert found.loss_within_limit == pytest.approx(64 / 65)
    assert found.kupiec_p == pytest.approx(kupiec(65, 2))
    assert found.christoffersen_independence_p < 0.05


def test_a_policy_that_held_nothing_has_no_figure_of_the_var(dataset):
    found = evaluate("some", dataset, WINDOWS, [made_path(np.zeros(70), var_frac=np.nan)], 0)
    assert found.var_within_limit is found.var_coverage is found.loss_within_limit is None


def test_coverage_of_the_var_is_a_mean_over_seeds(dataset):
    seeds = [made_path(made_luck(70), var_frac=level) for level in (1.0, 1e-9)]
    lost = (made_luck(70) < -1e-9).mean()
    found = evaluate("some", dataset, WINDOWS, seeds, 0)
    assert found.var_coverage == pytest.approx(1.0 - lost / 2)


def test_a_difference_is_paired_by_seed_and_session():
    seeds = made_seeds(4, 0.5)
    better = [made_path(path.growth + 0.001) for path in seeds]
    paired = sharpe_difference(better, seeds, 252, 0)
    assert paired["mean"] == pytest.approx(0.252)
    assert width(paired["mean_interval"]) < 1e-12
    single = sharpe_difference(better, seeds[:1], 252, 0)  # one that has no seed is beside each
    assert width(single["sharpe_interval"]) > 10 * width(paired["sharpe_interval"])
    assert single["sharpe"] > paired["sharpe"] > 0


def test_a_share_of_an_oracle_is_a_ratio_of_means_over_windows():
    oracle = np.array([1.0, 2.0, 3.0, 2.0])
    even = share_of(0.6 * oracle, oracle, 0)
    assert even.value == pytest.approx(0.6)
    assert even.interval == pytest.approx((0.6, 0.6))
    low, high = share_of(np.array([1.0, 1.0, 1.0, 2.0]), oracle, 0).interval
    assert low < 5 / 8 < high
    assert share_of(oracle[:1], oracle[:1], 0).interval is None
    assert share_of(oracle, -oracle, 0).value is None
