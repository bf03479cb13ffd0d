"""
Chooses a book's market: its instruments and its sessions, with notes on its known faults.

Markets come as a source returns them and leave as the desk would trade them, so that a backtest
of what is returned here has the sessions that were trained on. Whatever is cut or joined is in
the market's notes. It knows no features and no splits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from backtest.market.market_data import MarketData
from backtest.market.sessions import day_text, parse_day, session_day
from backtest.simulator import SimulatedMarket, simulate
from backtest.simulator.structure import SECTORS
from backtest.sources.opening import cut, open_source
from config.errors import ConfigError, DataError, listed
from config.simulator import SimulatorSettings
from config.sources import SIMULATOR
from learning.datasets.own_costs import with_own_costs
from learning.datasets.shared_sessions import between, common_sessions

type BookName = Literal["multi-asset", "equity"]

DOMAINS = ("commodity", "forex", "index")
MULTI_ASSET = ("BRENT", "EURUSD", "GBPUSD", "NAS100", "SPX500", "US30", "USDJPY", "XAUUSD")
COMPLETE_FROM = "2015-01-01"  # from here on an equity of the book misses no session
SIMULATED_SESSIONS = 1_000  # after the warm-up

SIMULATORS: dict[BookName, SimulatorSettings] = {
    "multi-asset": SimulatorSettings(instruments=9, sectors=3),
    "equity": SimulatorSettings(instruments=55, sectors=11),
}
_GROUPS: dict[BookName, tuple[str, ...]] = {"multi-asset": DOMAINS, "equity": SECTORS}


def simulator_settings(name: BookName, sessions: int) -> SimulatorSettings:
    """Return the simulator's settings for a book of `sessions` after its own warm-up."""
    return msgspec.structs.replace(SIMULATORS[name], sessions=sessions)


def simulated_market(name: BookName, settings: SimulatorSettings, seed: int) -> SimulatedMarket:
    """
    Return one market of a simulated book, its hidden state included.

    Seeds name a handful of sectors at random; here all seeds' sectors have the book's groups in
    order, so that one policy serves them. Raises ConfigError for more sectors than groups.
    """
    groups = _GROUPS[name]
    if settings.sectors > len(groups):
        raise ConfigError(
            f"expected at most {len(groups)} sectors in the {name} book, was {settings.sectors}"
        )
    market = simulate(settings, seed)
    names = groups[: settings.sectors]
    return replace(market, structure=replace(market.structure, sector_names=names))


def book_market(
    name: BookName,
    source: str,
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: Sequence[str] = (),
    seed: int = 0,
) -> MarketData:
    """
    Return a book's market by its source's name: what a backtest of trained policies trades.

    "simulator" (or "") is the market of `seed` at SIMULATED_SESSIONS, anything else what
    `backtest.sources.open_source` opens. `start` and `symbols` as in `real_market`. Raises what
    these raise.
    """
    if source in ("", SIMULATOR):
        settings = simulator_settings(name, SIMULATED_SESSIONS)
        market = cut(simulated_market(name, settings, seed).to_market_data(), None, end, symbols)
        notes = _without_group(market) if name == "multi-asset" else []
        return replace(market, notes=(*market.notes, *notes))
    return real_market(name, open_source(source, start=start, end=end), symbols, start=start)


def real_market(
    name: BookName,
    market: MarketData,
    symbols: Sequence[str] = (),
    *,
    start: str | None = None,
    own_costs: bool = False,
) -> MarketData:
    """
    Return a real market as the book trades it.

    `symbols` chooses among the instruments that the book could trade; () leaves the choice to
    it. A multi-asset book that decides from `start` (YYYY-MM-DD) on leaves out what lies before
    a hole. With `own_costs` each instrument pays its own cost (`own_costs`) in place of the
    configured default.
    """
    if name == "equity":
        return equity_market(market, symbols=symbols, own_costs=own_costs)
    return multi_asset_market(market, symbols, start=start, own_costs=own_costs)


def multi_asset_market(
    market: MarketData,
    symbols: Sequence[str] = (),
    *,
    start: str | None = None,
    own_costs: bool = False,
) -> MarketData:
    """
    Return FX, commodities and indices over the sessions that all of them share.

    Without `symbols` they are MULTI_ASSET where the source has these, else all that it has of
    the three groups. A group without an instrument is left out, with a note. `start` as in
    `shared_sessions.common_sessions`.
    Raises ConfigError for a symbol that is of none of the groups, DataError where the source has
    no instrument of them, where hardly a session is shared, or where one has a hole.
    """
    chosen, notes = _contracts(market, symbols)
    kept = cut(market, None, None, chosen)
    spans = kept.bars.groupby("symbol").agg(first=("ts_open", "min"), last=("ts_close", "max"))
    closes = np.asarray(kept.session_closes, dtype=np.int64)
    first = int(np.searchsorted(closes, spans["first"].max(), side="right"))
    last = int(np.searchsorted(closes, spans["last"].min()))
    if first > last:
        late, early = spans["first"].idxmax(), spans["last"].idxmin()
        raise DataError(
            f"expected sessions that all instruments of {listed([market.name])} share, was {late} "
            f"from {_day(int(spans['first'].max()))} and {early} until "
            f"{_day(int(spans['last'].min()))}; go on without one of them (symbols)"
        )
    kept = common_sessions(between(kept, first, last), start)
    notes = [
        *kept.notes,
        *notes,
        *_without_group(kept),
        f"{len(kept.symbols)} instruments over the sessions they share, {_span(kept)}",
    ]
    if kept.symbols == MULTI_ASSET:
        notes.append("BRENT is the oil leg: WTIUSD's hourly bars begin in 2023-07")
    kept = replace(kept, notes=tuple(notes))
    return with_own_costs(kept) if own_costs else kept


