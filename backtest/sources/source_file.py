"""
Opens one file of a source: tells form, kind, columns and symbol, or takes what source.yaml states.

Nothing of its rows is read as bars or news here: `folder` asks the reader of its kind.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.market.sessions import stamp_text
from backtest.sources.files.cells import texts
from backtest.sources.files.columns import classify, map_columns, normal, require
from backtest.sources.files.forms import Table, tell_form
from backtest.sources.files.names import is_symbol, require_symbol, symbol_in
from backtest.sources.files.rows import read_rows, stem_of
from backtest.sources.files.stamps import Stamps, stamps
from backtest.sources.findings import FileFact, Findings
from backtest.sources.manifest import FILE_NAME, FileManifest, Manifest
from config.errors import DataError, printable

VIX_NAME = re.compile(r"vix(?:cls)?(?:_(?:daily|history|historical|data|index|ohlc|close|cboe))*")
FEW_ROWS = 5  # of a symbol, at least
VIX_SYMBOLS = frozenset(["^VIX", "VIX", "VIXCLS"])


@dataclass(frozen=True)
class SourceFile:
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
        """The file's name, for notes and errors."""
        return self.path.name

    @property
    def frame(self) -> pd.DataFrame:
        """The file's rows under named columns."""
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
        """Return a column's texts by its canonical name."""
        return texts(self.frame[self.mapping[name]])

    def when(self, market_zone: str) -> Stamps:
        """Return the file's stamps."""
        zone = self.stated_zone or self.table.zone
        column = self.frame[self.mapping["time"]]
        return stamps(column, self.label, zone, market_zone, self.given.date_format)


def open_file(path: Path, folder: Path, manifest: Manifest, found: Findings) -> SourceFile | None:
    """
    Return a file under its kind; None where source.yaml says to ignore it.

    Raises DataError where its kind cannot be told, or lacks a column that it needs.
    """
    given = manifest.of(path.name)
    if given.kind == "ignore":
        found.files.append(FileFact(file=path.name, kind="ignore", form=FILE_NAME, rows=0))
        return None
    label, stem = path.name, stem_of(path.name)
    rows = read_rows(path, given.decimal)
    for note in rows.notes:
        found.notes.add(note, label)
    table = tell_form(rows, stem, label)
    if not set(given.columns.values()) <= set(table.frame.columns) and rows.header:
        table = Table(rows.frame, FILE_NAME)  # the columns stated are those of the file itself
    if table.left_out:
        found.notes.add(table.left_out, label)
    if table.frame.empty:
        raise DataError(f"{label}: expected rows, was none of {table.form}")
    columns = [str(c) for c in table.frame.columns]
    mapping = map_columns(columns, given.columns, label)
    kind: str = given.kind or table.kind or classify(columns, mapping, label)
    symbol = {"stem": stem, "folder": folder.resolve().name}.get(given.symbol or "", given.symbol)
    if symbol is not None and kind != "macro":
        require_symbol(symbol, f"{FILE_NAME}: files.{label}.symbol")
    if kind == "bars" and _is_vix(symbol, stem, table, mapping):
        found.notes.add("taken for the macro series vix, not for an instrument", label)
        mapping = {"time": mapping["time"], "value": mapping["close"]}
        return SourceFile(path, "macro", table, mapping, "vix", given, manifest)
    if kind == "bars" and symbol is None and "symbol" not in mapping:
        _refuse_unknown_symbols(table.frame, columns, mapping, label)
        symbol = symbol_in(stem)
        if symbol is not None:
            found.notes.add(
                "no column of symbols, taken from the file's name", f"{label} ({symbol})"
            )
    if table.suffix:
        symbol, table = _with_suffix(table, mapping, symbol)
    if kind == "macro" and symbol is None and "series" not in mapping:
        symbol = stem
    named = {"symbol": "", "series": ""} if symbol else {}
    require(kind, columns, mapping | named, label)  # type: ignore[arg-type]
    _note_unused(kind, columns, mapping, label, found)
    return SourceFile(path, kind, table, mapping, symbol, given, manifest)


def _refuse_unknown_symbols(
    frame: pd.DataFrame, columns: Sequence[str], mapping: dict[str, str], label: str
) -> None:
    """Raise DataError where an unused column may hold the symbols of several instruments."""
    for column in (c for c in columns if c and c not in mapping.values()):
        found = set(texts(frame[column]))
        named = all(is_symbol(text) and text[:1].isalpha() for text in found)
        if named and 1 < len(found) <= len(frame) / FEW_ROWS:
            raise DataError(
                f"{label}: expected a column of symbols, was none, and {column[:40]!r} holds "
                f"{len(found)} names: set columns: {{symbol: {column[:40]}}}, or symbol: stem, "
                f"in {FILE_NAME}"
            )


def _is_vix(symbol: str | None, stem: str, table: Table, mapping: dict[str, str]) -> bool:
    """Tell whether bars are those of the volatility index, which no one deals in."""
    if symbol is None and "symbol" in mapping:
        shown = set(texts(table.frame[mapping["symbol"]]))
        return shown <= VIX_SYMBOLS
    if symbol is not None and symbol != stem:
        return symbol == "^VIX"
    bare = VIX_NAME.fullmatch(normal(stem)) is not None
    if bare and "volume" in mapping:
        bare = set(texts(table.frame[mapping["volume"]])) <= {"0", "0.0", ""}
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


def keep_fact(file: SourceFile, when: Stamps | None, found: Findings) -> None:
    """Keep what a file was taken for, and note what its stamps were taken for."""
    for note in () if when is None else when.notes:
        found.notes.add(note, file.label)
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
    shown = printable(named[0]) if len(named) == 1 else f"{len(named)} symbols" if named else ""
    span = () if when is None or not len(when.ns) else (int(when.ns.min()), int(when.ns.max()))
    first, last = (stamp_text(ns) for ns in span) if span else ("", "")
    found.files.append(
        FileFact(
            file=file.label,
            kind=file.kind,
            form=f"{file.table.form if file.given.kind is None else FILE_NAME}: {columns}",
            rows=len(file.frame),
            symbols=shown,
            zone=zone,
            first=first,
            last=last,
        )
    )
