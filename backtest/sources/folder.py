"""
Reads a folder of CSV and Parquet files, or one file, as a market.

Each file is classified by its columns or by source.yaml, read by its kind's reader, and all are
joined in canonical order: the order of files and the folder's own place do not matter. With
`faults` given, whatever is wrong is listed there and left out, as far as that is possible.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from agents.messages import FundamentalsReport, Instrument, MacroValue, NewsItem
from backtest.market.market_data import ACTION_COLUMNS, BAR_COLUMNS, MarketData, PriceBasis
from backtest.market.sessions import DAY_NS, WEEKDAYS, XNYS, Sessions, load_sessions, stamp_text
from backtest.market.tradable import without_volume
from backtest.sources.actions import derive, with_actions
from backtest.sources.bars import PRICES, RawBars, in_sessions, read_bars, stamp_bars
from backtest.sources.columns import classify, map_columns, normal, require
from backtest.sources.context import (
    name_macro,
    read_fundamentals,
    read_macro,
    read_news,
)
from backtest.sources.federal_funds import with_federal_funds
from backtest.sources.known import is_contract, make_instrument
from backtest.sources.manifest import FILE_NAME, FileManifest, Manifest, load_manifest
from backtest.sources.table import Stamps, is_table, numbers, read_table, stamps, texts
from config.errors import DataError

MACRO_YEARS_BEFORE = 2
ROUNDING = 0.001  # of a price, at most
_BASES: tuple[PriceBasis, ...] = ("unadjusted", "split_adjusted", "adjusted")


@dataclass(frozen=True)
class _File:
    """One classified file; `symbol` is the symbol of a file without that column."""

    path: Path
    kind: str
    frame: pd.DataFrame
    mapping: dict[str, str]
    symbol: str | None
    given: FileManifest
    manifest: Manifest

    @property
    def label(self) -> str:
        return self.path.name

    def when(self, zone: str) -> Stamps:
        timezone = self.given.timezone or self.manifest.timezone
        return stamps(self.frame[self.mapping["time"]], self.label, timezone, zone)


@dataclass
class _Gathered:
    """What the files gave so far."""

    bars: list[pd.DataFrame] = field(default_factory=list)
    dated: list[pd.DataFrame] = field(default_factory=list)
    actions: list[pd.DataFrame] = field(default_factory=list)
    bases: list[PriceBasis] = field(default_factory=list)
    news: list[NewsItem] = field(default_factory=list)
    fundamentals: list[FundamentalsReport] = field(default_factory=list)
    macro: list[tuple[str, str, MacroValue]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] | None = None

    def attempt(self, error: DataError) -> None:
        """Raise a fault, or list it when faults are collected."""
        if self.faults is None:
            raise error
        self.faults.append(str(error))


def read_sources(paths: Sequence[Path], faults: list[str] | None = None) -> MarketData:
    """
    Return the market that folders and files hold together.

    Raises DataError for the first thing wrong; with `faults`, only where no market is left.
    """
    got = _Gathered(faults=faults)
    files: list[_File] = []
    manifests: list[Manifest] = []
    for path in paths:
        folder = path if path.is_dir() else path.parent
        manifest = load_manifest(folder)
        manifests.append(manifest)
        tables = _tables(path)
        if not tables:
            raise DataError(f"{path.name}: expected CSV or Parquet files, was an empty folder")
        for table in tables:
            try:
                files += _open(table, folder, manifest)
            except DataError as e:
                got.attempt(e)
    sectors = _sectors(files)
    raws: list[tuple[_File, RawBars]] = []
    for file in (f for f in files if f.kind == "bars"):
        try:
            zone = _market_zone(manifests)
            when = file.when(zone)
            raw = read_bars(file.frame, file.mapping, when, file.symbol, file.label, faults)
            raws.append((file, raw))
        except DataError as e:
            got.attempt(e)
    if not raws:
        raise DataError(f"{paths[0].name}: expected at least one file of bars, was none")
    step = _step(raws)
    calendar = _calendar(raws, manifests)
    for file in (f for f in files if f.kind == "actions"):
        try:
            got.dated.append(_actions(file, file.when(calendar.timezone), calendar))
        except DataError as e:
            got.attempt(e)
    for file, raw in raws:
        try:
            _take_bars(file, raw, calendar, got)
        except DataError as e:
            got.attempt(e)
    if not got.bars:
        raise DataError(f"{paths[0].name}: expected bars without faults, was none")
    for file in files:
        try:
            _take_context(file, calendar, got)
        except DataError as e:
            got.attempt(e)
    return _assemble(paths, got, calendar, step, sectors, manifests)


def _tables(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.iterdir() if is_table(p))
    return [path] if is_table(path) else []


def _open(path: Path, folder: Path, manifest: Manifest) -> list[_File]:
    given = manifest.files.get(path.name, FileManifest())
    if given.kind == "ignore":
        return []
    frame = read_table(path)
    columns = [str(c) for c in frame.columns]
    mapping = map_columns(columns, given.columns, path.name)
    kind: str = given.kind or classify(columns, mapping, path.name)
    stem = path.name.split(".")[0]
    symbol = {"stem": stem, "folder": folder.resolve().name}.get(given.symbol or "", given.symbol)
    if kind == "bars" and not symbol and not {"symbol", "volume"} & mapping.keys():
        if not normal(stem).startswith("vix"):
            require("bars", columns, mapping, path.name)
        kind, mapping = "macro", {"time": mapping["time"], "value": mapping["close"]}
        return [_File(path, kind, frame, mapping, "vix", given, manifest)]
    needed = dict(mapping) | ({"symbol": ""} if symbol else {})
    require(kind, columns, needed, path.name)  # type: ignore[arg-type]
    return [_File(path, kind, frame, mapping, symbol, given, manifest)]


def _sectors(files: Iterable[_File]) -> dict[str, str]:
    sectors: dict[str, str] = {}
    for file in files:
        if file.kind == "sectors":
            symbols = texts(file.frame[file.mapping["symbol"]])
            groups = texts(file.frame[file.mapping["sector"]])
            sectors |= {s: g for s, g in zip(symbols, groups, strict=True) if s and g}
    return sectors


def _one[T](values: Iterable[T | None], what: str, default: T) -> T:
    found = list(dict.fromkeys(v for v in values if v is not None))
    if len(found) > 1:
        raise DataError(f"{FILE_NAME}: expected one {what}, was {', '.join(map(str, found))}")
    return found[0] if found else default


def _market_zone(manifests: Sequence[Manifest]) -> str:
    name = _one((m.calendar for m in manifests), "calendar", XNYS)
    return load_sessions(name, 2020, 2020).timezone


def _calendar(raws: Sequence[tuple[_File, RawBars]], manifests: Sequence[Manifest]) -> Sessions:
    """Return the calendar stated, else XNYS for equities and 24x5 for FX and CFDs."""
    symbols = sorted({s for _, raw in raws for s in raw.frame["symbol"].unique()})
    free = [s for s in symbols if _is_contract(s, manifests)]
    name = _one((m.calendar for m in manifests), "calendar", None)
    if name is None and free and len(free) < len(symbols):
        other = next(s for s in symbols if s not in free)
        raise DataError(
            f"expected equities or FX and CFDs in one source, was {other} beside {free[0]}: "
            f"set calendar in {FILE_NAME}"
        )
    name = name or (WEEKDAYS if free else XNYS)
    ns = [raw.frame["ns"] for _, raw in raws]
    first = int(np.datetime64(int(min(n.min() for n in ns)), "ns").astype("M8[Y]").astype(int))
    last = int(np.datetime64(int(max(n.max() for n in ns)), "ns").astype("M8[Y]").astype(int))
    return load_sessions(name, first + 1970 - MACRO_YEARS_BEFORE, last + 1970 + 1)


def _is_contract(symbol: str, manifests: Sequence[Manifest]) -> bool:
    for manifest in manifests:
        given = manifest.instruments.get(symbol)
        asset_class = (given.asset_class if given else None) or manifest.asset_class
        if asset_class is not None:
            return asset_class != "equity"
    return is_contract(symbol)


def _step(raws: Sequence[tuple[_File, RawBars]]) -> int:
    steps = {raw.label: raw.step_ns for _, raw in raws}
    if len(set(steps.values())) > 1:
        was = ", ".join(
            f"{name} of {f'{step / 60e9:g} minutes' if step else 'one session'}"
            for name, step in sorted(steps.items())
        )
        raise DataError(
            f"expected bars of one length, was {was}: name one file as the source, "
            f"or set kind: ignore for the others in {FILE_NAME}"
        )
    return next(iter(steps.values()))


def _take_bars(file: _File, raw: RawBars, calendar: Sessions, got: _Gathered) -> None:
    got.notes += raw.notes
    drop = file.manifest.non_sessions == "drop"
    bars = stamp_bars(raw, calendar, drop, got.notes, got.faults)
    contract = all(_is_contract(s, [file.manifest]) for s in bars["symbol"].unique())
    given = file.given.price_basis or file.manifest.price_basis
    dated = [a for a in got.dated if a["symbol"].isin(bars["symbol"]).any()]
    if dated:
        bars = with_actions(bars, pd.concat(dated, ignore_index=True))
    actions = derive(bars, file.label, given, contract)
    got.notes += actions.notes
    got.bars.append(bars[[*BAR_COLUMNS]])
    got.actions.append(actions.rows)
    got.bases.append(actions.basis)


def _take_context(file: _File, calendar: Sessions, got: _Gathered) -> None:
    if file.kind in ("bars", "sectors", "actions"):
        return
    if file.kind == "closes":
        got.notes.append(f"{file.label}: closes only, not tradable, left out")
        return
    when = file.when(calendar.timezone)
    if file.kind == "news":
        stem = file.path.name.split(".")[0]
        got.news += read_news(file.frame, file.mapping, when, calendar, file.symbol, stem)
    elif file.kind == "fundamentals":
        timezone = file.given.timezone or file.manifest.timezone
        got.fundamentals += read_fundamentals(
            file.frame, file.mapping, when, calendar, file.given.period, timezone, file.label
        )
    elif file.kind == "macro":
        fixed = file.symbol if "series" not in file.mapping else None
        names = [fixed] * len(file.frame) if fixed else list(_column(file, "series"))
        values = numbers(file.frame[file.mapping["value"]], file.label)
        found = read_macro(names, when, values, calendar, file.label)
        got.macro += [(low, file.label, value) for low, value in found]


def _column(file: _File, name: str) -> np.ndarray:
    return texts(file.frame[file.mapping[name]])


def _actions(file: _File, when: Stamps, calendar: Sessions) -> pd.DataFrame:
    """Return a table's dated actions at the opening of their session."""
    at = calendar.find(when.days)
    columns = {"symbol": file.symbol if file.symbol is not None else _column(file, "symbol")}
    for name in ("stock_splits", "dividends"):
        columns[name] = np.zeros(len(at))
        if name in file.mapping:
            columns[name] = np.nan_to_num(numbers(file.frame[file.mapping[name]], file.label))
    table = pd.DataFrame({**columns, "ts": calendar.opens[at]})
    bad = (at < 0) | (table[["stock_splits", "dividends"]] < 0).any(axis=1).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{file.label}: expected a split and a dividend >= 0 on a session of "
            f"{calendar.name}, was {table['stock_splits'][row]:g} and "
            f"{table['dividends'][row]:g} at {stamp_text(when.ns[row])} (row {row + 1})"
        )
    twice = table.duplicated(["symbol", "ts"])
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise DataError(
            f"{file.label}: expected one row of actions a session, was a duplicate for "
            f"{table['symbol'][row]} at {stamp_text(when.ns[row])} (row {row + 1})"
        )
    return table


