import numpy as np
import pandas as pd
import pytest

from agents.allocator.views import (
    has_view,
    posterior,
    prior_shares,
    view_alpha,
    view_confidence,
)
from agents.messages import Proposal, TrackRecord


def _proposal(conviction=0.5, action="BUY", horizon="medium", cites=("o1",), without=None):
    return Proposal(
        symbol="A", action=action, conviction=conviction, horizon=horizon, rationale="",
        cites=cites, conviction_without=without or {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("proposal", "answer"),
    [
        (_proposal(0.5, "BUY"), True),
        (_proposal(-0.5, "SELL"), True),
        (_proposal(0.0, "SELL"), True),
        (_proposal(0.5, "HOLD"), False),
        (_proposal(-0.5, "HOLD"), False),
        (_proposal(0.5, "BUY", cites=()), False),
        (_proposal(-0.5, "SELL", cites=()), False),
        (_proposal(-0.5, "BUY"), False),
        (_proposal(0.0, "BUY"), False),
        (_proposal(0.5, "SELL"), False),
    ],
)
def test_hold_abstention_and_contradiction_carry_no_view(proposal, answer):
    assert has_view(proposal) is answer


@pytest.mark.parametrize(("horizon", "sessions"), [("short", 1), ("medium", 5), ("long", 20)])
def test_an_alpha_summed_over_its_horizon_is_ic_conviction_sigma_root_h(horizon, sessions):
    alpha = view_alpha(_proposal(0.4, horizon=horizon), 0.02, 0.05)
    assert alpha * sessions == pytest.approx(0.05 * 0.4 * 0.02 * sessions**0.5)


def test_confidence_is_the_mean_hit_rate_of_the_juniors_that_were_asked():
    track = (
        TrackRecord(junior="news", hits=70, calls=90),
        TrackRecord(junior="technical", hits=35, calls=90),
        TrackRecord(junior="fundamental", hits=0, calls=90),
    )
    asked = _proposal(without={"news": 0.1, "technical": 0.2})
    assert view_confidence(asked, track) == pytest.approx((0.75 + 0.40) / 2)
    assert view_confidence(_proposal(), track) == pytest.approx((0.75 + 0.40 + 0.05) / 3)
    assert view_confidence(asked, ()) == 0.5


def test_prior_shares_are_inverse_variance_over_what_is_funded():
    shares = prior_shares(np.array([0.01, 0.02, 0.03]), np.array([True, True, False]))
    np.testing.assert_allclose(shares, [0.8, 0.2, 0.0])
    nothing = prior_shares(np.array([0.01, 0.02]), np.array([False, False]))
    np.testing.assert_array_equal(nothing, [0.0, 0.0])


def test_without_views_the_posterior_gives_back_the_prior_weights():
    prior, sigma = np.array([0.3, 0.1]), np.array([0.01, 0.04])
    mean, variance = posterior(prior, sigma, np.zeros(2), np.zeros(2), 0.05, 2.0)
    np.testing.assert_allclose(mean / (2.0 * variance), prior)


def test_full_confidence_takes_the_view_and_leaves_only_the_returns_own_variance():
    prior, sigma = np.array([0.3]), np.array([0.02])
    mean, variance = posterior(prior, sigma, np.array([0.001]), np.ones(1), 0.05, 2.0)
    np.testing.assert_allclose(mean, 2.0 * 1.05 * 0.02**2 * 0.3 + 0.001)
    np.testing.assert_allclose(variance, 0.02**2)


@pytest.mark.parametrize("confidence", [0.2, 0.5, 0.9])
def test_one_view_moves_its_instrument_as_skfolios_black_litterman_does(confidence):
    from skfolio.prior import BlackLitterman

    tau, delta = 0.05, 2.0
    rng = np.random.default_rng(4)
    mixing = rng.standard_normal((3, 3))
    returns = 0.01 * rng.standard_normal((300, 3)) @ mixing  # correlated: the closed form holds
    frame = pd.DataFrame(returns, columns=["A", "B", "C"])
    first = BlackLitterman(views=["A == 0"], view_confidences=[confidence], tau=tau).fit(frame)
    reference = first.prior_estimator_.return_distribution_
    equilibrium, variances = reference.mu, np.diag(reference.covariance)

    alpha = 0.0007
    view = float(equilibrium[0]) + alpha
    theirs = BlackLitterman(
        views=[f"A == {view:.15f}"], view_confidences=[confidence], tau=tau
    ).fit(frame).return_distribution_  # fmt: skip

    prior = equilibrium / (delta * (1.0 + tau) * variances)
    alphas, confidences = np.array([alpha, 0, 0]), np.array([confidence, 0, 0])
    mean, variance = posterior(prior, np.sqrt(variances), alphas, confidences, tau, delta)
    assert mean[0] == pytest.approx(theirs.mu[0], rel=1e-9)
    assert variance[0] == pytest.approx(theirs.covariance[0, 0], rel=1e-9)
