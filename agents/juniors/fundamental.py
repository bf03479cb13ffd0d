"""
The rule-backed fundamental junior: yields, quality and growth, against peers and its own past.

Peers are the instruments of the same group in the case (of the whole case where the group has
fewer than three known values); the past is the company's own report of the same kind a year
before. Where prices are adjusted the yields are masked: quality and growth remain, at less
confidence. Per-share figures of reports are not compared, as splits may lie between them. It
abstains without a report, and when nothing can be compared. It knows no news and no trend.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import log, tanh
from statistics import median
from typing import NamedTuple

from agents.features.batch import INSTRUMENT_FEATURES
from agents.juniors.opinions import form_opinion
from agents.messages import (
    Abstention,
    Case,
    FundamentalsReport,
    InstrumentState,
    JuniorName,
    Opinion,
)
from agents.protocols import Junior

DAY_NS = 86_400_000_000_000
STALE_NS = 500 * DAY_NS  # since the period's end, as `agents.features.evidence` masks ratios
HALF_LIFE_NS = 365 * DAY_NS  # of confidence, since the newest report became known
MIN_PEERS = 3
RATIOS = ("earnings_yield", "book_yield", "profitability", "growth")
PLACES = {name: INSTRUMENT_FEATURES.index(name) for name in RATIOS}
FULL = 8  # votes of a company whose yields, quality, growth and past are all known
GAIN = 2.5  # from mean vote to score


type Periods = Mapping[int, FundamentalsReport]


class Vote(NamedTuple):
    """One comparison: `value` -1 bearish to 1 bullish, the words that say it, the evidence."""

    value: float
    words: str
    evidence: tuple[str, ...]


class RuleFundamentalJunior(Junior):
    """Ratios against peers, figures against a year before."""

    name: JuniorName = "fundamental"
    model = "rules/fundamental-1"
    # the card: rank IC at 5 sessions on the default simulated market (ops/bench/juniors.py)
    simulated_ic = 0.018  # eight seeds: -0.011 to 0.039

    def opine(self, case: Case, symbols: Sequence[str]) -> list[Opinion | Abstention]:
        """Return one answer for each symbol, in their order."""
        reports: defaultdict[str, list[FundamentalsReport]] = defaultdict(list)
        for report in case.fundamentals:
            reports[report.symbol].append(report)
        states = {state.symbol: state for state in case.instruments}
        norms = peer_medians(case.instruments)
        return [self._opine(case, s, states.get(s), reports.get(s, ()), norms) for s in symbols]

    def _opine(
        self,
        case: Case,
        symbol: str,
        state: InstrumentState | None,
        reports: Sequence[FundamentalsReport],
        norms: Mapping[tuple[str, str], float],
    ) -> Opinion | Abstention:
        newest = newest_report(case, reports)
        if state is None or newest is None:
            return self.abstain(symbol, "no report is known that is not stale")
        votes = [*peer_votes(state, norms, newest), *past_votes(reports, newest)]
        if not votes:
            return self.abstain(symbol, f"nothing to compare {_day(newest.ts_event)} with")
        total = sum(vote.value for vote in votes)
        size = sum(abs(vote.value) for vote in votes)
        mean = total / len(votes)
        agreement = abs(total) / size if size else 0.0
        fresh = 0.5 ** (max(case.ts_event - newest.ts_init, 0) / HALF_LIFE_NS)
        confidence = min(len(votes) / FULL, 1.0) * (0.2 + 0.5 * agreement) * fresh
        loudest = sorted(votes, key=lambda vote: -abs(vote.value))[:3]
        rationale = (
            f"As of {_day(newest.ts_event)}: {'; '.join(vote.words for vote in loudest)}; "
            f"mean vote {mean:+.2f} of {len(votes)}."
        )
        evidence = tuple({name: None for vote in votes for name in vote.evidence})
        return form_opinion(
            case, self.name, symbol, GAIN * mean, confidence, evidence, rationale, self.model
        )


def newest_report(case: Case, reports: Sequence[FundamentalsReport]) -> FundamentalsReport | None:
    """Return the report of the newest period that is not stale, or None."""
    fresh = [r for r in reports if case.ts_event - r.ts_event <= STALE_NS]
    return max(fresh, key=lambda r: (r.ts_event, r.period == "annual", r.ts_init), default=None)


def peer_medians(states: Sequence[InstrumentState]) -> dict[tuple[str, str], float]:
    """Return the median of each ratio by (group, ratio); groups too small take the case's."""
    norms: dict[tuple[str, str], float] = {}
    for name, place in PLACES.items():
        groups: defaultdict[str, list[float]] = defaultdict(list)
        for state in states:
            groups[state.group]
            value = state.features[place]
            if value is not None:
                groups[state.group].append(value)
        everyone = [value for values in groups.values() for value in values]
        for group, values in groups.items():
            peers = values if len(values) >= MIN_PEERS else everyone
            if len(peers) >= MIN_PEERS:
                norms[group, name] = median(peers)
    return norms


