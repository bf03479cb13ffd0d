"""
What settings default to by the kind of book that is traded.

A kind has its own stop, caps, drawdown breaker and cost (docs/architecture.md, "Kinds of books").
Whatever a human stated, in a profile, in the environment or by a flag, stays as it was stated.
"""

from typing import Any, Literal

import msgspec

from config.costs import US_EQUITY_COST_FRAC
from config.settings import Settings

type BookKind = Literal["daily equities", "contracts", "other"]

POSITION_SHARE = 1.5  # of an even holding: a book of few instruments may hold more of each


def for_book(
    settings: Settings, kind: BookKind, *, instruments: int, groups: int, american: bool
) -> Settings:
    """
    Return settings with a kind of book's defaults wherever nothing was stated.

    `american` says that the instruments are US stocks in dollars. Applying it again changes
    nothing. "other" and "contracts" keep the defaults of the settings' own structs.
    """
    if kind != "daily equities":
        return settings
    limits: dict[str, Any] = {
        "stop": "volatility",
        "stop_cooldown_sessions": 5,
        "max_position": min(1.0, max(0.10, POSITION_SHARE / instruments)),
        "max_drawdown": 0.15,
        "volatility_target": 0.10,
    }
    if "limits.stop_loss" in settings.stated:  # a fraction of the entry was asked for
        del limits["stop"]
    if groups == 1:
        limits["max_group"] = 1.0
    market = {"cost_frac": US_EQUITY_COST_FRAC} if american else {}
    return msgspec.structs.replace(
        settings,
        limits=_unless_stated(settings, "limits", limits),
        market=_unless_stated(settings, "market", market),
    )


def _unless_stated(settings: Settings, part: str, defaults: dict[str, Any]) -> Any:
    free = {k: v for k, v in defaults.items() if f"{part}.{k}" not in settings.stated}
    return msgspec.structs.replace(getattr(settings, part), **free)
