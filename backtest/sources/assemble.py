"""
Joins what a source's files gave into one market: bars, instruments, actions and news, each once.

Whatever is left out on the way is counted in one note of its kind.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pandas as pd

from agents.arrays import FloatArray, IntArray
from agents.messages import AssetClass, FundamentalsReport, Instrument, MacroValue, NewsItem
from backtest.market.market_data import ACTION_COLUMNS, MarketData, PriceBasis
from backtest.market.sessions import DAY_NS, Sessions, stamp_text
from backtest.market.tradable import without_volume
from backtest.sources.bars import PRICES, in_sessions
from backtest.sources.context import name_macro
from backtest.sources.federal_funds import with_federal_funds
from backtest.sources.findings import Findings, Notes
from backtest.sources.known import class_of, exchange_currency, make_instrument, size_decimals
from backtest.sources.manifest import FILE_NAME, InstrumentManifest, Manifest
from config.errors import DataError, listed

ROUNDING = 0.001  # of a price, at most
_BASES: tuple[PriceBasis, ...] = ("unadjusted", "split_adjusted", "adjusted")


@dataclass
class Gathered:
    """
    What the files gave so far; `macro` has (id, file, value).

    `classes` are those that source.yaml states for a symbol.
    """

    bars: list[pd.DataFrame] = field(default_factory=list)
    actions: list[pd.DataFrame] = field(default_factory=list)
    bases: list[PriceBasis] = field(default_factory=list)
    sectors: dict[str, str] = field(default_factory=dict)
    classes: dict[str, AssetClass] = field(default_factory=dict)
    news: list[NewsItem] = field(default_factory=list)
    fundamentals: list[FundamentalsReport] = field(default_factory=list)
    macro: list[tuple[str, str, MacroValue]] = field(default_factory=list)


def one_of[T](values: Iterable[T | None], what: str, default: T) -> T:
    """Return the value that manifests state. Raises DataError where they state different ones."""
    stated = list(dict.fromkeys(v for v in values if v is not None))
    if len(stated) > 1:
        raise DataError(f"{FILE_NAME}: expected one {what}, was {', '.join(map(str, stated))}")
    return stated[0] if stated else default


def assemble(
    name: str,
    got: Gathered,
    calendar: Sessions,
    step_ns: int,
    manifests: Sequence[Manifest],
    found: Findings,
) -> MarketData:
    """Return the market of what was gathered. Raises DataError, or keeps it, as `found` says."""
    bars = pd.concat(got.bars, ignore_index=True)
    twice = bars.duplicated(["symbol", "ts_open"])
    if twice.any():
        row = bars[twice].iloc[0]
        found.fault(
            DataError(
                f"expected one bar a stamp over all files, was a duplicate for {row['symbol']} "
                f"at {stamp_text(row['ts_open'])}; {int(twice.sum())} such bars"
            )
        )
        bars = bars[~twice]
    bars, closes = in_sessions(bars, calendar, found.notes)
    _refuse_two_spellings(bars, found)
    instruments = _instruments(bars, got, calendar.name, manifests, found.notes)
    bars = round_bars(bars, instruments)
    basis = max(got.bases, key=_BASES.index)
    if len(set(got.bases)) > 1:
        found.notes.add(f"files differ in price basis, the whole is taken as {basis}")
    for symbol in without_volume(bars, instruments):
        found.notes.add(
            f"{symbol} has volume 0 in every bar: it is never quoted, so no order for it is sent"
        )
    symbols = {i.symbol for i in instruments}
    reports = {msgspec.json.encode(r): r for r in got.fundamentals if r.symbol in symbols}
    macro, renamed = name_macro(got.macro)
    oldest = int(calendar.opens[0])
    macro = [m for m in macro if m.ts_event >= oldest]
    if macro:
        for note in (*renamed, "macro values are the latest vintage, not what was known that day"):
            found.notes.add(note)
    first = {str(s): int(t) for s, t in bars.groupby("symbol")["ts_open"].min().items()}
    return with_federal_funds(
        MarketData(
            name=name,
            instruments=tuple(instruments),
            bars=bars,
            actions=_actions(got, symbols, found),
            session_closes=closes,
            step_ns=step_ns,
            price_basis=basis,
            news=tuple(_news(got.news, first, closes[-1], found.notes)),
            fundamentals=tuple(reports.values()),
            macro=tuple(macro),
            notes=found.notes.lines(),
            calendar=calendar.name,
        )
    )


def _refuse_two_spellings(bars: pd.DataFrame, found: Findings) -> None:
    """Find fault with symbols that differ in capitals only: they are one instrument twice."""
    spelt: dict[str, list[str]] = {}
    for symbol in sorted(map(str, bars["symbol"].unique())):
        spelt.setdefault(symbol.upper(), []).append(symbol)
    for names in spelt.values():
        if len(names) > 1:
            found.fault(
                DataError(f"expected one spelling of a symbol, was {listed(names, most=3)}")
            )


def _actions(got: Gathered, symbols: set[str], found: Findings) -> pd.DataFrame:
    """Return the splits and dividends of instruments, at most one row a session."""
    actions = pd.concat(got.actions, ignore_index=True)[list(ACTION_COLUMNS)]
    actions = actions[actions["symbol"].isin(symbols)]
    actions = actions[actions["split"].ne(1.0) | actions["dividend"].gt(0)]
    clash = actions.duplicated(["symbol", "ts"])
    if clash.any():
        row = actions[clash].iloc[0]
        found.fault(
            DataError(
                f"expected one action a session, was a duplicate for {row['symbol']} at "
                f"{stamp_text(row['ts'])}"
            )
        )
    return actions[~clash]


def _instruments(
    bars: pd.DataFrame,
    got: Gathered,
    calendar: str,
    manifests: Sequence[Manifest],
    notes: Notes,
) -> list[Instrument]:
    """Return the instruments that have bars, sorted, and note a currency of the calendar's."""
    out = []
    given = {s: i for m in reversed(manifests) for s, i in m.instruments.items()}
    unknown = sorted(set(given) - set(bars["symbol"].unique()))
    if unknown:
        raise DataError(
            f"{FILE_NAME}: expected instruments that have bars, was instruments.{unknown[0]}"
        )
    codes, symbols = pd.factorize(bars["symbol"], sort=True)
    order = np.lexsort((bars["ts_open"].to_numpy(), codes))
    first = order[np.unique(codes[order], return_index=True)[1]]
    prices = bars["open"].to_numpy()[first].tolist()
    for symbol, price in zip(map(str, symbols), prices, strict=True):
        facts, kind = given.get(symbol, InstrumentManifest()), got.classes.get(symbol)
        local = exchange_currency(symbol, kind or class_of(symbol), calendar)
        if local is not None and facts.currency is None:
            facts = msgspec.structs.replace(facts, currency=local)
            notes.add(
                "stocks or indices without an exchange's suffix taken to be in "
                f"{local}, as the calendar {calendar} says"
            )
        out.append(make_instrument(symbol, price, got.sectors, kind, facts))
    return out


