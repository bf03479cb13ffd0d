"""
Tells whether a text table's numbers have decimal commas or points, and gives all of them points.

The whole table is looked at, for one column alone may be readable both ways ("141,915"). What the
table does not tell is refused, with what source.yaml should state.
"""

import re
from collections.abc import Iterable
from typing import Literal

import pandas as pd

from config.errors import DataError

type Mark = Literal[".", ","]

SAMPLE = 200  # rows of each end
_POINT = re.compile(r"[-+]?\d+\.(?:\d{1,2}|\d{4,})|[-+]?\d{1,3}(?:,\d{3})+\.\d+")
_COMMA = re.compile(r"[-+]?\d+,(?:\d{1,2}|\d{4,})[%KMBT]?|[-+]?\d{1,3}(?:\.\d{3})+,\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3}){2,}")
_EITHER = re.compile(r"[-+]?\d{1,3},\d{3}")
_NUMBER = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})*(?:,\d+)?[%KMBT]?|[-+]?\d+(?:,\d+)?[%KMBT]?")
AMBIGUOUS = 3  # columns: prices are four


def with_points(
    frame: pd.DataFrame, delimiter: str, stated: Mark | None, label: str
) -> pd.DataFrame:
    """
    Return a text table whose numbers have decimal points.

    `stated` is the mark that source.yaml states; else whoever delimits with semicolons is taken to
    write decimal commas. Raises DataError where most numbers can be read both ways.
    """
    ends = pd.concat([frame.head(SAMPLE), frame.tail(SAMPLE)])
    columns = {name: _texts(ends[name]) for name in frame.columns}
    if stated == "." or not any("," in t for cells in columns.values() for t in cells):
        return frame
    if stated is None and not _has_commas(columns.values(), delimiter):
        either = [n for n, cells in columns.items() if _all(cells, _EITHER)]
        if len(either) >= AMBIGUOUS and not _any(columns.values(), _POINT, _THOUSANDS):
            raise DataError(
                f"{label}: expected numbers that read in one way in {str(either[0])[:40]!r}, "
                f"was {columns[either[0]][0]!r}: set decimal: ',' or '.' in source.yaml"
            )
        return frame
    out = {}
    for name in frame.columns:
        column, cells = frame[name], columns[name]
        if _all(cells, _NUMBER) and any("," in t or "." in t for t in cells):
            column = column.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        out[name] = column
    return pd.DataFrame(out)


def _has_commas(columns: Iterable[list[str]], delimiter: str) -> bool:
    """Tell whether a table's decimal mark is a comma."""
    columns = list(columns)
    if _any(columns, _POINT):
        return False
    return _any(columns, _COMMA) or (delimiter == ";" and _any(columns, _EITHER))


def _texts(column: pd.Series) -> list[str]:
    return [t for t in (str(c).strip() for c in column.to_numpy()) if t and t != "nan"]


def _any(columns: Iterable[list[str]], *patterns: re.Pattern[str]) -> bool:
    return any(p.fullmatch(t) for cells in columns for t in cells for p in patterns)


def _all(cells: list[str], pattern: re.Pattern[str]) -> bool:
    return bool(cells) and all(pattern.fullmatch(t) for t in cells)
