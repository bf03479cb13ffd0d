"""
Real bars that come with PyPI packages, so that a fresh clone trades without a network.

"packaged" is bokeh_sampledata's AAPL, GOOG, IBM and MSFT, daily and unadjusted, 2000 to 2013;
"packaged:apple" is hvsampledata's AAPL, daily and split-adjusted, 2019 to 2024. Actions are
derived from the adjusted closes. Neither carries news, fundamentals or macro series.
"""

import numpy as np
import pandas as pd

from backtest.market.market_data import BAR_COLUMNS, MarketData, PriceBasis
from backtest.market.sessions import XNYS, load_sessions
from backtest.sources.actions import derive
from backtest.sources.assemble import round_bars
from backtest.sources.bars import in_sessions, read_bars, stamp_bars
from backtest.sources.federal_funds import with_federal_funds
from backtest.sources.files.columns import map_columns
from backtest.sources.files.stamps import stamps
from backtest.sources.findings import Findings
from backtest.sources.known import SECTOR_OF, make_instrument

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


def load_packaged(name: str) -> MarketData:
    """Return the market "packaged" or "packaged:apple"."""
    basis: PriceBasis
    if name == "packaged":
        frame, basis = _bokeh(), "unadjusted"
    else:
        import hvsampledata

        frame = hvsampledata.apple_stocks("pandas").assign(symbol="AAPL")
        basis = "split_adjusted"
    mapping = map_columns(list(frame.columns), {}, name)
    when = stamps(frame["date"], name, "UTC")
    years = when.ns.astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    calendar = load_sessions(XNYS, int(years.min()) - 1, int(years.max()) + 1)
    found = Findings()
    raw = read_bars(frame, mapping, when, None, name, found)
    bars = stamp_bars(raw, calendar, found, drop=False)
    actions = derive(bars, name, basis, False, found.notes)
    first = bars.sort_values("ts_open").groupby("symbol")["open"].first()
    instruments = [make_instrument(str(s), float(p), SECTOR_OF) for s, p in first.items()]
    bars, closes = in_sessions(bars, calendar, found.notes)
    bars = round_bars(bars[[*BAR_COLUMNS]], instruments)
    return with_federal_funds(
        MarketData(
            name=name,
            instruments=tuple(instruments),
            bars=bars,
            actions=actions.rows,
            session_closes=closes,
            step_ns=0,
            price_basis=basis,
            notes=found.notes.lines(),
            calendar=calendar.name,
        )
    )


def _bokeh() -> pd.DataFrame:
    from bokeh_sampledata import stocks

    tables = [pd.DataFrame(getattr(stocks, s)).assign(symbol=s) for s in SYMBOLS]
    frame = pd.concat(tables, ignore_index=True)
    numeric = ["open", "high", "low", "close", "volume", "adj_close"]
    return frame.astype(dict.fromkeys(numeric, np.float64))