def round_bars(bars: pd.DataFrame, instruments: Sequence[Instrument]) -> pd.DataFrame:
    """
    Return the bars with prices to the decimals they are kept with and volumes to those of a lot.

    Raises DataError where that moves a price by more than `ROUNDING`.
    """
    facts = {i.symbol: i for i in instruments}
    codes, symbols = pd.factorize(bars["symbol"])
    kept = [facts[s] for s in symbols]
    places = np.array([i.printed_precision for i in kept])[codes]
    bars = bars.copy()
    for column in PRICES:
        printed = bars[column].to_numpy(np.float64)
        values = _rounded(printed, places)
        moved = np.flatnonzero(np.abs(values - printed) > ROUNDING * printed)
        if moved.size:
            row = bars.iloc[int(moved[0])]
            digits = math.ceil(-math.log10(row[column]))
            raise DataError(
                f"expected {row['symbol']}'s {column} to move by less than {ROUNDING:.1%} kept "
                f"with {facts[row['symbol']].printed_precision} decimals, was {row[column]:g} at "
                f"{stamp_text(row['ts_open'])}: set instruments: {row['symbol']}: "
                f"precision: {min(max(digits, 0), 9)} in {FILE_NAME}"
            )
        bars[column] = values
    sizes = np.array([size_decimals(i) for i in kept])[codes]
    bars["volume"] = _rounded(bars["volume"].to_numpy(np.float64), sizes)
    return bars


def _rounded(values: FloatArray, places: IntArray) -> FloatArray:
    """Return each value rounded to its own number of decimals; shapes: (R,), (R,) -> (R,)."""
    out = np.array(values)
    for decimals in np.unique(places):
        at = places == decimals
        out[at] = np.round(values[at], decimals)
    return out


def _news(
    news: Sequence[NewsItem], first: dict[str, int], last: int, notes: Notes
) -> list[NewsItem]:
    """
    Return each (source, id) once, its earliest; each from its instrument's first session on.

    What became known after the last session's close `last` is left out: nothing trades on it.
    """
    ordered = sorted(
        news, key=lambda n: (n.source, n.item_id, n.ts_init, n.symbol, n.headline, n.body)
    )
    kept: list[NewsItem] = []
    dropped: Counter[str] = Counter()
    before: tuple[str, str] | None = None
    for item in ordered:
        key = (item.source, item.item_id)
        if item.symbol not in first:
            dropped["of symbols without bars"] += 1
        elif item.ts_init < first[item.symbol] // DAY_NS * DAY_NS:
            dropped["from before their instrument's first session"] += 1
        elif item.ts_init > last:
            dropped["known after the last session's close"] += 1
        elif key == before:
            dropped["that repeat a (source, id)"] += 1
        else:
            kept.append(item)
            before = key
    for why in sorted(dropped):
        notes.add(f"news items {why} left out", count=dropped[why])
    return kept
