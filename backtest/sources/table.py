"""
Reads one file as a table, and turns its texts into numbers and stamps.

Every fault is one DataError with file, row (from 1, the header not counted) and what was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.arrays import IntArray
from backtest.market.sessions import DAY_NS
from config.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
_ZONE = r"(?:[zZ]|[+-]\d{2}:?\d{2}|UTC|GMT)\s*$"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}\s*$"


def is_table(path: Path) -> bool:
    """Tell whether a path is a CSV or Parquet file that is not hidden."""
    return path.is_file() and not path.name.startswith(".") and path.name.endswith(SUFFIXES)


def read_table(path: Path) -> pd.DataFrame:
    """
    Return a file's rows; a CSV's cells stay the texts that were written.

    Raises DataError if it cannot be read or has no rows.
    """
    kind = "Parquet" if path.suffix in (".parquet", ".pq") else "CSV"
    try:
        if kind == "Parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except Exception as e:
        reason = " ".join(str(e).split()) or type(e).__name__
        raise DataError(
            f"{path.name}: expected a readable {kind} file, was unreadable: {reason}"
        ) from e
    if frame.empty:
        raise DataError(f"{path.name}: expected rows, was an empty table")
    return frame.reset_index(drop=True)


def texts(column: pd.Series) -> NDArray[np.object_]:
    """Return a column as stripped texts, "" where a cell is missing."""
    filled = column.astype(object).where(column.notna(), "")
    return np.array([str(v).strip() for v in filled.to_numpy()], dtype=object)


def numbers(column: pd.Series, label: str) -> NDArray[np.float64]:
    """
    Return a column as floats, NaN where a cell is empty.

    Raises DataError at the first cell that is no number.
    """
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64)
    found = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    missing = np.flatnonzero(np.isnan(found))
    for row in missing:
        text = "" if column.isna().iloc[row] else str(column.iloc[row]).strip()
        if text.lower() not in ("", "nan", "na", "null", "none"):
            raise DataError(
                f"{label}: expected a number in {column.name!r} at row {row + 1}, was {text!r}"
            )
    return found


@dataclass(frozen=True)
class Stamps:
    """
    A time column. Shapes: ns (T,), UTC nanoseconds.

    With `date_only` the values are days without a time of day, at midnight UTC.
    """

    ns: IntArray
    date_only: bool

    @property
    def days(self) -> IntArray:
        """The UTC day of each stamp."""
        return np.asarray(self.ns // DAY_NS, dtype=np.int64)


def stamps(column: pd.Series, label: str, timezone: str, market_zone: str = "UTC") -> Stamps:
    """
    Return a time column's stamps.

    Naive stamps are in `timezone`. A column whose every value is a midnight (of its own naive
    text, of UTC or of `market_zone`) holds days, not instants.
    Raises DataError for an empty cell, for text that is no date, and for a column that mixes
    stamps with and without a zone.
    """
    values = column
    empty = np.flatnonzero(values.isna().to_numpy())
    if empty.size:
        raise DataError(
            f"{label}: expected a date or stamp in {column.name!r} at row {empty[0] + 1}, "
            "was empty"
        )
    if values.dtype.kind in "iufb":
        raise DataError(
            f"{label}: expected dates or ISO stamps in {column.name!r}, was {values.iloc[0]!r}"
        )
    if values.dtype.kind != "M":
        values = _parse(values.astype(str), label)
    if values.dt.tz is None:
        index = pd.DatetimeIndex(values)
        if bool((index == index.normalize()).all()):
            return Stamps(_ns(index), True)
        try:
            return Stamps(_ns(index.tz_localize(timezone).tz_convert("UTC")), False)
        except ValueError as e:
            reason = " ".join(str(e).split())
            raise DataError(f"{label}: expected stamps of {timezone}, was {reason}") from e
    utc = pd.DatetimeIndex(values).tz_convert("UTC")
    for zone in ("UTC", market_zone):
        local = utc.tz_convert(zone).tz_localize(None)
        if bool((local == local.normalize()).all()):
            return Stamps(_ns(local), True)
    return Stamps(_ns(utc), False)


def _parse(texts: pd.Series, label: str) -> pd.Series:
    zoned = texts.str.contains(_ZONE, regex=True) & ~texts.str.contains(_DATE, regex=True)
    if zoned.any() and not zoned.all():
        row = int(np.flatnonzero(zoned.to_numpy() != bool(zoned.iloc[0]))[0])
        raise DataError(
            f"{label}: expected stamps all with or all without a time zone in {texts.name!r}, "
            f"was {texts.iloc[0]!r} at row 1 and {texts.iloc[row]!r} at row {row + 1}"
        )
    parsed = pd.to_datetime(texts, format="ISO8601", utc=bool(zoned.all()), errors="coerce")
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if bad.size:
        raise DataError(
            f"{label}: expected a date or stamp in {texts.name!r} at row {bad[0] + 1}, "
            f"was {texts.iloc[bad[0]]!r}"
        )
    return parsed


def _ns(index: pd.DatetimeIndex) -> IntArray:
    return np.asarray(index.as_unit("ns").asi8, dtype=np.int64)