def can_compare(
    state: InstrumentState,
    norms: Mapping[tuple[str, str], float],
    reports: Sequence[FundamentalsReport],
    newest: FundamentalsReport,
) -> bool:
    """Return whether the newest report has anything to be compared with."""
    return bool(_with_peers(state, norms)) or bool(past_votes(reports, newest))


def _with_peers(
    state: InstrumentState, norms: Mapping[tuple[str, str], float]
) -> list[tuple[str, float, float]]:
    """Return the ratios that peers' medians are known for: name, value, median."""
    found = []
    for name in RATIOS:
        value, norm = state.features[PLACES[name]], norms.get((state.group, name))
        if value is None or norm is None:
            continue
        if name == "book_yield" and (value <= 0.0 or norm <= 0.0):
            continue
        found.append((name, value, norm))
    return found


def peer_votes(
    state: InstrumentState, norms: Mapping[tuple[str, str], float], newest: FundamentalsReport
) -> list[Vote]:
    """
    Return the votes of the ratios against the peers' medians.

    Source: earnings yield Basu 1977; book to market Fama and French 1992; profitability
    Novy-Marx 2013 (return on equity for gross profits). The scales are ours.
    """
    votes = []
    for name, value, norm in _with_peers(state, norms):
        if name == "earnings_yield":
            vote = tanh((value - norm) / 0.04)
        elif name == "book_yield":
            vote = 0.5 * tanh(log(value / norm))
        elif name == "profitability":
            vote = tanh((value - norm) / 0.15)
        else:
            vote = tanh((value - norm) / 0.20)
        words = f"{name} {value:.1%} against peers' {norm:.1%}"
        votes.append(Vote(vote, words, (f"feature:{name}", _cite(newest))))
    return votes


def past_votes(reports: Sequence[FundamentalsReport], newest: FundamentalsReport) -> list[Vote]:
    """
    Return the votes of the newest report's figures against those of a year before.

    Source: margin, leverage and cash after Piotroski 2000; accruals Sloan 1996; acceleration of
    revenue, ours. The scales are ours.
    """
    kind = _same_kind(reports, newest)
    before = _year_before(kind, newest)
    votes = []
    cite = _cite(newest)
    assets = newest.figures.get("assets", 0.0)
    cash, income = newest.figures.get("operating_cash_flow"), newest.figures.get("net_income")
    if cash is not None and income is not None and assets > 0.0:
        excess = (cash - income) / assets
        words = f"cash flow less income {excess:+.1%} of assets"
        votes.append(Vote(0.5 * tanh(excess / 0.05), words, (cite,)))
    if before is None:
        return votes
    both = (cite, _cite(before))
    margins = _ratio(newest, "net_income", "revenue"), _ratio(before, "net_income", "revenue")
    if margins[0] is not None and margins[1] is not None:
        words = f"net margin {margins[0]:.1%} from {margins[1]:.1%}"
        votes.append(Vote(tanh((margins[0] - margins[1]) / 0.04), words, both))
    debts = _ratio(newest, "liabilities", "assets"), _ratio(before, "liabilities", "assets")
    if debts[0] is not None and debts[1] is not None:
        words = f"liabilities {debts[0]:.0%} of assets from {debts[1]:.0%}"
        votes.append(Vote(-0.5 * tanh((debts[0] - debts[1]) / 0.10), words, both))
    older = _year_before(kind, before)
    if older is not None:
        now, then = _growth(newest, before), _growth(before, older)
        if now is not None and then is not None:
            words = f"revenue growth {now:+.1%} after {then:+.1%}"
            votes.append(Vote(tanh((now - then) / 0.15), words, (*both, _cite(older))))
    return votes


def _same_kind(reports: Sequence[FundamentalsReport], newest: FundamentalsReport) -> Periods:
    """Return the reports of the newest's kind by period end, the last filed of each."""
    filed = sorted((r for r in reports if r.period == newest.period), key=lambda r: r.ts_init)
    return {report.ts_event: report for report in filed}


def _year_before(kind: Periods, report: FundamentalsReport) -> FundamentalsReport | None:
    ends = [end for end in kind if 350 * DAY_NS <= report.ts_event - end <= 380 * DAY_NS]
    return kind[max(ends)] if ends else None


def _ratio(report: FundamentalsReport, over: str, under: str) -> float | None:
    a, b = report.figures.get(over), report.figures.get(under)
    return None if a is None or b is None or b <= 0.0 else a / b


def _growth(now: FundamentalsReport, then: FundamentalsReport) -> float | None:
    a, b = now.figures.get("revenue"), then.figures.get("revenue")
    return None if a is None or b is None or b <= 0.0 else a / b - 1.0


def _cite(report: FundamentalsReport) -> str:
    return f"report:{_day(report.ts_event)}"


@lru_cache(maxsize=4096)
def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts // 1_000_000_000, UTC).date().isoformat()
