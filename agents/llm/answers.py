"""
The answers that models must give: structs, and the JSON Schemas made of them.

Every number is one of a few or a bounded integer, every string is printable ASCII without quotes
or backslashes and bounded, every array is bounded: the longest possible answer is known, and
`max_tokens` holds it. A schema is made for one question: it cannot cite evidence that was not
shown. It knows no engine.
"""

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agents.llm.schema import longest_answer
from agents.messages import Action, Horizon, Message

type Topic = Literal["earnings", "guidance", "deal", "legal", "product", "market", "other"]
type Signal = Literal["strong_sell", "sell", "neutral", "buy", "strong_buy"]
type Pattern = Literal[
    "uptrend", "downtrend", "range", "breakout", "breakdown", "bounce", "exhaustion", "none"
]
type Valuation = Literal["cheap", "fair", "dear", "unknown"]

MOST_ITEMS = 12  # numbered lines that a prompt may show
WORDS = 48  # characters of a rationale

HALVES = [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2]
TENTHS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]

Score = Annotated[float, Meta(ge=-2, le=2, extra_json_schema={"enum": HALVES})]
Confidence = Annotated[float, Meta(ge=0, le=1, extra_json_schema={"enum": TENTHS})]
Number = Annotated[int, Meta(ge=1, le=MOST_ITEMS)]
Items = Annotated[tuple[Number, ...], Meta(min_length=1, max_length=4)]
Words = Annotated[str, Meta(pattern=rf"^[ !#-\[\]-~]{{0,{WORDS}}}$")]
Percent = Annotated[int, Meta(ge=-100, le=999)]
Level = Annotated[int, Meta(ge=0, le=50)]


class NewsAnswer(Message, frozen=True, kw_only=True):
    """The news junior's answer."""

    sentiment_score: Score
    confidence: Confidence
    topic: Topic
    items: Items
    rationale: Words


class TechnicalAnswer(Message, frozen=True, kw_only=True):
    """The technical junior's answer; levels are in percent below and above the price."""

    signal: Signal
    confidence: Confidence
    pattern: Pattern
    support_pct: Level
    resistance_pct: Level
    items: Items
    rationale: Words


class FundamentalAnswer(Message, frozen=True, kw_only=True):
    """The fundamental junior's answer: metrics as it read them, None where it found none."""

    growth_pct: Percent | None
    margin_pct: Percent | None
    earnings_yield_pct: Percent | None
    valuation: Valuation
    score: Score
    confidence: Confidence
    items: Items
    valuation_reasoning: Words


class StrategistAnswer(Message, frozen=True, kw_only=True):
    """The strategist's answer; `conviction` is the action's, `cites` may be empty."""

    action: Action
    conviction: Confidence
    horizon: Horizon
    cites: Annotated[tuple[Number, ...], Meta(max_length=3)]
    reasons: Words


@cache
def answer_schema(kind: type[Message], shown: int) -> str:
    """Return the schema of an answer to a question that showed `shown` numbered lines."""
    described = msgspec.json.schema(kind)
    schema: dict[str, Any] = described["$defs"][kind.__name__]
    schema.pop("title")
    schema.pop("description", None)
    for name in ("items", "cites"):
        if name in schema["properties"]:
            numbers = schema["properties"][name]
            numbers["items"]["maximum"] = shown
            numbers["maxItems"] = min(numbers["maxItems"], shown)
    return msgspec.json.encode(schema).decode()


@cache
def answer_tokens(schema: str) -> int:
    """Return tokens that hold the longest answer: a token is at least one character."""
    return longest_answer(msgspec.json.decode(schema))
