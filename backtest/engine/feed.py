"""
Turns a market into the events that the Nautilus engine is fed, by the rules of the market.

A bar's opening is an event of its own: a quote around the open, stamped at the opening, its size
a share of the trailing mean volume, so that nothing of the bar itself is known then. No bar may
close at the stamp at which one opens: the venue would fill on what the bar left behind. Splits
never move a quantity: prices are scaled by the splits since the run began (engine prices), and
sizes by their inverse; a bar's volume is left as quoted, since nothing fills on it. Where a
split or a fall of the price changes what a tick is, the venue is handed the instrument anew. An
instrument in another currency also gets a quote at each close, so that its exchange rate is
never missing; it has no size, for a close offers nothing to trade.
"""

from dataclasses import dataclass

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, CustomData, DataType, QuoteTick
from nautilus_trader.model.objects import Price, Quantity
from numpy.typing import NDArray

from agents.arrays import FloatArray, IntArray
from agents.features.ledgers import MACRO_SERIES
from agents.messages import Instrument
from backtest.market.market_data import MarketData
from backtest.market.rules import (
    LEAVING_SIZE,
    EngineBars,
    engine_bars,
    engine_volume,
    final_prices,
    quote_around,
    split_factors,
)
from backtest.market.tradable import require_tradable
from config.settings import MarketSettings
from strategies.data import from_action, from_fundamentals, from_macro, from_news
from strategies.instruments import bar_type, to_nautilus


@dataclass(frozen=True)
class Feed:
    """
    A market as Nautilus takes it: custom data with changed instruments, and quotes with bars.

    At one stamp custom data come first, then instruments whose tick changes, then quotes, then
    bars, instruments in their order: the engine is given the lists in this order and sorts stably.
    """

    custom: list[Data]
    prices: list[Data]


def make_feed(market: MarketData, settings: MarketSettings, trade_from: int) -> Feed:
    """
    Return everything that a run is fed; before `trade_from` bars only, for nothing trades.

    Raises DataError where the market cannot be traded.
    """
    require_tradable(market, settings.currency)
    factors = split_factors(market)
    changes: list[Data] = []
    events: list[Data] = []
    bars_by_symbol = dict(tuple(market.bars.groupby("symbol", sort=True)))
    finals = [f for f in final_prices(market, settings) if f[0] >= trade_from]
    for i, instrument in enumerate(market.instruments):
        bars = bars_by_symbol.get(instrument.symbol)
        if bars is not None:
            rows = engine_bars(instrument, bars, factors, settings)
            own = [(ts, price) for ts, k, price in finals if k == i]
            changes += _tick_changes(instrument, rows, [ts for ts, _ in own], settings)
            events += _price_events(instrument, rows, market.step_ns, settings, trade_from)
            events += [_final_quote(instrument, price, ts) for ts, price in own]
    return Feed([*_custom_events(market), *changes], events)


def _tick_changes(
    instrument: Instrument, rows: EngineBars, finals: list[int], settings: MarketSettings
) -> list[Data]:
    """
    Return the instrument anew at each opening whose tick is not the one before it.

    At `finals`, where a vanished instrument is left at a price, nothing slips.
    """
    ts = np.append(rows.ts_open, np.array(finals, dtype=np.int64))
    tick = np.append(rows.tick, np.full(len(finals), 10.0**-instrument.engine_precision))
    order = np.argsort(ts, kind="stable")
    ts, tick = ts[order], tick[order]
    before = np.append(10.0**-instrument.price_precision, tick[:-1])
    at = np.flatnonzero(tick != before)
    return [
        to_nautilus(instrument, cost_frac=settings.cost_frac, tick=new, ts=since)
        for new, since in zip(tick[at].tolist(), ts[at].tolist(), strict=True)
    ]


def _final_quote(instrument: Instrument, price: float, ts: int) -> QuoteTick:
    """Return the price at which an instrument that has vanished is left, of any size."""
    native = to_nautilus(instrument, cost_frac=0.0)
    at, size = Price(price, native.price_precision), Quantity(LEAVING_SIZE, native.size_precision)
    return QuoteTick(native.id, at, at, size, size, ts, ts)


def _custom_events(market: MarketData) -> list[CustomData]:
    """Return actions, news, reports and macro values as they become known."""
    rows = zip(
        *(market.actions[c].tolist() for c in ("symbol", "ts", "split", "dividend")), strict=True
    )
    items = [
        *(from_action(*row) for row in rows),
        *map(from_news, market.news),
        *map(from_fundamentals, market.fundamentals),
        *(from_macro(value) for value in market.macro if value.series in MACRO_SERIES),
    ]
    return [CustomData(DataType(type(item)), item) for item in items]


def _price_events(
    instrument: Instrument,
    rows: EngineBars,
    step_ns: int,
    settings: MarketSettings,
    trade_from: int,
) -> list[Data]:
    """Return the opening quotes and the bars of an instrument."""
    native = to_nautilus(instrument, cost_frac=settings.cost_frac)
    kind = bar_type(instrument, step_ns)
    precision = native.price_precision

    def quotes(
        mid: FloatArray, ts: IntArray, sizes: FloatArray, which: NDArray[np.bool_]
    ) -> list[Data]:
        bid, ask = quote_around(mid, instrument, settings)
        return [
            QuoteTick(
                native.id,
                Price(b, precision),
                Price(a, precision),
                Quantity(s, native.size_precision),
                Quantity(s, native.size_precision),
                t,
                t,
            )
            for b, a, s, t in zip(
                bid[which].tolist(),
                ask[which].tolist(),
                sizes[which].tolist(),
                ts[which].tolist(),
                strict=True,
            )
        ]

    events = quotes(rows.open, rows.ts_open, rows.size, rows.traded & (rows.ts_open >= trade_from))
    if instrument.currency != settings.currency:
        events += quotes(rows.close, rows.ts_close, np.zeros(len(rows.close)), rows.traded)
    events += [
        Bar(
            kind,
            Price(o, precision),
            Price(h, precision),
            Price(low, precision),
            Price(c, precision),
            Quantity(v, native.size_precision),
            t,
            t,
        )
        for o, h, low, c, v, t in zip(
            *(prices.tolist() for prices in (rows.open, rows.high, rows.low, rows.close)),
            engine_volume(instrument, rows.volume).tolist(),
            rows.ts_close.tolist(),
            strict=True,
        )
    ]
    return events
