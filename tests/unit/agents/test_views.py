import math

import numpy as np
import pandas as pd
import pytest

from agents.allocator.views import (
    authors_ic,
    expected_return,
    posterior,
    prior_shares,
    shrunk_ics,
    sign_probability,
    view_of,
)
from agents.messages import HORIZON_SESSIONS, Proposal, TrackRecord

ICS = {"news": 0.08, "technical": 0.02, "fundamental": -0.04}


def _proposal(conviction=0.5, action="BUY", horizon="medium", cites=("o1",), without=None):
    return Proposal(
        symbol="A", action=action, conviction=conviction, horizon=horizon, rationale="",
        cites=cites, conviction_without=without or {},
    )  # fmt: skip


@pytest.mark.parametrize(
    "proposal",
    [
        _proposal(0.5, "HOLD"),
        _proposal(-0.5, "HOLD"),
        _proposal(0.5, "BUY", cites=()),
        _proposal(-0.5, "SELL", cites=()),
        _proposal(-0.5, "BUY"),
        _proposal(0.5, "SELL"),
        _proposal(0.0, "BUY"),
        _proposal(0.0, "SELL"),
    ],
)
def test_hold_abstention_and_contradiction_carry_no_view(proposal):
    assert view_of(proposal, 0.02, 0.5, round_trip=0.0) is None


@pytest.mark.parametrize(("conviction", "action"), [(0.5, "BUY"), (-0.5, "SELL")])
def test_a_view_has_the_sign_of_its_conviction(conviction, action):
    view = view_of(_proposal(conviction, action), 0.02, 0.05, round_trip=0.0)
    assert math.copysign(1.0, view.alpha) == math.copysign(1.0, conviction)


@pytest.mark.parametrize("horizon", HORIZON_SESSIONS)
def test_a_view_summed_over_its_horizon_is_ic_conviction_sigma_root_h(horizon):
    sessions = HORIZON_SESSIONS[horizon]
    proposal = _proposal(0.4, horizon=horizon)
    expected = 0.05 * 0.4 * 0.02 * math.sqrt(sessions)
    assert expected_return(proposal, 0.02, 0.05) == pytest.approx(expected)
    view = view_of(proposal, 0.02, 0.05, round_trip=0.0)
    assert view.alpha * sessions == pytest.approx(expected)


def test_an_author_without_skill_has_no_view():
    assert view_of(_proposal(1.0), 0.02, 0.0, round_trip=0.0) is None
    assert view_of(_proposal(1.0), 0.02, -0.1, round_trip=0.0) is None
    assert view_of(_proposal(1.0), 0.02, 0.001, round_trip=0.0) is not None


@pytest.mark.parametrize(("conviction", "action"), [(0.5, "BUY"), (-0.5, "SELL")])
def test_a_view_speaks_only_if_it_expects_a_round_trips_cost(conviction, action):
    proposal = _proposal(conviction, action)
    expects = abs(expected_return(proposal, 0.02, 0.05))
    assert view_of(proposal, 0.02, 0.05, round_trip=expects) is not None
    assert view_of(proposal, 0.02, 0.05, round_trip=expects * 1.001) is None


def test_an_ic_is_shrunk_to_its_prior_by_the_outcomes_of_each():
    prior = dict.fromkeys(ICS, 0.02)
    track = (TrackRecord(junior="news", hits=0, calls=0, rank_ic=0.08, outcomes=300.0),)
    ics = shrunk_ics(track, prior, 100.0)
    assert ics["news"] == pytest.approx((100 * 0.02 + 300 * 0.08) / 400)
    assert ics["technical"] == 0.02
    assert shrunk_ics((), prior, 100.0) == prior


def test_a_proposals_ic_is_its_juniors_by_the_conviction_that_each_moved():
    both = _proposal(0.5, without={"news": 0.2, "technical": 0.4})
    assert authors_ic(both, ICS) == pytest.approx((0.3 * 0.08 + 0.1 * 0.02) / 0.4)
    alone = _proposal(0.5, without={"technical": 0.0})
    assert authors_ic(alone, ICS) == 0.02


def test_a_junior_that_was_hardly_heard_does_not_spoil_a_proposal():
    proposal = _proposal(0.5, without={"news": 0.0, "fundamental": 0.5})
    assert authors_ic(proposal, ICS) == 0.08


def test_authors_of_whom_it_is_not_known_what_they_moved_count_alike():
    level = _proposal(0.5, without={"news": 0.5, "technical": 0.5})
    assert authors_ic(level, ICS) == pytest.approx(0.05)
    assert authors_ic(_proposal(0.5), ICS) == pytest.approx(0.02)


def test_confidence_is_the_chance_that_a_forecast_of_the_ic_has_the_right_sign():
    rng = np.random.default_rng(1)
    for ic in (0.0, 0.3, 0.8):
        forecast, noise = rng.standard_normal((2, 200_000))
        outcome = ic * forecast + math.sqrt(1.0 - ic**2) * noise
        right = float((np.sign(forecast) == np.sign(outcome)).mean())
        assert sign_probability(ic) == pytest.approx(right, abs=0.005)


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
