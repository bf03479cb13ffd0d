"""
Reads a question: its kind, the instruments, the day and the features that it names.

Rules over words, no model. A name that the library does not know is a finding of its own, so
that a question about one instrument is never answered with another. It knows no facts but the
symbols that exist.
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Literal

from agents.messages import Message

type Kind = Literal["technical", "signal", "market", "strategy"]
type Topic = Literal["allocator", "limits", "performance", "juniors", "supervisor", "costs"]
type Shift = Literal["before", "after", "week before", "week after", "newest", "first"]

RETURNS = ("return_1", "return_5", "return_20", "return_60")
FEATURE_WORDS: dict[str, tuple[str, ...]] = {
    r"\brsi\b|overbought|oversold": ("rsi_14",),
    r"\bmacd\b": ("macd",),
    r"\btrend|moving averages?|\bsma\b|\bema\b": ("trend", "return_60"),
    r"bollinger|\bbands?\b": ("bollinger_position",),
    r"volatil": ("volatility_20", "volatility_ratio"),
    r"\batr\b|true range": ("atr_14",),
    r"\bvolume\b": ("volume_ratio",),
    r"drawdown|\bhigh\b|\bpeak\b": ("drawdown",),
    r"\bgap\b": ("gap",),
    r"relative strength|\bpeers?\b|\blead|\blag": ("relative_strength",),
    r"\bbeta\b": ("beta_60",),
    r"momentum|\breturns?\b": RETURNS,
    r"sentiment|\bnews\b": ("sentiment", "news_intensity"),
    r"earnings|valuation|cheap|\bdear\b|expensive": ("earnings_yield", "book_yield"),
    r"profit(?!able run)|\broe\b": ("profitability",),
    r"growth|revenue": ("growth",),
}
OVERVIEW = ("trend", "rsi_14", "macd", "return_20", "volatility_20", "drawdown")
TECHNICAL = r"technical|indicators?|\bprice\b|\bchart|\blevels?\b|\bclose\b"
SIGNAL = (
    r"\bbuy|\bsell|\bhold\b|\bshort\b|\blong\b|signal|juniors?\b|opinion|recommend|conviction"
    r"|propos|strategist|should (i|we)|\bbullish|\bbearish|what do you think|weights?\b|position"
)
MARKET = (
    r"\bmarkets?\b|regime|breadth|\bindex\b|\bvix\b|movers?|correlation|macro|\byields?\b"
    r"|interest rates?|\bstocks\b"
)
TOPICS: dict[Topic, str] = {
    "allocator": r"allocat|budget|place capital|portfolio built|diversif",
    "limits": r"\blimits?\b|\bgate\b|\brisk (rule|manage|limit|gate)|stop.?loss"
    r"|max(imum)? position",
    "performance": r"perform|\bsharpe|\bp&l\b|profitable|make money|\bhow did (it|the run|we) do"
    r"|win rate|hit rate|\bearned\b|\bequity\b|results?\b",
    "supervisor": r"supervisor|\broutes?\b|routing|\bucb\b|bandit",
    "juniors": r"track record|how good are the juniors|which juniors?",
    "costs": r"\bcosts?\b|commission|slippage|latency|\bhorizon\b|how often",
}
STRATEGY = r"strateg(y|ies)\b|how does (it|the system) work"
FUTURE = (
    r"\btomorrow|\bnext (week|month|year|quarter)\b|\bpredict|forecast|price target|\bwill\b"
    r"|going to\b|in the future|\bby (the end of )?20\d\d\b"
)
WHY = r"\bwhy\b|\bexplain\b|reasons?\b|tell me more|how come"
SHIFTS: dict[Shift, str] = {
    "week before": r"(a |the |one )?week (before|earlier|ago)|last week|previous week",
    "week after": r"(a |the |one )?week (after|later)",
    "before": r"(day|session|decision) before|yesterday|previous (day|session|decision)"
    r"|before that",
    "after": r"(day|session|decision) after|next (day|session|decision)|after that",
    "newest": r"\bnow\b|\btoday\b|latest|newest|most recent|current",
    "first": r"\bfirst (day|session|decision)\b|at the start|oldest",
}
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
ISO_DAY = r"\b(\d{4}-\d{1,2}-\d{1,2})\b"
NTH = r"(\d{1,2})(?:st|nd|rd|th)?"
LONG_DAY = rf"\b(?:{NTH}(?: of)? )?({MONTHS})[a-z]*\.? (?:{NTH},? )?(\d{{4}})\b"
# Capitals that are no instrument, and words that follow "buy", "about" or "and" and are none.
_CAPITALS = """
I A US USD EUR RSI MACD ATR VIX SMA EMA UCB VAR BUY SELL HOLD ETF CEO CFO OK FX CFD ROE EPS PE
P&L PNL AND OR NOT WHY WHAT HOW THE IS IT UTC AI LLM Q1 Q2 Q3 Q4 YTD ID IDS MA HRP BL
"""
_WORDS = """
the it its this that these those them they me my mine you your our we us i a an and or all any
each every some more less market markets day days week month year quarter session sessions now
then today yesterday tomorrow trend rsi macd volatility volume risk capital news juniors junior
opinion opinions decision decisions signal signals index regime breadth limits limit gate
allocator allocation budgets budget supervisor route routes strategy strategies performance run
runs costs cost weights weight position positions momentum returns return sentiment
fundamentals fundamental technical technicals price prices stocks stock shares portfolio what
why how when which who one before after next previous last latest newest first same other
evidence confidence conviction reward rewards outcome outcomes orders order fills stop losses
equity sharpe drawdown beta gap bands high macro yields rates is was are were did do does if
hold holding buy sell short long earnings growth profit monday tuesday wednesday thursday
friday january february march april may june july august september october november december
jan feb mar apr jun jul aug sep oct nov dec indicators levels features feature in at to not
here there work works so far explain tell show give compare say think did made make general total
"""
CAPITALS = frozenset(_CAPITALS.split())
COMMON = frozenset(_WORDS.split())
# What stands where an instrument would: after "buy" or "of" anywhere, after "and" at the end.
NAMING = (
    r"\b(?:buy|sell|short|own|about|of)\s+(?:shares (?:of|in)\s+)?\$?([A-Za-z][\w.&/-]*)",
    r"\b(?:and|for|on|in)\s+\$?([A-Za-z][\w.&/-]*)\s*[?.!]*$",
)


class Question(Message, frozen=True, kw_only=True):
    """
    What was understood of a question.

    `symbols` are known ones in order, `unknown` are names that look like instruments and are
    not known. `day` is a named day (YYYY-MM-DD), `bad_day` a day that does not exist, `shift` a
    day relative to the one in focus.
    """

    kind: Kind | None
    symbols: tuple[str, ...]
    unknown: tuple[str, ...]
    day: str
    bad_day: str
    shift: Shift | None
    features: tuple[str, ...]
    topics: tuple[Topic, ...]
    why: bool
    future: bool


def understand(text: str, known: Collection[str]) -> Question:
    """Return what a question asks, in a library that knows these symbols."""
    low = text.lower()
    symbols, unknown = names(text, known)
    day, bad_day = named_day(low)
    features = tuple(
        dict.fromkeys(
            f for words, fs in FEATURE_WORDS.items() if re.search(words, low) for f in fs
        )
    )
    topics = tuple(topic for topic, words in TOPICS.items() if re.search(words, low))
    return Question(
        kind=_kind(low, symbols, features, topics),
        symbols=symbols,
        unknown=unknown,
        day=day,
        bad_day=bad_day,
        shift=next((s for s, words in SHIFTS.items() if re.search(words, low)), None),
        features=features or _implied(low, topics),
        topics=topics,
        why=re.search(WHY, low) is not None,
        future=re.search(FUTURE, low) is not None,
    )


def _kind(
    low: str, symbols: tuple[str, ...], features: tuple[str, ...], topics: tuple[Topic, ...]
) -> Kind | None:
    """Return the kind of a question, None for one that only goes on with the last."""
    if topics and not symbols:
        return "strategy"
    if topics and not features:  # of one instrument: its returns, or what was decided on it
        return "technical" if topics == ("performance",) else "signal"
    if re.search(MARKET, low) and not symbols:
        return "market"
    if re.search(SIGNAL, low):
        return "signal"
    if features or re.search(TECHNICAL, low):
        return "technical"
    if re.search(MARKET, low):
        return "market"
    return "strategy" if re.search(STRATEGY, low) else None


def _implied(low: str, topics: tuple[Topic, ...]) -> tuple[str, ...]:
    """Return the features that a question means without naming one."""
    if re.search(TECHNICAL, low):
        return OVERVIEW
    return RETURNS if topics == ("performance",) else ()


def names(text: str, known: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the known symbols of a text and the names in it that look like others."""
    upper = {symbol.upper(): symbol for symbol in known}
    found: list[str] = []
    strange: list[str] = []
    named = {m[1] for shape in NAMING for m in re.finditer(shape, text, flags=re.IGNORECASE)}
    for token in re.findall(r"\$?[A-Za-z][\w.&/-]*", text):
        word = token.strip("$.,/-&").removesuffix("'s")
        if word in known or (word.upper() in upper and word.lower() not in COMMON):
            found.append(upper[word.upper()])
        elif word.lower() in COMMON or word.upper() in CAPITALS:
            continue
        elif (
            token.startswith("$") or re.fullmatch(r"[A-Z][A-Z0-9./-]{1,9}", word) or word in named
        ):
            strange.append(word)
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(strange))


def named_day(low: str) -> tuple[str, str]:
    """Return the day that a text names as YYYY-MM-DD, and the words of one that is none."""
    if match := re.search(ISO_DAY, low):
        return _day("-".join(f"{int(p):02d}" for p in match[1].split("-")), match[1])
    if match := re.search(LONG_DAY, low):
        number = match[1] or match[3]
        if number:
            month = MONTHS.split("|").index(match[2]) + 1
            return _day(f"{match[4]}-{month:02d}-{int(number):02d}", match[0])
    if match := re.search(r"\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b", low):
        return "", match[0]
    return "", ""


def _day(iso: str, words: str) -> tuple[str, str]:
    try:
        datetime.strptime(iso, "%Y-%m-%d")  # noqa: DTZ007 - a calendar day, not an instant
    except ValueError:
        return "", words
    return iso, ""
