"""
The engine of the features: takes events as they happen and returns what is known at a stamp.

It holds the windows that the indicators read and the ledgers that the rest reads, and restates
history in today's shares when a split comes. It reads no clock: every stamp is given, and none
may go back. What each feature is stands in `indicators`, `evidence` and `regime`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray, Panel
from agents.features.evidence import (
    EVIDENCE_FEATURES,
    MACRO_VALUE_FEATURES,
    SEASON_FEATURES,
    Evidence,
)
from agents.features.indicators import (
    BREADTH_FEATURES,
    HIGH_SESSIONS,
    INDEX_FEATURES,
    PRICE_FEATURES,
    Prices,
    Ring,
)
from agents.features.ledgers import MacroLedger, NewsLedger, ReportLedger
from agents.features.regime import VOLATILITY_SESSIONS, regime_estimate, regime_score
from agents.messages import (
    FundamentalsReport,
    Instrument,
    InstrumentState,
    MacroState,
    MacroValue,
    NewsItem,
    Regime,
)
from config.errors import ConfigError, DataError

PRICE_BASES = ("unadjusted", "split_adjusted", "adjusted")


@dataclass(frozen=True)
class FeatureSnapshot:
    """
    What is known at `ts`, NaN where masked.

    Shapes: instrument (N, 22), macro (18,), price, last_ts, sessions (N,). `price` is the last
    close as quoted that day (NaN before the first), `last_ts` its bar's stamp (0 before the
    first), `sessions` the number of bars so far; `macro_ts` is when the newest session or macro
    value became known. `news_tone` is the score that news usually have (`NewsLedger.tone`).
    """

    ts: int
    instrument: FloatArray
    macro: FloatArray
    regime: Regime
    price: FloatArray
    last_ts: NDArray[np.int64]
    sessions: NDArray[np.int64]
    macro_ts: int
    news_tone: float

    def to_states(
        self, instruments: Sequence[Instrument], weights: FloatArray | None = None
    ) -> tuple[tuple[InstrumentState, ...], MacroState]:
        """
        Return the snapshot as messages; instruments that never had a bar are left out.

        Shapes: instruments are the engine's; weights (N,), by default 0.
        """
        held = np.zeros(len(instruments)) if weights is None else weights
        states = tuple(
            InstrumentState(
                symbol=instrument.symbol,
                group=instrument.group,
                ts_event=int(self.last_ts[i]),
                ts_init=int(self.last_ts[i]),
                price=float(self.price[i]),
                features=_masked(self.instrument[i]),
                weight=float(held[i]),
                shortable=instrument.shortable,
            )
            for i, instrument in enumerate(instruments)
            if self.sessions[i] > 0
        )
        macro = MacroState(
            ts_event=self.macro_ts,
            ts_init=self.macro_ts,
            features=_masked(self.macro),
            regime=self.regime,
            news_tone=self.news_tone,
        )
        return states, macro


def _masked(row: FloatArray) -> tuple[float | None, ...]:
    return tuple(x if x == x else None for x in row.tolist())


class _Session(Prices):
    """The windows of one session and the features that come from them alone."""

    @cached_property
    def instrument(self) -> FloatArray:
        """The price features; shapes: (16, N)."""
        rows = np.empty((len(PRICE_FEATURES), len(self.groups)))
        for row, feature in zip(rows, PRICE_FEATURES, strict=True):
            row[:] = feature(self)
        return rows

    @cached_property
    def macro(self) -> tuple[list[float], list[float]]:
        """The index's five features and the three of breadth."""
        return [f(self) for f in INDEX_FEATURES], [f(self) for f in BREADTH_FEATURES]

    @cached_property
    def regime(self) -> tuple[Regime, float]:
        """The causal regime estimate."""
        return regime_estimate(self.simple.tail(VOLATILITY_SESSIONS)[:, -1])


