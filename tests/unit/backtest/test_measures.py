"""The figures of merit: cases worked by hand, skfolio, and what scaling leaves alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.statistics import measures
from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import moments, probability_above, sharpe

NOTHING = Undefined("nothing")


def series(seed=0, n=400, mean=0.0005, sigma=0.01):
    return np.random.default_rng(seed).normal(mean, sigma, size=n)


def test_ratios_equal_a_case_worked_by_hand():
    excess = np.array([0.02, -0.01, 0.03, 0.0])
    # mean 0.01; squared deviations 1, 4, 4, 1 (e-4), over 3
    sigma = math.sqrt(10e-4 / 3)
    assert sharpe(excess) == pytest.approx(0.01 / sigma)
    assert measures.sortino(excess, 252) == pytest.approx(0.01 / 0.005 * math.sqrt(252))
    equity = np.array([100.0, 110.0, 99.0, 104.5, 110.0, 121.0, 120.0])
    assert measures.drawdowns(equity).max() == pytest.approx(0.1)
    assert measures.drawdown_sessions(equity) == (2, False)
    assert measures.annual_return(0.21, 504, 252) == pytest.approx(0.1)
    assert measures.calmar(0.1, 0.2) == pytest.approx(0.5)
    profits = np.array([30.0, -10.0, 0.0, 10.0])
    assert measures.win_rate(profits, NOTHING) == 0.5
    assert measures.profit_factor(profits, NOTHING) == 4.0


def test_a_year_has_the_sessions_of_the_calendar():
    # a market that never closes: 365 sessions are one year, not 1.45 of them
    assert measures.annual_return(0.98, 365, 365) == pytest.approx(0.98)
    assert measures.annual_return(0.98, 252, 252) == pytest.approx(0.98)
    x = series()
    assert measures.sortino(x, 365) / measures.sortino(x, 252) == pytest.approx(
        math.sqrt(365 / 252)
    )


def test_months_are_whole_twelfths_of_a_year():
    returns = np.full(50, 0.01)
    assert measures.monthly(returns, 252) == pytest.approx([1.01**21 - 1.0] * 2)
    assert measures.monthly(returns, 365) == pytest.approx([1.01**30 - 1.0])
    assert len(measures.monthly(returns[:20], 252)) == 0


def test_a_drawdown_that_lasts_to_the_end_says_so():
    assert measures.drawdown_sessions(np.array([1.0, 2.0, 1.5, 1.6])) == (2, True)
    assert measures.drawdown_sessions(np.array([1.0, 2.0, 3.0])) == (0, False)


def test_measures_agree_with_skfolio():
    import skfolio.measures as reference

    for seed in range(5):
        x = series(seed) * np.where(np.arange(400) % 50 == 0, -4.0, 1.0)
        sigma = float(reference.standard_deviation(x))
        assert sharpe(x) == pytest.approx(float(x.mean()) / sigma, rel=1e-12)
        downside = reference.semi_deviation(x, min_acceptable_return=0.0, biased=True)
        expected = float(x.mean() / downside) * math.sqrt(252)
        assert measures.sortino(x, 252) == pytest.approx(expected, rel=1e-12)
        equity = np.cumprod(np.concatenate([[1.0], 1.0 + x]))
        fall = reference.max_drawdown(reference.get_drawdowns(x, compounded=True))
        assert measures.drawdowns(equity).max() == pytest.approx(float(fall), rel=1e-9)
        for benchmark in (0.0, 0.03):
            assert probability_above(moments(x), benchmark) == pytest.approx(
                reference.probabilistic_sharpe_ratio(x, benchmark), rel=2e-2
            )


@given(seed=st.integers(0, 10_000), scale=st.floats(0.05, 20.0))
@settings(max_examples=50, deadline=None)
def test_scaling_returns_changes_no_ratio(seed, scale):
    x = series(seed, n=60)
    assert sharpe(scale * x) == pytest.approx(sharpe(x), rel=1e-9)
    assert measures.sortino(scale * x, 252) == pytest.approx(measures.sortino(x, 252), rel=1e-9)
    assert probability_above(moments(scale * x)) == pytest.approx(
        probability_above(moments(x)), rel=1e-6
    )


@given(seed=st.integers(0, 10_000), sign=st.sampled_from([-1.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_reversing_returns_reverses_the_sharpe_ratio_and_not_its_size(seed, sign):
    x = series(seed, n=60)
    assert sharpe(sign * x) == pytest.approx(sign * sharpe(x), rel=1e-9)
    assert sharpe(x[::-1]) == pytest.approx(sharpe(x), rel=1e-9)
