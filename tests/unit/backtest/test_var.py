"""Tests of a VaR: published cases, scipy's likelihoods, and breaches that follow each other."""

import numpy as np
import pytest
from scipy import stats

from backtest.statistics.measures import Undefined
from backtest.statistics.var import (
    Breaches,
    independence_ratio,
    kupiec,
    proportion_ratio,
    transitions,
)


def test_kupiec_agrees_with_binomial_likelihoods_of_scipy():
    for sessions, breaches in ((250, 0), (250, 3), (250, 9), (1000, 10), (60, 60)):
        seen = stats.binom.logpmf(breaches, sessions, breaches / sessions)
        meant = stats.binom.logpmf(breaches, sessions, 0.01)
        expected = stats.chi2.sf(max(0.0, 2.0 * (seen - meant)), 1)
        assert kupiec(sessions, breaches) == pytest.approx(expected, rel=1e-9)
    assert isinstance(kupiec(0, 0), Undefined)


def test_the_tests_of_a_textbook_come_out():
    # Jorion 2007, Value at Risk, chapter 6, question 10: 6 breaches of a 99% VaR in 252 days, 4 of
    # them on the day after one; the answers are 3.498 and 25.837
    assert proportion_ratio(252, 6) == pytest.approx(3.498, abs=1e-3)
    assert independence_ratio((244, 2, 2, 4)) == pytest.approx(25.837, abs=5e-4)
    # the same chapter's example: J.P. Morgan in 1998, 20 breaches of a 95% VaR, 6 after one
    assert proportion_ratio(252, 20, 0.05) == pytest.approx(3.91, abs=5e-3)
    assert independence_ratio((218, 14, 14, 6)) == pytest.approx(9.53, abs=5e-3)


def test_independence_agrees_with_likelihoods_of_scipy():
    for n00, n01, n10, n11 in ((200, 5, 5, 2), (900, 10, 9, 0), (50, 3, 2, 4)):
        apart = stats.bernoulli.logpmf(1, n01 / (n00 + n01)) * n01
        apart += stats.bernoulli.logpmf(0, n01 / (n00 + n01)) * n00
        share = n11 / (n10 + n11)
        apart += n11 * np.log(share) if n11 else 0.0
        apart += n10 * np.log1p(-share)
        anyway = (n01 + n11) / (n00 + n01 + n10 + n11)
        together = stats.bernoulli.logpmf(1, anyway) * (n01 + n11)
        together += stats.bernoulli.logpmf(0, anyway) * (n00 + n10)
        found = independence_ratio((n00, n01, n10, n11))
        assert found == pytest.approx(2.0 * (apart - together), rel=1e-9)


def breaches(broken, follows=None):
    broken = np.array(broken, dtype=bool)
    chained = np.ones(len(broken), dtype=bool) if follows is None else np.array(follows, bool)
    return Breaches(broken, chained)


def test_breaches_in_a_row_are_told_from_the_same_number_apart():
    row, apart = np.zeros(500, dtype=bool), np.zeros(500, dtype=bool)
    row[100:106] = True
    apart[50::80] = True
    together, spread = breaches(row).p_values(), breaches(apart).p_values()
    assert row.sum() == apart.sum() == 6
    assert together.kupiec_p == spread.kupiec_p > 0.5
    assert together.christoffersen_independence_p < 1e-6
    assert spread.christoffersen_independence_p > 0.5
    assert together.christoffersen_coverage_p < 1e-5 < spread.christoffersen_coverage_p


def test_a_session_that_was_left_out_breaks_the_chain():
    assert transitions(breaches([0, 1, 1, 0])) == (0, 1, 1, 1)
    assert transitions(breaches([0, 1, 1, 0], [0, 1, 0, 1])) == (0, 1, 1, 0)


def test_a_var_that_was_never_broken_has_coverage_and_no_test_of_independence():
    found = breaches([0] * 100)
    assert found.coverage == 1.0
    assert isinstance(found.p_values().christoffersen_independence_p, Undefined)
    assert isinstance(found.p_values().christoffersen_coverage_p, Undefined)
    assert found.p_values().kupiec_p > 0.05
    assert isinstance(breaches([]).coverage, Undefined)


def test_the_independence_test_rejects_rarely_what_is_independent():
    rng = np.random.default_rng(0)
    ps = [
        breaches(rng.random(1000) < 0.05).p_values().christoffersen_independence_p
        for _ in range(400)
    ]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09
