"""
Reads a folder of files, or one file, as a market.

Each file's form is told from its content or stated in source.yaml, its kind from its columns;
each is read by its kind's reader, and all are joined in canonical order: the order of files and
the folder's own place do not matter. Where faults are collected, whatever is wrong is listed and
left out, as far as that is possible.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from agents.messages import AssetClass
from backtest.market.market_data import BAR_COLUMNS, MarketData
from backtest.market.sessions import XNYS, Sessions, load_sessions, stamp_text
from backtest.sources.actions import derive, with_actions
from backtest.sources.assemble import Gathered, assemble, one_of
from backtest.sources.bars import RawBars, fill_volume, read_bars, stamp_bars
from backtest.sources.context import read_fundamentals, read_macro, read_news
from backtest.sources.files.cells import numbers, texts
from backtest.sources.files.columns import classify, map_columns, normal, require
from backtest.sources.files.forms import Table, tell_form
from backtest.sources.files.names import is_symbol, require_symbol, symbol_in
from backtest.sources.files.rows import is_table, read_rows, stem_of
from backtest.sources.files.stamps import Stamps, stamps
from backtest.sources.findings import FileFact, Findings
from backtest.sources.known import calendar_of, class_of, needs_volume
from backtest.sources.manifest import FILE_NAME, FileManifest, Manifest, load_manifest
from backtest.sources.timing import refuse_impossible_zone, stamped_at_close
from config.errors import DataError

MACRO_YEARS_BEFORE = 2
GROUP = 64  # characters of a sector's name
VIX_NAME = re.compile(r"vix(?:cls)?(?:_(?:daily|history|historical|data|index|ohlc|close|cboe))*")
VIX_SYMBOLS = frozenset(["^VIX", "VIX", "VIXCLS"])


@dataclass(frozen=True)
class _File:
    """One classified file; `symbol` is the symbol of a file without that column."""

    path: Path
    kind: str
    table: Table
    mapping: dict[str, str]
    symbol: str | None
    given: FileManifest
    manifest: Manifest

    @property
    def label(self) -> str:
        return self.path.name

    @property
    def frame(self) -> pd.DataFrame:
        return self.table.frame

    @property
    def stated_zone(self) -> str | None:
        """The time zone that source.yaml states for stamps without one."""
        return self.given.timezone or self.manifest.timezone

    @property
    def at_close(self) -> bool | None:
        """Whether source.yaml states that intraday stamps are the bars' ends."""
        side = self.given.stamp or self.manifest.stamp
        return None if side is None else side == "close"

    @cached_property
    def symbols(self) -> list[str]:
        """The symbols of the file, sorted; none where it has no such column."""
        if self.symbol is not None:
            return [self.symbol]
        if "symbol" not in self.mapping:
            return []
        return sorted({str(s) for s in texts(self.frame[self.mapping["symbol"]])})

    def column(self, name: str) -> np.ndarray:
        return texts(self.frame[self.mapping[name]])

    def when(self, market_zone: str) -> Stamps:
        """Return the file's stamps."""
        zone = self.stated_zone or self.table.zone
        column = self.frame[self.mapping["time"]]
        return stamps(column, self.label, zone, market_zone, self.given.date_format)


def read_sources(paths: Sequence[Path], found: Findings | None = None) -> MarketData:
    """
    Return the market that folders and files hold together.

    Raises DataError for the first thing wrong; where `found` collects faults, only where no
    market is left.
    """
    found = found or Findings()
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
                files += _open(table, folder, manifest, found)
            except DataError as e:
                found.fault(e)
    bars = [f for f in files if f.kind == "bars"]
    if not bars:
        raise DataError(f"{paths[0].name}: expected at least one file of bars, was none")
    name = _calendar_name(bars, manifests)
    zone = load_sessions(name, 2020, 2020).timezone
    raws = _raw_bars(bars, zone, found)
    if not raws:
        raise DataError(f"{paths[0].name}: expected at least one file of bars, was none")
    step = _step([raw for _, raw, _ in raws])
    calendar = _calendar(name, [raw for _, raw, _ in raws])
    got = Gathered(sectors=_sectors(files))
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


# -- one file ------------------------------------------------------------------------------------


