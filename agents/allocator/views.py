"""
The bottom baseline: Black-Litterman inside one group, the proposals as views.

Sources: Black and Litterman 1992; Idzorek 2005 for confidence, in Walters' closed form; Grinold
1994 for the size of a view. A view is an alpha: what an instrument will earn beyond its
equilibrium return, IC · conviction · σ · √h over h sessions, that is IC · conviction · σ / √h per
session, σ being its volatility per session. The IC is the authors' realised one, shrunk towards
a prior. Authors are the juniors behind the proposal and not the strategist: routes differ in
whom they ask, and one figure for all of them would lend a good junior's record to a poor one.

Departures. Every view is taken alone, as Idzorek does when he calibrates one, and capital is
placed by each instrument's own posterior mean and variance; correlation is the top tier's
business. In return a stronger view can never lower its instrument's weight, which the joint
solution under a budget does not promise. What Idzorek's closed form leaves of `tau` is the share
of variance that a view takes away.

It reads no cash, no limit and no present weight: the gate and the orders do.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from agents.allocator.estimates import Estimates
from agents.allocator.tiers import GroupBudgets, Placement
from agents.arrays import FloatArray
from agents.messages import (
    HORIZON_SESSIONS,
    JUNIORS,
    Case,
    InstrumentState,
    JuniorName,
    Proposal,
    TrackRecord,
)
from config.costs import ROUND_TRIP_FRAC
from config.settings import AllocatorSettings


class View(NamedTuple):
    """What a proposal forecasts, per session beyond equilibrium, and Idzorek's confidence 0..1."""

    alpha: float
    confidence: float


class BlackLittermanBottom:
    """
    A `BottomPolicy`.

    Without a view an instrument keeps its prior weight: its inverse-variance share of the
    budget, or nothing where shorting is allowed (FX and CFDs have no premium to wait for). A
    SELL of at least `exit_conviction` exits what cannot be shorted; a weaker one tilts its weight
    down. What views ask beyond the budget is scaled down to it; what they leave is cash.

    `round_trip` is the cost of getting in and out by symbol, a fraction of notional, spread
    included; one that is not named is taken to be dear. `prior_ic` takes the place of the
    settings' prior for the juniors that it names.
    """

    name: ClassVar[str] = "black-litterman-baseline"

    def __init__(
        self,
        settings: AllocatorSettings,
        round_trip: Mapping[str, float],
        prior_ic: Mapping[JuniorName, float],
    ) -> None:
        self._settings = settings
        self.round_trip = dict(round_trip)
        self.prior_ic = {j: prior_ic.get(j, settings.prior_ic) for j in JUNIORS}

    def place(
        self,
        case: Case,
        goal: GroupBudgets,
        members: Sequence[InstrumentState],
        estimates: Estimates,
        proposals: Mapping[str, Proposal],
    ) -> Placement:
        """Return the weights of one group's members; see the class for the rules."""
        if not members:
            return Placement({})
        s = self._settings
        budget = goal.budgets[members[0].group]
        ics = shrunk_ics(case.track, self.prior_ic, s.prior_outcomes)
        sigma = np.array([estimates.volatility[m.symbol] for m in members])
        views: dict[str, View] = {}
        for member in members:
            proposal = proposals.get(member.symbol)
            if proposal is not None:
                cost = self.round_trip.get(member.symbol, ROUND_TRIP_FRAC)
                volatility = estimates.volatility[member.symbol]
                view = view_of(proposal, volatility, authors_ic(proposal, ics), cost)
                if view is not None:
                    views[member.symbol] = view
        none = View(0.0, 0.0)
        alpha, confidence = np.array([views.get(m.symbol, none) for m in members]).T
        exits = [
            m.symbol in views
            and not m.shortable
            and proposals[m.symbol].conviction <= -s.exit_conviction
            for m in members
        ]
        funded = np.array([not m.shortable for m in members])
        prior = budget * prior_shares(sigma, funded)
        mean, variance = posterior(prior, sigma, alpha, confidence, s.tau, s.risk_aversion)
        weights = np.where(exits, 0.0, mean / (s.risk_aversion * variance))
        weights = np.where(funded, np.maximum(weights, 0.0), weights)
        gross = float(np.abs(weights).sum())
        if gross > budget:
            weights *= budget / gross
        placed = dict(zip([m.symbol for m in members], weights.tolist(), strict=True))
        return Placement(placed, tuple(views))