def _assemble(
    paths: Sequence[Path],
    got: _Gathered,
    calendar: Sessions,
    step: int,
    sectors: dict[str, str],
    manifests: Sequence[Manifest],
) -> MarketData:
    bars = pd.concat(got.bars, ignore_index=True)
    twice = bars.duplicated(["symbol", "ts_open"])
    if twice.any():
        row = bars[twice].iloc[0]
        got.attempt(
            DataError(
                f"expected one bar a stamp over all files, was a duplicate for {row['symbol']} "
                f"at {stamp_text(row['ts_open'])}; {int(twice.sum())} such bars"
            )
        )
        bars = bars[~twice]
    bars, closes = in_sessions(bars, calendar, got.notes)
    instruments = _instruments(bars, sectors, manifests)
    bars = round_bars(bars, instruments)
    basis = max(got.bases, key=_BASES.index)
    if len(set(got.bases)) > 1:
        got.notes.append(f"files differ in price basis, the whole is taken as {basis}")
    symbols = {i.symbol for i in instruments}
    got.notes += [
        f"{symbol} has volume 0 in every bar: it is never quoted, so no order for it is sent"
        for symbol in without_volume(bars, instruments)
    ]
    actions = pd.concat(got.actions, ignore_index=True)[list(ACTION_COLUMNS)]
    actions = actions[actions["symbol"].isin(symbols)]
    actions = actions[actions["split"].ne(1.0) | actions["dividend"].gt(0)]
    clash = actions.duplicated(["symbol", "ts"])
    if clash.any():
        row = actions[clash].iloc[0]
        got.attempt(
            DataError(
                f"expected one action a session, was a duplicate for {row['symbol']} at "
                f"{stamp_text(row['ts'])}"
            )
        )
        actions = actions[~clash]
    first = {str(s): int(t) for s, t in bars.groupby("symbol")["ts_open"].min().items()}
    news = _news(got, first)
    reports = {msgspec.json.encode(r): r for r in got.fundamentals if r.symbol in symbols}
    macro, notes = name_macro(got.macro)
    oldest = int(calendar.opens[0])
    macro = [m for m in macro if m.ts_event >= oldest]
    if macro:
        got.notes += [*notes, "macro values are the latest vintage, not what was known that day"]
    return with_federal_funds(
        MarketData(
            name="+".join(p.resolve().name for p in paths),
            instruments=tuple(instruments),
            bars=bars,
            actions=actions,
            session_closes=closes,
            step_ns=step,
            price_basis=basis,
            news=tuple(news),
            fundamentals=tuple(reports.values()),
            macro=tuple(macro),
            notes=tuple(dict.fromkeys(got.notes)),
            calendar=calendar.name,
        )
    )


