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

from backtest.market.market_data import MarketData, canonical
from backtest.market.sessions import day_text, parse_day, session_day
from backtest.simulator import SimulatedMarket, simulate
from backtest.simulator.structure import SECTORS
from backtest.sources.opening import cut, open_source
from config.errors import ConfigError, DataError
from config.simulator import SimulatorSettings
from config.sources import SIMULATOR
from learning.datasets.own_costs import with_own_costs

type BookName = Literal["multi-asset", "equity"]

DOMAINS = ("commodity", "forex", "index")
MULTI_ASSET = ("BRENT", "EURUSD", "GBPUSD", "NAS100", "SPX500", "US30", "USDJPY", "XAUUSD")
COMPLETE_FROM = "2015-01-01"  # from here on an equity of the book misses no session
SIMULATED_SESSIONS = 1_000  # after the warm-up
MAX_CLOSED = 0.05  # of the sessions; more is a hole, not holidays

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
    name: BookName, source: str, *, end: str | None = None, seed: int = 0
) -> MarketData:
    """
    Return a book's market by its source's name: what a backtest of trained policies trades.

    "simulator" (or "") is the market of `seed` at SIMULATED_SESSIONS, anything else what
    `backtest.sources.open_source` opens. Raises what that raises.
    """
    if source in ("", SIMULATOR):
        settings = simulator_settings(name, SIMULATED_SESSIONS)
        market = simulated_market(name, settings, seed).to_market_data()
        return cut(market, None, end, ())
    return real_market(name, open_source(source, end=end))


def real_market(
    name: BookName, market: MarketData, symbols: Sequence[str] = (), *, own_costs: bool = False
) -> MarketData:
    """
    Return a real market as the book trades it.

    `symbols` stands in for the multi-asset book's own; equities choose theirs. With `own_costs`
    each instrument pays its own cost (`own_costs`) in place of the configured default.
    """
    if name == "equity":
        return equity_market(market, own_costs=own_costs)
    return multi_asset_market(market, symbols or MULTI_ASSET, own_costs=own_costs)


def multi_asset_market(
    market: MarketData, symbols: Sequence[str] = MULTI_ASSET, *, own_costs: bool = False
) -> MarketData:
    """
    Return FX and CFDs over the sessions that all of them share.

    Raises DataError for a symbol that is missing, by name, or where hardly a session is shared.
    """
    kept = _keep(market, symbols)
    spans = kept.bars.groupby("symbol").agg(first=("ts_open", "min"), last=("ts_close", "max"))
    closes = np.asarray(kept.session_closes, dtype=np.int64)
    first = int(np.searchsorted(closes, spans["first"].max(), side="right"))
    last = int(np.searchsorted(closes, spans["last"].min()))
    if first > last:
        late, early = spans["first"].idxmax(), spans["last"].idxmin()
        raise DataError(
            f"expected sessions that all instruments of {market.name} share, was {late} from "
            f"{_day(int(spans['first'].max()))} and {early} until {_day(int(spans['last'].min()))}"
        )
    kept = common_sessions(_between(kept, first, last))
    notes = [
        *kept.notes,
        f"{len(symbols)} instruments over the sessions they share, {_span(kept)}",
    ]
    if "BRENT" in symbols:
        notes.append("BRENT is the oil leg: WTIUSD's hourly bars begin in 2023-07")
    kept = replace(kept, notes=tuple(notes))
    return with_own_costs(kept) if own_costs else kept


