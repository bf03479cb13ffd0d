"""
Tells the form in which a vendor wrote a file, and brings it to one row an item, named columns.

Most files need nothing: their columns are named (`columns`). Here are the others: several header
rows, no header, date and time apart, one column a series, and what a vendor is known to mean by
a stamp without a zone or by a symbol without its exchange.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.sources.files.cells import texts
from backtest.sources.files.columns import PRICE_NAMES, SYNONYMS, Kind, normal
from backtest.sources.files.rows import Rows, header_rows
from config.errors import DataError

METATRADER = "America/New_York+7"  # servers whose day ends when New York's does, at 17:00 there
EST = "Etc/GMT+5"  # New York's standard time in every season
OHLC = ("open", "high", "low", "close")
_COINBASE, _BITFINEX = ("low", "high", "open", "close"), ("open", "close", "high", "low")
_ORDERS = (OHLC, _COINBASE, _BITFINEX)  # of the columns after the time, without a header
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?|\d{4}|\d{6}"
_SHORT = {"t": "time", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
_FRED_DATES = ("observation_date", "date")
_INDEX_NAMES = ("", "index", "level_0", "unnamed_0")


@dataclass(frozen=True)
class Table:
    """
    A file's rows under named columns.

    `form` says in words what the file was taken for. `zone` is that of stamps without one where
    the form is known for it, `kind` where the form tells it. `suffix` is the exchange's, where
    symbols come without it. `left_out` says what the form leaves out.
    """

    frame: pd.DataFrame
    form: str
    zone: str | None = None
    kind: Kind | None = None
    suffix: str = ""
    left_out: str = ""


def tell_form(rows: Rows, stem: str, label: str) -> Table:
    """
    Return a file's rows under named columns; `stem` is its name without the ending.

    Raises DataError for a table without a header whose columns cannot be told.
    """
    if rows.header:
        frame = rows.frame
        names: list[object] = list(frame.columns)
        if any(isinstance(name, tuple) or str(name).startswith("('") for name in names):
            return _from_pairs(frame)
        frame = frame.rename(columns=_plain_names(frame))
        plain = set(OHLC) <= {normal(c) for c in frame.columns}
        pairs = None if plain else _pairs_in(frame)
        return _named(frame, stem) if pairs is None else _from_pairs(pairs)
    if len(rows.top) > 1 and header_rows(rows.top) > 1:
        return _from_pairs(_paired(rows))
    return _without_header(rows.frame, label)


def _plain_names(frame: pd.DataFrame) -> dict[object, str]:
    """Return the new names of columns that are one letter each, or an index that was saved."""
    names: dict[object, str] = {c: str(c).strip() for c in frame.columns}
    low = {str(c).strip().lower() for c in frame.columns}
    if {"t", "o", "h", "l", "c"} <= low:
        names |= {c: _SHORT.get(str(c).strip().lower(), str(c)) for c in frame.columns}
    first = frame.columns[0]
    timed = {normal(c) for c in frame.columns} & set(SYNONYMS["time"])
    if normal(first) in _INDEX_NAMES and not timed and not _counts(frame[first]):
        names[first] = "time"
    return names


def _counts(column: pd.Series) -> bool:
    """Tell whether a column is a saved count of rows."""
    cells = column.head(3).astype(str).tolist()
    return cells == [str(i) for i in range(len(cells))]


# -- several header rows -------------------------------------------------------------------------


def _paired(rows: Rows) -> pd.DataFrame:
    """Return a frame whose columns are (field, ticker), from the header rows as they stand."""
    first, second = rows.top[:2]
    fields, tickers = first, second
    if not {normal(c) for c in first[1:]} <= PRICE_NAMES:
        fields, tickers = second, first
    frame = rows.frame
    width = min(len(fields), len(tickers), frame.shape[1])
    frame = frame.iloc[:, :width]
    frame.columns = pd.Index(
        [("time", ""), *zip(fields[1:width], tickers[1:width], strict=True)], tupleize_cols=False
    )
    return frame


def _pairs_in(frame: pd.DataFrame) -> pd.DataFrame | None:
    """Return a frame of (field, ticker) where its columns are named "AAPL_Close" or "BTC:open"."""
    names: list[tuple[str, str]] = []
    for name in map(str, frame.columns[1:]):
        match = re.fullmatch(r"(?P<one>.+?)[:_ ](?P<other>[^:_ ]+)", name)
        if match is None:
            return None
        pair = (match["other"], match["one"])
        names.append(pair if normal(pair[0]) in PRICE_NAMES else (pair[1], pair[0]))
    fields = {normal(field) for field, _ in names}
    if not set(OHLC) <= fields or not fields <= PRICE_NAMES:
        return None
    out = frame.copy()
    out.columns = pd.Index([("time", ""), *names], tupleize_cols=False)
    return out


def _from_pairs(frame: pd.DataFrame) -> Table:
    """Return one row a ticker and stamp of a table whose columns are (field, ticker)."""
    pairs = [_pair(c) for c in frame.columns]
    at = next((i for i, (field, other) in enumerate(pairs) if not (field and other)), 0)
    if not {normal(f) for i, (f, _) in enumerate(pairs) if i != at} <= PRICE_NAMES:
        pairs = [(other, field) for field, other in pairs]
    tickers = list(dict.fromkeys(t for i, (_, t) in enumerate(pairs) if i != at))
    parts = []
    for ticker in tickers:
        columns = {
            field: frame.iloc[:, i]
            for i, (field, t) in enumerate(pairs)
            if t == ticker and i != at
        }
        part = pd.DataFrame(columns).assign(Ticker=ticker)
        part.insert(0, "Date", frame.iloc[:, at].to_numpy())
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    return Table(whole, "a column for each field of each ticker")


def _pair(name: object) -> tuple[str, str]:
    """Return (field, ticker) of a column's name, a tuple or the text of one."""
    if isinstance(name, tuple):
        return str(name[0]), str(name[-1])
    match = re.fullmatch(r"\('(.*?)', '(.*?)'\)", str(name))
    return (match[1], match[2]) if match else (str(name), "")