def _open(path: Path, folder: Path, manifest: Manifest, found: Findings) -> list[_File]:
    given = manifest.of(path.name)
    if given.kind == "ignore":
        found.files.append(FileFact(file=path.name, kind="ignore", form="source.yaml", rows=0))
        return []
    label, stem = path.name, stem_of(path.name)
    rows = read_rows(path)
    for note in rows.notes:
        found.notes.add(note, label)
    table = tell_form(rows, stem, label)
    if not set(given.columns.values()) <= set(table.frame.columns) and rows.header:
        table = Table(rows.frame, FILE_NAME)  # the columns stated are those of the file itself
    if table.left_out:
        found.notes.add(table.left_out, label)
    columns = [str(c) for c in table.frame.columns]
    mapping = map_columns(columns, given.columns, label)
    kind: str = given.kind or table.kind or classify(columns, mapping, label)
    symbol = {"stem": stem, "folder": folder.resolve().name}.get(given.symbol or "", given.symbol)
    if symbol is not None and kind != "macro":
        require_symbol(symbol, f"{FILE_NAME}: files.{label}.symbol")
    if kind == "bars" and _is_vix(symbol, stem, table, mapping):
        found.notes.add("taken for the macro series vix, not for an instrument", label)
        mapping = {"time": mapping["time"], "value": mapping["close"]}
        return [_File(path, "macro", table, mapping, "vix", given, manifest)]
    if kind == "bars" and symbol is None and "symbol" not in mapping:
        symbol = symbol_in(stem)
        if symbol is not None:
            found.notes.add(
                "no column of symbols, taken from the file's name", f"{label} ({symbol})"
            )
    if table.suffix:
        symbol, table = _with_suffix(table, mapping, symbol)
    needed = dict(mapping) | ({"symbol": ""} if symbol else {})
    if kind == "macro" and symbol is None and "series" not in mapping:
        symbol = stem
        needed |= {"series": ""}
    if kind == "macro" and symbol is not None:
        needed |= {"series": ""}
    require(kind, columns, needed, label)  # type: ignore[arg-type]
    _note_unused(kind, columns, mapping, label, found)
    return [_File(path, kind, table, mapping, symbol, given, manifest)]


def _is_vix(symbol: str | None, stem: str, table: Table, mapping: dict[str, str]) -> bool:
    """Tell whether bars are those of the volatility index, which no one deals in."""
    if symbol is None and "symbol" in mapping:
        shown = set(texts(table.frame[mapping["symbol"]]))
        return shown <= VIX_SYMBOLS
    if symbol is not None and symbol != stem:
        return symbol == "^VIX"
    bare = VIX_NAME.fullmatch(normal(stem)) is not None and "volume" not in mapping
    return bare or stem == "^VIX"


def _with_suffix(
    table: Table, mapping: dict[str, str], symbol: str | None
) -> tuple[str | None, Table]:
    """Return symbol and table with the exchange's suffix on each symbol that has none."""
    if symbol is not None:
        return (symbol if "." in symbol else symbol + table.suffix), table
    if "symbol" not in mapping:
        return None, table
    named = [s if "." in s else s + table.suffix for s in texts(table.frame[mapping["symbol"]])]
    return None, replace(table, frame=table.frame.assign(**{mapping["symbol"]: named}))


def _note_unused(
    kind: str, columns: Sequence[str], mapping: dict[str, str], label: str, found: Findings
) -> None:
    if kind not in ("bars", "news"):
        return
    unused = [c for c in columns if c not in mapping.values() and c]
    if unused:
        shown = ", ".join(c[:24] for c in unused[:6])
        more = f" and {len(unused) - 6} more" if len(unused) > 6 else ""
        found.notes.add(f"columns not used: {shown}{more}", label)


def _fact(file: _File, when: Stamps | None, found: Findings) -> None:
    """Keep what a file was taken for."""
    if when is None:
        zone = ""
    elif when.date_only:
        zone = "dates"
    elif not when.assumed:
        stated = file.stated_zone or file.table.zone
        zone = f"{stated}, where stamps have none" if stated else "in the stamps"
    else:
        zone = "none, taken as UTC"
    columns = ", ".join(dict.fromkeys(file.mapping.values()))[:80]
    named = file.symbols
    span = () if when is None or not len(when.ns) else (int(when.ns.min()), int(when.ns.max()))
    first, last = (stamp_text(ns) for ns in span) if span else ("", "")
    found.files.append(
        FileFact(
            file=file.label,
            kind=file.kind,
            form=f"{file.table.form if file.given.kind is None else FILE_NAME}: {columns}",
            rows=len(file.frame),
            symbols=named[0] if len(named) == 1 else f"{len(named)} symbols" if named else "",
            zone=zone,
            first=first,
            last=last,
        )
    )


