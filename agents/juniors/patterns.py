"""
Finds price patterns in the daily features, and gives the votes that they cast.

A pattern that needs the shape of single bars (hammers, engulfing bars, shoulders) cannot be found
in features and is not claimed. Moves are measured in the instrument's own average true range,
so that one rule serves a utility and a currency alike. A pattern never fires on a masked feature.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

NEAR_HIGH = -0.005  # drawdown at which the close stands at its high
BUSY = 1.3  # volume over its 20-session mean
GAP_ATR = 0.75
QUIET = 0.6  # five sessions' volatility over sixty's
OVERSOLD, OVERBOUGHT = 0.30, 0.70
STRETCH = 1.0  # Bollinger position at the band

type Features = Mapping[str, float]


class Pattern(NamedTuple):
    """A named pattern: `vote` is -1 bearish to 1 bullish, `uses` the features it was read from."""

    name: str
    vote: float
    uses: tuple[str, ...]


def find_patterns(f: Features) -> list[Pattern]:
    """Return the patterns present, in a fixed order; `f` holds the known features only."""
    found = []
    for name, uses, vote in _RULES:
        if all(feature in f for feature in uses):
            value = vote(f)
            if value:
                found.append(Pattern(name, value, uses))
    return found


def _breakout(f: Features) -> float:
    """
    Vote for a close at the 252-session high on busy volume.

    Source: nearness to the high, George and Hwang 2004.
    """
    at_high = f["drawdown"] >= NEAR_HIGH and f["return_1"] > 0.0
    return 1.0 if at_high and f["volume_ratio"] >= BUSY else 0.0


def _breakdown(f: Features) -> float:
    """Vote against a close below the lower band on busy volume in a falling trend."""
    broken = f["bollinger_position"] <= -STRETCH and f["trend"] < 0.0 and f["return_1"] < 0.0
    return -1.0 if broken and f["volume_ratio"] >= BUSY else 0.0


def _oversold_bounce(f: Features) -> float:
    """Vote for a first rise out of an oversold state; Wilder 1978."""
    return 0.8 if f["rsi_14"] <= OVERSOLD and f["return_1"] > 0.25 * f["atr_14"] else 0.0


def _overbought_fade(f: Features) -> float:
    """Vote against a first fall out of an overbought state; Wilder 1978."""
    return -0.8 if f["rsi_14"] >= OVERBOUGHT and f["return_1"] < -0.25 * f["atr_14"] else 0.0


def _squeeze(f: Features) -> float:
    """Vote with the trend when volatility is compressed; Bollinger 2001."""
    if f["volatility_ratio"] >= QUIET or abs(f["trend"]) < 0.005:
        return 0.0
    return 0.5 if f["trend"] > 0.0 else -0.5


def _gap_held(f: Features) -> float:
    """Vote with an overnight gap that the session did not give back."""
    size = GAP_ATR * f["atr_14"]
    if f["gap"] >= size > 0.0 and f["return_1"] >= f["gap"]:
        return 0.7
    return -0.7 if f["gap"] <= -size < 0.0 and f["return_1"] <= f["gap"] else 0.0


def _gap_faded(f: Features) -> float:
    """Vote against an overnight gap that the session gave back."""
    size = GAP_ATR * f["atr_14"]
    if f["gap"] >= size > 0.0 and f["return_1"] <= 0.0:
        return -0.5
    return 0.5 if f["gap"] <= -size < 0.0 and f["return_1"] >= 0.0 else 0.0


def _pullback(f: Features) -> float:
    """Vote with a trend after a week against it, the stretch not being a break."""
    if abs(f["bollinger_position"]) > STRETCH:
        return 0.0
    week = 1.5 * f["atr_14"]
    if f["trend"] > 0.01 and f["return_5"] < -week:
        return 0.5
    return -0.5 if f["trend"] < -0.01 and f["return_5"] > week else 0.0


_RULES: tuple[tuple[str, tuple[str, ...], Callable[[Features], float]], ...] = (
    ("breakout", ("drawdown", "return_1", "volume_ratio"), _breakout),
    ("breakdown", ("bollinger_position", "trend", "return_1", "volume_ratio"), _breakdown),
    ("oversold bounce", ("rsi_14", "return_1", "atr_14"), _oversold_bounce),
    ("overbought fade", ("rsi_14", "return_1", "atr_14"), _overbought_fade),
    ("squeeze", ("volatility_ratio", "trend"), _squeeze),
    ("gap held", ("gap", "return_1", "atr_14"), _gap_held),
    ("gap faded", ("gap", "return_1", "atr_14"), _gap_faded),
    ("pullback", ("trend", "return_5", "atr_14", "bollinger_position"), _pullback),
)
