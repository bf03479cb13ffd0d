"""
Reads bars from one table: checks numbers, order and prices, and stamps openings and closes.

A row whose prices and volume are all empty is a session without trade: dropped and noted. A high
or low that misses the open or close by less than 1% is a vendor's rounding: widened and noted.
Anything else that is wrong is refused, with its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.arrays import IntArray
from backtest.market.sessions import (
    AROUND_THE_CLOCK,
    DAY_NS,
    WEEKDAYS,
    Sessions,
    day_text,
    is_weekday,
    session_day,
    stamp_text,
)
from backtest.sources.table import Stamps, numbers, texts
from config.errors import DataError

PRICES = ("open", "high", "low", "close")
EXTRAS = ("adj_close", "dividends", "stock_splits")
VENDOR_ROUNDING = 0.01


@dataclass(frozen=True)
class RawBars:
    """
    A table's bars before they meet a calendar, sorted by (symbol, time).

    `frame` has symbol, ns, PRICES, volume, those of EXTRAS that the table has, and the table's
    row; `step_ns` is 0 for one bar a session.
    """

    label: str
    frame: pd.DataFrame
    date_only: bool
    step_ns: int
    notes: tuple[str, ...]


def read_bars(
    frame: pd.DataFrame,
    mapping: Mapping[str, str],
    when: Stamps,
    symbol: str | None,
    label: str,
    faults: list[str] | None = None,
) -> RawBars:
    """
    Return a table's bars.

    With `faults` given, each kind of fault is one line there and its rows are left out, so that
    a check can list them all; without, the first raises DataError.
    """
    table = pd.DataFrame(
        {
            "symbol": texts(frame[mapping["symbol"]]) if symbol is None else symbol,
            "ns": when.ns,
            **{c: numbers(frame[mapping[c]], label) for c in (*PRICES, "volume")},
            **{c: numbers(frame[mapping[c]], label) for c in EXTRAS if c in mapping},
            "row": np.arange(1, len(frame) + 1),
        }
    )
    notes: list[str] = []
    empty = table[[*PRICES, "volume"]].isna().all(axis=1)
    if empty.any():
        notes.append(f"{label}: {int(empty.sum())} rows without prices left out")
        table = table[~empty]
    table = table.sort_values("symbol", kind="stable", ignore_index=True)

    def refuse(bad: NDArray[np.bool_], expected: str, columns: tuple[str, ...]) -> None:
        nonlocal table
        at = np.flatnonzero(bad)
        if not at.size:
            return
        first = table.iloc[at[np.argmin(table["row"].to_numpy()[at])]]
        was = ", ".join(f"{c} {first[c]:g}" for c in columns) or "not so"
        line = (
            f"{label}: expected {expected} for {first['symbol'] or 'a symbol'} at "
            f"{stamp_text(first['ns'])} (row {first['row']}), was {was}"
        )
        if at.size > 1:
            line += f"; {at.size} such rows"
        if faults is None:
            raise DataError(line)
        faults.append(line)
        table = table[~bad].reset_index(drop=True)

    refuse((table["symbol"] == "").to_numpy(), "a symbol", ())
    same, gap = _neighbours(table)
    refuse(np.append(False, same & (gap < 0)), "stamps in ascending order, unsorted", ())
    same, gap = _neighbours(table)
    refuse(np.append(False, same & (gap == 0)), "one bar a stamp, duplicate", ())
    for column in (*PRICES, "volume"):
        refuse(~np.isfinite(table[column].to_numpy()), f"a finite {column}", (column,))
    for column in PRICES:
        refuse(table[column].to_numpy() <= 0, f"{column} > 0", (column,))
    refuse(table["volume"].to_numpy() < 0, "volume >= 0", ("volume",))
    if "adj_close" in table:
        bad = ~(table["adj_close"].to_numpy() > 0)
        refuse(bad, "adj_close > 0", ("adj_close",))
    for column in ("dividends", "stock_splits"):
        if column in table:
            table[column] = table[column].fillna(0.0)
            refuse(table[column].to_numpy() < 0, f"{column} >= 0", (column,))
    refuse((table["high"] < table["low"]).to_numpy(), "high >= low", ("high", "low"))
    top = table[["open", "close"]].max(axis=1)
    bottom = table[["open", "close"]].min(axis=1)
    outside = (table["high"] < top) | (table["low"] > bottom)
    far = (table["high"] < top * (1 - VENDOR_ROUNDING)) | (
        table["low"] > bottom * (1 + VENDOR_ROUNDING)
    )
    refuse(far.to_numpy(), "open and close within low and high", PRICES)
    near = int((outside & ~far).sum())
    if near:
        table["high"] = table[["high", "open", "close"]].max(axis=1)
        table["low"] = table[["low", "open", "close"]].min(axis=1)
        notes.append(f"{label}: {near} bars whose high or low missed open or close, widened")
    if table.empty:
        raise DataError(f"{label}: expected bars, was none")
    step = 0 if when.date_only else _step(table)
    return RawBars(label, table, when.date_only or step == 0, step, tuple(notes))


def _neighbours(table: pd.DataFrame) -> tuple[NDArray[np.bool_], IntArray]:
    symbol, ns = pd.factorize(table["symbol"])[0], table["ns"].to_numpy()
    return symbol[1:] == symbol[:-1], np.diff(ns)


def _step(table: pd.DataFrame) -> int:
    """Return the most common distance of neighbouring bars; a whole day is a session."""
    same, gap = _neighbours(table)
    values, counts = np.unique(gap[same & (gap > 0)], return_counts=True)
    if not values.size or values[np.argmax(counts)] >= DAY_NS:
        return 0
    return int(values[np.argmax(counts)])


def stamp_bars(
    raw: RawBars,
    calendar: Sessions,
    drop: bool,
    notes: list[str],
    faults: list[str] | None = None,
) -> pd.DataFrame:
    """
    Return the bars with `ts_open` and `ts_close`.

    A dated bar opens and closes with its session; an intraday stamp is the bar's opening, and
    the bar closes a nanosecond before a step later, or with its session: no bar closes at the
    stamp at which the next one opens, so that what fills on the opening cannot see both. Bars
    outside every session are refused with their count, or dropped and noted when `drop`.
    """
    table, ns = raw.frame, raw.frame["ns"].to_numpy()
    free = calendar.name in AROUND_THE_CLOCK
    if free:
        opens = ns
        closes = ns + (raw.step_ns or DAY_NS) - 1
        outside = np.zeros(len(ns), dtype=bool)
    else:
        at = calendar.find(ns // DAY_NS) if raw.date_only else calendar.containing(ns)
        outside = at < 0
        opens = calendar.opens[at] if raw.date_only else ns
        closes = calendar.closes[at]
        if not raw.date_only:
            closes = np.minimum(closes, ns + raw.step_ns - 1)
    if outside.any():
        first = table[outside].sort_values("row").iloc[0]
        when = day_text(first["ns"] // DAY_NS) if raw.date_only else stamp_text(first["ns"])
        line = (
            f"{int(outside.sum())} bars outside the sessions of {calendar.name}, "
            f"the first {first['symbol']} at {when} (row {first['row']})"
        )
        if drop:
            notes.append(f"{raw.label}: left out {line}")
        elif faults is not None:
            faults.append(f"{raw.label}: expected bars in sessions only, was {line}")
        else:
            raise DataError(
                f"{raw.label}: expected bars in sessions only, was {line}; "
                "set calendar or non_sessions: drop in source.yaml"
            )
    stamped = table.assign(ts_open=opens, ts_close=closes)[~outside].reset_index(drop=True)
    if stamped.empty:
        raise DataError(f"{raw.label}: expected bars in the sessions of {calendar.name}, was none")
    same = pd.factorize(stamped["symbol"])[0]
    early = (same[1:] == same[:-1]) & (
        stamped["ts_open"].to_numpy()[1:] < stamped["ts_close"].to_numpy()[:-1]
    )
    if early.any():
        row = stamped.iloc[int(np.flatnonzero(early)[0]) + 1]
        raise DataError(
            f"{raw.label}: expected bars of {raw.step_ns / 60e9:g} minutes, was an earlier one "
            f"for {row['symbol']} at {stamp_text(row['ns'])} (row {row['row']})"
        )
    return stamped


def in_sessions(
    bars: pd.DataFrame, calendar: Sessions, notes: list[str]
) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """
    Return the bars and the closing stamps of the sessions that they span.

    Around the clock a session ends with its day's last bar. FX and CFDs open on Sunday evening
    for an hour or three: as sessions of their own those stubs would be a sixth of all decisions,
    with most instruments absent, so weekend bars belong to the session that follows them, and
    those that none follows are left out. Raises DataError where all bars lie on weekends.
    """
    closes = bars["ts_close"].to_numpy(np.int64)
    if calendar.name not in AROUND_THE_CLOCK:
        spanned = (calendar.opens < closes.max()) & (calendar.closes > bars["ts_open"].min())
        return bars, tuple(calendar.closes[spanned].tolist())
    last = pd.Series(closes).groupby(session_day(closes)).max()
    if calendar.name == WEEKDAYS:
        weekday = is_weekday(last.index.to_numpy(np.int64))
        if not weekday.any():
            raise DataError(f"expected bars on weekdays in the calendar {WEEKDAYS}, was none")
        joined = int((~weekday).sum())
        last = last[weekday]
        if joined:
            notes.append(f"{joined} weekend sessions joined to the sessions that follow them")
            bars = bars[closes <= last.max()]
    return bars, tuple(last.tolist())
