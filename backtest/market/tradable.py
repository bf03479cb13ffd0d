"""
Tells whether a backtest can trade a market, for `data check` and for every run.

A source can be read without a fault and still not be tradable, as with a cross whose rate is
missing or a price beyond what the engine holds. `data check` lists such faults and a run refuses
them, both from here, so that both say the same line. Nothing here knows how a source is read.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from agents.gate.rules import QUANTITY_DECIMALS
from agents.messages import Instrument
from backtest.market.market_data import MarketData, window
from backtest.market.rules import rate_source, split_factors
from backtest.market.sessions import stamp_text
from config.errors import ConfigError, DataError


def check_tradable(market: MarketData, currency: str) -> tuple[str, ...]:
    """Return a line for each thing that keeps an account in `currency` from trading a market."""
    return tuple(dict.fromkeys(_faults(market, currency)))


def require_tradable(market: MarketData, currency: str) -> None:
    """Raise DataError with the first line of `check_tradable`, if there is one."""
    line = next(_faults(market, currency), None)
    if line is not None:
        raise DataError(line)


def deciding(market: MarketData, start_ns: int | None, warmup: int) -> tuple[MarketData, int]:
    """
    Return the market that a run is given and the stamp that it decides from.

    They are those of `market_data.window`. Raises DataError where no session is left to decide
    on, or none after it to trade in.
    """
    kept, decide_from = window(market, start_ns, warmup)
    if decide_from == kept.session_closes[-1]:
        raise DataError(
            f"expected a session to trade in after {stamp_text(decide_from)}, the first that "
            f"decides, was the last of {market.name}"
        )
    return kept, decide_from


def _faults(market: MarketData, currency: str) -> Iterator[str]:
    """Yield what is wrong, first what needs no engine to be found."""
    both = np.intersect1d(market.bars["ts_open"], market.bars["ts_close"])
    if both.size:
        yield (
            f"expected {market.name} to have no bar that closes as another opens, "
            f"was one at {stamp_text(int(both[0]))}"
        )
    if len(market.session_closes) < 2:
        yield f"expected at least 2 sessions, was {len(market.session_closes)}"
    venues = sorted({i.venue for i in market.instruments})
    if len(venues) != 1:
        yield f"expected all instruments on one venue, was {', '.join(venues) or 'none'}"
    finest = 10.0**-QUANTITY_DECIMALS
    for instrument in market.instruments:
        if instrument.lot_size < finest:
            yield (
                f"expected a lot_size of at least {finest:f} for {instrument.symbol}, "
                f"was {instrument.lot_size:g}"
            )
        try:
            rate_source(market, instrument.currency, currency)
        except DataError as e:
            yield str(e)
    yield from _without_volume(market)
    yield from _beyond_the_engine(market)
    yield from _unknown_to_nautilus(market)


def _without_volume(market: MarketData) -> Iterator[str]:
    """Yield a line where nothing is ever quoted: a stock's bar without volume has no quotes."""
    silent = without_volume(market.bars, market.instruments)
    if len(silent) == len(market.instruments):
        yield (
            f"expected stocks whose bars have volume, was volume 0 in every bar of "
            f"{', '.join(silent)}: no order could be filled"
        )


def without_volume(bars: pd.DataFrame, instruments: Sequence[Instrument]) -> list[str]:
    """Return the stocks whose every bar has volume 0, sorted; others need none."""
    stocks = {i.symbol for i in instruments if i.asset_class == "equity"}
    most = bars.groupby("symbol", sort=True)["volume"].max()
    return [str(symbol) for symbol in most.index[most == 0] if symbol in stocks]


def _beyond_the_engine(market: MarketData) -> Iterator[str]:
    """Yield a line a symbol whose prices or volumes are too large for the engine's numbers."""
    from nautilus_trader.model.objects import PRICE_MAX, QUANTITY_MAX

    most = market.bars.groupby("symbol", sort=True)[["high", "volume"]].max()
    splits = {s: max(1.0, *factors) for s, (_, factors) in split_factors(market).items()}
    for symbol, price, volume in zip(
        most.index, most["high"].tolist(), most["volume"].tolist(), strict=True
    ):
        if price * splits.get(symbol, 1.0) > PRICE_MAX / 2:  # half, for spread and slippage
            yield f"expected prices below {PRICE_MAX / 2:.2g} for {symbol}, was {price:g}"
        if volume > QUANTITY_MAX:
            yield f"expected volumes below {QUANTITY_MAX:.2g} for {symbol}, was {volume:g}"


def _unknown_to_nautilus(market: MarketData) -> Iterator[str]:
    """Yield what the engine's own types refuse: lots, currencies, lengths of bars."""
    from strategies.instruments import bar_type, to_nautilus

    for instrument in market.instruments:
        try:
            to_nautilus(instrument, cost_frac=0.0)
            bar_type(instrument, market.step_ns)
        except ConfigError as e:
            yield str(e)
