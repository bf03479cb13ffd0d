"""
The bottom baseline: Black-Litterman inside one group, the proposals as views.

Sources: Black and Litterman 1992; Idzorek 2005 for confidence, in Walters' closed form; Grinold
1994 for the size of a view. A view is an alpha: what an instrument will earn beyond its
equilibrium return, IC · conviction · σ · √h over h sessions, that is IC · conviction · σ / √h per
session, σ being its volatility per session.

Departures. Every view is taken alone, as Idzorek does when he calibrates one, and capital is
placed by each instrument's own posterior mean and variance; correlation is the top tier's
business. In return a stronger view can never lower its instrument's weight, which the joint
solution under a budget does not promise. What Idzorek's closed form leaves of `tau` is the share
of variance that a view takes away.

It reads no cash, no limit and no present weight: the gate and the orders do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from agents.allocator.estimates import Estimates
from agents.allocator.tiers import GroupBudgets
from agents.messages import HORIZON_SESSIONS, Case, InstrumentState, Proposal, TrackRecord
from agents.protocols import FloatArray
from config.settings import AllocatorSettings

UNTRIED = 0.5  # the hit rate of an author of whom nothing is known


class BlackLittermanBottom:
    """
    A `BottomPolicy`.

    Without a view an instrument keeps its prior weight: its inverse-variance share of the
    budget, or nothing where shorting is allowed (FX and CFDs have no premium to wait for). A
    SELL of at least `exit_conviction` exits what cannot be shorted; a weaker one tilts its weight
    down, for what it forecasts is small beside a round trip's cost. What views ask beyond the
    budget is scaled down to it; what they leave is cash.
    """

    name: ClassVar[str] = "black-litterman-baseline"

    def __init__(self, settings: AllocatorSettings) -> None:
        self._settings = settings

    def place(
        self,
        case: Case,
        goal: GroupBudgets,
        members: Sequence[InstrumentState],
        estimates: Estimates,
        proposals: Mapping[str, Proposal],
    ) -> dict[str, float]:
        """Return the weights of one group's members; see the class for the rules."""
        if not members:
            return {}
        s = self._settings
        budget = goal.budgets[members[0].group]
        sigma = np.array([estimates.volatility[m.symbol] for m in members])
        alpha = np.zeros(len(members))
        confidence = np.zeros(len(members))
        exits = np.zeros(len(members), dtype=np.bool_)
        for i, member in enumerate(members):
            proposal = proposals.get(member.symbol)
            if proposal is not None and has_view(proposal):
                alpha[i] = view_alpha(proposal, float(sigma[i]), s.information_coefficient)
                confidence[i] = view_confidence(proposal, case.track)
                exits[i] = not member.shortable and proposal.conviction <= -s.exit_conviction
        funded = np.array([not m.shortable for m in members])
        prior = budget * prior_shares(sigma, funded)
        mean, variance = posterior(prior, sigma, alpha, confidence, s.tau, s.risk_aversion)
        weights = np.where(exits, 0.0, mean / (s.risk_aversion * variance))
        weights = np.where(funded, np.maximum(weights, 0.0), weights)
        gross = float(np.abs(weights).sum())
        if gross > budget:
            weights *= budget / gross
        return dict(zip([m.symbol for m in members], weights.tolist(), strict=True))


def has_view(proposal: Proposal) -> bool:
    """
    Return whether a proposal carries a view.

    HOLD and an abstention (no opinion cited) carry none, nor does one whose action and
    conviction contradict each other.
    """
    if not proposal.cites:
        return False
    if proposal.action == "BUY":
        return proposal.conviction > 0.0
    return proposal.action == "SELL" and proposal.conviction <= 0.0


def view_alpha(proposal: Proposal, sigma: float, information_coefficient: float) -> float:
    """
    Return the return beyond equilibrium that a proposal forecasts, per session.

    `sigma` is the instrument's volatility per session. IC · conviction · σ · √h over the
    horizon's h sessions, divided by h.
    Source: Grinold 1994, "Alpha is Volatility Times IC Times Score".
    """
    horizon = HORIZON_SESSIONS[proposal.horizon]
    return information_coefficient * proposal.conviction * sigma / math.sqrt(horizon)


def view_confidence(proposal: Proposal, track: Sequence[TrackRecord]) -> float:
    """
    Return Idzorek's confidence 0..1 in a proposal: its authors' mean hit rate.

    The authors are the juniors named in `conviction_without`; where it names none, all of them.
    """
    rates = [t.hit_rate for t in track if t.junior in proposal.conviction_without]
    rates = rates or [t.hit_rate for t in track]
    return math.fsum(rates) / len(rates) if rates else UNTRIED


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