# -- no header -----------------------------------------------------------------------------------


def _without_header(frame: pd.DataFrame, label: str) -> Table:
    frame = frame.copy()
    frame.columns = [f"column {i + 1}" for i in range(frame.shape[1])]
    names = list(frame.columns)
    cells = [texts(frame[c].head(50)) for c in names]
    symbol = next((i for i, c in enumerate(cells[:2]) if _each(c, r"[A-Za-z^][\w.^=&-]*")), None)
    rest = [i for i in range(len(names)) if i != symbol]
    if not rest:
        raise _no_columns(frame, label)
    time = rest.pop(0)
    apart = bool(rest) and _each(cells[rest[0]], _CLOCK) and not _each(cells[time], r".*:.*")
    apart = apart and (_each(cells[rest[0]], r".*:.*") or _each(cells[rest[0]], r"\d{6}"))
    clock = rest.pop(0) if apart else None
    if len(rest) < 4:
        raise _no_columns(frame, label)
    numeric = [pd.to_numeric(frame[names[i]], errors="coerce").to_numpy() for i in rest]
    order = next((o for o in _ORDERS if _holds(o, numeric)), None)
    if order is None:
        raise _no_columns(frame, label)
    places = dict(zip(order, rest, strict=False))
    found = {"time": frame[names[time]]}
    if clock is not None:
        found["time"] = _joined(frame[names[time]], frame[names[clock]])
    if symbol is not None:
        found["symbol"] = frame[names[symbol]]
    found |= {c: frame[names[i]] for c, i in places.items()}
    volume, form, zone = _layout(cells, rest, time, clock, _between(numeric))
    if order != OHLC:
        form = f"time, {', '.join(order)}, no header"
    if volume is not None:
        found["volume"] = frame[names[volume]]
    return Table(pd.DataFrame(found), form, zone)


def _holds(order: Sequence[str], numeric: Sequence[np.ndarray]) -> bool:
    """Tell whether columns can be the prices of an order: no low above, no high below the rest."""
    prices = dict(zip(order, numeric, strict=False))
    four = np.array([prices[c] for c in OHLC])
    known = np.isfinite(four).all(axis=0)
    fits = (prices["high"] >= four.max(axis=0)) & (prices["low"] <= four.min(axis=0))
    return bool(known.any() and fits[known].mean() > 0.98)


