"""
A market as the twin needs it: everything that the venue and the gate see of it, as arrays.

A session's bars are slots, the union of the instruments' openings; each slot has an opening event
(quotes) and a closing event (bars, and the quotes that keep exchange rates). Prices are engine
prices, as `backtest.engine.feed` hands them to the venue, returns those of the desk's own feature
engine. Nothing here depends on what a book does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.features.feature_engine import FeatureEngine
from agents.gate.rules import mean_volume, recent_volatility
from agents.messages import Instrument
from backtest.market.market_data import MarketData
from backtest.market.rules import (
    LEAVING_SIZE,
    EngineBars,
    dividends_paid,
    engine_bars,
    engine_volume,
    expiry,
    fee_fracs,
    final_prices,
    funded,
    quote_around,
    rate_source,
    rates_known,
    risk_free_rates,
    sized,
    split_factors,
)
from backtest.market.sessions import stamp_text
from config.errors import DataError
from config.settings import Settings
from learning.twin.risk_arrays import RiskArrays, make_risk_arrays
from learning.twin.venue import fixed

NEVER = np.iinfo(np.int64).max
PER_SESSION = (
    *("ts_close", "ts_accrue", "ts_bar", "ts_end", "bid", "ask", "size", "tick", "close"),
    *("last_close", "age", "dividends", "risk_free", "risk_free_close"),
    *("ts_expires", "volatility", "volume"),
)
STAMPS = ("ts_bar", "ts_end")  # of a slot, NEVER for none
# of a slot, NaN for none
PRICES = ("bid", "ask", "size", "tick", "close", "close_bid", "close_ask")


@dataclass(frozen=True)
class SessionArrays:
    """What `MarketArrays` holds of sessions alone; of one market without the axis of markets."""

    ts_close: IntArray
    ts_accrue: IntArray
    ts_bar: IntArray
    ts_end: IntArray
    bid: FloatArray
    ask: FloatArray
    size: FloatArray
    tick: FloatArray
    close: FloatArray
    close_bid: FloatArray
    close_ask: FloatArray
    dividends: FloatArray
    risk_free: FloatArray
    risk_free_close: FloatArray
    returns: FloatArray
    volatility: FloatArray
    volume: FloatArray
    ts_expires: IntArray

    def padded(self, slots: int) -> Self:
        """Return the arrays with so many slots in every session."""
        wide = ((0, 0), (0, slots - self.ts_bar.shape[1]))
        stamps = {n: np.pad(getattr(self, n), wide, constant_values=NEVER) for n in STAMPS}
        prices = {
            n: np.pad(getattr(self, n), (*wide, (0, 0)), constant_values=np.nan) for n in PRICES
        }
        return replace(self, **stamps, **prices)


@dataclass(frozen=True)
class MarketArrays(SessionArrays):
    """
    M markets of T sessions of at most K bar slots, N instruments sorted by symbol.

    Shapes: ts_close, ts_accrue (M, T): the closing stamp and the session's first price event
    (NEVER where it has none); risk_free, risk_free_close (M, T) the risk-free rate known at that
    event and at the close, percent a year: what cash earns until the next such event; ts_bar,
    ts_end (M, T, K): when a slot opens and closes, NEVER padded; bid, ask, size, tick, close
    (M, T, K, N): the opening's quote and the bar's close, NaN where there is none; close_bid,
    close_ask (M, T, K, N) the same of the closing quote that an instrument of another currency
    gets; session_close (M, T, N) the session's last close, NaN where none; last_close, age
    (M, T, N) the newest close and the sessions since in which others traded; dividends (M, T, N)
    cash per engine unit; returns, volatility (M, T, N) of a session, as stops know it; volume
    (M, T, N) the mean daily volume in units of quantity, infinite where it says nothing of size;
    ts_expires (M, T) until when a decision of the session's close may be acted on; lot, fee_frac
    (N,); funded, shortable, group (N,). `rate_sources[i]` says which pair turns the quote currency
    of `i` into the account's, and whether inverted.
    """

    instruments: tuple[Instrument, ...]
    session_close: FloatArray
    last_close: FloatArray
    age: IntArray
    lot: FloatArray
    fee_frac: FloatArray
    funded: BoolArray
    shortable: BoolArray
    group: IntArray
    rate_sources: tuple[tuple[int, bool] | None, ...]
    sessions_per_year: int
    risk: RiskArrays

    @property
    def markets(self) -> int:
        """How many markets."""
        return len(self.ts_close)

    @property
    def sessions(self) -> int:
        """How many sessions each market has."""
        return int(self.ts_close.shape[1])


def by_session(market_arrays: MarketArrays) -> dict[str, NDArray[Any]]:
    """Return the arrays of sessions by name, a row a session: (M, T, ...) -> (M * T, ...)."""
    return {
        name: np.ascontiguousarray(values).reshape(-1, *values.shape[2:])
        for name in PER_SESSION
        for values in [getattr(market_arrays, name)]
    }


def make_market_arrays(markets: Sequence[MarketData], settings: Settings) -> MarketArrays:
    """
    Return the arrays of markets that share instruments and the number of sessions.

    Raises DataError where they do not, where there are fewer than two sessions, or where a bar
    reaches beyond its session or the opening after it.
    """
    _check_alike(markets)
    first = markets[0]
    each = [_one_market(market, settings) for market in markets]
    slots = max(one.ts_bar.shape[1] for one in each)
    each = [one.padded(slots) for one in each]
    stacked = {f.name: np.stack([getattr(o, f.name) for o in each]) for f in fields(SessionArrays)}
    session_close = stacked["close"][:, :, 0]
    for k in range(1, slots):
        close = stacked["close"][:, :, k]
        session_close = np.where(np.isfinite(close), close, session_close)
    last_close, age = _newest(session_close)
    groups = sorted({i.group for i in first.instruments})
    shortable = np.array([i.shortable for i in first.instruments], dtype=bool)
    group = np.array([groups.index(i.group) for i in first.instruments], dtype=np.int64)
    currency = settings.market.currency
    return MarketArrays(
        instruments=first.instruments,
        **stacked,
        session_close=session_close,
        last_close=last_close,
        age=age,
        lot=np.array([i.lot_size for i in first.instruments]),
        fee_frac=fee_fracs(first, settings.market),
        funded=funded(first),
        shortable=shortable,
        group=group,
        rate_sources=tuple(rate_source(first, i.currency, currency) for i in first.instruments),
        sessions_per_year=first.sessions_per_year,
        risk=make_risk_arrays(
            stacked["returns"], settings.desk.panel_sessions, settings.limits.min_history
        ),
    )


def _check_alike(markets: Sequence[MarketData]) -> None:
    if not markets:
        raise DataError("expected at least one market, was none")
    first = markets[0]
    for market in markets:
        if market.instruments != first.instruments:
            raise DataError(
                f"expected {market.name} to have the instruments of {first.name}, had others"
            )
        if len(market.session_closes) != len(first.session_closes):
            raise DataError(
                f"expected {market.name} to have the {len(first.session_closes)} sessions of "
                f"{first.name}, was {len(market.session_closes)}"
            )
    if len(first.session_closes) < 2:
        raise DataError(f"expected at least 2 sessions, was {len(first.session_closes)}")


def _one_market(market: MarketData, settings: Settings) -> SessionArrays:
    closes = np.asarray(market.session_closes, dtype=np.int64)
    openings, row = np.unique(market.bars["ts_open"].to_numpy(np.int64), return_index=True)
    session = np.searchsorted(closes, market.bars["ts_close"].to_numpy(np.int64)[row])
    if session.max(initial=0) >= len(closes):
        raise DataError(f"expected {market.name} to have no bar after its last session, had one")
    slot = np.arange(len(openings)) - np.searchsorted(session, session)
    t, k, n = len(closes), int(slot.max(initial=0)) + 1, len(market.instruments)
    bars_of = _engine_bars(market, settings)
    returns = _returns(market, bars_of)
    expires = expiry(market.session_closes, settings)
    one = SessionArrays(
        ts_close=closes,
        ts_accrue=np.full(t, NEVER),
        ts_bar=np.full((t, k), NEVER),
        ts_end=np.full((t, k), -1),
        **{name: np.full((t, k, n), np.nan) for name in PRICES},
        dividends=np.zeros((t, n)),
        risk_free=np.zeros(t),
        risk_free_close=np.zeros(t),
        returns=returns,
        volatility=_volatility(returns, settings.desk.panel_sessions),
        volume=_mean_volumes(market, bars_of),
        ts_expires=np.array([expires(ts) for ts in market.session_closes], dtype=np.int64),
    )
    one.ts_bar[session, slot] = openings
    for i, bars in bars_of.items():
        place = np.searchsorted(openings, bars.ts_open)
        at = session[place], slot[place]
        _write_prices(one, (*at, i), market.instruments[i], bars, settings)
        np.maximum.at(one.ts_end, at, bars.ts_close)
        np.minimum.at(one.ts_accrue, at[0], np.where(bars.traded, bars.ts_open, bars.ts_close))
    for ts, i, price in final_prices(market, settings.market):
        opens = int(np.searchsorted(openings, ts))
        leaves = int(session[opens]), int(slot[opens]), i
        one.bid[leaves] = one.ask[leaves] = price
        one.size[leaves] = LEAVING_SIZE
        one.tick[leaves] = 10.0 ** -market.instruments[i].engine_precision
        accrues = int(session[opens])
        one.ts_accrue[accrues] = min(int(one.ts_accrue[accrues]), ts)
    one.ts_end[one.ts_end < 0] = NEVER
    _check_order(market, one)
    _write_cash(market, one, settings.market.currency)
    return one


def _write_prices(
    one: SessionArrays,
    at: tuple[IntArray, IntArray, int],
    instrument: Instrument,
    bars: EngineBars,
    settings: Settings,
) -> None:
    """Write an instrument's quotes and closes, as the venue's fixed-point numbers give them."""
    scale = 10.0**instrument.engine_precision
    quoted = np.where(bars.traded, 1.0, np.nan)

    def on_grid(price: FloatArray) -> FloatArray:
        return fixed(np.rint(price * scale), scale)

    bid, ask = quote_around(bars.open, instrument, settings.market)
    one.bid[at], one.ask[at] = on_grid(bid) * quoted, on_grid(ask) * quoted
    one.size[at], one.tick[at] = bars.size * quoted, bars.tick * quoted
    one.close[at] = on_grid(bars.close)
    if instrument.currency != settings.market.currency:
        bid, ask = quote_around(bars.close, instrument, settings.market)
        one.close_bid[at], one.close_ask[at] = on_grid(bid) * quoted, on_grid(ask) * quoted


def _check_order(market: MarketData, one: SessionArrays) -> None:
    """Raise DataError unless openings and closings of bars and sessions follow each other."""
    live = one.ts_bar != NEVER
    opens, ends = one.ts_bar[live], one.ts_end[live]
    before = np.repeat(np.append(-1, one.ts_close[:-1]), live.sum(axis=1))
    after = np.repeat(one.ts_close, live.sum(axis=1))
    late = (opens <= before) | (ends <= opens) | (ends > after)
    late[:-1] |= ends[:-1] >= opens[1:]
    if late.any():
        raise DataError(
            f"expected each bar of {market.name} to lie in a session and to close before the next "
            f"opens, was one at {stamp_text(int(opens[late][0]))}"
        )


def _write_cash(market: MarketData, one: SessionArrays, currency: str) -> None:
    """Write the dividends that each session's first event meets, and the risk-free rates."""
    active = np.flatnonzero(one.ts_accrue != NEVER)
    for ts, i, cash in dividends_paid(market):
        due = np.searchsorted(one.ts_close, ts)  # its session, or the next one with an event
        session = active[active >= due][:1]
        one.dividends[session, i] += cash
    rates = risk_free_rates(market, currency)
    one.risk_free[:] = rates_known(rates, np.minimum(one.ts_accrue, one.ts_close))
    one.risk_free_close[:] = rates_known(rates, one.ts_close)


