"""
The reward of a decision, from its outcomes, as pure functions.

Reward = 0.5 sharpe + 0.3 logic + 0.2 drawdown - 0.01 for each token over 500. Without a judge's
mark the weights of the other two are scaled to sum to one. Doing nothing already earns about
0.6: the outcome part is always given alone, and is compared with `ALWAYS_HOLD`.

A decision speaks of many instruments. Each outcome is marked on its own, per unit of weight, and
the marks are averaged with equal weight, so that a HOLD counts as doing nothing and no
instrument outvotes another. It knows no store and no learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.messages import Outcome
from config.errors import DataError


@dataclass(frozen=True)
class RewardTerms:
    """The weights and thresholds of the reward; `docs/experience.md` says what they mean."""

    sharpe_weight: float = 0.5
    logic_weight: float = 0.3
    drawdown_weight: float = 0.2
    volatility_floor: float = 0.01
    drawdown_free: float = 0.10
    drawdown_slope: float = 5.0
    token_allowance: int = 500
    token_price: float = 0.01


TERMS = RewardTerms()


@dataclass(frozen=True)
class DecisionReward:
    """
    A decision's reward and its parts.

    `value` is what a learner is told. `outcome` is the sharpe and drawdown parts alone, their
    weights scaled to one: the part that no judge and no brevity can lift. `logic` is None where
    no judge answered; `token_cost` is what was taken off.
    """

    value: float
    outcome: float
    sharpe: float
    drawdown: float
    logic: float | None
    token_cost: float


def sharpe_part(realised: float, volatility: float, terms: RewardTerms = TERMS) -> float:
    """
    Return clip((return / max(volatility, floor) + 2) / 4, 0, 1).

    Return and volatility are fractions over the same horizon, neither annualised.
    """
    ratio = realised / max(volatility, terms.volatility_floor)
    return min(max((ratio + 2.0) / 4.0, 0.0), 1.0)


def drawdown_part(max_drawdown: float, terms: RewardTerms = TERMS) -> float:
    """Return clip(1 - 5 max(0, drawdown - 0.10), 0, 1); the drawdown is a fraction 0..1."""
    excess = max(0.0, max_drawdown - terms.drawdown_free)
    return min(max(1.0 - terms.drawdown_slope * excess, 0.0), 1.0)


def outcome_part(sharpe: float, drawdown: float, terms: RewardTerms = TERMS) -> float:
    """Return the two parts that come from the market, their weights scaled to sum to one."""
    total = terms.sharpe_weight + terms.drawdown_weight
    return (terms.sharpe_weight * sharpe + terms.drawdown_weight * drawdown) / total


def token_cost(tokens: int, terms: RewardTerms = TERMS) -> float:
    """Return what the tokens beyond the allowance cost, in reward units."""
    return terms.token_price * max(0, tokens - terms.token_allowance)


def decision_reward(
    outcomes: Sequence[Outcome],
    tokens: int,
    logic: float | None = None,
    terms: RewardTerms = TERMS,
) -> DecisionReward:
    """
    Return the reward of a decision whose outcomes have all closed.

    `logic` is the judges' mark 0..1, None where there is none. A decision without outcomes did
    nothing and is marked as `ALWAYS_HOLD`.
    Raises DataError if `logic` is outside 0..1 or `tokens` is negative.
    """
    if logic is not None and not 0.0 <= logic <= 1.0:
        raise DataError(f"expected a logic mark in 0..1, was {logic}")
    if tokens < 0:
        raise DataError(f"expected tokens of at least 0, was {tokens}")
    n = len(outcomes)
    sharpe = sum(sharpe_part(o.realised, o.volatility, terms) for o in outcomes) / n if n else 0.5
    drawdown = sum(drawdown_part(o.max_drawdown, terms) for o in outcomes) / n if n else 1.0
    outcome = outcome_part(sharpe, drawdown, terms)
    judged = 0.0 if logic is None else terms.logic_weight
    market = terms.sharpe_weight + terms.drawdown_weight
    value = (market * outcome + judged * (logic or 0.0)) / (market + judged)
    cost = token_cost(tokens, terms)
    return DecisionReward(
        value=value - cost,
        outcome=outcome,
        sharpe=sharpe,
        drawdown=drawdown,
        logic=logic,
        token_cost=cost,
    )


# What doing nothing earns: the level that every outcome part is compared with.
ALWAYS_HOLD = decision_reward((), tokens=0).outcome