def equity_market(
    market: MarketData, complete_from: str = COMPLETE_FROM, *, own_costs: bool = False
) -> MarketData:
    """
    Return the stocks of a known sector that miss no session from `complete_from` on.

    Earlier sessions stay, as warm-up. The end is the last session that half of the stocks
    reached. Raises DataError where no such stock is left.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    end = int(np.median(market.bars.groupby("symbol")["ts_close"].max()))
    last = int(np.searchsorted(closes, end))
    whole = _between(market, 0, last)
    days = session_day(closes[: last + 1])
    first = int(np.searchsorted(days, parse_day(complete_from, "complete_from")))
    bars = whole.bars[whole.bars["ts_close"] > (closes[first - 1] if first else 0)]
    counts = bars.groupby("symbol")["ts_close"].nunique()
    complete = {str(s) for s, n in counts.items() if n == last + 1 - first}
    known = {i.symbol for i in market.instruments if i.group != "Unknown"}
    symbols = sorted(complete & known)
    if first > last or not symbols:
        raise DataError(
            f"expected stocks of a known sector without a hole from {complete_from} on in "
            f"{market.name}, was none of {len(market.symbols)}"
        )
    kept = _keep(whole, symbols)
    groups = len({i.group for i in kept.instruments})
    notes = (
        *kept.notes,
        f"{len(symbols)} of {len(market.symbols)} stocks: complete from {complete_from} on and "
        f"of a known sector ({groups} sectors), {_span(kept)}",
        "survivors only: the stocks were chosen knowing that they would last",
        "sectors are the present ones, not those of the day",
    )
    kept = replace(kept, notes=notes)
    return with_own_costs(kept) if own_costs else kept


def common_sessions(market: MarketData) -> MarketData:
    """
    Return a market without the days on which some instrument does not trade.

    One holiday of one instrument would mask every feature whose window holds it, 60 sessions
    long, and nothing may be filled forward: with some 3 such days a year macd would be unknown
    in half of all sessions. Raises DataError where an instrument lacks more than `MAX_CLOSED`.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    at = np.searchsorted(closes, market.bars["ts_close"].to_numpy())
    traded = np.zeros((len(closes), len(market.symbols)), dtype=bool)
    traded[at, np.searchsorted(market.symbols, market.bars["symbol"].to_numpy(dtype=str))] = True
    absent = (~traded).sum(axis=0)
    if absent.max() > MAX_CLOSED * len(closes):
        worst = int(absent.argmax())
        raise DataError(
            f"expected instruments that trade on the same days, was {market.symbols[worst]} "
            f"absent on {absent[worst]} of {len(closes)} in {market.name}"
        )
    full = traded.all(axis=1)
    if full.all():
        return market
    note = f"{int((~full).sum())} days left out on which an instrument does not trade"
    return canonical(
        replace(
            market,
            bars=market.bars[full[at]],
            session_closes=tuple(closes[full].tolist()),
            notes=(*market.notes, note),
        )
    )


def _keep(market: MarketData, symbols: Sequence[str]) -> MarketData:
    missing = sorted(set(symbols) - set(market.symbols))
    if missing:
        raise DataError(
            f"expected {', '.join(sorted(symbols))} in {market.name}, "
            f"was without {', '.join(missing)}"
        )
    return cut(market, None, None, tuple(symbols))


def _between(market: MarketData, first: int, last: int) -> MarketData:
    """Return sessions first..last, both included; macro values and reports known before stay."""
    closes = market.session_closes
    begin, end = closes[first - 1] if first else 0, closes[last]
    bars, actions = market.bars, market.actions
    return canonical(
        replace(
            market,
            bars=bars[(bars["ts_open"] >= begin) & (bars["ts_close"] <= end)],
            actions=actions[(actions["ts"] >= begin) & (actions["ts"] <= end)],
            session_closes=closes[first : last + 1],
            news=tuple(n for n in market.news if begin < n.ts_init <= end),
            fundamentals=tuple(f for f in market.fundamentals if f.ts_init <= end),
            macro=tuple(m for m in market.macro if m.ts_init <= end),
        )
    )


def _day(stamp: int) -> str:
    return day_text(int(session_day(np.array([stamp]))[0]))


def _span(market: MarketData) -> str:
    closes = market.session_closes
    return f"{_day(closes[0])} to {_day(closes[-1])}, {len(closes)} sessions"