def _returns(market: MarketData, bars_of: Mapping[int, EngineBars]) -> FloatArray:
    """Return the feature engine's total returns (T, N), a row a session, as the desk feeds it."""
    closes = _session_closes(market, bars_of)
    engine = FeatureEngine(
        market.instruments, price_basis=market.price_basis, score=lambda _: 0.0, panel_sessions=1
    )
    actions = list(
        zip(
            *(market.actions[c].tolist() for c in ("ts", "symbol", "split", "dividend")),
            strict=True,
        )
    )
    place = {symbol: i for i, symbol in enumerate(market.symbols)}
    scale = np.array([10.0**i.printed_precision for i in market.instruments])
    factor = np.ones(len(scale))
    returns = np.full(closes.shape, np.nan)
    for t, ts in enumerate(market.session_closes):
        while actions and actions[0][0] <= ts:
            _, symbol, split, dividend = actions.pop(0)
            factor[place[symbol]] *= split
            engine.on_action(symbol, split, dividend)
        close = np.rint(closes[t] / factor * scale) / scale
        engine.on_session(ts, close, close, close, close, np.zeros(len(close)))
        if t:
            returns[t] = engine.panel().returns[-1]
    return returns


def _volatility(returns: FloatArray, window: int) -> FloatArray:
    """Return each session's volatility as stops know it, of returns (T, N), a row a session."""
    rows = [
        recent_volatility(returns[max(1, t + 1 - window) : t + 1]) for t in range(len(returns))
    ]
    return np.array(rows)


