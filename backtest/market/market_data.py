"""
The one form in which every source returns a market: point-in-time tables and static facts.

Every reader, the catalog and the simulator return a `MarketData`; the run, the trainers and the
benches take nothing else. Rows are in canonical order, so that the order of files does not
matter, and `digest` is the hash of all content. It knows no engine and no features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from agents.messages import FundamentalsReport, Instrument, MacroValue, NewsItem
from backtest.market.sessions import XNYS, sessions_per_year
from config.errors import DataError

type PriceBasis = Literal["unadjusted", "split_adjusted", "adjusted"]

# columns of `MarketData.bars`, in order; stamps are UTC nanoseconds (int64)
BAR_COLUMNS = ("symbol", "ts_open", "ts_close", "open", "high", "low", "close", "volume")
# columns of `MarketData.actions`: `ts` is the opening of the ex-date's session; `split` is new
# shares per old share (1.0: none); `dividend` is cash per share held before the opening
ACTION_COLUMNS = ("symbol", "ts", "split", "dividend")


SIMULATED = "simulated market"  # how the note of a market that was invented begins
MACRO_HISTORY_NS = 400 * 86_400_000_000_000  # slow series: the newest value before a window


@dataclass(frozen=True)
class MarketData:
    """
    A market as it became known.

    `bars` is sorted by (ts_close, symbol), `actions` by (ts, symbol), `news`, `fundamentals` and
    `macro` by (ts_init, ts_event, name). `session_closes` are the closing stamps of the
    calendar's sessions that the bars span. `step_ns` is a bar's length; 0 means one session.
    `price_basis` says what the prices are: with any but "unadjusted", features on price level
    are masked. `notes` are lines that the report must show. `calendar` is a code of
    exchange_calendars, "24x5" or "24/7". `source_digest` is the digest of the whole source,
    before dates and symbols were chosen; empty in a market that no source handed over.
    """

    name: str
    instruments: tuple[Instrument, ...]
    bars: pd.DataFrame
    actions: pd.DataFrame
    session_closes: tuple[int, ...]
    step_ns: int
    price_basis: PriceBasis
    news: tuple[NewsItem, ...] = ()
    fundamentals: tuple[FundamentalsReport, ...] = ()
    macro: tuple[MacroValue, ...] = ()
    notes: tuple[str, ...] = field(default=())
    calendar: str = XNYS
    source_digest: str = ""

    @property
    def sessions_per_year(self) -> int:
        """How many sessions the calendar has in a year: what annual figures are scaled by."""
        return sessions_per_year(self.calendar)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instruments' symbols, sorted."""
        return tuple(i.symbol for i in self.instruments)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of everything a run can see of this market; independent of `name`."""
        h = hashlib.sha256()
        facts = [self.instruments, self.step_ns, self.price_basis, self.calendar]
        h.update(msgspec.json.encode(facts))
        for table, columns in ((self.bars, BAR_COLUMNS), (self.actions, ACTION_COLUMNS)):
            for column in columns:
                values = table[column].to_numpy()
                if column == "symbol":
                    h.update("\n".join(values).encode())
                else:
                    h.update(np.ascontiguousarray(values).tobytes())
        h.update(np.asarray(self.session_closes, dtype=np.int64).tobytes())
        h.update(msgspec.json.encode([self.news, self.fundamentals, self.macro]))
        return h.hexdigest()


def canonical(market: MarketData) -> MarketData:
    """Return the same market with instruments, rows and columns in canonical order."""

    def sort[T: (NewsItem, FundamentalsReport)](items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(
            sorted(items, key=lambda x: (x.ts_init, x.ts_event, x.symbol, msgspec.json.encode(x)))
        )

    floats = dict.fromkeys(("open", "high", "low", "close", "volume"), np.float64)
    bars = market.bars[list(BAR_COLUMNS)].astype(
        {"ts_open": np.int64, "ts_close": np.int64, **floats}
    )
    actions = market.actions[list(ACTION_COLUMNS)].astype(
        {"ts": np.int64, "split": np.float64, "dividend": np.float64}
    )
    return replace(
        market,
        instruments=tuple(sorted(market.instruments, key=lambda i: i.symbol)),
        bars=bars.sort_values(["ts_close", "symbol"], kind="stable").reset_index(drop=True),
        actions=actions.sort_values(["ts", "symbol"], kind="stable").reset_index(drop=True),
        session_closes=tuple(sorted(market.session_closes)),
        news=sort(market.news),
        fundamentals=sort(market.fundamentals),
        macro=tuple(sorted(market.macro, key=lambda m: (m.ts_init, m.ts_event, m.series))),
    )


def window(
    market: MarketData, start_ns: int | None, warmup_sessions: int, end_ns: int | None = None
) -> tuple[MarketData, int]:
    """
    Return the market from `warmup_sessions` before `start_ns` on, and the first deciding stamp.

    The stamp is the first session's close at or after `start_ns`; None means as soon as half of
    the data, at most `warmup_sessions`, has warmed the features up. What became known after
    `end_ns` is left out. Reports known before the window stay, for their history. Raises
    DataError if no session is left.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    last = int(closes[-1]) if end_ns is None else end_ns
    closes = closes[closes <= last]
    first = (
        min(warmup_sessions, len(closes) // 2)
        if start_ns is None
        else int(np.searchsorted(closes, start_ns))
    )
    if first >= len(closes):
        raise DataError(f"expected a session to decide on in {market.name}, was none left")
    begin = int(closes[first - warmup_sessions]) if first > warmup_sessions else 0

    def inside(ts: int) -> bool:
        return begin < ts <= last

    bars, actions = market.bars, market.actions
    kept = replace(
        market,
        bars=bars[(bars["ts_open"] > begin) & (bars["ts_close"] <= last)].reset_index(drop=True),
        actions=actions[(actions["ts"] > begin) & (actions["ts"] <= last)].reset_index(drop=True),
        session_closes=tuple(ts for ts in market.session_closes if inside(ts)),
        news=tuple(item for item in market.news if inside(item.ts_init)),
        fundamentals=tuple(f for f in market.fundamentals if f.ts_init <= last),
        macro=tuple(m for m in market.macro if begin - MACRO_HISTORY_NS < m.ts_init <= last),
    )
    return kept, int(closes[first])
