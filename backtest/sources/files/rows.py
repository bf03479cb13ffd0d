"""
Reads a file into rows: text tables of any delimiter, Parquet, Feather and JSON.

It tells encoding, delimiter, lines above the header, and whether there is a header; pandas and
pyarrow read. What the columns mean is told in `forms` and `columns`, not here.
"""

import csv
import gzip
import io
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from backtest.sources.files.columns import NAMES, PRICE_NAMES, normal
from backtest.sources.files.marks import Mark, with_points
from config.errors import DataError, one_line

TEXT = (".csv", ".txt", ".tsv")
SUFFIXES = (
    *TEXT,
    *(f"{t}.gz" for t in TEXT),
    ".parquet",
    ".pq",
    ".feather",
    ".jsonl",
    ".ndjson",
    ".json",
)
SAMPLE = 65_536  # bytes that the shape of a text table is told from
TOP = 40  # rows of the sample that are looked at
ABOVE = 20  # lines that may stand above a header, or below the rows
FOOTED = 3  # columns from which on a line of one cell is no row
CELL = 1_000_000  # characters
DELIMITERS = (",", "\t", ";", "|")
_NUMBER = re.compile(r"[-+]?[$€£¥₹]?\d[\d.,:/\-\sT+]*[KMBTZ%]?", re.IGNORECASE)


@dataclass(frozen=True)
class Rows:
    """
    A file's rows. A text table's cells stay the texts that were written, except prices and volumes
    that are plain numbers throughout.

    `top` are the first rows as they stand, the header among them; without `header` the columns
    are numbered. `notes` say what had to be assumed to read it.
    """

    frame: pd.DataFrame
    top: tuple[tuple[str, ...], ...] = ()
    header: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shape:
    """
    How a text table is laid out.

    `above` counts the lines before its first row; `commas` tells whether cells may hold some.
    """

    encoding: str
    delimiter: str
    above: int
    top: tuple[tuple[str, ...], ...]
    commas: bool


def is_table(path: Path) -> bool:
    """Tell whether a path is a file that can be read and is not hidden."""
    return path.is_file() and not path.name.startswith(".") and suffix_of(path.name) != ""


def suffix_of(name: str) -> str:
    """Return the ending that says how a file is read, ".csv.gz", or "" where none does."""
    low = name.lower()
    return max((s for s in SUFFIXES if low.endswith(s)), key=len, default="")


def stem_of(name: str) -> str:
    """Return a file's name without the ending that says how it is read."""
    return name[: len(name) - len(suffix_of(name))]


def read_rows(path: Path, decimal: Mark | None = None) -> Rows:
    """
    Return a file's rows; `decimal` is the mark of a text table's numbers, where it is stated.

    Raises DataError if it cannot be read, has no rows or a cell of more than `CELL` characters.
    """
    suffix = suffix_of(path.name)
    kind = {"p": "Parquet", "f": "Feather", "j": "JSON", "n": "JSON"}.get(suffix[1], "CSV")
    try:
        if kind == "Parquet":
            rows = Rows(_without_index(pd.read_parquet(path)))
        elif kind == "Feather":
            rows = Rows(_without_index(pd.read_feather(path)))
        elif kind == "JSON":
            rows = _read_json(path, suffix)
        else:
            rows = _read_text(path, decimal)
    except DataError:
        raise
    except Exception as e:
        reason = one_line(e)[:120] or type(e).__name__
        raise DataError(
            f"{path.name}: expected a readable {kind} file, was unreadable: {reason}"
        ) from e
    if rows.frame.empty:
        raise DataError(f"{path.name}: expected rows, was an empty table")
    _refuse_long_cells(rows.frame, path)
    return replace(rows, frame=rows.frame.reset_index(drop=True))


def _refuse_long_cells(frame: pd.DataFrame, path: Path) -> None:
    if path.stat().st_size <= CELL and suffix_of(path.name) in TEXT:
        return
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind not in "iufbM":
            longest = column.astype(str).str.len().to_numpy()
            if longest.max() > CELL:
                raise DataError(
                    f"{path.name}: expected cells of at most {CELL:,} characters, "
                    f"was {int(longest.max()):,} at row {int(longest.argmax()) + 1}"
                )


def _without_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose saved index, if it is more than a count, is a column."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    return frame.reset_index()


def _read_json(path: Path, suffix: str) -> Rows:
    """Return the rows of JSON lines, of an array of records or arrays, or of one such array."""
    text = path.read_text(encoding="utf-8-sig")
    if suffix == ".json":
        found = json.loads(text, parse_constant=str)
    else:
        found = [
            json.loads(line, parse_constant=str) for line in text.splitlines() if line.strip()
        ]
    if isinstance(found, dict):
        lists = [v for v in found.values() if isinstance(v, list) and v]
        if len(lists) != 1:
            raise ValueError("expected one array of records")
        found = lists[0]
    if not isinstance(found, list) or not found:
        raise ValueError("expected an array of records")
    arrays = all(isinstance(row, list) for row in found)
    if not arrays and not all(isinstance(row, dict) for row in found):
        raise ValueError("expected records or arrays, all of one kind")
    frame = pd.DataFrame(found)
    top = tuple(tuple(str(cell) for cell in row) for row in found[:TOP]) if arrays else ()
    return Rows(frame, top, header=not arrays)


