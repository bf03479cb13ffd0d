"""
Reads bars from one table: checks numbers, order and prices, and stamps openings and closes.

A row whose prices and volume are all empty is a session without trade: left out and noted, as are
rows that lack a price where they are few. A file that runs from the newest row to the oldest is
read in reverse. A high or low that misses the open or close by less than 1% is a vendor's
rounding: widened and noted. Anything else that is wrong is refused, with its row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray, IntArray
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
from backtest.sources.files.cells import numbers, texts
from backtest.sources.files.names import is_symbol, require_symbol
from backtest.sources.files.stamps import Stamps
from backtest.sources.findings import Findings, Notes
from backtest.sources.timing import closed_weekend, refuse_long_bars, sessions_of_ends
from config.errors import DataError

PRICES = ("open", "high", "low", "close")
EXTRAS = ("adj_close", "dividends", "stock_splits")
VENDOR_ROUNDING = 0.01
SECOND_NS = 1_000_000_000
LEAST = 1e-12  # of a price
MOST = 1e15  # of a price or a volume: beyond it decimals are lost, and the engine takes less
MOST_WIDENED = 0.1  # of a table's bars: more is no rounding
FEW = 0.01  # of a table's rows may lack a price


@dataclass(frozen=True)
class RawBars:
    """
    A table's bars before they meet a calendar, sorted by (symbol, time).

    `frame` has symbol and its number (code), ns, day, PRICES, volume, those of EXTRAS that the
    table has, and the table's row. `step_ns` is 0 for one bar a session, None where no two bars
    tell it.
    """

    label: str
    frame: pd.DataFrame
    step_ns: int | None


def read_bars(
    frame: pd.DataFrame,
    mapping: Mapping[str, str],
    when: Stamps,
    symbol: str | None,
    label: str,
    found: Findings,
) -> RawBars:
    """
    Return a table's bars; one without a column of volumes has NaN there.

    Each kind of fault is one line, raised or kept as `found` says; where it is kept the rows are
    left out, so that a check can list all faults.
    """
    prices = {c: numbers(frame[mapping[c]], label) for c in PRICES}
    volume = np.full(len(frame), np.nan)
    if "volume" in mapping:
        volume = numbers(frame[mapping["volume"]], label)
    names: NDArray[np.object_] | str = symbol or ""
    codes: IntArray | int = 0
    if symbol is None:
        names = texts(frame[mapping["symbol"]])
        codes, known = pd.factorize(names, sort=True)
        for code, name in enumerate(known):
            if name and not is_symbol(name):
                require_symbol(name, f"{label}: row {int(np.argmax(codes == code)) + 1}")
    table = pd.DataFrame(
        {
            "symbol": names,
            "code": codes,
            "ns": when.ns,
            "day": when.days,
            **prices,
            "volume": volume,
            **{c: numbers(frame[mapping[c]], label) for c in EXTRAS if c in mapping},
            "row": np.arange(1, len(frame) + 1),
        }
    )
    left_out = _without_prices(prices, volume, label, found.notes)
    if left_out.any():
        table = table[~left_out].reset_index(drop=True)
    if symbol is None:
        table = table.sort_values("code", kind="stable", ignore_index=True)
    same, gap = _neighbours(table)
    if same.any() and (gap[same] < 0).mean() > 0.5:  # what does not descend is a fault below
        found.notes.add("newest row first, read in reverse", label)
        table = table.iloc[::-1].sort_values("code", kind="stable", ignore_index=True)
    if not _faultless(table):
        table = _without_faults(table, label, found)
    if table.empty:
        raise DataError(f"{label}: expected bars, was none")
    step = 0 if when.date_only else _step(table)
    if step is not None and 0 < step < SECOND_NS:
        raise DataError(
            f"{label}: expected bars of a second or longer, was bars {step:,} ns apart"
        )
    return RawBars(label, table, step)


def _without_prices(
    prices: Mapping[str, FloatArray], volume: FloatArray, label: str, notes: Notes
) -> BoolArray:
    """Tell which rows are to be left out since they lack prices, and note how many."""
    lacking = sum(np.isnan(values).astype(np.int64) for values in prices.values())
    empty = (lacking == len(PRICES)) & (np.isnan(volume) | (volume == 0))
    if empty.any():
        notes.add("rows without prices left out", label, int(empty.sum()))
    partly = (lacking > 0) & ~empty
    if 0 < partly.sum() <= FEW * len(volume):
        notes.add("rows that lack a price left out", label, int(partly.sum()))
        empty = empty | partly
    return np.asarray(empty)


def _faultless(table: pd.DataFrame) -> bool:
    """Tell whether every check holds, so that none needs to be made on its own."""
    same, gap = _neighbours(table)
    first, high, low, last = (table[c].to_numpy() for c in PRICES)
    extras = [table[c].to_numpy() for c in EXTRAS if c in table]
    return bool(
        (gap[same] > 0).all()
        and ((low >= LEAST) & (high <= MOST) & (low <= np.minimum(first, last))).all()
        and (high >= np.maximum(first, last)).all()
        and not (table["volume"].to_numpy() < 0).any()
        and not (table["volume"].to_numpy() > MOST).any()
        and all((e >= 0).all() for e in extras)
        and ("adj_close" not in table or (table["adj_close"].to_numpy() >= LEAST).all())
        and not table["symbol"].eq("").any()
    )


def _without_faults(table: pd.DataFrame, label: str, found: Findings) -> pd.DataFrame:
    """Return the bars without faults, each kind of which is one line, raised or kept."""

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
        found.fault(DataError(line))
        table = table[~bad].reset_index(drop=True)

    refuse((table["symbol"] == "").to_numpy(), "a symbol", ())
    unsorted = "stamps in ascending order (sort the file by date), unsorted"
    latest = table.groupby("code")["ns"].cummax()
    refuse((table["ns"] < latest).to_numpy(), unsorted, ())
    same, gap = _neighbours(table)
    refuse(np.append(False, same & (gap == 0)), "one bar a stamp, duplicate", ())
    for column in PRICES:
        refuse(~np.isfinite(table[column].to_numpy()), f"a finite {column}", (column,))
    for column in PRICES:
        refuse(table[column].to_numpy() <= 0, f"{column} > 0", (column,))
        refuse(table[column].to_numpy() < LEAST, f"{column} of at least {LEAST:g}", (column,))
    for column in (*PRICES, "volume"):
        refuse(table[column].to_numpy() > MOST, f"{column} of at most {MOST:g}", (column,))
    refuse(table["volume"].to_numpy() < 0, "volume >= 0", ("volume",))
    if "adj_close" in table:
        bad = ~(table["adj_close"].to_numpy() >= LEAST)
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
    if near > MOST_WIDENED * len(table) + 1:
        found.fault(
            DataError(
                f"{label}: expected open and close within low and high, was outside in {near} of "
                f"{len(table)} bars: set columns in source.yaml where they have another order"
            )
        )
    if near:
        table["high"] = table[["high", "open", "close"]].max(axis=1)
        table["low"] = table[["low", "open", "close"]].min(axis=1)
        found.notes.add("bars whose high or low missed open or close, widened", label, near)
    return table


def _neighbours(table: pd.DataFrame) -> tuple[NDArray[np.bool_], IntArray]:
    code, ns = table["code"].to_numpy(), table["ns"].to_numpy()
    return code[1:] == code[:-1], np.diff(ns)


def _step(table: pd.DataFrame) -> int | None:
    """Return the most common distance of neighbouring bars; a whole day is a session."""
    same, gap = _neighbours(table)
    values, counts = np.unique(gap[same & (gap > 0)], return_counts=True)
    if not values.size:
        return None
    most = int(values[np.argmax(counts)])
    return 0 if most >= DAY_NS else most


def fill_volume(raw: RawBars, optional: frozenset[str], found: Findings) -> RawBars:
    """
    Return the bars with a volume in each: 0 where the symbols in `optional` have none.

    Raises DataError where any other symbol lacks one.
    """
    table = raw.frame
    missing = table["volume"].isna().to_numpy()
    if not missing.any():
        return raw
    needed = missing & ~table["symbol"].isin(optional).to_numpy()
    if needed.all():
        raise DataError(
            f"{raw.label}: expected bars with the column volume, was none: "
            f"{table['symbol'].iloc[0]} is taken for a stock, unless asset_class in source.yaml "
            "says otherwise"
        )
    if needed.any():
        first = table[needed].sort_values("row").iloc[0]
        line = (
            f"{raw.label}: expected a finite volume for {first['symbol']} at "
            f"{stamp_text(first['ns'])} (row {first['row']}), was volume nan"
        )
        more = f"; {int(needed.sum())} such rows" if needed.sum() > 1 else ""
        found.fault(DataError(line + more))
    filled = table[~needed].fillna({"volume": 0.0}).reset_index(drop=True)
    return RawBars(raw.label, filled, raw.step_ns)


def stamp_bars(
    raw: RawBars, calendar: Sessions, found: Findings, *, drop: bool, at_close: bool = False
) -> pd.DataFrame:
    """
    Return the bars with `ts_open` and `ts_close`.

    A dated bar opens and closes with its session. An intraday stamp is the bar's opening, or its
    end where `at_close`; the bar closes a nanosecond before a step later, or with its session: no
    bar closes at the stamp at which the next one opens, so that what fills on the opening cannot
    see both. Bars outside every session are refused with their count, or dropped and noted when
    `drop`. Raises DataError for bars of more than a session.
    """
    table, ns = raw.frame, raw.frame["ns"].to_numpy()
    same = np.append(False, _neighbours(table)[0])
    free = calendar.name in AROUND_THE_CLOCK
    if not raw.step_ns:
        refuse_long_bars(calendar, table["day"].to_numpy(), same[1:], raw.label)
    if not free and not raw.step_ns:
        at = calendar.find(table["day"].to_numpy())
        opens, closes = calendar.opens[at], calendar.closes[at]
    else:
        step = raw.step_ns or DAY_NS
        if free:
            at = np.zeros(len(ns), np.int64)
        elif at_close:
            at = sessions_of_ends(ns, step, calendar)
        else:
            at = calendar.containing(ns)
        opens, closes = ns, ns + step - 1
        if at_close:
            before = np.where(same, np.append(0, ns[:-1]), 0)
            opens, closes = np.maximum(ns - step, before), ns - 1
            if not free:
                opens = np.maximum(opens, calendar.opens[at])
                closes = np.where(ns >= calendar.closes[at], calendar.closes[at], closes)
        elif not free:  # a session's first bar may be shorter, up to the full hour
            after = np.where(
                np.append(same[1:], False), np.append(ns[1:], 0), np.iinfo(np.int64).max
            )
            closes = np.where(ns == calendar.opens[at], np.minimum(closes, after - 1), closes)
        if not free:
            closes = np.minimum(calendar.closes[at], closes)
    outside = at < 0
    if calendar.name == WEEKDAYS and raw.step_ns:
        outside |= _flat(table) & closed_weekend(ns)
        if outside.any():
            found.notes.add("flat bars of closed weekends left out", raw.label, int(outside.sum()))
    elif outside.any():
        _report_outside(raw, outside, calendar, drop, found)
    stamped = table.assign(ts_open=opens, ts_close=closes)
    if outside.any():
        stamped = stamped[~outside].reset_index(drop=True)
    if stamped.empty:
        raise DataError(f"{raw.label}: expected bars in the sessions of {calendar.name}, was none")
    same = _neighbours(stamped)[0]
    early = same & (stamped["ts_open"].to_numpy()[1:] < stamped["ts_close"].to_numpy()[:-1])
    if early.any():
        row = stamped.iloc[int(np.flatnonzero(early)[0]) + 1]
        length = f"{raw.step_ns / 60e9:g} minutes" if raw.step_ns else "a session"
        raise DataError(
            f"{raw.label}: expected bars of {length}, was an earlier one "
            f"for {row['symbol']} at {stamp_text(row['ns'])} (row {row['row']})"
        )
    return stamped


def _flat(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which bars have no volume and one price, as vendors fill closed hours."""
    return np.asarray((table["volume"] == 0) & (table["high"] == table["low"]))


def _report_outside(
    raw: RawBars, outside: NDArray[np.bool_], calendar: Sessions, drop: bool, found: Findings
) -> None:
    """Note the bars outside all sessions where they are dropped, else report a fault."""
    first = raw.frame[outside].sort_values("row").iloc[0]
    when = stamp_text(first["ns"]) if raw.step_ns else day_text(first["day"])
    example = f"{first['symbol']} at {when} (row {first['row']})"
    text = f"bars outside the sessions of {calendar.name}"
    if drop:
        found.notes.add(f"{text} left out", raw.label, int(outside.sum()), example)
        return
    advice = "set timezone, calendar" if raw.step_ns else "set calendar"
    found.fault(
        DataError(
            f"{raw.label}: expected bars in sessions only, was {int(outside.sum())} {text}, the "
            f"first {example}; {advice} or non_sessions: drop in source.yaml"
        )
    )


def in_sessions(
    bars: pd.DataFrame, calendar: Sessions, notes: Notes
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
            notes.add(f"{joined} weekend sessions joined to the sessions that follow them")
            bars = bars[closes <= last.max()]
    return bars, tuple(last.tolist())
