"""
The rules of the market that the engine and the training twin both follow.

They say how a bar becomes an opening quote and prices that no split moves, what a dividend pays,
what idle cash earns, what borrowed notional costs, and where an exchange rate comes from.
`backtest.engine.feed` and `backtest.engine.cash` apply them in Nautilus, `learning.twin` on
arrays. Nothing here knows an engine.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.messages import Instrument
from backtest.market.market_data import MarketData
from backtest.market.sessions import DAY_NS
from config.errors import DataError
from config.settings import MarketSettings, Settings

NEVER = np.iinfo(np.int64).max
YEAR_NS = 365 * 86_400_000_000_000
VOLUME_BARS = 20
RISK_FREE = "risk_free"  # the source's own series
FEDERAL_FUNDS = "federal_funds"  # the series of `backtest.sources.federal_funds`
IDLE_DOLLARS = "idle cash in dollars"  # how the note of the federal funds rate begins
OTC_TOUCH_SIZE = 10_000_000.0  # FX and CFD volumes count ticks, not size
OTC_TOUCH_LOTS = 10_000_000.0  # of a coin whose volume is missing; a lot is about a dollar
MOST_TOUCH = 1e13  # within what Nautilus holds as a quantity
NAMED = 5  # symbols in an error's line
LEAVING_SIZE = 1e9  # at the price of an instrument that has vanished


@dataclass(frozen=True)
class EngineBars:
    """
    One instrument's bars in engine prices, rounded to the engine's precision. Shapes: all (R,).

    `size` is the opening touch's; `tick` is what a market order slips by at the opening, in
    engine prices; a bar of a stock without volume is not `traded` and has no quotes.
    """

    ts_open: IntArray
    ts_close: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    size: FloatArray
    tick: FloatArray
    traded: BoolArray


def split_factors(market: MarketData) -> dict[str, tuple[IntArray, FloatArray]]:
    """Return for each symbol the stamps and the cumulative factors of its splits."""
    factors = {}
    for symbol, rows in market.actions[market.actions["split"] != 1.0].groupby("symbol"):
        factors[str(symbol)] = (
            rows["ts"].to_numpy(np.int64),
            np.cumprod(rows["split"].to_numpy(np.float64)),
        )
    return factors


def engine_bars(
    instrument: Instrument,
    bars: pd.DataFrame,
    factors: dict[str, tuple[IntArray, FloatArray]],
    settings: MarketSettings,
) -> EngineBars:
    """Return an instrument's rows of `MarketData.bars` as the engine is to see them."""
    stamps, cumulative = factors.get(instrument.symbol, (np.zeros(0, np.int64), np.ones(0)))
    ts_open = bars["ts_open"].to_numpy(np.int64)
    factor = np.concatenate([[1.0], cumulative])[np.searchsorted(stamps, ts_open, side="right")]
    places = instrument.engine_precision
    prices = {
        c: np.round(bars[c].to_numpy(np.float64) * factor, places)
        for c in ("open", "high", "low", "close")
    }
    tick = np.round(ticks(instrument, bars["open"].to_numpy(np.float64)) * factor, places)
    volume = bars["volume"].to_numpy(np.float64)
    return EngineBars(
        ts_open=ts_open,
        ts_close=bars["ts_close"].to_numpy(np.int64),
        **prices,
        volume=volume,
        size=_touch_sizes(instrument, volume / factor, settings.open_liquidity_frac),
        tick=np.maximum(tick, 10.0**-places),
        traded=(volume > 0) | (instrument.asset_class != "equity"),
    )


def ticks(instrument: Instrument, price: FloatArray) -> FloatArray:
    """
    Return the market's tick at each price as quoted; shapes: (R,) -> (R,).

    It is the instrument's own, or the price's fourth significant digit where that is finer: a cent
    at $10 and a ten-thousandth at 50 cents, so that it is never more than 0.1% of the price.
    """
    digits = np.floor(np.log10(price)) + 1  # before the point; negative below 0.1
    return np.asarray(10.0 ** -np.maximum(instrument.price_precision, 4 - digits))


