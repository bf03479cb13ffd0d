"""
Makes markets of random walks, on which benches measure speed and attacks, never skill.

They have no groups that move together, no actions and no calendar of their own.
"""

from collections.abc import Sequence

import pandas as pd

from agents.arrays import FloatArray, IntArray
from agents.messages import Instrument, NewsItem
from backtest.market.market_data import MarketData, canonical

DAY_NS = 86_400_000_000_000
OPENING_NS = 52_200_000_000_000  # 14:30 UTC
CLOSING_NS = 75_600_000_000_000  # 21:00 UTC
FIRST_DAY = 19_000  # days since 1970


def make_bars(
    instrument: Instrument,
    ts_open: IntArray,
    ts_close: IntArray,
    prices: dict[str, FloatArray],
    volume: FloatArray | float = 1e6,
) -> pd.DataFrame:
    """Return an instrument's bars; `prices` are open, high, low and close, rounded to cents."""
    bars = pd.DataFrame(prices).round(2)
    return bars.assign(symbol=instrument.symbol, ts_open=ts_open, ts_close=ts_close, volume=volume)


def make_walks(
    name: str,
    instruments: Sequence[Instrument],
    bars: Sequence[pd.DataFrame],
    session_closes: IntArray,
    *,
    step_ns: int = 0,
    news: Sequence[NewsItem] = (),
) -> MarketData:
    """Return a market of such bars; `step_ns` as in `MarketData`, 0 for daily ones."""
    return canonical(
        MarketData(
            name=name,
            instruments=tuple(instruments),
            bars=pd.concat(bars),
            actions=pd.DataFrame({"symbol": [], "ts": [], "split": [], "dividend": []}),
            session_closes=tuple(session_closes.tolist()),
            step_ns=step_ns,
            price_basis="unadjusted",
            news=tuple(news),
        )
    )
