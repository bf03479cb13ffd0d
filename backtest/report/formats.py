"""How figures are written, in the printed table and in the report alike."""

from __future__ import annotations

from backtest.statistics.encoding import Bounds
from backtest.statistics.measures import Figure, Undefined

MISSING = "–"


def percent(value: Figure, digits: int = 1, sign: bool = False) -> str:
    """Return a fraction as a percentage, "–" for an undefined one."""
    if isinstance(value, Undefined):
        return MISSING
    return f"{value:{'+' if sign else ''}.{digits}%}"


def number(value: Figure, digits: int = 2) -> str:
    """Return a number with fixed digits, "–" for an undefined one."""
    return MISSING if isinstance(value, Undefined) else f"{value:.{digits}f}"


def interval(bounds: Bounds, digits: int = 2) -> str:
    """Return bounds as "[lo, hi]", "–" for undefined ones."""
    if isinstance(bounds, Undefined):
        return MISSING
    return f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def percent_interval(bounds: Bounds) -> str:
    """Return bounds of a fraction as "[-1.0%, +2.0%]", "–" for undefined ones."""
    if isinstance(bounds, Undefined):
        return MISSING
    return f"[{percent(bounds[0], sign=True)}, {percent(bounds[1], sign=True)}]"


def strategy(name: str) -> str:
    """Return a strategy's name as people write it, "buy and hold"."""
    return name.replace("-", " ")
