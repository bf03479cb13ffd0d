"""The estimate looks back only; the label looks ahead and says so."""

from __future__ import annotations

import numpy as np
import pytest

from agents.features.regime import MIN_SESSIONS, REGIMES, regime_estimate, regime_label


def noise(seed, sessions, drift=0.0):
    return np.random.default_rng(seed).normal(drift, 0.01, sessions)


@pytest.mark.parametrize(("drift", "regime"), [(0.004, "bull"), (-0.004, "bear")])
def test_a_strong_drift_is_named_by_its_sign(drift, regime):
    estimate, score = regime_estimate(noise(0, 250, drift))
    assert estimate == regime
    assert np.sign(score) == np.sign(drift)
    assert abs(score) > 1.0 / 3.0


def test_a_market_that_goes_nowhere_is_sideways():
    returns = np.tile([0.01, -0.01], 60)
    estimate, score = regime_estimate(returns)
    assert estimate == "sideways"
    assert abs(score) < 0.05


def test_too_little_history_is_sideways_with_no_score():
    for sessions in (0, MIN_SESSIONS - 1):
        estimate, score = regime_estimate(noise(1, sessions, 0.01))
        assert estimate == "sideways"
        assert np.isnan(score)
    assert not np.isnan(regime_estimate(noise(1, MIN_SESSIONS))[1])


def test_unknown_returns_are_left_out():
    returns = noise(2, 100)
    holes = np.insert(returns, [10, 50, 99], np.nan)
    assert regime_estimate(holes) == regime_estimate(returns)


def test_returns_without_any_spread_still_have_a_sign():
    assert regime_estimate(np.zeros(50)) == ("sideways", 0.0)
    up = 2.0**-6  # exact in binary, so that the deviation is exactly zero
    assert regime_estimate(np.full(64, up))[0] == "bull"


def test_the_score_is_the_tanh_of_half_the_drift_in_deviations():
    returns = noise(3, 200)
    logs = np.log1p(returns[-120:])
    z = logs[-60:].sum() / (logs.std(ddof=1) * np.sqrt(60))
    np.testing.assert_allclose(regime_estimate(returns)[1], np.tanh(z / 2))


def test_only_the_newest_120_returns_are_read():
    returns = noise(4, 300)
    changed = returns.copy()
    changed[:180] = 0.5
    assert regime_estimate(returns) == regime_estimate(changed)


def test_the_label_sees_the_turn_before_the_estimate_does():
    returns = np.concatenate([noise(5, 200, 0.004), noise(6, 200, -0.004)])
    labels = regime_label(np.cumprod(1.0 + returns))
    estimates = [
        REGIMES.index(regime_estimate(returns[: t + 1])[0]) - 1 for t in range(len(returns))
    ]
    assert labels.dtype == np.int8
    assert labels.shape == returns.shape
    assert (labels[40:160] == 1).all()
    assert (labels[240:360] == -1).all()
    first_bear = int(np.argmax(labels[200:] == -1))
    assert first_bear < int(np.argmax(np.array(estimates[200:]) == -1))


def test_the_label_of_a_session_depends_on_what_follows_it():
    returns = noise(7, 300, 0.003)
    crash = returns.copy()
    crash[151:] -= 0.02
    a, b = (regime_label(np.cumprod(1.0 + r)) for r in (returns, crash))
    assert a[150] != b[150]
    assert (a[:91] == b[:91]).all()


def test_short_or_flat_histories_have_labels_too():
    assert regime_label(np.ones(0)).shape == (0,)
    assert (regime_label(np.ones(1)) == 0).all()
    assert (regime_label(np.ones(200)) == 0).all()