def _mean_volumes(market: MarketData, bars_of: Mapping[int, EngineBars]) -> FloatArray:
    """Return the mean daily volumes (T, N) in units of quantity, as the desk counts them."""
    closes = market.session_closes
    volumes = np.full((len(closes), len(market.instruments)), np.nan)
    known = sized(market)
    for i in np.flatnonzero(known).tolist():
        if i in bars_of:
            bars = bars_of[i]
            at, place = np.unique(np.searchsorted(closes, bars.ts_close), return_inverse=True)
            weights = engine_volume(market.instruments[i], bars.volume)
            volumes[at, i] = np.bincount(place, weights=weights)
    factors = split_factors(market)
    for symbol, (stamps, cumulative) in factors.items():
        since = np.searchsorted(stamps, np.asarray(closes), side="right")
        volumes[:, market.symbols.index(symbol)] /= np.append(1.0, cumulative)[since]
    rows = [mean_volume(volumes[: t + 1]) for t in range(len(volumes))]
    return np.where(known, np.array(rows), np.inf)


def _session_closes(market: MarketData, bars_of: Mapping[int, EngineBars]) -> FloatArray:
    """Return the last engine price of each session, (T, N), NaN where there was no bar."""
    result = np.full((len(market.session_closes), len(market.instruments)), np.nan)
    for i, bars in bars_of.items():
        result[np.searchsorted(market.session_closes, bars.ts_close), i] = bars.close
    return result


def _engine_bars(market: MarketData, settings: Settings) -> dict[int, EngineBars]:
    """Return the bars that the venue is handed by an instrument's place, none without any."""
    factors = split_factors(market)
    own = dict(tuple(market.bars.groupby("symbol", sort=True)))
    return {
        i: engine_bars(instrument, own[instrument.symbol], factors, settings.market)
        for i, instrument in enumerate(market.instruments)
        if instrument.symbol in own
    }


def _newest(session_close: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the newest close and the sessions since, as the gate keeps them; (M, T, N)."""
    last, age = session_close.copy(), np.zeros(session_close.shape, np.int64)
    before, count = np.full(last[:, 0].shape, np.nan), np.zeros(last[:, 0].shape, np.int64)
    for t in range(last.shape[1]):
        traded = np.isfinite(session_close[:, t])
        before = last[:, t] = np.where(traded, session_close[:, t], before)
        others = traded.any(axis=1, keepdims=True)
        count = age[:, t] = np.where(traded, 0, count + others)
    return last, age
