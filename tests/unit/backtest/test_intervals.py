"""The stationary bootstrap, and whether its intervals hold what they say."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from backtest.statistics.bootstrap import (
    block_length,
    percentile_interval,
    resampled,
    stationary_positions,
)
from backtest.statistics.intervals import (
    difference_interval,
    mean_interval,
    ratio_interval,
    sharpe_interval,
    standard_error,
)
from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import row_sharpe

TRUTH = 0.06  # of a session: 0.95 a year


def series(seed=0, n=400, mean=0.0005, sigma=0.01):
    return np.random.default_rng(seed).normal(mean, sigma, size=n)


def ar1(rng, n, rho, burn=200):
    """Return an AR(1) of variance 1."""
    shocks = rng.normal(size=n + burn)
    x = np.zeros(n + burn)
    for t in range(1, n + burn):
        x[t] = rho * x[t - 1] + shocks[t]
    return x[burn:] * math.sqrt(1.0 - rho**2)


def test_stationary_blocks_have_the_length_asked_and_run_on_round_the_end():
    positions = stationary_positions(300, 10.0, 400, np.random.default_rng(0))
    steps = (positions[:, 1:] - positions[:, :-1]) % 300
    joined = (steps == 1).mean()
    # a new block continues the old one by chance once in 300
    assert joined == pytest.approx(0.9 + 0.1 / 300, abs=0.003)
    assert ((positions >= 0) & (positions < 300)).all()
    counts = np.bincount(positions.ravel(), minlength=300)
    assert stats.chisquare(counts).statistic / 300 < 20.0


def test_block_length_approaches_its_theory_on_autoregressions():
    rng = np.random.default_rng(5)
    for rho in (0.3, 0.6, -0.5):
        n = 20_000
        found = np.median([block_length(ar1(rng, n, rho)) for _ in range(5)])
        # of an AR(1), g / f is 2 rho / (1 - rho^2)
        expected = ((2 * rho / (1 - rho**2)) ** 2 * n) ** (1 / 3)
        assert found == pytest.approx(expected, rel=0.2)


def test_block_length_of_independent_or_constant_returns_is_short():
    assert block_length(np.zeros(100)) == 1.0
    assert np.median([block_length(series(s, n=1000)) for s in range(11)]) < 4.0


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_block_length_of_a_very_short_series_stays_between_one_and_its_length(n):
    assert 1.0 <= block_length(series(2, n=n)) <= n


def test_bootstrap_of_independent_returns_has_the_standard_error_of_theory():
    x = series(8, n=1000)
    values = resampled(1000, lambda p: row_sharpe(x[p]), mean_block=1.0, seed=0)
    assert len(values) == 2000
    assert values.std() == pytest.approx(1 / math.sqrt(1000), rel=0.08)


def test_intervals_depend_on_the_seed_alone():
    x = series(1)
    assert sharpe_interval(x, seed=4) == sharpe_interval(x, seed=4)
    assert sharpe_interval(x, seed=4) != sharpe_interval(x, seed=5)


def test_the_interval_of_a_mean_is_that_of_students_t_where_returns_are_independent():
    x = series(2, n=1000)
    found = mean_interval(x, seed=0)
    width = stats.t.ppf(0.975, 999) * x.std(ddof=1) / math.sqrt(1000)
    assert (found.high - found.low) / 2 == pytest.approx(width, rel=0.1)
    assert (found.high + found.low) / 2 == pytest.approx(x.mean())


def test_the_standard_error_sees_autocorrelation():
    rng = np.random.default_rng(3)
    for rho in (0.3, -0.3, 0.6):
        x = ar1(rng, 20_000, rho)
        # of an AR(1) of variance 1 the mean has variance (1 + rho) / (1 - rho) / T
        expected = math.sqrt((1 + rho) / (1 - rho) / 20_000)
        assert standard_error(x - x.mean()) == pytest.approx(expected, rel=0.03)


def test_scale_and_sign_pass_through_the_interval_of_a_sharpe_ratio():
    x = series(5)
    one, ten, less = (sharpe_interval(k * x, seed=0) for k in (1.0, 10.0, -1.0))
    assert ten[:2] == pytest.approx(one[:2])
    assert less[:2] == pytest.approx((-one.high, -one.low))


def test_what_moves_both_cancels_in_a_difference():
    x = series(6)
    near = x + 0.1 * series(7)
    apart = difference_interval(x, series(8), seed=0)
    close = difference_interval(x, near, seed=0)
    assert close.high - close.low < 0.3 * (apart.high - apart.low)
    same = difference_interval(x, x, seed=0)
    assert same[:2] == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_ratio_of_constant_counts_is_a_mean():
    x = series(9)
    over, mean = ratio_interval(x, np.full(400, 2.0), seed=0), mean_interval(x / 2.0, seed=0)
    assert over[:2] == pytest.approx(mean[:2])


def test_series_that_are_too_short_or_too_still_have_no_interval():
    assert isinstance(sharpe_interval(series(n=19), seed=0), Undefined)
    assert isinstance(sharpe_interval(np.zeros(100), seed=0), Undefined)
    once = np.zeros(300)
    once[7] = 0.01
    assert isinstance(sharpe_interval(once, seed=0), Undefined)


def test_an_interval_of_750_sessions_takes_60_milliseconds():
    x, y = series(1, n=750), series(2, n=750)
    for make in (lambda: sharpe_interval(x, seed=0), lambda: difference_interval(x, y, seed=0)):
        make()
        spent = []
        for _ in range(5):
            start = time.process_time()
            make()
            spent.append(time.process_time() - start)
        assert min(spent) < 0.1  # 0.02 and 0.05 where nothing else runs


# --- what the intervals hold ---------------------------------------------------------------------


def draw(process, rng, n):
    """Return excess returns of variance 1 and mean TRUTH."""
    if process == "normal":
        return TRUTH + rng.normal(size=n)
    if process == "t(5)":
        return TRUTH + rng.standard_t(5, size=n) / math.sqrt(5 / 3)
    return TRUTH + ar1(rng, n, 0.3)


def percentile(x):
    """Return the percentile bootstrap's interval of the Sharpe ratio."""
    return percentile_interval(
        resampled(
            len(x), lambda at: row_sharpe(x[at]), mean_block=block_length(x), seed=0, resamples=500
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("process", ["normal", "t(5)", "AR(1) 0.3"])
@pytest.mark.parametrize("sessions", [60, 126, 252])
def test_intervals_hold_their_level(process, sessions):
    """Print the share of 1,000 series whose true figure is inside, nominal 0.95."""
    rng = np.random.default_rng([11, sessions])
    held = {"Sharpe": 0, "mean": 0, "difference": 0, "percentile Sharpe": 0}
    for k in range(1000):
        x = draw(process, rng, sessions)
        # another book of the same true ratio that shares most of its luck
        y = TRUTH + (0.9 * (x - TRUTH) + math.sqrt(0.19) * (draw(process, rng, sessions) - TRUTH))
        for name, (low, high), truth in (
            ("Sharpe", sharpe_interval(x, seed=k)[:2], TRUTH),
            ("mean", mean_interval(x, seed=k)[:2], TRUTH),
            ("difference", difference_interval(x, y, seed=k)[:2], 0.0),
            ("percentile Sharpe", percentile(x), TRUTH),
        ):
            held[name] += low <= truth <= high
    print(f"| {process} | {sessions} | " + " | ".join(f"{v / 1000:.3f}" for v in held.values()))
    # three standard errors of a share of 1,000 below 0.94
    assert min(v for name, v in held.items() if "percentile" not in name) >= 918
