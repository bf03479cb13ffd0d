"""PSR and what luck gives the best, as functions of moments: the cases that papers publish."""

import math

import numpy as np
import pytest
from scipy import stats

from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import (
    Moments,
    expected_max,
    moments,
    probabilistic_sharpe,
    probability_above,
    sharpe_score,
)


def test_the_deflated_ratio_of_its_paper_comes_out():
    # Bailey & Lopez de Prado 2014: annual 2.5 of 250 days, five years, variance of trials a half
    variance = 0.5 / 250
    fat = Moments(2.5 / math.sqrt(250), 1250, skew=-3.0, kurtosis=10.0)
    assert expected_max(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert probability_above(fat, expected_max(100, variance)) == pytest.approx(0.9004, abs=5e-5)
    assert probability_above(fat, expected_max(46, variance)) == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(2.5 / math.sqrt(250), 1250)
    assert probability_above(normal, expected_max(88, variance)) == pytest.approx(0.9505, abs=5e-5)


def test_the_probabilistic_ratio_of_its_paper_comes_out():
    # Bailey & Lopez de Prado 2012: 24 months of a hedge fund index
    ratio = 0.036 / 0.079
    assert probability_above(Moments(ratio, 24)) == pytest.approx(0.981, abs=5e-4)
    fat = Moments(ratio, 24, skew=-2.448, kurtosis=10.164)
    assert probability_above(fat) == pytest.approx(0.913, abs=5e-4)


def test_the_expected_best_of_ten_is_that_of_the_authors_code_and_of_drawing_them():
    # their numerical example of 2025: ten trials of variance 0.1
    assert expected_max(10, 0.1) == pytest.approx(0.498, abs=5e-4)
    best = np.random.default_rng(1).normal(0.0, math.sqrt(0.1), size=(200_000, 10)).max(axis=1)
    assert expected_max(10, 0.1) == pytest.approx(best.mean(), rel=0.03)
    assert expected_max(1, 0.1) == expected_max(0, 0.1) == 0.0


def test_expected_best_agrees_with_skfolio():
    import skfolio.measures as reference

    expected = reference.expected_max_sharpe_ratio(5, 0.03)
    assert expected_max(5, 0.03**2) == pytest.approx(expected, rel=1e-12)


def test_moments_of_a_series_are_those_of_scipy():
    for seed in range(5):
        x = np.exp(np.random.default_rng(seed).normal(0.0005, 0.4, size=400)) - 1.1
        ratio = x.mean() / x.std(ddof=1)
        kurtosis = stats.kurtosis(x, fisher=False)
        error = math.sqrt((1 - stats.skew(x) * ratio + (kurtosis - 1) / 4 * ratio**2) / 399)
        assert probability_above(moments(x), 0.02) == pytest.approx(
            stats.norm.cdf((ratio - 0.02) / error), rel=1e-12
        )


def test_few_sessions_or_none_that_vary_have_no_probability():
    assert isinstance(probabilistic_sharpe(np.arange(19.0)), Undefined)
    assert isinstance(probabilistic_sharpe(np.zeros(100)), Undefined)


def test_cash_whose_interest_is_booked_in_cents_scores_nothing():
    owed = 100_000 * 0.02 / 252
    booked = np.round(owed + 0.005 * np.sin(np.arange(500)), 2)
    assert (booked != owed).any()
    assert sharpe_score((booked - owed) / 100_000, 252) == 0.0


def test_the_score_of_nothing_is_zero():
    assert sharpe_score(np.zeros(10), 252) == sharpe_score(np.array([]), 252) == 0.0
    assert sharpe_score(np.array([0.01, -0.01, 0.01, np.nan]), 252) == pytest.approx(
        0.01 / 3 / np.std([0.01, -0.01, 0.01]) * 252**0.5
    )
