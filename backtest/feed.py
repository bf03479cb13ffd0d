"""
MarketData -> what the Nautilus engine eats, with the rules of the market built in.

A bar's opening is an event of its own: a quote around the open, stamped at the opening, its size
a share of the trailing mean volume, so that nothing of the bar itself is known then. Splits
never move a quantity: prices are scaled by the splits since the run began (engine prices), and
sizes by their inverse; a bar's volume is left as on the tape, since nothing fills on it. An
instrument in another currency also gets a quote at each close, so that its exchange rate is
never missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, CustomData, DataType, QuoteTick
from nautilus_trader.model.objects import Price, Quantity
from numpy.typing import NDArray

from agents.features import MACRO_SERIES
from agents.messages import Instrument
from backtest.market import MarketData
from config.settings import MarketSettings
from strategies.data import from_action, from_fundamentals, from_macro, from_news
from strategies.instruments import bar_type, to_nautilus

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]

VOLUME_BARS = 20
OTC_TOUCH_SIZE = 10_000_000.0  # FX and CFD volumes count ticks, not size


def split_factors(market: MarketData) -> dict[str, tuple[IntArray, FloatArray]]:
    """Return for each symbol the stamps and the cumulative factors of its splits."""
    factors = {}
    for symbol, rows in market.actions[market.actions["split"] != 1.0].groupby("symbol"):
        factors[str(symbol)] = (
            rows["ts"].to_numpy(np.int64),
            np.cumprod(rows["split"].to_numpy(np.float64)),
        )
    return factors


@dataclass(frozen=True)
class Feed:
    """
    A market as Nautilus takes it: custom data, and quotes with bars.

    At one stamp custom data come first, then quotes, then bars, instruments in their order: the
    engine is given the lists in this order and sorts stably.
    """

    custom: list[CustomData]
    prices: list[Data]


def make_feed(market: MarketData, settings: MarketSettings, trade_from: int) -> Feed:
    """Return everything that a run is fed; before `trade_from` bars only, for nothing trades."""
    return Feed(_custom_events(market), _price_events(market, settings, trade_from))


def _price_events(market: MarketData, settings: MarketSettings, trade_from: int) -> list[Data]:
    """Return the opening quotes and the bars of every instrument."""
    factors = split_factors(market)
    events: list[Data] = []
    bars_by_symbol = dict(tuple(market.bars.groupby("symbol", sort=True)))
    for instrument in market.instruments:
        bars = bars_by_symbol.get(instrument.symbol)
        if bars is not None:
            events += _instrument_events(
                instrument, bars, factors, market.step_ns, settings, trade_from
            )
    return events


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


def _instrument_events(
    instrument: Instrument,
    bars: pd.DataFrame,
    factors: dict[str, tuple[IntArray, FloatArray]],
    step_ns: int,
    settings: MarketSettings,
    trade_from: int,
) -> list[Data]:
    native = to_nautilus(instrument, cost_frac=settings.cost_frac)
    kind = bar_type(instrument, step_ns)
    stamps, cumulative = factors.get(instrument.symbol, (np.zeros(0, np.int64), np.ones(0)))
    ts_open, ts_close = (bars[c].to_numpy(np.int64) for c in ("ts_open", "ts_close"))
    factor = np.concatenate([[1.0], cumulative])[np.searchsorted(stamps, ts_open, side="right")]
    precision, tick = native.price_precision, native.price_increment.as_double()
    prices = {
        c: np.round(bars[c].to_numpy(np.float64) * factor, precision)
        for c in ("open", "high", "low", "close")
    }
    volume = bars["volume"].to_numpy(np.float64)
    sizes = _touch_sizes(instrument, volume / factor, settings.open_liquidity_frac)
    half = settings.spread_bps / 2e4

    def quotes(mid: FloatArray, ts: IntArray, which: NDArray[np.bool_]) -> list[Data]:
        bid = np.maximum(np.floor(mid * (1 - half) / tick + 1e-9) * tick, tick)
        ask = np.ceil(mid * (1 + half) / tick - 1e-9) * tick
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

    traded = volume > 0
    events = quotes(prices["open"], ts_open, traded & (ts_open >= trade_from))
    if instrument.currency != settings.currency:
        events += quotes(prices["close"], ts_close, traded)
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
            *(prices[c].tolist() for c in ("open", "high", "low", "close")),
            np.maximum(np.round(volume, native.size_precision), 1.0).tolist(),
            ts_close.tolist(),
            strict=True,
        )
    ]
    return events


def _touch_sizes(instrument: Instrument, volume: FloatArray, share: float) -> FloatArray:
    """Return the size at each opening's touch: a share of the mean volume of the bars before."""
    if instrument.asset_class != "equity":
        return np.full(len(volume), OTC_TOUCH_SIZE)
    before = pd.Series(volume).rolling(VOLUME_BARS, min_periods=1).mean().shift(1)
    sizes = np.floor(before.fillna(0.0).to_numpy() * share)
    return np.maximum(sizes, instrument.lot_size)
