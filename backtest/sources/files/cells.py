"""
Turns cells into texts and numbers, as people print them.

Every fault is one DataError with file, row (from 1, the header not counted) and what was there.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from config.errors import DataError

MISSING = frozenset(
    [
        "",
        "nan",
        "nat",
        "<na>",
        "na",
        "n/a",
        "#n/a",
        "null",
        "none",
        "nil",
        "-",
        "--",
        ".",
        "\N{EM DASH}",
    ]
)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_DOLLARS = re.compile(r"[$\s]")  # another currency's sign is no number: it must be stated
_PRINTED = re.compile(
    r"(?P<number>[-+]?(?:\d{1,3}(?:,\d{2,3})*,\d{3}|\d+)(?:\.\d*)?|[-+]?\.\d+)(?P<unit>[kmbt]?)%?",
    re.IGNORECASE,
)


def texts(column: pd.Series) -> NDArray[np.object_]:
    """Return a column as stripped texts, "" where a cell is missing."""
    filled = column.astype(object).where(column.notna(), "")
    return np.array([str(v).strip() for v in filled.to_numpy()], dtype=object)


def numbers(column: pd.Series, label: str) -> NDArray[np.float64]:
    """
    Return a column as floats, NaN where a cell is empty or says that it is missing (".", "N/A").

    Numbers may have commas between thousands (Indian ones too), a dollar's sign, and K, M, B or T
    for thousands and more. Raises DataError at the first cell that is no finite number.
    """
    if column.dtype.kind in "iuf":
        found = column.to_numpy(np.float64)
    else:
        try:
            return _finite(np.asarray(column.astype(np.float64), np.float64), column, label)
        except (ValueError, TypeError, OverflowError):
            found = pd.to_numeric(column.astype(str), errors="coerce").to_numpy(
                np.float64, copy=True
            )
        for row in np.flatnonzero(np.isnan(found)).tolist():
            text = str(column.iloc[row]).strip()
            if text.lower() not in MISSING:
                found[row] = _printed(text, row, column.name, label)
    return _finite(found, column, label)


def _finite(found: NDArray[np.float64], column: pd.Series, label: str) -> NDArray[np.float64]:
    """Return numbers of which none is endless; NaN is a missing one."""
    endless = np.flatnonzero(np.isinf(found))
    if endless.size:
        raise _no_number(str(column.iloc[endless[0]]), int(endless[0]), column.name, label)
    return found


def _printed(text: str, row: int, name: object, label: str) -> float:
    """Return what a printed number like "1,234.5", "$12" or "287.86K" is."""
    match = _PRINTED.fullmatch(_DOLLARS.sub("", text[:64]))
    if match is None:
        raise _no_number(text, row, name, label)
    return float(match["number"].replace(",", "")) * _UNITS[match["unit"].lower()]


def _no_number(text: str, row: int, name: object, label: str) -> DataError:
    return DataError(
        f"{label}: expected a finite number in {str(name)[:40]!r} at row {row + 1}, "
        f"was {text[:60]!r}"
    )