def equity_market(
    market: MarketData,
    complete_from: str = COMPLETE_FROM,
    *,
    symbols: Sequence[str] = (),
    own_costs: bool = False,
) -> MarketData:
    """
    Return the stocks of a known sector that miss no session from `complete_from` on.

    Earlier sessions stay, as warm-up. The end is the last session that half of the stocks
    reached. `symbols` chooses among these stocks. Raises DataError where no such stock is there,
    ConfigError for a symbol that is none of them.
    """
    stocks = {i.symbol for i in market.instruments if i.asset_class == "equity"}
    if not stocks:
        raise DataError(
            f"expected stocks in {listed([market.name])}, was {listed(market.symbols, most=5)}"
        )
    closes = np.asarray(market.session_closes, dtype=np.int64)
    ends = market.bars[market.bars["symbol"].isin(stocks)].groupby("symbol")["ts_close"].max()
    last = int(np.searchsorted(closes, np.sort(ends.to_numpy())[len(ends) // 2]))
    whole = between(market, 0, last)
    days = session_day(closes[: last + 1])
    first = int(np.searchsorted(days, parse_day(complete_from, "complete_from")))
    bars = whole.bars[whole.bars["ts_close"] > (closes[first - 1] if first else 0)]
    counts = bars.groupby("symbol")["ts_close"].nunique()
    complete = {str(s) for s, n in counts.items() if n == last + 1 - first}
    known = {i.symbol for i in market.instruments if i.group != "Unknown"}
    usable = sorted(complete & known & stocks)
    if first > last or not usable:
        raise DataError(
            f"expected stocks of a known sector without a hole from {complete_from} on in "
            f"{market.name}, was none of {len(stocks)}"
        )
    unknown = sorted(set(symbols) - set(usable))
    if unknown:
        raise ConfigError(
            f"expected stocks of {listed([market.name])} that are complete from {complete_from} "
            f"on and of a known sector ({listed(usable)}), was {listed(unknown, most=5)}"
        )
    kept = cut(whole, None, None, tuple(symbols) or tuple(usable))
    chosen = f"; {len(kept.symbols)} of them were chosen" if symbols else ""
    groups = len({i.group for i in market.instruments if i.symbol in usable})
    notes = (
        *kept.notes,
        f"{len(usable)} of {len(stocks)} stocks: complete from {complete_from} on and "
        f"of a known sector ({groups} sectors), {_span(kept)}{chosen}",
        "survivors only: the stocks were chosen knowing that they would last",
        "sectors are the present ones, not those of the day",
    )
    kept = replace(kept, notes=notes)
    return with_own_costs(kept) if own_costs else kept


def _contracts(market: MarketData, symbols: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the symbols that the multi-asset book trades, and a note where it had to choose."""
    known = tuple(i.symbol for i in market.instruments if i.group in DOMAINS)
    if not known:
        raise DataError(
            f"expected instruments of the groups {', '.join(DOMAINS)} in "
            f"{listed([market.name])}, was {listed(market.symbols, most=5)}"
        )
    if symbols:
        unknown = sorted(set(symbols) - set(known))
        if unknown:
            raise ConfigError(
                f"expected symbols of {listed([market.name])} in the groups "
                f"{', '.join(DOMAINS)} ({listed(known)}), was {listed(unknown, most=5)}"
            )
        return tuple(symbols), []
    missing = sorted(set(MULTI_ASSET) - set(market.symbols))
    if not missing:
        return MULTI_ASSET, []
    note = f"all {len(known)} instruments of the book's groups, for there is no {listed(missing)}"
    return known, [note]


def _without_group(market: MarketData) -> list[str]:
    """Return a note for each group of the multi-asset book of which a market has nothing."""
    there = {i.group for i in market.instruments}
    return [
        f"no instruments of the group {group}: left out" for group in DOMAINS if group not in there
    ]


def _day(stamp: int) -> str:
    return day_text(int(session_day(np.array([stamp]))[0]))


def _span(market: MarketData) -> str:
    closes = market.session_closes
    return f"{_day(closes[0])} to {_day(closes[-1])}, {len(closes)} sessions"