def shrunk_ics(
    track: Sequence[TrackRecord], prior: Mapping[JuniorName, float], prior_outcomes: float
) -> dict[JuniorName, float]:
    """Return each junior's IC: its prior and its realised one, by the outcomes of each."""
    ics = dict(prior)
    for record in track:
        known = prior_outcomes + record.outcomes
        total = prior_outcomes * prior[record.junior] + record.outcomes * record.rank_ic
        ics[record.junior] = total / known
    return ics


def authors_ic(proposal: Proposal, ics: Mapping[JuniorName, float]) -> float:
    """
    Return the IC of a proposal: its juniors' mean, each by the conviction that it moved.

    A junior that the strategist hardly heard neither vouches for a proposal nor spoils it. Where
    nobody moved it all juniors behind it count alike, and where these are not known all juniors.
    """
    without = proposal.conviction_without
    moved = {j: abs(proposal.conviction - without[j]) for j in ics if j in without}
    if math.fsum(moved.values()) == 0.0:
        moved = dict.fromkeys(moved or ics, 1.0)
    return math.fsum(w * ics[j] for j, w in moved.items()) / math.fsum(moved.values())


def view_of(proposal: Proposal, sigma: float, ic: float, round_trip: float) -> View | None:
    """
    Return a proposal's view, or None.

    None for HOLD, for an abstention (no opinion cited), where action and conviction contradict
    each other, for an IC of 0 or less, and where the view expects less over its horizon than a
    round trip costs. `sigma` is the instrument's volatility per session.
    Source: Grinold 1994, "Alpha is Volatility Times IC Times Score".
    """
    direction = {"BUY": 1.0, "SELL": -1.0, "HOLD": 0.0}[proposal.action]
    if not proposal.cites or direction * proposal.conviction <= 0.0 or ic <= 0.0:
        return None
    alpha = expected_return(proposal, sigma, ic)
    if abs(alpha) < round_trip:
        return None
    return View(alpha / HORIZON_SESSIONS[proposal.horizon], sign_probability(ic))


def expected_return(proposal: Proposal, sigma: float, ic: float) -> float:
    """Return IC · conviction · σ · √h, over the whole horizon of h sessions."""
    return ic * proposal.conviction * sigma * math.sqrt(HORIZON_SESSIONS[proposal.horizon])


def sign_probability(ic: float) -> float:
    """
    Return how likely the sign of a forecast of this IC is right; 0.5 for an IC of 0.

    Source: Sheppard 1899, for jointly normal forecasts and returns.
    """
    return 0.5 + math.asin(ic) / math.pi


def prior_shares(sigma: FloatArray, funded: np.typing.NDArray[np.bool_]) -> FloatArray:
    """
    Return inverse-variance shares over the funded instruments, 0 for the rest.

    Shapes: sigma (N,) > 0, funded (N,) -> (N,); the shares sum to 1, or to 0 if none is funded.
    """
    inverse = np.where(funded, (sigma.min() / sigma) ** 2, 0.0)
    total = float(inverse.sum())
    return np.asarray(inverse / total if total > 0.0 else inverse, dtype=np.float64)


def posterior(
    prior: FloatArray,
    sigma: FloatArray,
    alpha: FloatArray,
    confidence: FloatArray,
    tau: float,
    risk_aversion: float,
) -> tuple[FloatArray, FloatArray]:
    """
    Return each instrument's posterior mean and predictive variance, per session.

    Equilibrium is what makes the prior weights optimal: π = δ (1 + τ) σ² w. A view q = π + α held
    with confidence c gives the mean π + c (q - π) and the variance σ² (1 + τ (1 - c)).
    Shapes: all (N,); confidence 0 means no view.
    Source: Walters 2014, "The Black-Litterman Model in Detail", eqs. for a single view.
    """
    equilibrium = risk_aversion * (1.0 + tau) * sigma**2 * prior
    mean = equilibrium + confidence * alpha
    variance = sigma**2 * (1.0 + tau * (1.0 - confidence))
    return mean, variance
