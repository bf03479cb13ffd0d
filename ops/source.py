"""The market that settings name, and the stamp from which a run over it decides."""

from __future__ import annotations

from backtest.market import MarketData
from backtest.sessions import DAY_NS, parse_day
from backtest.sources import open_source
from config.settings import Settings


def open_market(settings: Settings) -> tuple[MarketData, int | None]:
    """Return the settings' market and `data.start` in UTC nanoseconds, None where it has none."""
    data = settings.data
    market = open_source(
        data.source, start=data.start, end=data.end, symbols=data.symbols, seed=settings.seed
    )
    return market, None if data.start is None else parse_day(data.start, "start") * DAY_NS
