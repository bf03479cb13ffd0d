"""
The evidence in a case: which juniors have any, and the lines that a question to a model shows.

A junior without evidence is not asked, whatever its form; `has_evidence` decides that for all.
Each line carries the id that an opinion cites when its author names the line. Text from outside
is quoted; everything else is written here from the case's own numbers. A masked number is no
line. It knows no model and no rule of what is good or bad.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.arrays import BoolArray
from agents.features.batch import known_features
from agents.juniors.fundamental import (
    RATIOS,
    can_compare,
    newest_report,
    past_votes,
    peer_medians,
)
from agents.juniors.news import without_copies
from agents.juniors.patterns import find_patterns
from agents.juniors.technical import enough_indicators
from agents.llm.masking.mask import Mask
from agents.llm.prompts.quoting import clean, quote
from agents.messages import JUNIORS, Case, FundamentalsReport, NewsItem

DAY_NS = 86_400_000_000_000
HEADLINE_LIMIT = 200  # characters of a headline and of a body's beginning together
INDICATORS: dict[str, Callable[[float], str]] = {
    "trend": lambda v: f"trend {_way(v)}: 20-day average {v:+.1%} against the 60-day",
    "return_5": lambda v: f"{_way(v)} {v:+.1%} over a week",
    "return_20": lambda v: f"{_way(v)} {v:+.1%} over a month",
    "return_60": lambda v: f"{_way(v)} {v:+.1%} over a quarter",
    "rsi_14": lambda v: f"RSI {100 * v:.0f}{_extreme(v)}",
    "macd": lambda v: f"MACD histogram {_sign(v)}, {v:+.2%} of price",
    "bollinger_position": lambda v: f"{v:+.2f} in the Bollinger bands (-1 lower, +1 upper)",
    "drawdown": lambda v: f"{v:.1%} from the year's high",
    "relative_strength": lambda v: f"{v:+.1%} over a month against its sector",
    "volatility_20": lambda v: f"volatility {v:.0%} a year",
    "volume_ratio": lambda v: f"volume {v:.1f} times its average",
}
RATIO_WORDS = {
    "earnings_yield": "earnings yield",
    "book_yield": "book value to price",
    "profitability": "return on equity",
    "growth": "revenue growth on a year",
}


class Line(NamedTuple):
    """One line of evidence: the id that cites it, and its text."""

    evidence: str
    text: str


def has_evidence(case: Case) -> BoolArray:
    """
    Return which juniors have evidence of each instrument; shapes: (N, 3), in JUNIORS' order.

    News: an item since the last case with any visible text. Technical: as many known indicators
    as the rule-backed junior needs. Fundamental: a report that is not stale, and something to
    compare it with. Without it both the rule-backed and the model-backed junior would abstain.
    """
    heard: set[str] = set()
    for item in case.news:
        if item.symbol not in heard and _visible(_text(item)):
            heard.add(item.symbol)
    reports: defaultdict[str, list[FundamentalsReport]] = defaultdict(list)
    for report in case.fundamentals:
        reports[report.symbol].append(report)
    norms = peer_medians(case.instruments) if reports else {}
    found = np.zeros((len(case.instruments), len(JUNIORS)), dtype=bool)
    for row, state in zip(found, case.instruments, strict=True):
        mine = reports.get(state.symbol, [])
        newest = newest_report(case, mine)
        row[:] = (
            state.symbol in heard,
            enough_indicators(state),
            newest is not None and can_compare(state, norms, mine, newest),
        )
    return found


def _visible(text: str) -> bool:
    """Tell whether cleaning leaves anything of a text; a plain letter or digit always stays."""
    seen = text[:HEADLINE_LIMIT]
    return any(c.isascii() and c.isalnum() for c in seen) or bool(clean(text, HEADLINE_LIMIT))


def headline_lines(case: Case, symbol: str, shown: int, mask: Mask | None) -> list[Line]:
    """Return the newest distinct headlines since the last decision, newest first, quoted."""
    items = without_copies([item for item in case.news if item.symbol == symbol])
    items.sort(key=lambda i: (-i.ts_event, i.source, i.item_id))
    lines: list[Line] = []
    for item in items:
        text = _text(item)
        if len(lines) == shown:
            break
        if not clean(text, HEADLINE_LIMIT):
            continue  # nothing visible is no evidence
        if mask is not None:
            text = mask.text(text, symbol, case.ts_event)
        said = quote(text, HEADLINE_LIMIT)
        days = max(case.ts_event - item.ts_event, 0) // DAY_NS
        age = "today" if days == 0 else f"{days} day{'s' if days > 1 else ''} ago"
        lines.append(Line(f"news:{item.source}/{item.item_id}", f"{age}: {said}"))
    return lines


def indicator_lines(case: Case, symbol: str) -> list[Line]:
    """Return the known indicators, and the patterns that they make, in words and numbers."""
    f = _features(case, symbol)
    lines = [
        Line(f"feature:{name}", words(f[name])) for name, words in INDICATORS.items() if name in f
    ]
    patterns = find_patterns(f)
    if patterns:
        names = ", ".join(pattern.name.replace("_", " ") for pattern in patterns)
        lines.append(Line(f"pattern:{patterns[0].name}", f"pattern: {names}"))
    return lines


def figure_lines(case: Case, symbol: str) -> list[Line]:
    """Return ratios against the sector's medians, then the newest report against its past."""
    reports = [report for report in case.fundamentals if report.symbol == symbol]
    newest = newest_report(case, reports)
    if newest is None:
        return []
    f = _features(case, symbol)
    norms = peer_medians(case.instruments)
    group = next(state.group for state in case.instruments if state.symbol == symbol)
    lines = []
    for name in RATIOS:
        if name in f:
            norm = norms.get((group, name))
            peers = "" if norm is None else f", sector median {norm:.1%}"
            lines.append(Line(f"feature:{name}", f"{RATIO_WORDS[name]} {f[name]:.1%}{peers}"))
    income, revenue = newest.figures.get("net_income"), newest.figures.get("revenue")
    days = (case.ts_event - newest.ts_init) // DAY_NS
    known = f"report:{newest.ts_event}"
    if income is not None and revenue is not None and revenue > 0.0:
        lines.append(
            Line(known, f"net margin {income / revenue:.1%} ({newest.period}, {days} days old)")
        )
    lines += [Line(vote.evidence[0], vote.words) for vote in past_votes(reports, newest)]
    return lines


def _text(item: NewsItem) -> str:
    return f"{item.headline}. {item.body}" if item.body else item.headline


def _features(case: Case, symbol: str) -> dict[str, float]:
    state = next((state for state in case.instruments if state.symbol == symbol), None)
    return {} if state is None else known_features(state)


def _way(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else "flat"


def _sign(value: float) -> str:
    return "positive" if value > 0 else "negative" if value < 0 else "zero"


def _extreme(value: float) -> str:
    return " (overbought)" if value >= 0.7 else " (oversold)" if value <= 0.3 else ""
