"""
The rule-backed technical junior: indicator votes and patterns, weighed by the market's regime.

Votes are -1..1. Trend followers (trend, MACD, 60-session return, relative strength, nearness to
the high) count fully in a bull or bear market and half in a sideways one; contrarians (RSI,
Bollinger position, five-session return) the other way round. Scales are the instrument's own
volatility. A masked feature casts no vote and costs confidence; with fewer than five votes the
junior abstains. It knows no fundamentals and no news.
"""

from collections.abc import Sequence
from math import sqrt, tanh
from typing import NamedTuple

from agents.features.batch import INSTRUMENT_FEATURES, known_features
from agents.juniors.opinions import form_opinion
from agents.juniors.patterns import Features, find_patterns
from agents.messages import Abstention, Case, InstrumentState, JuniorName, Opinion, Regime
from agents.protocols import Junior

MIN_VOTES = 5
INDICATORS = (  # what a full set of features casts votes by, given the volatility
    "trend",
    "macd",
    "return_60",
    "relative_strength",
    "drawdown",
    "rsi_14",
    "bollinger_position",
    "return_5",
)
VOLATILITY = INSTRUMENT_FEATURES.index("volatility_20")
PLACES = tuple(INSTRUMENT_FEATURES.index(name) for name in INDICATORS)
PATTERN_WEIGHT = 1.5  # of a full pattern vote, in indicator votes
STOP_ATR, TARGET_ATR = 2.0, 3.0
GAIN = 2.5  # from mean vote to score: a mean of 0.8 is the strongest score


class Vote(NamedTuple):
    """One indicator's vote, -1 bearish to 1 bullish; `follows` tells trend from contrarian."""

    feature: str
    value: float
    follows: bool


class RuleTechnicalJunior(Junior):
    """Indicators and patterns on the daily features."""

    name: JuniorName = "technical"
    model = "rules/technical-1"
    # the card: rank IC at 5 sessions on the default simulated market (ops/bench/juniors.py)
    simulated_ic = -0.063  # eight seeds: -0.119 to -0.008

    def opine(self, case: Case, symbols: Sequence[str]) -> list[Opinion | Abstention]:
        """Return one answer for each symbol, in their order."""
        states = {state.symbol: state for state in case.instruments}
        return [self._opine(case, symbol, states.get(symbol)) for symbol in symbols]

    def _opine(
        self, case: Case, symbol: str, state: InstrumentState | None
    ) -> Opinion | Abstention:
        if state is None:
            return self.abstain(symbol, "the case does not hold the instrument")
        f = known_features(state)
        votes = indicator_votes(f)
        if len(votes) < MIN_VOTES:
            return self.abstain(symbol, f"expected {MIN_VOTES} known indicators, was {len(votes)}")
        patterns = find_patterns(f)
        weighed = [(vote.value, _regime_weight(vote, case.macro.regime)) for vote in votes]
        weighed += [(pattern.vote, PATTERN_WEIGHT) for pattern in patterns]
        weight = sum(w for _, w in weighed)
        mean = sum(v * w for v, w in weighed) / weight
        size = sum(abs(v) * w for v, w in weighed)
        agreement = abs(mean) * weight / size if size else 0.0
        known = len(votes) / len(INDICATORS)
        volume = f.get("volume_ratio", 1.0)
        backing = 1.0 + 0.15 * tanh(volume - 1.0) if mean * f.get("return_1", 0.0) > 0.0 else 1.0
        confidence = known * (0.2 + 0.6 * agreement) * backing
        evidence = {f"feature:{vote.feature}": None for vote in votes}
        evidence |= {f"feature:{name}": None for p in patterns for name in p.uses}
        if "atr_14" in f:
            evidence["feature:atr_14"] = None
        return form_opinion(
            case,
            self.name,
            symbol,
            GAIN * mean,
            confidence,
            tuple(evidence),
            _rationale(f, state.price, mean, votes, [p.name for p in patterns], case.macro.regime),
            self.model,
        )


def enough_indicators(state: InstrumentState) -> bool:
    """Return whether enough indicators are known for an opinion."""
    if state.features[VOLATILITY] is None:
        return False
    return sum(state.features[place] is not None for place in PLACES) >= MIN_VOTES


def indicator_votes(f: Features) -> list[Vote]:
    """
    Return the votes of the known indicators.

    Source: moving averages Brock, Lakonishok and LeBaron 1992; momentum Jegadeesh and Titman
    1993; week-long reversal Lehmann 1990; RSI Wilder 1978; Bollinger 2001; MACD Appel 1979;
    industry-relative strength Moskowitz and Grinblatt 1999; the high George and Hwang 2004.
    """
    if "volatility_20" not in f:
        return []
    day = max(f["volatility_20"] / sqrt(252.0), 1e-4)  # one session's standard deviation
    votes = []

    def vote(feature: str, value: float, follows: bool) -> None:
        votes.append(Vote(feature, value, follows))

    if "trend" in f:
        vote("trend", tanh(f["trend"] / (3.0 * day)), True)
    if "macd" in f:
        vote("macd", tanh(f["macd"] / (0.5 * day)), True)
    if "return_60" in f:
        vote("return_60", tanh(f["return_60"] / (sqrt(60.0) * day)), True)
    if "relative_strength" in f:
        vote("relative_strength", tanh(f["relative_strength"] / (sqrt(20.0) * day)), True)
    if "drawdown" in f:
        # turns against at eight of a session's standard deviations below the high
        vote("drawdown", tanh(1.0 + f["drawdown"] / (8.0 * day)), True)
    if "rsi_14" in f:
        # silent between 0.4 and 0.6
        excess = f["rsi_14"] - min(max(f["rsi_14"], 0.4), 0.6)
        vote("rsi_14", -tanh(excess / 0.15), False)
    if "bollinger_position" in f:
        position = f["bollinger_position"]
        vote("bollinger_position", -tanh(position - min(max(position, -0.8), 0.8)), False)
    if "return_5" in f:
        vote("return_5", -0.5 * tanh(f["return_5"] / (sqrt(5.0) * day)), False)
    return votes


def _regime_weight(vote: Vote, regime: Regime) -> float:
    return 1.0 if vote.follows != (regime == "sideways") else 0.5


def _rationale(
    f: Features,
    price: float,
    mean: float,
    votes: Sequence[Vote],
    patterns: Sequence[str],
    regime: Regime,
) -> str:
    loudest = sorted(votes, key=lambda v: -abs(v.value))[:3]
    numbers = ", ".join(f"{v.feature} {f[v.feature]:+.3g} ({v.value:+.2f})" for v in loudest)
    shapes = ", ".join(patterns) or "no pattern"
    text = f"Mean vote {mean:+.2f} in a {regime} market: {numbers}; {shapes}"
    if mean and "atr_14" in f:
        side = 1.0 if mean > 0.0 else -1.0
        stop = price * (1.0 - side * STOP_ATR * f["atr_14"])
        target = price * (1.0 + side * TARGET_ATR * f["atr_14"])
        text += f"; stop {max(stop, 0.0):.5g}, target {max(target, 0.0):.5g}"
    return text + "."
