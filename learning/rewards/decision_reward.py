"""
The reward of a decision, from its outcomes, as pure functions.

Reward = 0.5 sharpe + 0.3 logic + 0.2 drawdown - 0.01 for each token over 500. Without a judge's
mark the weights of the other two are scaled to sum to one. Doing nothing already earns about
0.6: the outcome part is always given alone, and is compared with `ALWAYS_HOLD`.

A decision speaks of many instruments. Each outcome is marked on its own, per unit of weight, and
the marks are averaged with equal weight, so that a HOLD counts as doing nothing and no
instrument outvotes another. It knows no store and no learner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agents.messages import Outcome
from config.errors import DataError

# docs/experience.md says what they mean
SHARPE_WEIGHT, LOGIC_WEIGHT, DRAWDOWN_WEIGHT = 0.5, 0.3, 0.2
VOLATILITY_FLOOR = 0.01
DRAWDOWN_FREE, DRAWDOWN_SLOPE = 0.10, 5.0
TOKEN_ALLOWANCE, TOKEN_PRICE = 500, 0.01


@dataclass(frozen=True)
class DecisionReward:
    """
    A decision's reward and its parts.

    `value` is what a learner is told. `outcome` is the sharpe and drawdown parts alone, their
    weights scaled to one: the part that no judge and no brevity can lift.
    """

    value: float
    outcome: float
    sharpe: float
    drawdown: float


def sharpe_part(realised: float, volatility: float) -> float:
    """
    Return clip((return / max(volatility, floor) + 2) / 4, 0, 1).

    Return and volatility are fractions over the same horizon, neither annualised.
    """
    ratio = realised / max(volatility, VOLATILITY_FLOOR)
    return min(max((ratio + 2.0) / 4.0, 0.0), 1.0)


def drawdown_part(max_drawdown: float) -> float:
    """Return clip(1 - 5 max(0, drawdown - 0.10), 0, 1); the drawdown is a fraction 0..1."""
    excess = max(0.0, max_drawdown - DRAWDOWN_FREE)
    return min(max(1.0 - DRAWDOWN_SLOPE * excess, 0.0), 1.0)


def outcome_part(sharpe: float, drawdown: float) -> float:
    """Return the two parts that come from the market, their weights scaled to sum to one."""
    total = SHARPE_WEIGHT + DRAWDOWN_WEIGHT
    return (SHARPE_WEIGHT * sharpe + DRAWDOWN_WEIGHT * drawdown) / total


def token_cost(tokens: int) -> float:
    """Return what the tokens beyond the allowance cost, in reward units."""
    return TOKEN_PRICE * max(0, tokens - TOKEN_ALLOWANCE)


def decision_reward(
    outcomes: Sequence[Outcome], tokens: int, logic: float | None = None
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
    sharpe = sum(sharpe_part(o.realised, o.volatility) for o in outcomes) / n if n else 0.5
    drawdown = sum(drawdown_part(o.max_drawdown) for o in outcomes) / n if n else 1.0
    outcome = outcome_part(sharpe, drawdown)
    judged = 0.0 if logic is None else LOGIC_WEIGHT
    market = SHARPE_WEIGHT + DRAWDOWN_WEIGHT
    value = (market * outcome + judged * (logic or 0.0)) / (market + judged)
    return DecisionReward(value - token_cost(tokens), outcome, sharpe, drawdown)


# What doing nothing earns: the level that every outcome part is compared with.
ALWAYS_HOLD = decision_reward((), tokens=0).outcome
