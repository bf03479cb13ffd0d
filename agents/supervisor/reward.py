"""
What the supervisor is told of a closed outcome.

The strategist's conviction times the instrument's return net of the market, in units of the
volatility over the same horizon and clipped, less the price of what was asked. It is the route's
own doing: an abstention earns nothing and still costs its juniors.
"""

from __future__ import annotations

from agents.messages import ROUTES, Outcome
from config.settings import SupervisorSettings

CLIP = 3.0  # in standard deviations: one jump must not outvote a month
LEAST_VOLATILITY = 0.01  # as in the experience library's reward (SPEC D2)


def route_reward(outcome: Outcome, tokens: int, settings: SupervisorSettings) -> float:
    """Return the reward of the route behind an outcome; `tokens` is what its juniors used."""
    surplus = outcome.instrument_return - outcome.benchmark_return
    scaled = surplus / max(outcome.volatility, LEAST_VOLATILITY)
    earned = outcome.conviction * min(max(scaled, -CLIP), CLIP)
    asked = len(ROUTES[outcome.arm]) * settings.junior_price
    return earned - asked - settings.token_price * tokens / 1_000
