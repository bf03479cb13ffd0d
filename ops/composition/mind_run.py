"""
One mind over one market in the engine, without baselines, record or report.

`analyze` and the benches run their minds so; a backtest's own book is run by `backtest.run`.
"""

from __future__ import annotations

from agents.protocols import Mind
from backtest.engine.desk_result import BookRun
from backtest.engine.feed import Feed, make_feed
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData
from config.settings import Settings


def run_mind(
    market: MarketData, settings: Settings, mind: Mind, decide_from: int, feed: Feed | None = None
) -> BookRun:
    """
    Run a mind over a market under the settings' limits, and return its book and records.

    `decide_from` is the first stamp that decides, UTC nanoseconds; `feed` is the market's, where
    it was made before.
    """
    return run_book(
        market,
        feed or make_feed(market, settings.market, decide_from),
        settings,
        mind,
        name=mind.name,
        limits=settings.limits,
        decide_from=decide_from,
    )
