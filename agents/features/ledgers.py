"""
Ledgers of what is known apart from prices: news scores, company reports, macro series.

Entries may come in any order and ahead of time; an item counts from its `ts_init` on, and what a
ledger returns at a stamp depends neither on the order of arrival nor on how often it was asked.
They know no prices, and an instrument only by its place.
"""

import heapq
from bisect import bisect_right, insort
from math import exp2, nan
from operator import itemgetter

import msgspec
import numpy as np

from agents.arrays import FloatArray, IntArray
from agents.messages import FundamentalsReport, MacroValue
from config.errors import DataError

DAY_NS = 86_400_000_000_000
NEWS_HALF_LIFE_NS = 3 * DAY_NS
TONE_HALF_LIFE_NS = 90 * DAY_NS
TONE_PRIOR = 20.0  # imagined items of score 0, so that a few first items are no norm
NEWS_FLOOR = 2.0**-10  # decayed count below which sentiment is masked: one item, 30 days old
REPORT_STALE_NS = 500 * DAY_NS  # since the period's end
MACRO_STALE_NS = 45 * DAY_NS  # since the value became known

FIGURES = (
    "revenue",
    "net_income",
    "equity",
    "assets",
    "liabilities",
    "shares",
    "eps",
    "operating_cash_flow",
    "current_ratio",
)
MACRO_SERIES = ("vix", "yield_short", "yield_long", "credit_spread", "commodity", "risk_free")


class NewsLedger:
    """
    Exponentially decayed sums of news scores and counts, per instrument, and the tone of all.

    The tone is the mean score of the items of all instruments that carry sentiment, each one's
    weight halving every 90 days: what news usually say, against which an item is read. Text
    about stocks is mostly hopeful; without a norm nearly every stock is bullish every day.
    """

    def __init__(self, width: int) -> None:
        self._total: FloatArray = np.zeros(width)
        self._count: FloatArray = np.zeros(width)
        self._stamp: IntArray = np.zeros(width, dtype=np.int64)
        self._tone_total = self._tone_count = 0.0
        self._tone_stamp = 0
        self._waiting: list[tuple[int, int, str, str, float]] = []
        self._any = False

    def add(self, index: int, ts_init: int, source: str, item_id: str, score: float) -> None:
        """Take one scored item; it counts from `ts_init` on."""
        heapq.heappush(self._waiting, (ts_init, index, source, item_id, score))

    def at(self, ts: int) -> tuple[FloatArray, FloatArray]:
        """Return the decayed sums of scores and of items; NaN before the very first item."""
        self._take(ts)
        if not self._any:
            unknown = np.full(len(self._total), nan)
            return unknown, unknown
        decay = np.exp2((self._stamp - ts) / NEWS_HALF_LIFE_NS)
        return self._total * decay, self._count * decay

    def tone(self, ts: int) -> float:
        """Return the mean score that news known at `ts` usually have; 0 before the first."""
        self._take(ts)
        decay = exp2((self._tone_stamp - ts) / TONE_HALF_LIFE_NS)
        return self._tone_total * decay / (self._tone_count * decay + TONE_PRIOR)

    def _take(self, ts: int) -> None:
        while self._waiting and self._waiting[0][0] <= ts:
            stamp, index, _, _, score = heapq.heappop(self._waiting)
            self._fold(index, stamp, score)

    def _fold(self, index: int, stamp: int, score: float) -> None:
        # the sums only move to an item's stamp, never to an asker's: asking changes no bit
        old, new = _steps(stamp - int(self._stamp[index]), NEWS_HALF_LIFE_NS)
        self._total[index] = self._total[index] * old + score * new
        self._count[index] = self._count[index] * old + new
        self._stamp[index] = max(stamp, int(self._stamp[index]))
        self._any = True
        if score:
            old, new = _steps(stamp - self._tone_stamp, TONE_HALF_LIFE_NS)
            self._tone_total = self._tone_total * old + score * new
            self._tone_count = self._tone_count * old + new
            self._tone_stamp = max(stamp, self._tone_stamp)


def _steps(passed: int, half_life: int) -> tuple[float, float]:
    """Return the factors of what a sum holds and of what comes in; a late item comes in faded."""
    step = passed / half_life
    return (2.0**-step, 1.0) if step >= 0 else (1.0, 2.0**step)


