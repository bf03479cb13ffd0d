"""
Opens any source by its name, cut to dates and symbols.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backtest.market.market_data import MarketData, canonical
from backtest.market.sessions import day_text, parse_day, session_day
from backtest.sources.survivors import with_survivors_note
from config.errors import ConfigError, DataError, listed
from config.sources import PACKAGED, SIMULATOR, find_catalog, source_paths


def open_source(
    name: str,
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: Sequence[str] = (),
    seed: int = 0,
) -> MarketData:
    """
    Return a source's market, in canonical order.

    `name` is "packaged", "packaged:apple", "simulator", an imported catalog (its name or
    folder), or a folder or file of CSV or Parquet; several joined by "+" are read together.
    `start` (YYYY-MM-DD) drops nothing, earlier data being warm-up, but must lie in the data;
    `end` drops all that became known after the last session on or before it. `symbols` keeps
    those instruments only. `seed` is the simulator's.
    Raises ConfigError or DataError, in one line, for whatever is wrong with name, data or range.
    """
    market = with_survivors_note(_load(name, seed), symbols)
    return cut(market, start, end, symbols)


def _load(name: str, seed: int) -> MarketData:
    if name in PACKAGED:
        from backtest.sources.packaged import load_packaged

        return load_packaged(name)
    if name == SIMULATOR:
        from backtest.simulator import load_simulated

        return canonical(load_simulated(seed=seed))
    from backtest.market.catalog import read_catalog

    catalog = find_catalog(name)
    if catalog is not None:
        return read_catalog(catalog)
    from backtest.sources.folder import read_sources

    return read_sources(source_paths(name))


def cut(
    market: MarketData, start: str | None, end: str | None, symbols: Sequence[str]
) -> MarketData:
    """
    Return a market cut to symbols and an end, the start checked to lie in it.

    It remembers the digest of the whole, unless that was itself cut from something larger.
    """
    if not market.source_digest:
        market = replace(market, source_digest=market.digest)
    unknown = sorted(set(symbols) - set(market.symbols))
    if unknown:
        raise ConfigError(
            f"expected symbols of {listed([market.name])} ({listed(market.symbols)}), "
            f"was {listed(unknown, most=5)}"
        )
    if symbols:
        market = _until_its_last_bar(_keep(market, set(symbols)))
    days = session_day(np.asarray(market.session_closes, dtype=np.int64))
    first = parse_day(start, "start") if start else int(days[0])
    last = parse_day(end, "end") if end else int(days[-1])
    if not ((days >= first) & (days <= last)).any():
        raise DataError(
            f"expected a range with sessions of {market.name} ({day_text(days[0])} to "
            f"{day_text(days[-1])}), was {start or 'its start'} to {end or 'its end'}"
        )
    cutoff = market.session_closes[int(np.searchsorted(days, last, side="right")) - 1]
    bars = market.bars[market.bars["ts_close"] <= cutoff]
    left = set(bars["symbol"].unique())
    cut_market = replace(
        market,
        bars=bars,
        actions=market.actions[market.actions["ts"] <= cutoff],
        session_closes=tuple(c for c in market.session_closes if c <= cutoff),
        news=tuple(n for n in market.news if n.ts_init <= cutoff),
        fundamentals=tuple(f for f in market.fundamentals if f.ts_init <= cutoff),
        macro=tuple(m for m in market.macro if m.ts_init <= cutoff),
    )
    return canonical(_keep(cut_market, left))


def _until_its_last_bar(market: MarketData) -> MarketData:
    """Return a market that ends with the session of its last bar: after it nothing trades."""
    closes = market.session_closes
    ended = int(np.searchsorted(closes, market.bars["ts_close"].max()))
    return replace(market, session_closes=closes[: ended + 1])


def _keep(market: MarketData, symbols: set[str]) -> MarketData:
    return replace(
        market,
        instruments=tuple(i for i in market.instruments if i.symbol in symbols),
        bars=market.bars[market.bars["symbol"].isin(symbols)],
        actions=market.actions[market.actions["symbol"].isin(symbols)],
        news=tuple(n for n in market.news if n.symbol in symbols),
        fundamentals=tuple(f for f in market.fundamentals if f.symbol in symbols),
    )