def _between(numeric: Sequence[np.ndarray]) -> bool:
    """Tell whether the column after the four prices lies within them, as a mean of prices does."""
    if len(numeric) < 5:
        return False
    four = np.array(numeric[:4])
    fifth = numeric[4]
    within = (fifth >= four.min(axis=0)) & (fifth <= four.max(axis=0))
    return bool(within[fifth > 0].mean() > 0.9) if (fifth > 0).any() else False


def _layout(
    cells: Sequence[np.ndarray], rest: Sequence[int], time: int, clock: int | None, weighted: bool
) -> tuple[int | None, str, str | None]:
    """
    Return the volume's place, the form and the zone of a table without a header.

    `weighted` says that the column after the prices is a price too.
    """
    after = rest[4:]
    volume = after[0] if after else None
    counted = _each(cells[time], r"\d{9,19}(?:\.\d+)?")
    if counted and len(rest) >= 10:
        return volume, "Binance's klines, no header", None
    if counted and len(rest) == 7 and weighted:  # a price by volume before the volume
        return after[1], "Kraken's OHLC, no header", None
    if counted:
        return volume, "Kraken's OHLCVT, no header", None
    if clock is not None and _each(cells[time], r"\d{4}\.\d{2}\.\d{2}"):
        return volume, "MetaTrader's history, no header", METATRADER
    if _each(cells[time], r"\d{8} \d{6}"):
        return volume, "HistData's bars, no header", EST
    return (
        volume,
        "time, open, high, low, close" + (", volume" if after else "") + ", no header",
        None,
    )


def _each(cells: np.ndarray, pattern: str) -> bool:
    return all(re.fullmatch(pattern, c) is not None for c in cells)


def _no_columns(frame: pd.DataFrame, label: str) -> DataError:
    return DataError(
        f"{label}: expected a header, or time, open, high, low, close and volume in this order, "
        f"was {', '.join(str(c)[:20] for c in frame.iloc[0].tolist()[:8])} in row 1"
    )


# -- named columns -------------------------------------------------------------------------------


def _named(frame: pd.DataFrame, stem: str) -> Table:
    table = Table(frame, "a table with a header")
    for step in (_fred, _metatrader, _dukascopy, _date_and_time, _stooq, _nse, _databento):
        table = step(table, stem)
    return table


def _column(frame: pd.DataFrame, *names: str) -> str | None:
    """Return a column by its normal name."""
    return next((str(c) for n in names for c in frame.columns if normal(c) == n), None)


def _fred(table: Table, stem: str) -> Table:
    """FRED: a date, and a column a series named after it."""
    frame = table.frame
    first = frame.columns[0]
    others = [str(c) for c in frame.columns[1:]]
    if normal(first) not in _FRED_DATES or not others:
        return table
    known = {normal(c) for c in others} & {n for names in SYNONYMS.values() for n in names}
    alone = len(others) == 1 and (normal(others[0]) == normal(stem) or _is_id(others[0]))
    if known or not (alone or normal(first) == "observation_date"):
        return table
    parts = [pd.DataFrame({"time": frame[first], "series": c, "value": frame[c]}) for c in others]
    return replace(
        table, frame=pd.concat(parts, ignore_index=True), form="FRED's series", kind="macro"
    )


def _is_id(name: str) -> bool:
    """Tell whether a column is named as FRED names a series, or as the features do."""
    return re.fullmatch(r"[A-Z][A-Z0-9]{2,}", name) is not None or normal(name) == "vix"


def _metatrader(table: Table, _: str) -> Table:
    """MetaTrader 5: <DATE> <TIME> ... <TICKVOL> <VOL>; FX has ticks and no volume."""
    frame = table.frame
    if not any(
        re.fullmatch(r"<(?:TICKVOL|SPREAD)>", str(c), re.IGNORECASE) for c in frame.columns
    ):
        return table
    volume, ticks = _column(frame, "vol"), _column(frame, "tickvol")
    drop = [c for c in (_column(frame, "spread"),) if c]
    if volume and ticks:
        real = pd.to_numeric(frame[volume], errors="coerce").fillna(0).gt(0).any()
        drop.append(ticks if real else volume)
    return replace(
        table, frame=frame.drop(columns=drop), form="MetaTrader's export", zone=METATRADER
    )


