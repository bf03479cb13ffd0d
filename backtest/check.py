"""
Checks a source: lists everything that is wrong or odd in it, not only the first thing.

`open_source` stops at the first fault; this reads on, leaves the faulty rows out, and reports
per symbol what remains, with what a person should look at before trusting it. It also lists what
a backtest would refuse of the market that was read (`backtest.market.tradable`).
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pandas as pd

from agents.messages import Instrument
from backtest.market.accounts import with_account
from backtest.market.market_data import MarketData, PriceBasis
from backtest.market.sessions import DAY_NS, day_text, parse_day, session_day
from backtest.market.tradable import check_tradable, deciding
from backtest.sources.findings import FileFact, Findings
from backtest.sources.survivors import END_SESSIONS
from config.errors import ConfigError
from config.settings import Settings
from config.sources import PACKAGED, SIMULATOR, find_catalog, source_paths

BIG_JUMP = 0.40
SHOWN = 10  # symbols named in a note


class SymbolCheck(msgspec.Struct, frozen=True, kw_only=True):
    """
    One symbol's bars and what goes with them.

    `gaps` counts sessions without a bar between its first and last, `missing` names the first of
    them; `jumps` are the days whose close moved by more than 40% without an action; `first` and
    `last` are days. `decimals` are those of the tick.
    """

    symbol: str
    asset_class: str
    currency: str
    decimals: int
    lot_size: float
    bars: int
    first: str
    last: str
    gaps: int
    missing: tuple[str, ...]
    jumps: tuple[str, ...]
    zero_volume: int
    splits: int
    dividends: int
    news: int
    fundamentals: int


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    A source's check: what each file was taken for, each symbol's bars, and what goes with them.

    `problems` are what reading or trading it would refuse, empty when neither;
    `notes` are the choices and omissions that a report will show.
    """

    name: str
    files: tuple[FileFact, ...] = ()
    rows: tuple[SymbolCheck, ...] = ()
    calendar: str = ""
    account: str = ""
    sessions: int = 0
    step_ns: int = 0
    price_basis: PriceBasis | None = None
    macro_series: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether a backtest would take the source as it is."""
        return not self.problems


def check_source(
    name: str,
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: Sequence[str] = (),
    settings: Settings | None = None,
    as_book: Callable[[MarketData], MarketData] | None = None,
) -> CheckReport:
    """
    Return the check of a source, named as for `open_source`, for a run under `settings`.

    `settings`, by default those where nothing was stated, say the account and the seed. `as_book`
    returns the source as a book trades it, and chooses among its symbols then.
    Never raises for a fault of the data or of the range: it is a line of `problems`.
    """
    found = Findings(collect=True)
    problems = found.faults
    settings = settings or Settings()
    try:
        market = _open(name, settings.seed, found)
    except ConfigError as e:
        problems.append(str(e))
        return _report(name, None, problems, found)
    try:
        from backtest.plan import warmup_sessions
        from backtest.sources.opening import cut
        from backtest.sources.survivors import with_survivors_note

        chosen = symbols if as_book is None else ()
        market = cut(with_survivors_note(market, chosen), start, end, chosen)
        market = market if as_book is None else as_book(market)
        start_ns = None if start is None else parse_day(start, "start") * DAY_NS
        if len(market.session_closes) > 1:  # else `check_tradable` says so
            deciding(market, start_ns, warmup_sessions(settings))
    except ConfigError as e:
        problems.append(str(e))
    market, settings = with_account(market, settings)
    problems += check_tradable(market, settings.market.currency)
    return _report(name, market, problems, found, settings.market.currency)


def _open(name: str, seed: int, found: Findings) -> MarketData:
    from backtest.sources.folder import read_sources
    from backtest.sources.opening import open_source

    if name in (*PACKAGED, SIMULATOR) or find_catalog(name) is not None:
        return open_source(name, seed=seed)
    return read_sources(source_paths(name), found)


def _report(
    name: str,
    market: MarketData | None,
    problems: Sequence[str],
    found: Findings,
    currency: str = "",
) -> CheckReport:
    lines = tuple(dict.fromkeys(problems))
    files = tuple(found.files)
    if market is None:
        return CheckReport(name=name, files=files, notes=found.notes.lines(), problems=lines)
    facts = {i.symbol: i for i in market.instruments}
    closes = np.asarray(market.session_closes, dtype=np.int64)
    news = Counter(n.symbol for n in market.news)
    reports = Counter(f.symbol for f in market.fundamentals)
    actions = {str(s): g for s, g in market.actions.groupby("symbol")}
    none = market.actions.iloc[:0]
    rows = tuple(
        _check(
            facts[str(s)], bars, actions.get(str(s), none), closes, news[str(s)], reports[str(s)]
        )
        for s, bars in ((str(s), b) for s, b in market.bars.groupby("symbol", sort=True))
    )
    return CheckReport(
        name=name,
        files=files,
        rows=rows,
        calendar=market.calendar,
        account=currency,
        sessions=len(closes),
        step_ns=market.step_ns,
        price_basis=market.price_basis,
        macro_series=dict(sorted(Counter(m.series for m in market.macro).items())),
        notes=(*market.notes, *_ended(rows, closes)),
        problems=lines,
    )


def _ended(rows: Sequence[SymbolCheck], closes: np.ndarray) -> list[str]:
    """Return a note of the symbols whose bars end before the source does."""
    days = [day_text(d) for d in session_day(closes)]
    near = days[max(len(days) - 1 - END_SESSIONS, 0)]
    ended = [f"{row.symbol} ({row.last})" for row in rows if row.last <= near != days[0]]
    if not ended:
        return []
    more = f" and {len(ended) - SHOWN} more" if len(ended) > SHOWN else ""
    return [
        f"{len(ended)} of {len(rows)} symbols end more than {END_SESSIONS - 1} sessions before "
        f"the source, last bar in brackets: {', '.join(ended[:SHOWN])}{more}"
    ]


def _check(
    instrument: Instrument,
    bars: pd.DataFrame,
    actions: pd.DataFrame,
    closes: np.ndarray,
    news: int,
    fundamentals: int,
) -> SymbolCheck:
    opens, ends = bars["ts_open"].to_numpy(np.int64), bars["ts_close"].to_numpy(np.int64)
    days = np.unique(session_day(ends))
    spanned = session_day(closes)
    spanned = spanned[(spanned >= days[0]) & (spanned <= days[-1])]
    missing = spanned[~np.isin(spanned, days)]
    price = bars["close"].to_numpy(np.float64)
    move = np.abs(price[1:] / price[:-1] - 1)
    acted = np.searchsorted(opens, actions["ts"].to_numpy(np.int64))
    jump = np.append(False, move > BIG_JUMP)
    jump[acted[acted < len(jump)]] = False
    return SymbolCheck(
        symbol=instrument.symbol,
        asset_class=instrument.asset_class,
        currency=instrument.currency,
        decimals=instrument.price_precision,
        lot_size=instrument.lot_size,
        bars=len(bars),
        first=day_text(days[0]),
        last=day_text(days[-1]),
        gaps=len(missing),
        missing=tuple(day_text(d) for d in missing[:SHOWN]),
        jumps=tuple(day_text(d) for d in session_day(ends[jump])),
        zero_volume=int((bars["volume"] == 0).sum()),
        splits=int((actions["split"] != 1.0).sum()),
        dividends=int((actions["dividend"] > 0).sum()),
        news=news,
        fundamentals=fundamentals,
    )
