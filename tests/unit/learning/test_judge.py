"""A policy's figures, and those who learned nothing."""

import numpy as np
import pytest

from learning.allocator.evaluate import PolicyPath, run_policy
from learning.allocator.judge import REBALANCE, baselines, judge, sharpe_difference
from learning.allocator.windows import Window
from tests.learning.made_book import LOOSE, made_book

WINDOWS = (Window(0, 65, 135),)


@pytest.fixture
def book(make_market):
    return made_book(make_market)


def made_path(excess, *, breached=None, weights=None):
    excess = np.atleast_2d(np.asarray(excess, dtype=np.float64))
    none = np.zeros(excess.shape, dtype=bool)
    return PolicyPath(
        growth=excess,
        riskless=np.zeros_like(excess),
        turnover=np.full(excess.shape, 0.01),
        limited=none,
        breached_var=none if breached is None else np.atleast_2d(breached),
        weights=np.zeros((*excess.shape, 4)) if weights is None else weights,
    )


def test_buy_and_hold_trades_once_and_equal_weight_when_it_is_time(book):
    acts = baselines(book, 0.9)
    held = run_policy(book, WINDOWS, LOOSE, acts["buy-and-hold"]).turnover[0]
    assert held[0] > 0.8
    assert not held[1:].any()
    even = run_policy(book, WINDOWS, LOOSE, acts["equal weight"]).turnover[0]
    assert np.flatnonzero(even).tolist() == [0, REBALANCE, 2 * REBALANCE, 3 * REBALANCE]


def test_a_baseline_starts_anew_in_every_run(book):
    act = baselines(book, 0.9)["equal weight"]
    first, second = (run_policy(book, WINDOWS, LOOSE, act).turnover for _ in range(2))
    assert np.array_equal(first, second)


def test_sixty_forty_is_of_books_of_stocks_alone(book):
    assert "60/40" not in baselines(book, 0.9)


def test_figures_are_those_of_the_path(book):
    rng = np.random.default_rng(0)
    excess = 0.001 + 0.01 * rng.standard_normal(70)
    breached = np.arange(70) < 7
    found = judge("some", book, WINDOWS, made_path(excess, breached=breached), 0)
    assert found.sharpe == pytest.approx(excess.mean() / excess.std(ddof=1) * 252**0.5)
    low, high = found.sharpe_interval
    assert low < found.sharpe < high
    assert found.var_compliance == pytest.approx(0.9)
    assert found.win_rate == pytest.approx((excess > 0).mean())
    assert found.turnover == pytest.approx(2.52)
    worth = np.concatenate([[1.0], np.cumprod(1 + excess)])
    assert found.max_drawdown == pytest.approx((1 - worth / np.maximum.accumulate(worth)).max())


def test_use_is_each_groups_share_of_equity(book):
    weights = np.tile([0.1, -0.2, 0.0, 0.4], (1, 70, 1))
    found = judge("some", book, WINDOWS, made_path(np.zeros(70), weights=weights), 0)
    assert found.use == pytest.approx({"first": 0.3, "second": 0.4})
    assert found.sharpe is None  # no variance: undefined, and not 0


def test_a_difference_is_of_both_on_the_same_sessions():
    rng = np.random.default_rng(0)
    luck = 0.01 * rng.standard_normal(400)
    better, worse = made_path(luck + 0.002), made_path(luck)
    found = sharpe_difference(better, worse, 0)
    low, high = found["sharpe_interval"]
    assert 0 < low < found["sharpe"] < high
    assert sharpe_difference(worse, worse, 0)["sharpe"] == 0.0