def _dukascopy(table: Table, _: str) -> Table:
    """Dukascopy: the zone stands in the name of the time's column."""
    zones = {"gmt_time": "UTC", "time_utc": "UTC", "time_gmt": "UTC", "time_eet": "EET"}
    zones |= {"datetime_utc": "UTC", "timestamp_utc": "UTC", "date_utc": "UTC"}
    found = next((zones[normal(c)] for c in table.frame.columns if normal(c) in zones), None)
    return table if found is None else replace(table, zone=found)


def _date_and_time(table: Table, _: str) -> Table:
    """Date and time of day in two columns, as MetaTrader, Stooq, Finam and Kibot have them."""
    frame = table.frame
    date, clock = _column(frame, "date", "day"), _column(frame, "time")
    if date is None or clock is None or not _each(texts(frame[clock].head(50)), _CLOCK):
        return table
    joined = _joined(frame[date], frame[clock])
    kept = frame.drop(columns=[date, clock])
    kept.insert(0, f"{date} {clock}"[:40], joined)
    return replace(
        table,
        frame=kept.rename(columns={kept.columns[0]: "datetime"}),
        form=f"{table.form}, date and time joined".replace("a table with a header, ", ""),
    )


def _joined(date: pd.Series, clock: pd.Series) -> pd.Series:
    """Return dates and times of day as one text; a time of "000000" everywhere is none."""
    days = pd.Series(texts(date), name=date.name)
    times = pd.Series(texts(clock))
    if set(times.unique()) <= {"000000", "0", "00:00:00", "00:00"}:
        return days
    digits = times.str.fullmatch(r"\d{3,6}")
    if bool(digits.all()):  # HHMMSS or HHMM
        whole = times.str.zfill(6 if times.str.len().max() > 4 else 4)
        times = whole.str.replace(r"(\d{2})(\d{2})(\d{2})?", r"\1:\2:\3", regex=True).str.rstrip(
            ":"
        )
    if bool(days.str.fullmatch(r"\d{8}").all()):
        days = days.str.replace(r"(\d{4})(\d{2})(\d{2})", r"\1-\2-\3", regex=True)
    elif bool(days.str.fullmatch(r"\d{4}\.\d{2}\.\d{2}").all()):
        days = days.str.replace(".", "-", regex=False)
    return days + " " + times


def _stooq(table: Table, _: str) -> Table:
    """Stooq: <TICKER>,<PER>,<DATE>,<TIME>,...,<OPENINT>; PER is the bars' length."""
    frame = table.frame
    extra = [c for c in (_column(frame, "per"), _column(frame, "openint")) if c]
    if not extra or _column(frame, "ticker") is None:
        return table
    return replace(table, frame=frame.drop(columns=extra), form="Stooq's or Finam's bars")


def _nse(table: Table, _: str) -> Table:
    """NSE: symbols of India's exchange, and a series of which EQ are the shares."""
    frame = table.frame
    known = {normal(c) for c in frame.columns}
    if "series" not in known or not known & {"prev_close", "prevclose", "previous_close"}:
        return table
    series = _column(frame, "series")
    assert series is not None
    shares = np.isin(texts(frame[series]), ["EQ", ""])
    others = int((~shares).sum())
    extra = [
        c
        for c in frame.columns
        if normal(c) in ("series", "prev_close", "prevclose", "previous_close", "value", "vwap")
    ]
    return replace(
        table,
        frame=frame[shares].drop(columns=extra).reset_index(drop=True),
        form="NSE's prices",
        suffix=".NS",
        left_out=f"{others} rows of other series than EQ left out" if others else "",
    )


def _databento(table: Table, _: str) -> Table:
    """Databento: prices are whole billionths, unless they were asked for as decimals."""
    frame = table.frame
    if not {"rtype", "publisher_id", "instrument_id"} <= {normal(c) for c in frame.columns}:
        return table
    columns = [c for c in frame.columns if normal(c) in OHLC]
    numeric = frame[columns].apply(pd.to_numeric, errors="coerce")
    if not (len(columns) == 4 and bool((numeric >= 1e6).all().all())):
        return replace(table, form="Databento's bars")
    return replace(
        table, frame=frame.assign(**(numeric / 1e9)), form="Databento's bars, prices in billionths"
    )