class FeatureEngine:
    """
    All features of a universe, kept up to date event by event.

    Give it each session's actions, then the session's bars, and news, reports and macro values
    at any time, early ones too: they count from their `ts_init` on. `score` turns a text into a
    sentiment, -2..2. With a `price_basis` other than "unadjusted" the yields are masked, and
    what the prices already hold is ignored: splits with "split_adjusted", dividends too with
    "adjusted".

    Raises ConfigError unless instruments are sorted by symbol, each once, and the basis known.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        price_basis: str,
        score: Callable[[str], float],
        panel_sessions: int = 504,
    ) -> None:
        symbols = tuple(i.symbol for i in instruments)
        if not symbols or list(symbols) != sorted(set(symbols)):
            raise ConfigError(f"expected instruments sorted by symbol, each once, was {symbols}")
        if price_basis not in PRICE_BASES:
            raise ConfigError(f"expected a price basis of {PRICE_BASES}, was {price_basis!r}")
        self.symbols = symbols
        self.panel_sessions = panel_sessions
        self._basis = price_basis
        self._score = score
        self._index = {symbol: i for i, symbol in enumerate(symbols)}
        groups = sorted({i.group for i in instruments})
        self._groups = np.array([groups.index(i.group) for i in instruments], dtype=np.intp)
        n = len(symbols)
        self._bars = (
            Ring(1, n),
            Ring(14, n),
            Ring(14, n),
            Ring(HIGH_SESSIONS, n + 1),
            Ring(21, n),
        )
        self._simple = Ring(max(panel_sessions, VOLATILITY_SESSIONS), n + 1)
        self._log = Ring(60, n + 1)
        self._held = np.zeros(n + 1, dtype=np.int64)  # closes in the high's window
        self._level = 1.0  # of the index
        self._split: FloatArray = np.ones(n)
        self._dividend: FloatArray = np.zeros(n)
        self._closes: deque[int] = deque([0] * 21, maxlen=21)
        self._price: FloatArray = np.full(n, np.nan)
        self._last_ts = np.zeros(n, dtype=np.int64)
        self._count = np.zeros(n, dtype=np.int64)
        self._rows = 0
        self._asked = 0
        self._news = NewsLedger(n)
        self._reports = ReportLedger(n)
        self._macro = MacroLedger()
        self._session = self._windows()

    def on_action(self, symbol: str, split: float, dividend: float) -> None:
        """
        Take a corporate action of the next session, before that session's bars.

        `split` is new shares per old share, `dividend` cash per share held before. Raises
        DataError for an unknown symbol, a split that is not positive or a negative dividend.
        """
        i = self._place(symbol)
        if not (0.0 < split < np.inf and 0.0 <= dividend < np.inf):
            raise DataError(
                f"expected split > 0 and dividend >= 0 for {symbol}, was {split} and {dividend}"
            )
        if self._basis == "unadjusted":
            self._split[i] *= split
        if self._basis != "adjusted":
            self._dividend[i] += dividend

    def on_session(
        self,
        ts_close: int,
        open: FloatArray,
        high: FloatArray,
        low: FloatArray,
        close: FloatArray,
        volume: FloatArray,
    ) -> None:
        """
        Take one session's bars, prices as quoted that day; NaN where there was no bar.

        Shapes: all (N,). Raises DataError for a wrong shape, a stamp not after the last session
        and last snapshot's, or a price that is not positive.
        """
        n = len(self.symbols)
        bars = (open, high, low, close, volume)
        if any(row.shape != (n,) for row in bars):
            raise DataError(f"expected bars of shape ({n},), was {[row.shape for row in bars]}")
        if ts_close <= self._closes[-1] or ts_close < self._asked:
            last = max(self._closes[-1], self._asked)
            raise DataError(f"expected a session after {last}, was one at {ts_close}")
        quoted = np.concatenate(bars[:-1])
        bad = np.flatnonzero((quoted <= 0.0) | (quoted == np.inf))
        if len(bad):
            symbol = self.symbols[int(bad[0]) % n]
            raise DataError(f"expected positive prices, was {quoted[bad[0]]} for {symbol}")
        self._restate(ts_close)
        before = self._bars[3].tail(1)[0, :-1]
        simple = np.empty(n + 1)
        simple[:-1] = (close + self._dividend) / before - 1.0
        simple[-1] = _mean_known(simple[:-1])
        level = np.nan
        traded = close == close
        if not self._rows and traded.any():
            level = self._level
        elif simple[-1] == simple[-1]:
            self._level *= 1.0 + float(simple[-1])
            level = self._level
        closes = np.empty(n + 1)
        closes[:-1], closes[-1] = close, level
        self._held += closes == closes
        dropped = self._bars[3].tail(HIGH_SESSIONS)[0]
        self._held -= dropped == dropped
        for ring, row in zip(self._bars, (open, high, low, closes, volume), strict=True):
            ring.append(row)
        self._simple.append(simple)
        self._log.append(np.log1p(simple))
        self._dividend[:] = 0.0
        self._closes.append(ts_close)
        self._rows += 1
        self._count += traded
        np.copyto(self._price, close, where=traded)
        np.copyto(self._last_ts, ts_close, where=traded)
        self._session = self._windows()

    def on_news(self, item: NewsItem) -> None:
        """Score one item; raises DataError for an unknown symbol or a score beyond -2..2."""
        i = self._place(item.symbol)
        value = self._score(item.text)
        if not -2.0 <= value <= 2.0:
            raise DataError(f"expected a score of -2..2 for {item.item_id}, was {value}")
        self._news.add(i, item.ts_init, item.source, item.item_id, value)

    def on_fundamentals(self, report: FundamentalsReport) -> None:
        """Take one report; raises DataError for an unknown symbol or figure."""
        self._reports.add(self._place(report.symbol), report)

    def on_macro(self, value: MacroValue) -> None:
        """Take one macro value; raises DataError for an unknown series."""
        self._macro.add(value)

    def snapshot(self, ts: int) -> FeatureSnapshot:
        """
        Return all features as known at `ts`.

        Raises DataError if `ts` is before the newest session or an earlier snapshot.
        """
        if ts < max(self._asked, self._closes[-1]):
            raise DataError(
                f"expected a stamp from {max(self._asked, self._closes[-1])} on, was {ts}"
            )
        self._asked = ts
        prices = self._session
        total, count = self._news.at(ts)
        quoted = self._basis == "unadjusted"
        with np.errstate(divide="ignore", invalid="ignore"):
            evidence = Evidence(
                ts=ts,
                news_total=total,
                news_count=count,
                ratios=self._reports.at(ts),
                close=prices.last if quoted else np.full(len(self.symbols), np.nan),
                macro=self._macro,
                session_closes=self._closes,
            )
            known = len(PRICE_FEATURES)
            rows = np.empty((known + len(EVIDENCE_FEATURES), len(self.symbols)))
            rows[:known] = prices.instrument
            for row, feature in zip(rows[known:], EVIDENCE_FEATURES, strict=True):
                row[:] = feature(evidence)
            index, breadth = prices.macro
            macro = np.array(
                [
                    *index,
                    *(f(evidence) for f in MACRO_VALUE_FEATURES),
                    *breadth,
                    *(f(evidence) for f in SEASON_FEATURES),
                    regime_score(prices.regime),
                ]
            )
        for values in (rows, macro):
            values[~np.isfinite(values)] = np.nan
        return FeatureSnapshot(
            ts=ts,
            instrument=np.ascontiguousarray(rows.T),
            macro=macro,
            regime=prices.regime[0],
            price=self._price.copy(),
            last_ts=self._last_ts.copy(),
            sessions=self._count.copy(),
            macro_ts=max(self._closes[-1], self._macro.last_known(ts)),
            news_tone=self._news.tone(ts),
        )

    def panel(self, symbols: Sequence[str] | None = None) -> Panel:
        """
        Return the simple total returns of the sessions so far, the first session left out.

        Shapes: returns (T, N), T at most `panel_sessions`, NaN where not traded in both
        sessions; columns follow `symbols`, by default all.
        """
        rows = min(max(self._rows - 1, 0), self.panel_sessions)
        chosen = self.symbols if symbols is None else tuple(symbols)
        columns = [self._place(symbol) for symbol in chosen]
        return Panel(symbols=chosen, returns=self._simple.tail(rows)[:, columns])

    def _place(self, symbol: str) -> int:
        try:
            return self._index[symbol]
        except KeyError:
            raise DataError(f"expected a symbol of the universe, was {symbol!r}") from None

    def _restate(self, ts_close: int) -> None:
        """Put history before a split, and reports known by the session's close, in new shares."""
        for i in np.flatnonzero(self._split != 1.0).tolist():
            factor = float(self._split[i])
            for ring in self._bars[:-1]:
                ring.scale(i, 1.0 / factor)
            self._bars[-1].scale(i, factor)
            self._reports.fold(ts_close - 1)
            self._reports.split(i, factor)
            # cash per old share, on the closes per new share
            self._dividend[i] /= factor
        self._split[:] = 1.0

    def _windows(self) -> _Session:
        return _Session(self._bars, self._simple, self._log, self._held, self._groups)


def _mean_known(values: FloatArray) -> float:
    known = values[values == values]
    return float(np.add.reduce(known) / len(known)) if len(known) else np.nan
