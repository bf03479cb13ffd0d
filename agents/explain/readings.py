"""
Features in words and numbers: what each is called, how it is written and when it is notable.

The bands are the field's habits (an RSI above 70 is overbought) and only choose words; no
decision reads them. A masked feature has no reading.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

type Form = Literal["percent", "size", "hundredth", "times", "number", "share"]

FORMS: dict[Form, Callable[[float], str]] = {
    "percent": "{:+.2%}".format,
    "size": "{:.2%}".format,
    "share": "{:.0%}".format,
    "hundredth": lambda value: f"{100.0 * value:.1f}",
    "times": "{:.2f} times".format,
    "number": "{:+.2f}".format,
}


class Reading(NamedTuple):
    """How a feature is said; `neutral` ± `scale` is its unremarkable band."""

    label: str
    form: Form
    neutral: float
    scale: float
    high: str
    low: str
    calm: str = "ordinary"


# words for a high value, a low one and one between
MOVE = ("up", "down", "little moved")
TREND = ("uptrend", "downtrend", "flat")
HIGH = ("near the high", "far below it")

READINGS: dict[str, Reading] = {
    "return_1": Reading("one-day log return", "percent", 0.0, 0.01, *MOVE),
    "return_5": Reading("one-week log return", "percent", 0.0, 0.02, *MOVE),
    "return_20": Reading("one-month log return", "percent", 0.0, 0.04, *MOVE),
    "return_60": Reading("one-quarter log return", "percent", 0.0, 0.07, *MOVE),
    "volatility_20": Reading("volatility a year", "size", 0.25, 0.10, "high", "low"),
    "volatility_ratio": Reading("5-to-60-day volatility", "times", 1.0, 0.4, "rising", "falling"),
    "rsi_14": Reading("RSI (14)", "hundredth", 0.5, 0.2, "overbought", "oversold", "neutral"),
    "macd": Reading(
        "MACD histogram over price", "percent", 0.0, 0.004, "rising", "falling", "flat"
    ),
    "bollinger_position": Reading(
        "Bollinger position", "number", 0.0, 1.0, "above the band", "below the band", "inside"
    ),
    "atr_14": Reading("average true range over price", "size", 0.02, 0.01, "wide", "narrow"),
    "volume_ratio": Reading("volume over its 20-day mean", "times", 1.0, 0.5, "heavy", "thin"),
    "trend": Reading("20-day over 60-day mean", "percent", 0.0, 0.02, *TREND),
    "drawdown": Reading("distance from the one-year high", "percent", -0.1, 0.07, *HIGH),
    "gap": Reading("opening gap", "percent", 0.0, 0.01, "gapped up", "gapped down", "no gap"),
    "relative_strength": Reading(
        "one-month log return over its group's",
        "percent",
        0.0,
        0.04,
        "leading",
        "lagging",
        "in line",
    ),
    "beta_60": Reading("beta to the index", "number", 1.0, 0.3, "aggressive", "defensive"),
    "sentiment": Reading("news sentiment, -2 to 2", "number", 0.0, 0.3, "good", "bad", "neutral"),
    "news_intensity": Reading("news intensity", "number", 1.0, 1.0, "loud", "quiet"),
    "earnings_yield": Reading("earnings yield", "percent", 0.06, 0.03, "cheap", "dear", "fair"),
    "book_yield": Reading("book yield", "percent", 0.5, 0.3, "cheap", "dear", "fair"),
    "profitability": Reading("return on equity", "percent", 0.15, 0.1, "strong", "weak"),
    "growth": Reading("revenue growth", "percent", 0.05, 0.08, "growing", "slow", "steady"),
    "index_return_1": Reading("index one-day log return", "percent", 0.0, 0.005, *MOVE),
    "index_return_20": Reading("index one-month log return", "percent", 0.0, 0.02, *MOVE),
    "index_trend": Reading("index 20-day over 60-day mean", "percent", 0.0, 0.01, *TREND),
    "index_volatility": Reading("index volatility a year", "size", 0.16, 0.06, "high", "low"),
    "index_drawdown": Reading("index from its one-year high", "percent", -0.06, 0.05, *HIGH),
    "vix": Reading("VIX", "number", 19.0, 5.0, "fearful", "calm"),
    "vix_change_5": Reading("VIX over five sessions", "number", 0.0, 2.0, "rising", "falling"),
    "yield_short": Reading("short yield, percent", "number", 2.0, 2.0, "high", "low"),
    "yield_long": Reading("long yield, percent", "number", 4.0, 2.0, "high", "low"),
    "yield_slope": Reading("yield slope, points", "number", 1.0, 1.0, "steep", "flat or inverted"),
    "credit_spread": Reading("credit spread, points", "number", 2.0, 1.0, "wide", "narrow"),
    "commodity_return_20": Reading(
        "commodities' one-month log change", "percent", 0.0, 0.04, *MOVE
    ),
    "breadth": Reading(
        "share above the 60-day mean", "share", 0.5, 0.15, "broad", "narrow", "mixed"
    ),
    "correlation": Reading(
        "mean correlation", "number", 0.35, 0.15, "herding", "going its own way"
    ),
    "dispersion": Reading(
        "dispersion of one-month log returns", "size", 0.07, 0.03, "wide", "narrow"
    ),
    "regime_score": Reading("regime score", "number", 0.0, 1.0 / 3.0, "bull", "bear", "sideways"),
}


def say(name: str, value: float) -> str:
    """Return a feature in words and numbers: "RSI (14) 49.5 (neutral)"."""
    reading = READINGS[name]
    word = (reading.calm, reading.high, reading.low)[leaning(name, value)]
    return f"{reading.label} {FORMS[reading.form](value)} ({word})"


def leaning(name: str, value: float) -> int:
    """Return 1 at or above the top of a feature's ordinary band, -1 at or below its bottom, 0."""
    reading = READINGS[name]
    distance = (value - reading.neutral) / reading.scale
    return 1 if distance >= 1.0 else -1 if distance <= -1.0 else 0


def strength(name: str, value: float) -> float:
    """Return how far a value lies from neutral, in half widths of its band."""
    reading = READINGS[name]
    return abs(value - reading.neutral) / reading.scale


def amount(value: float) -> str:
    """Return a price or a quantity with five digits or more, never in powers of ten."""
    return f"{value:.2f}".removesuffix(".00") if abs(value) >= 1000.0 else f"{value:.5g}"
