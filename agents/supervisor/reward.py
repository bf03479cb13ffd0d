"""
Computes the supervisor's reward from a closed outcome.

The reward is the strategist's conviction times the instrument's return net of the market, in units
of the volatility over the same horizon and clipped, less the price of what was asked. It is the
route's own doing: an abstention earns nothing and still costs its junior, its tokens and its time.
"""

from collections.abc import Iterable

from agents.messages import ROUTES, Abstention, Opinion, Outcome
from config.settings import SupervisorSettings

CLIP = 3.0  # in standard deviations: one jump must not outvote a month
LEAST_VOLATILITY = 0.01  # as in the experience library's reward (docs/methods.md)
SECOND_NS = 1e9


def route_reward(
    outcome: Outcome, tokens: int, seconds: float, settings: SupervisorSettings
) -> float:
    """Return the reward of the route behind an outcome, given what its juniors used."""
    return route_earned(outcome) - route_cost(outcome.arm, tokens, seconds, settings)


def route_earned(outcome: Outcome) -> float:
    """Return what a route's conviction earned, before the price of asking."""
    surplus = outcome.instrument_return - outcome.benchmark_return
    scaled = surplus / max(outcome.volatility, LEAST_VOLATILITY)
    return outcome.conviction * min(max(scaled, -CLIP), CLIP)


def route_cost(arm: int, tokens: int, seconds: float, settings: SupervisorSettings) -> float:
    """Return the price of a route, in reward units: its juniors, their tokens and their time."""
    asked = len(ROUTES[arm]) * settings.junior_price
    return asked + settings.token_price * tokens / 1_000 + settings.second_price * seconds


def route_use(answers: Iterable[Opinion | Abstention]) -> tuple[int, float]:
    """
    Return the tokens and the seconds that one instrument's answers took.

    The juniors are asked in one batch, so the time is that of the slowest.
    """
    heard = tuple(answers)
    slowest = max((answer.latency_ns for answer in heard), default=0)
    return sum(answer.tokens for answer in heard), slowest / SECOND_NS