class ReportLedger:
    """Company reports, and the four ratios that they give, per instrument."""

    def __init__(self, width: int) -> None:
        self._periods: list[dict[tuple[str, int], dict[str, float]]] = [{} for _ in range(width)]
        self._waiting: list[tuple[int, bytes, int, int, FundamentalsReport]] = []
        self._added = 0
        self._ratios: FloatArray = np.full((4, width), nan)
        self._as_of: IntArray = np.zeros((4, width), dtype=np.int64)

    def add(self, index: int, report: FundamentalsReport) -> None:
        """
        Take one report; it counts from its `ts_init` on.

        Raises DataError for a figure that is not one of FIGURES.
        """
        for name in report.figures:
            if name not in FIGURES:
                raise DataError(f"expected a figure of {', '.join(FIGURES)}, was {name!r}")
        content = msgspec.json.encode(report, order="deterministic")
        self._added += 1
        heapq.heappush(self._waiting, (report.ts_init, content, index, self._added, report))

    def at(self, ts: int) -> FloatArray:
        """Return trailing eps, book per share, return on equity, growth; shapes: (4, N)."""
        self.fold(ts)
        return np.where(ts - self._as_of > REPORT_STALE_NS, nan, self._ratios)

    def fold(self, ts: int) -> None:
        """Take in what is known at `ts`: of one period's figures the newest known win."""
        changed = set()
        while self._waiting and self._waiting[0][0] <= ts:
            _, _, index, _, report = heapq.heappop(self._waiting)
            period = self._periods[index].setdefault((report.period, report.ts_event), {})
            period.update(report.figures)
            changed.add(index)
        for index in changed:
            self._update(index)

    def split(self, index: int, factor: float) -> None:
        """Restate all reports taken in so far in new shares; `factor` is new per old."""
        for figures in self._periods[index].values():
            if "shares" in figures:
                figures["shares"] *= factor
            if "eps" in figures:
                figures["eps"] /= factor
        self._update(index)

    def _update(self, index: int) -> None:
        ratios = company_ratios(self._periods[index])
        self._ratios[:, index] = [value for value, _ in ratios]
        self._as_of[:, index] = [as_of for _, as_of in ratios]


def company_ratios(
    periods: dict[tuple[str, int], dict[str, float]],
) -> list[tuple[float, int]]:
    """
    Return trailing eps, book per share, return on equity and growth, each with its stamp.

    A stamp is the end of the oldest period that the ratio leans on being the newest. Trailing
    is the sum of four consecutive quarters (first to last end 240 to 300 days) when they end
    after the newest annual report, else the annual figure. Balances are the newest reported.
    Growth compares the newest period with the same one 350 to 380 days earlier.
    """
    quarters = sorted(end for kind, end in periods if kind == "quarter")
    annuals = sorted(end for kind, end in periods if kind == "annual")
    last4 = quarters[-4:]
    span = (last4[-1] - last4[0]) / DAY_NS if len(last4) == 4 else 0.0
    trailing: list[tuple[str, int]] = [("annual", annuals[-1])] if annuals else []
    if 240 <= span <= 300 and (not annuals or last4[-1] > annuals[-1]):
        trailing = [("quarter", end) for end in last4]
    flow_end = trailing[-1][1] if trailing else 0

    def flow(name: str) -> float:
        values = [periods[key].get(name, nan) for key in trailing]
        return sum(values) if values else nan

    def balance(name: str) -> tuple[float, int]:
        ends = [(end, kind) for (kind, end), figures in periods.items() if name in figures]
        if not ends:
            return nan, 0
        end, kind = max(ends)
        return periods[kind, end][name], end

    equity, equity_end = balance("equity")
    shares, shares_end = balance("shares")
    income, eps, eps_end = flow("net_income"), flow("eps"), flow_end
    if eps != eps:
        eps, eps_end = _over(income, shares), min(flow_end, shares_end)
    return [
        (eps, eps_end),
        (_over(equity, shares), min(equity_end, shares_end)),
        (_over(income, equity), min(flow_end, equity_end)),
        _growth(periods),
    ]


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0.0 else nan


def _growth(periods: dict[tuple[str, int], dict[str, float]]) -> tuple[float, int]:
    pairs = []
    for (kind, end), figures in periods.items():
        for (other, before), past in periods.items():
            if other == kind and 350 <= (end - before) / DAY_NS <= 380:
                ratio = _over(figures.get("revenue", nan), past.get("revenue", nan))
                if ratio == ratio:
                    pairs.append((end, kind == "annual", before, ratio - 1.0))
    if not pairs:
        return nan, 0
    end, _, _, value = max(pairs)
    return value, end


class MacroLedger:
    """Macro series as they became known; a late revision of an old value replaces no newer one."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[int, int, float]]] = {name: [] for name in MACRO_SERIES}
        self._newest: dict[str, list[tuple[int, int, float]]] = {name: [] for name in MACRO_SERIES}

    def add(self, value: MacroValue) -> None:
        """Take one value; it counts from its `ts_init` on. Raises DataError for a new series."""
        if value.series not in MACRO_SERIES:
            raise DataError(
                f"expected a series of {', '.join(MACRO_SERIES)}, was {value.series!r}"
            )
        known, newest = self._known[value.series], self._newest[value.series]
        entry = (value.ts_init, value.ts_event, value.value)
        insort(known, entry)
        start = bisect_right(known, entry) - 1
        del newest[start:]
        for item in known[start:]:
            stale = newest and newest[-1][1] > item[1]
            newest.append(newest[-1] if stale else item)

    def value(self, series: str, ts: int) -> float:
        """Return the newest value known at `ts`, NaN if there is none or it is 45 days old."""
        newest = self._newest[series]
        place = _known_by(self._known[series], ts)
        if place == 0 or ts - newest[place - 1][0] > MACRO_STALE_NS:
            return nan
        return newest[place - 1][2]

    def last_known(self, ts: int) -> int:
        """Return when the newest value known at `ts` became known, 0 if there is none."""
        places = ((k, _known_by(k, ts)) for k in self._known.values())
        return max((known[place - 1][0] for known, place in places if place), default=0)


def _known_by(entries: list[tuple[int, int, float]], ts: int) -> int:
    """Return how many entries are known at `ts`; mostly all of them, so that is tried first."""
    if not entries or entries[-1][0] <= ts:
        return len(entries)
    return bisect_right(entries, ts, key=itemgetter(0))