def _read_text(path: Path, decimal: Mark | None) -> Rows:
    shape = _shape_of(path)
    header = is_header(shape.top[0])
    notes = []
    if shape.above:
        notes.append(f"{shape.above} lines above the header left out")
    several = header and len(shape.top) > 1 and header_rows(shape.top) > 1
    options: dict[str, Any] = {
        "sep": shape.delimiter,
        "skiprows": shape.above + (header_rows(shape.top) if several else 0),
        "header": 0 if header and not several else None,
        "dtype": str,
        "keep_default_na": False,
        "index_col": False,
        "skipinitialspace": True,
    }
    names = shape.top[0]
    if all(len(row) > len(names) and not any(row[len(names) :]) for row in shape.top[1:]):
        options["usecols"] = range(len(names))  # every row ends with a delimiter
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it would drop cells
        frame = _numeric(path, shape, options) if options["header"] == 0 else None
        if frame is None:
            try:
                frame = pd.read_csv(path, encoding=shape.encoding, **options)
            except UnicodeDecodeError:
                frame = pd.read_csv(path, encoding="cp1252", encoding_errors="replace", **options)
                notes.append("text that is no UTF-8 read as Windows-1252")
    if shape.encoding == "cp1252":
        notes.append("text that is no UTF-8 read as Windows-1252")
    frame = _without_foot(frame, notes)
    if shape.commas:
        frame = with_points(frame, shape.delimiter, decimal, path.name)
    return Rows(frame, shape.top, header and not several, tuple(notes))


def _numeric(path: Path, shape: _Shape, options: dict[str, Any]) -> pd.DataFrame | None:
    """
    Return a table whose prices and volumes pandas reads as numbers at once; None where it cannot.

    Most files are such, and it takes half the time. Every float is the one nearest to its text.
    """
    if shape.commas:
        return None
    kinds: dict[str, Any] = dict.fromkeys(
        (n for n in shape.top[0] if normal(n) in PRICE_NAMES), np.float64
    )
    others: Any = defaultdict(lambda: str, kinds)
    try:
        read = pd.read_csv(path, encoding=shape.encoding, **(options | {"dtype": others}))
    except (ValueError, pd.errors.ParserWarning):
        return None
    return cast(pd.DataFrame, read)


def _without_foot(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return the rows without those at the end that have one cell: a count, a vendor's words."""
    if frame.empty or frame.shape[1] < FOOTED:
        return frame
    if any(str(cell) not in ("", "nan") for cell in frame.iloc[-1, 1:]):
        return frame
    cells = frame.iloc[-ABOVE:, 1:]
    short = (cells.isna() | (cells == "")).all(axis=1).to_numpy()[::-1]
    count = int(np.argmin(short)) if not short.all() else 0
    if count:
        notes.append(f"{count} lines below the rows left out")
    return frame.iloc[: len(frame) - count]


def _shape_of(path: Path) -> _Shape:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        sample = file.read(SAMPLE)
    encoding = _encoding(sample)
    text = sample.decode(encoding, errors="ignore" if len(sample) == SAMPLE else "strict")
    if "\0" in text:
        raise ValueError("it holds NUL characters, as no text does")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(sample) == SAMPLE and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    best: tuple[tuple[int, int], str, list[list[str]], list[int]] | None = None
    for delimiter in DELIMITERS:
        parsed = _parse(text, delimiter)
        if parsed is None:
            continue
        rows, lines = parsed
        width, count = Counter(len(r) for r in rows).most_common(1)[0]
        fit = (count * min(width - 1, 1), width)
        if best is None or fit > best[0]:
            best = (fit, delimiter, rows, lines)
    if best is None:
        raise ValueError("expected rows of cells, was none")
    _, delimiter, rows, lines = best
    width = Counter(len(r) for r in rows).most_common(1)[0][0]
    first = next((i for i, r in enumerate(rows[: ABOVE + 1]) if len(r) >= width - 1), 0)
    return _Shape(
        encoding,
        delimiter,
        lines[first - 1] if first else 0,
        tuple(tuple(c.strip() for c in r) for r in rows[first : first + TOP]),
        ('"' if delimiter == "," else ",") in text,
    )


def _encoding(sample: bytes) -> str:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        sample[: len(sample) - 4 if len(sample) == SAMPLE else None].decode("utf-8-sig")
    except UnicodeDecodeError as e:
        if e.start < len(sample) - 8:
            return "cp1252"
    return "utf-8-sig" if sample.startswith(b"\xef\xbb\xbf") else "utf-8"  # the faster of the two


def _parse(text: str, delimiter: str) -> tuple[list[list[str]], list[int]] | None:
    """Return the first rows that are not empty, and the number of the line where each ends."""
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
            if len(rows) >= TOP + ABOVE:
                break
    except csv.Error:
        return None
    return (rows, lines) if rows else None


def is_header(row: Sequence[str]) -> bool:
    """Tell whether a row names columns: some name is known, or most cells are no numbers."""
    if any(normal(cell) in NAMES for cell in row):
        return True
    numeric = sum(_NUMBER.fullmatch(cell.strip()) is not None for cell in row)
    return numeric * 2 < len(row)


def header_rows(top: Sequence[Sequence[str]]) -> int:
    """
    Return over how many rows a header goes: two or three where one names fields, one tickers.

    yfinance writes ("Price", "Close", ...), ("Ticker", "SPY", ...) and ("Date", "", ...).
    """
    first, second = (tuple(normal(c) for c in row[1:]) for row in top[:2])
    fields, tickers = (first, second) if set(first) <= PRICE_NAMES else (second, first)
    repeated = len(set(fields)) < len(fields) or len(set(tickers)) == 1
    if not fields or not set(fields) <= PRICE_NAMES or set(tickers) & PRICE_NAMES:
        return 1
    if not repeated or any(_NUMBER.fullmatch(c) for c in (*top[0][1:], *top[1][1:])):
        return 1
    third = top[2] if len(top) > 2 else ("x",)
    return 3 if third[0] and not any(third[1:]) else 2
