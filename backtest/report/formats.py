"""How figures are written, in the printed table and in the report alike."""

from __future__ import annotations

MISSING = "–"


def percent(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """Return a fraction as a percentage, "–" for an undefined one."""
    return MISSING if value is None else f"{value:{'+' if sign else ''}.{digits}%}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with fixed digits, "–" for an undefined one."""
    return MISSING if value is None else f"{value:.{digits}f}"


def interval(bounds: list[float] | None, digits: int = 2) -> str:
    """Return bounds as "[lo, hi]", "–" for undefined ones."""
    return MISSING if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def strategy(name: str) -> str:
    """Return a strategy's name as people write it, "buy and hold"."""
    return name.replace("-", " ")