# -- bars ----------------------------------------------------------------------------------------


def _class_of(symbol: str, manifests: Iterable[Manifest]) -> AssetClass | None:
    """Return the class that source.yaml states for a symbol."""
    for manifest in manifests:
        given = manifest.instruments.get(symbol)
        stated = (given.asset_class if given else None) or manifest.asset_class
        if stated is not None:
            return stated
    return None


def _calendar_name(bars: Sequence[_File], manifests: Sequence[Manifest]) -> str:
    """Return the calendar stated, else that of all instruments."""
    stated = one_of((m.calendar for m in manifests), "calendar", None)
    if stated is not None:
        return stated
    first: dict[str, str] = {}
    for symbol in sorted({s for f in bars for s in f.symbols if is_symbol(s)}):
        first.setdefault(calendar_of(symbol, _class_of(symbol, manifests)), symbol)
    if len(first) > 1:
        shown = " beside ".join(f"{symbol} ({name})" for name, symbol in sorted(first.items())[:3])
        raise DataError(
            f"expected instruments of one calendar in one source, was {shown}: "
            f"set calendar in {FILE_NAME}, or kind: ignore for some files"
        )
    return next(iter(first), XNYS)  # without a symbol there is no bar, as their reader says


def _raw_bars(
    bars: Sequence[_File], zone: str, found: Findings
) -> list[tuple[_File, RawBars, Stamps]]:
    raws = []
    for file in bars:
        try:
            when = file.when(zone)
            _fact(file, when, found)
            for note in when.notes:
                found.notes.add(note, file.label)
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
    file: _File,
    raw: RawBars,
    when: Stamps,
    calendar: Sessions,
    dated: Sequence[pd.DataFrame],
    got: Gathered,
    found: Findings,
) -> None:
    ns = raw.frame["ns"].to_numpy()
    at_close = False
    if raw.step_ns:
        if when.assumed:
            found.notes.add(
                f"stamps without a zone taken as UTC; timezone in {FILE_NAME} states another",
                file.label,
            )
        elif file.table.zone is not None and file.stated_zone is None:
            found.notes.add(f"stamps without a zone taken as {file.table.zone}", file.label)
        zone = "UTC" if when.assumed else file.stated_zone or file.table.zone
        if zone is not None:
            refuse_impossible_zone(ns, calendar, zone, file.label, assumed=when.assumed)
        at_close = stamped_at_close(ns, calendar) if file.at_close is None else file.at_close
        if at_close and file.at_close is None:
            found.notes.add(
                "stamps taken as the bars' ends: sessions end with one and begin with none",
                file.label,
            )
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


# -- everything else -----------------------------------------------------------------------------


def _sectors(files: Iterable[_File]) -> dict[str, str]:
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
    file: _File, calendar: Sessions, bars_are_local: bool, got: Gathered, found: Findings
) -> None:
    if file.kind == "bars":
        return
    if file.kind in ("sectors", "actions"):
        _fact(file, None, found)
        return
    if file.kind == "closes":
        found.notes.add("closes only, not tradable, left out", file.label)
        _fact(file, None, found)
        return
    when = file.when(calendar.timezone)
    _fact(file, when, found)
    for note in when.notes:
        found.notes.add(note, file.label)
    if file.kind == "news":
        _note_news_zone(file, when, bars_are_local, found)
        got.news += read_news(
            file.frame, file.mapping, when, calendar, file.symbol, stem_of(file.label)
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


def _note_news_zone(file: _File, when: Stamps, bars_are_local: bool, found: Findings) -> None:
    """Note that news without a zone is taken as UTC; refuse it where its bars are in another."""
    if not when.assumed:
        return
    if bars_are_local:
        raise DataError(
            f"{file.label}: expected a timezone for stamps without one, as the bars beside them "
            f"have one in {FILE_NAME}, was none: taken as UTC, news could be known too early"
        )
    found.notes.add(
        f"stamps without a zone taken as UTC; timezone in {FILE_NAME} states another", file.label
    )


def _actions(file: _File, when: Stamps, calendar: Sessions) -> pd.DataFrame:
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
