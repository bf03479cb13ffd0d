"""
The market that settings name, and the stamp from which a run over it decides.

`multi-asset:SOURCE` and `equity:SOURCE` are a source as the allocator's book of that name trades
it: the same instruments, sessions and groups as in training. `SOURCE` may be the simulator.
"""

from __future__ import annotations

from typing import Literal

from backtest.market import MarketData
from backtest.sessions import DAY_NS, parse_day
from backtest.sources import open_source
from backtest.tradable import require_tradable
from config.settings import Settings

BOOKS: tuple[Literal["multi-asset", "equity"], ...] = ("multi-asset", "equity")


def open_market(settings: Settings) -> tuple[MarketData, int | None]:
    """
    Return the settings' market and `data.start` in UTC nanoseconds, None where it has none.

    Raises DataError where an account in the settings' currency cannot trade it.
    """
    data = settings.data
    start = None if data.start is None else parse_day(data.start, "start") * DAY_NS
    for book in BOOKS:
        if data.source == book or data.source.startswith(f"{book}:"):
            from learning.allocator.markets import book_market

            source = data.source.removeprefix(book).removeprefix(":")
            market = book_market(book, source, end=data.end, seed=settings.seed)
            require_tradable(market, settings.market.currency)
            return market, start
    market = open_source(
        data.source, start=data.start, end=data.end, symbols=data.symbols, seed=settings.seed
    )
    require_tradable(market, settings.market.currency)
    return market, start