def _instruments(
    bars: pd.DataFrame, sectors: dict[str, str], manifests: Sequence[Manifest]
) -> list[Instrument]:
    out = []
    given = {s: i for m in reversed(manifests) for s, i in m.instruments.items()}
    asset_class = _one((m.asset_class for m in manifests), "asset_class", None)
    unknown = sorted(set(given) - set(bars["symbol"]))
    if unknown:
        raise DataError(
            f"{FILE_NAME}: expected instruments that have bars, was instruments.{unknown[0]}"
        )
    for symbol, group in bars.groupby("symbol", sort=True):
        first = float(group["open"].to_numpy()[np.argmin(group["ts_open"].to_numpy())])
        out.append(
            make_instrument(str(symbol), first, sectors, asset_class, given.get(str(symbol)))
        )
    return out


def round_bars(bars: pd.DataFrame, instruments: Sequence[Instrument]) -> pd.DataFrame:
    """
    Return the bars with prices to the decimals they are kept with and volumes to whole units.

    Raises DataError where that moves a price by more than `ROUNDING`.
    """
    keeps = {i.symbol: i.printed_precision for i in instruments}
    places = bars["symbol"].map(keeps).to_numpy()
    bars = bars.copy()
    for column in PRICES:
        printed = bars[column].to_numpy(np.float64)
        values = printed.copy()
        for decimals in np.unique(places):
            at = places == decimals
            values[at] = np.round(values[at], decimals)
        moved = np.flatnonzero(np.abs(values - printed) > ROUNDING * printed)
        if moved.size:
            row = bars.iloc[int(moved[0])]
            digits = math.ceil(-math.log10(row[column]))
            raise DataError(
                f"expected {row['symbol']}'s {column} to move by less than {ROUNDING:.1%} kept "
                f"with {keeps[row['symbol']]} decimals, was {row[column]:g} at "
                f"{stamp_text(row['ts_open'])}: set instruments: {row['symbol']}: "
                f"precision: {min(max(digits, 0), 9)} in {FILE_NAME}"
            )
        bars[column] = values
    bars["volume"] = np.round(bars["volume"].to_numpy(np.float64))
    return bars


def _news(got: _Gathered, first: dict[str, int]) -> list[NewsItem]:
    """Return each (source, id) once, its earliest; none before its instrument's first session."""
    ordered = sorted(
        got.news, key=lambda n: (n.source, n.item_id, n.ts_init, n.symbol, n.headline, n.body)
    )
    kept: list[NewsItem] = []
    dropped: Counter[str] = Counter()
    last: tuple[str, str] | None = None
    for item in ordered:
        key = (item.source, item.item_id)
        if item.symbol not in first:
            dropped["of symbols without bars"] += 1
        elif item.ts_init < first[item.symbol] // DAY_NS * DAY_NS:
            dropped["from before their instrument's first session"] += 1
        elif key == last:
            dropped["that repeat a (source, id)"] += 1
        else:
            kept.append(item)
            last = key
    for why in sorted(dropped):
        got.notes.append(f"{dropped[why]} news items {why} left out")
    return kept