def quote_around(
    mid: FloatArray, instrument: Instrument, settings: MarketSettings
) -> tuple[FloatArray, FloatArray]:
    """Return bid and ask around a price, the spread apart at any price."""
    half, places = settings.spread_bps / 2e4, instrument.engine_precision
    bid = np.maximum(np.round(mid * (1 - half), places), 10.0**-places)
    return bid, np.round(mid * (1 + half), places)


def expiry(closes: Sequence[int], settings: Settings) -> Callable[[int], int]:
    """
    Return what tells until when the decision on a case of a stamp may be acted on.

    It is the close of the session that comes `desk.expiry_sessions` sessions later; beyond the
    data's end, where nothing trades any more, a session counts as a day.
    """
    ahead = settings.desk.expiry_sessions

    def expires(ts: int) -> int:
        last = bisect_left(closes, ts) + ahead
        if last < len(closes):
            return closes[last]
        return closes[-1] + (last - len(closes) + 1) * DAY_NS

    return expires


def final_prices(market: MarketData, settings: MarketSettings) -> list[tuple[int, int, float]]:
    """
    Return (stamp, instrument's index, engine price) at which a vanished instrument is left.

    An instrument that had no bar in `delisting_sessions` sessions while others traded is worth its
    last price times the recovery, at the opening of the next session in which others trade; where
    it has a bar of its own at that opening, it opens like any other. Nothing of a later bar is
    known then. A currency pair ends at its last price: nobody goes bust with it, and others'
    exchange rates are read from it. The price is what the position is worth: neither it nor a slip
    is less than the engine's last digit.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    session = np.searchsorted(closes, market.bars["ts_close"].to_numpy(np.int64))
    opening = market.bars["ts_open"].groupby(session).min()  # of each session with a bar
    active, opens = opening.index.to_numpy(), opening.to_numpy()
    factors = split_factors(market)
    bars_of = dict(tuple(market.bars.assign(session=session).groupby("symbol", sort=True)))
    found = []
    for i, instrument in enumerate(market.instruments):
        bars = bars_of.get(instrument.symbol)
        if bars is None:
            continue
        place = np.searchsorted(active, bars["session"].to_numpy())
        due = place + settings.delisting_sessions + 1
        back = np.append(bars["ts_open"].to_numpy(np.int64)[1:], NEVER)  # of its next bar
        vanished = np.flatnonzero(due < len(active))
        vanished = vanished[back[vanished] > opens[due[vanished]]]
        price = engine_bars(instrument, bars, factors, settings).close
        places = instrument.engine_precision
        recovery = 1.0 if instrument.asset_class == "forex" else settings.delisting_recovery
        for k in vanished:
            value = max(round(float(price[k]) * recovery, places), 10.0**-places)
            found.append((int(opens[due[k]]), i, value))
    return sorted(found)


def dividends_paid(market: MarketData) -> list[tuple[int, int, float]]:
    """Return (stamp, instrument's index, cash per engine unit) of each dividend, in order."""
    index = {symbol: i for i, symbol in enumerate(market.symbols)}
    splits = split_factors(market)
    paid = []
    columns = (market.actions[c].tolist() for c in ("ts", "symbol", "dividend"))
    for ts, symbol, dividend in zip(*columns, strict=True):
        if dividend > 0:
            stamps, cumulative = splits.get(symbol, (np.zeros(0, np.int64), np.ones(0)))
            before = int(np.searchsorted(stamps, ts, side="left"))
            factor = float(cumulative[before - 1]) if before else 1.0
            paid.append((ts, index[symbol], dividend * factor))
    return paid


def risk_free_rates(market: MarketData, currency: str) -> list[tuple[int, float]]:
    """
    Return (stamp from which it is known, percent a year) of what idle cash earns, in order.

    It is the source's own risk-free rate; where it has none, in dollars the federal funds rate.
    """
    for series in (RISK_FREE, FEDERAL_FUNDS):
        rates = [(m.ts_init, m.value) for m in market.macro if m.series == series]
        if rates and (series == RISK_FREE or currency == "USD"):
            return rates
    return []


def rates_known(rates: Sequence[tuple[int, float]], stamps: IntArray) -> FloatArray:
    """Return the newest rate known at each stamp, 0 before the first; shapes: (R,) -> (R,)."""
    known = np.array([ts for ts, _ in rates], dtype=np.int64)
    values = np.array([0.0, *(rate for _, rate in rates)])
    return np.asarray(values[np.searchsorted(known, stamps, side="right")])


def interest(
    balance: FloatArray | float,
    tied: FloatArray | float,
    rate: FloatArray | float,
    years: FloatArray | float,
) -> FloatArray:
    """Return what the cash that no funded position ties earns; `rate` in percent a year."""
    return np.maximum(0.0, np.asarray(balance) - tied) * rate / 100 * years


def fee_fracs(market: MarketData, settings: MarketSettings) -> FloatArray:
    """Return each instrument's commission, a fraction of a fill's notional; shape (N,)."""
    return np.array(
        [
            settings.cost_frac if i.cost_bps is None else i.cost_bps / 1e4
            for i in market.instruments
        ]
    )


def funded(market: MarketData) -> BoolArray:
    """Tell for which instruments holding needs cash; shape (N,)."""
    return np.array([i.funded for i in market.instruments])


def sized(market: MarketData) -> BoolArray:
    """
    Tell for which instruments volume says what can be traded; shape (N,).

    It does for stocks, and for coins that have any: of the others it is missing or counts ticks.
    """
    most = market.bars.groupby("symbol")["volume"].max()
    return np.array(
        [
            i.asset_class == "equity"
            or (i.asset_class == "crypto" and most.get(i.symbol, 0.0) > 0)
            for i in market.instruments
        ]
    )


def engine_volume(instrument: Instrument, volume: FloatArray) -> FloatArray:
    """
    Return bars' volumes as the engine and the desk see them; shapes: (R,) -> (R,).

    They are rounded to the lot's decimals. The engine takes no bar without volume: one has the
    least that can be dealt, or a unit where volume does not count size.
    """
    places = instrument.size_precision
    least = 10.0**-places if instrument.funded else 1.0
    return np.maximum(np.round(volume, places), least)


def rate_source(market: MarketData, quote: str, account: str) -> tuple[int, bool] | None:
    """
    Return where to read the value of `quote` in `account`: a pair's index, inverted or not.

    None where they are the same. Raises DataError where no pair of the two is there.
    """
    if quote == account:
        return None
    for i, instrument in enumerate(market.instruments):
        if instrument.pair in ((quote, account), (account, quote)):
            return i, instrument.pair == (account, quote)
    more = len(market.symbols) - NAMED
    names = ", ".join(market.symbols[:NAMED]) + (f" and {more} more" if more > 0 else "")
    raise DataError(
        f"expected {quote}{account} or {account}{quote} among the instruments, so that {quote} "
        f"has a rate, or --symbols of one currency, was {names}"
    )


def _touch_sizes(instrument: Instrument, volume: FloatArray, share: float) -> FloatArray:
    """Return the size at each opening's touch: a share of the mean volume of the bars before."""
    if not instrument.funded:
        return np.full(len(volume), OTC_TOUCH_SIZE)
    if instrument.asset_class == "crypto" and not (volume > 0).any():
        return np.full(len(volume), min(OTC_TOUCH_LOTS * instrument.lot_size, MOST_TOUCH))
    before = pd.Series(volume).rolling(VOLUME_BARS, min_periods=1).mean().shift(1)
    scale = 10.0**instrument.size_precision
    sizes = np.floor(before.fillna(0.0).to_numpy() * share * scale) / scale
    return np.maximum(sizes, instrument.lot_size)
