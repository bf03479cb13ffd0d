"""
Warns where a source holds survivors only, since results on them are better than the market was.

A list of stocks that was made at a source's end holds none that was delisted before. That cannot
be put right here, so a note says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backtest.market.market_data import SIMULATED, MarketData
from backtest.market.sessions import DAY_NS

PREFIX = "survivors: "
AT_LEAST_NS = 365 * DAY_NS  # shorter spans see few delistings
END_SESSIONS = 10  # a stock whose last bar is as near to the end has lasted


def with_survivors_note(market: MarketData, symbols: Sequence[str]) -> MarketData:
    """
    Return a market with a note where all of its stocks among `symbols` last to its end.

    Not for a simulated market, a single stock or a span of a year or less.
    """
    notes = tuple(note for note in market.notes if not note.startswith(PREFIX))
    stocks = {i.symbol for i in market.instruments if i.asset_class == "equity"}
    stocks &= set(symbols) or stocks
    closes = np.asarray(market.session_closes, dtype=np.int64)
    simulated = any(note.startswith(SIMULATED) for note in notes)
    if simulated or len(stocks) < 2 or closes[-1] - closes[0] <= AT_LEAST_NS:
        return replace(market, notes=notes)
    last = market.bars[market.bars["symbol"].isin(stocks)].groupby("symbol")["ts_close"].max()
    if last.min() > closes[max(len(closes) - 1 - END_SESSIONS, 0)]:
        notes += (
            f"{PREFIX}all {len(stocks)} stocks last to the source's end: "
            "what was delisted before is not in these data, so results are too good",
        )
    return replace(market, notes=notes)
