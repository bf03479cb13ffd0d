"""
Reads a folder of files, or one file, as a market.

Each file's form is told from its content or stated in source.yaml, its kind from its columns;
each is read by its kind's reader, and all are joined in canonical order: the order of files and
the folder's own place do not matter. Where faults are collected, whatever is wrong is listed and
left out, as far as that is possible.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from agents.messages import AssetClass
from backtest.market.market_data import BAR_COLUMNS, MarketData
from backtest.market.sessions import (
    AROUND_THE_CLOCK,
    DAY_NS,
    WEEKDAYS,
    XNYS,
    Sessions,
    is_weekday,
    load_sessions,
    stamp_text,
)
from backtest.sources.actions import derive, with_actions
from backtest.sources.assemble import Gathered, assemble, one_of
from backtest.sources.bars import RawBars, fill_volume, read_bars, stamp_bars
from backtest.sources.context import read_fundamentals, read_macro, read_news
from backtest.sources.files.cells import numbers
from backtest.sources.files.forms import METATRADER
from backtest.sources.files.names import is_symbol
from backtest.sources.files.rows import is_table, stem_of
from backtest.sources.files.stamps import Stamps
from backtest.sources.findings import Findings
from backtest.sources.known import calendar_of, class_of, needs_volume
from backtest.sources.manifest import FILE_NAME, Manifest, load_manifest
from backtest.sources.source_file import SourceFile, keep_fact, open_file
from backtest.sources.timing import (
    HOUR_NS,
    fitting_zones,
    refuse_impossible_zone,
    server_clock,
    stamped_at_close,
)
from config.errors import DataError, cut

MACRO_YEARS_BEFORE = 2
TAKEN_AS_UTC = f"stamps without a zone taken as UTC; timezone in {FILE_NAME} states another"
GROUP = 64  # characters of a sector's name


def read_sources(paths: Sequence[Path], found: Findings | None = None) -> MarketData:
    """
    Return the market that folders and files hold together.

    Raises DataError for the first thing wrong; where `found` collects faults, only where no
    market is left.
    """
    found = found or Findings()
    files: list[SourceFile] = []
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
                file = open_file(table, folder, manifest, found)
            except DataError as e:
                found.fault(e)
            else:
                files += [file] if file is not None else []
    bars = [f for f in files if f.kind == "bars"]
    if not bars:
        raise DataError(f"{paths[0].name}: expected at least one file of bars, was none")
    classes = _stated_classes(bars, manifests)
    name = _calendar_name(bars, classes, manifests)
    anywhen = load_sessions(name, 2020, 2020)  # whatever the years are, which are not known yet
    zone = anywhen.timezone
    raws = _raw_bars(bars, anywhen, found)
    if not raws:
        raise DataError(f"{paths[0].name}: expected at least one file of bars, was none")
    step = _step([raw for _, raw, _ in raws])
    calendar = _calendar(name, [raw for _, raw, _ in raws])
    got = Gathered(sectors=_sectors(files), classes=classes)
    dated: list[pd.DataFrame] = []
    for file in (f for f in files if f.kind == "actions"):
        try:
            dated.append(_actions(file, file.when(zone), calendar))
        except DataError as e:
            found.fault(e)
    for file, raw, when in raws:
        try:
            _take_bars(file, replace(raw, step_ns=step), when, calendar, dated, got, found)
        except DataError as e:
            found.fault(e)
    if not got.bars:
        raise DataError(f"{paths[0].name}: expected bars without faults, was none")
    local = {f.path.parent for f, _, when in raws if f.given.timezone and not when.date_only}
    for file in files:
        try:
            _take_context(file, calendar, file.path.parent in local, got, found)
        except DataError as e:
            found.fault(e)
    found.files.sort(key=lambda fact: fact.file)
    joined = "+".join(p.resolve().name for p in paths)
    return assemble(joined, got, calendar, step, manifests, found)


def _tables(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.iterdir() if is_table(p))
    return [path] if is_table(path) else []


# -- bars ----------------------------------------------------------------------------------------


def _class_of(symbol: str, manifests: Sequence[Manifest]) -> AssetClass | None:
    """
    Return the class that source.yaml states for a symbol of a file.

    Each may name the instrument; what the first states of all is stated of the file.
    """
    own, *_ = manifests
    named = (m.instruments[symbol].asset_class for m in manifests if symbol in m.instruments)
    return next((kind for kind in named if kind is not None), own.asset_class)


def _stated_classes(
    bars: Iterable[SourceFile], manifests: Sequence[Manifest]
) -> dict[str, AssetClass]:
    """
    Return the class that is stated for each symbol, of those for which one is.

    Raises DataError for a symbol of which two folders state different ones.
    """
    stated: dict[str, list[AssetClass | None]] = {}
    for file in bars:
        for symbol in file.symbols:
            kind = _class_of(symbol, [file.manifest, *manifests])
            stated.setdefault(symbol, []).append(kind)
    found = {s: one_of(kinds, f"asset_class of {cut(s, 40)}", None) for s, kinds in stated.items()}
    return {symbol: kind for symbol, kind in found.items() if kind is not None}


def _calendar_name(
    bars: Sequence[SourceFile], classes: Mapping[str, AssetClass], manifests: Sequence[Manifest]
) -> str:
    """Return the calendar stated, else that of all instruments; `classes` are those stated."""
    stated = one_of((m.calendar for m in manifests), "calendar", None)
    if stated is not None:
        return stated
    first: dict[str, str] = {}
    for symbol in sorted({s for f in bars for s in f.symbols if is_symbol(s)}):
        kind = classes.get(symbol)
        if symbol.isdigit() and (kind or class_of(symbol)) == "equity":
            raise DataError(
                f"expected the exchange of {symbol}, was a symbol of digits without one: "
                f"name it {symbol}.T or the like, or set calendar in {FILE_NAME}"
            )
        first.setdefault(calendar_of(symbol, kind), symbol)
    if len(first) > 1:
        shown = " beside ".join(f"{symbol} ({name})" for name, symbol in sorted(first.items())[:3])
        raise DataError(
            f"expected instruments of one calendar in one source, was {shown}: "
            f"set calendar in {FILE_NAME}, or kind: ignore for some files"
        )
    return next(iter(first), XNYS)  # without a symbol there is no bar, as their reader says


def _with_server_zone(file: SourceFile, calendar: Sessions) -> SourceFile:
    """
    Return a file of a MetaTrader server in the zone that its weeks tell.

    Most servers are ahead of New York by seven hours in every season, some have eastern Europe's
    summer time: it differs in three or four weeks of a year.
    """
    if file.table.zone != METATRADER or file.stated_zone or calendar.name != WEEKDAYS:
        return file
    when = file.when(calendar.timezone)
    if when.date_only:
        return file
    zones = fitting_zones(server_clock(when.ns), calendar, (METATRADER, "EET"))
    return replace(file, table=replace(file.table, zone=zones[0])) if zones else file


def _raw_bars(
    bars: Sequence[SourceFile], calendar: Sessions, found: Findings
) -> list[tuple[SourceFile, RawBars, Stamps]]:
    raws = []
    for file in bars:
        try:
            file = _with_server_zone(file, calendar)
            when = file.when(calendar.timezone)
            keep_fact(file, when, found)
            raw = read_bars(file.frame, file.mapping, when, file.symbol, file.label, found)
            optional = frozenset(
                s for s in file.symbols if not needs_volume(s, _class_of(s, [file.manifest]))
            )
            raws.append((file, fill_volume(raw, optional, found), when))
        except DataError as e:
            found.fault(e)
    return raws


def _calendar(name: str, raws: Sequence[RawBars]) -> Sessions:
    ns = [raw.frame["ns"] for raw in raws]
    first = int(np.datetime64(int(min(n.min() for n in ns)), "ns").astype("M8[Y]").astype(int))
    last = int(np.datetime64(int(max(n.max() for n in ns)), "ns").astype("M8[Y]").astype(int))
    return load_sessions(name, first + 1970 - MACRO_YEARS_BEFORE, last + 1970 + 1)


def _step(raws: Sequence[RawBars]) -> int:
    steps = {raw.label: raw.step_ns for raw in raws if raw.step_ns is not None}
    if len(set(steps.values())) > 1:
        first: dict[int, list[str]] = {}
        for name, step in sorted(steps.items()):
            first.setdefault(step, []).append(name)
        was = ", ".join(
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} of "
            f"{f'{step / 60e9:g} minutes' if step else 'one session'}"
            for step, names in sorted(first.items())[:4]
        )
        raise DataError(
            f"expected bars of one length, was {was}: name one file as the source, "
            f"or set kind: ignore for the others in {FILE_NAME}"
        )
    return next(iter(steps.values()), 0)


def _take_bars(
    file: SourceFile,
    raw: RawBars,
    when: Stamps,
    calendar: Sessions,
    dated: Sequence[pd.DataFrame],
    got: Gathered,
    found: Findings,
) -> None:
    ns = raw.frame["ns"].to_numpy()
    at_close = False
    if raw.step_ns or (calendar.name in AROUND_THE_CLOCK and not when.date_only):
        if when.assumed:
            found.notes.add(TAKEN_AS_UTC, file.label)
        elif file.table.zone is not None and file.stated_zone is None:
            found.notes.add(f"stamps without a zone taken as {file.table.zone}", file.label)
        zone = "UTC" if when.assumed else file.stated_zone or file.table.zone
        if zone is not None:
            refuse_impossible_zone(ns, calendar, zone, file.label, assumed=when.assumed)
        if raw.step_ns and file.at_close is None:
            at_close = stamped_at_close(ns, raw.step_ns, calendar)
        else:
            at_close = bool(file.at_close)
        if at_close and file.at_close is None:
            found.notes.add(
                "stamps taken as the bars' ends: sessions end with one and begin with none",
                file.label,
            )
    if calendar.name == WEEKDAYS and not raw.step_ns and when.assumed and _day_ends(raw):
        found.notes.add(
            "stamps of the afternoon, Monday to Friday, taken as those days", file.label
        )
        raw = replace(raw, frame=raw.frame.assign(ns=raw.frame["day"] * DAY_NS))
    drop = file.manifest.non_sessions == "drop"
    bars = stamp_bars(raw, calendar, found, drop=drop, at_close=at_close)
    classes = {_class_of(s, [file.manifest]) or class_of(s) for s in file.symbols}
    given = file.given.price_basis or file.manifest.price_basis
    named = [a for a in dated if a["symbol"].isin(bars["symbol"]).any()]
    if named:
        bars = with_actions(bars, pd.concat(named, ignore_index=True))
    actions = derive(bars, file.label, given, "equity" not in classes, found.notes)
    got.bars.append(bars[[*BAR_COLUMNS]])
    got.actions.append(actions.rows)
    got.bases.append(actions.basis)


def _day_ends(raw: RawBars) -> bool:
    """Tell whether bars of FX are stamped where their day ends, at 17:00 in New York or so."""
    day = raw.frame["day"].to_numpy()
    late = raw.frame["ns"].to_numpy() - day * DAY_NS >= 16 * HOUR_NS
    return bool((is_weekday(day) & late).all())


# -- everything else -----------------------------------------------------------------------------


def _sectors(files: Iterable[SourceFile]) -> dict[str, str]:
    sectors: dict[str, str] = {}
    for file in (f for f in files if f.kind == "sectors"):
        groups = file.column("sector")
        for row, group in enumerate(groups):
            if len(group) > GROUP or not group.isprintable():
                raise DataError(
                    f"{file.label}: expected a sector of at most {GROUP} printable characters at "
                    f"row {row + 1}, was {group[:GROUP]!a}"
                )
        sectors |= {s: g for s, g in zip(file.column("symbol"), groups, strict=True) if s and g}
    return sectors


def _take_context(
    file: SourceFile, calendar: Sessions, bars_are_local: bool, got: Gathered, found: Findings
) -> None:
    if file.kind == "bars":
        return
    if file.kind in ("sectors", "actions"):
        keep_fact(file, None, found)
        return
    if file.kind == "closes":
        found.notes.add("closes only, not tradable, left out", file.label)
        keep_fact(file, None, found)
        return
    when = file.when(calendar.timezone)
    keep_fact(file, when, found)
    if file.kind == "news":
        _note_news_zone(file, when, bars_are_local, found)
        got.news += read_news(
            *(file.frame, file.mapping, when, calendar, file.symbol),
            *(stem_of(file.label), found.notes),
        )
    elif file.kind == "fundamentals":
        got.fundamentals += read_fundamentals(
            *(file.frame, file.mapping, when, calendar, file.given.period),
            *(file.stated_zone, file.label),
        )
    elif file.kind == "macro":
        fixed = file.symbol if "series" not in file.mapping else None
        names = [fixed] * len(file.frame) if fixed else list(file.column("series"))
        values = numbers(file.frame[file.mapping["value"]], file.label)
        read = read_macro(names, when, values, calendar, file.label)
        got.macro += [(low, file.label, value) for low, value in read]


def _note_news_zone(file: SourceFile, when: Stamps, bars_are_local: bool, found: Findings) -> None:
    """Note that news without a zone is taken as UTC; refuse it where its bars are in another."""
    if not when.assumed:
        return
    if bars_are_local:
        raise DataError(
            f"{file.label}: expected a timezone for stamps without one, as the bars beside them "
            f"have one in {FILE_NAME}, was none: taken as UTC, news could be known too early"
        )
    found.notes.add(TAKEN_AS_UTC, file.label)


def _actions(file: SourceFile, when: Stamps, calendar: Sessions) -> pd.DataFrame:
    """Return a table's dated actions at the opening of their session."""
    at = calendar.find(when.days)
    columns = {"symbol": file.symbol if file.symbol is not None else file.column("symbol")}
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
