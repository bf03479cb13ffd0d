"""Checks the source that settings name, as the run would trade it."""

import msgspec

from backtest.check import CheckReport, check_source
from backtest.market.market_data import MarketData
from config.settings import Settings
from config.sources import SIMULATOR, book_of


def check_run_source(settings: Settings) -> CheckReport:
    """Return the check of the settings' source; of `BOOK:SOURCE`, as that book trades it."""
    data = settings.data
    book, source = book_of(data.source)

    def traded(market: MarketData) -> MarketData:
        from learning.datasets.markets import book_market, real_market

        assert book is not None
        if source == SIMULATOR:  # a book draws its own
            return book_market(book, source, symbols=data.symbols, seed=settings.seed)
        return real_market(book, market, data.symbols, start=data.start)

    report = check_source(
        source,
        start=data.start,
        end=data.end,
        symbols=data.symbols,
        settings=settings,
        as_book=None if book is None else traded,
    )
    return msgspec.structs.replace(report, name=data.source)
