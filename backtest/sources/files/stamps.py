"""
Turns a time column, however it is written, into UTC stamps or days.

Texts are dates and stamps in ISO form, with slashes, points or month names, in RFC 2822, with an
hour of twelve; numbers are days as 20240102 or counts since 1970 in seconds to nanoseconds. Day
and month are told apart by what the whole column allows, and refused where both orders are
possible. A column of midnights is a column of days: those that are written, whatever the offset.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from agents.arrays import BoolArray, IntArray
from backtest.market.sessions import DAY_NS, is_weekday
from config.errors import DataError, one_line

PIVOT = 2040  # from which on a year of two digits is of the century before
MOST_HOURS = 14  # that a clock is ahead of another
DAY_END_NS = DAY_NS - 60_000_000_000  # from when on a stamp is a day's end
YEARS = (1678, 2262)  # that nanoseconds since 1970 can count
_ZONE = r"(?:[zZ]|[+-]\d{2}:?\d{2}|UTC|GMT)\s*$"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}\s*$"
_NAMED_ZONE = re.compile(r"(.*\d) ([A-Z][A-Za-z]+/[A-Za-z_/]+)$")
_ISO_CLOCK = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(?::\d{2})?"
_RFC = re.compile(r"(?:[A-Z][a-z]{2}, *)?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}(?::\d{2})? \S+")
_SHIFTED = re.compile(r"(.+)([+-]\d{1,2})")
_COUNTS = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (1e8, 1_000_000_000))  # from what size on
_DAYS = (
    *("%Y-%m-%d", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d"),
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%d%b%Y", "%d-%B-%Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%b-%d-%Y", "%b-%d-%y", "%a, %b %d, %Y"),
    *("%a %d %b %Y", "%a, %d %b %Y", "%Y-%b-%d", "%a %b %d %H:%M:%S %z %Y"),
)
_CLOCKS = (
    *("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H%M%S", "%H%M"),
    *("%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I-%p", "%I %p", "%H:%M:%S %z", "%H:%M:%S.%f %z"),
)
_WRITTEN_OUT = ((8, "%Y%m%d"), (14, "%Y%m%d%H%M%S"), (12, "%Y%m%d%H%M"), (10, "%Y%m%d%H"))
_DIRECTIVES = {
    **dict.fromkeys(("%m", "%d", "%H", "%I"), r"\d{1,2}"),
    **dict.fromkeys(("%y", "%M", "%S"), r"\d{2}"),
    **{"%Y": r"\d{4}", "%f": r"\d{1,9}", "%p": "[AaPp][Mm]", "%z": r"[+-]\d{2}:?\d{2}"},
    **{"%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}", "%a": "[A-Za-z]{3}"},
}


@dataclass(frozen=True)
class Stamps:
    """
    A time column. Shapes: ns, days (T,): UTC nanoseconds, and the day as written or local.

    With `date_only` the values are days without a time of day, `ns` their midnights in UTC.
    `midnight` (T,) tells which are midnights as written: dates, where others have a time of day.
    `assumed` tells that stamps had no zone and none was stated; `notes` what else was assumed.
    """

    ns: IntArray
    days: IntArray
    date_only: bool
    midnight: BoolArray
    assumed: bool = False
    notes: tuple[str, ...] = ()


def check_zone(name: str) -> None:
    """Raise ValueError unless a name is an IANA time zone, or one shifted by whole hours."""
    zone, hours = _zone(name)
    ZoneInfo(zone)
    if abs(hours) > MOST_HOURS:
        raise ValueError(name)


def _zone(name: str) -> tuple[str, int]:
    """Return the zone of a name like "America/New_York+7", and by how many hours it is off."""
    shifted = _SHIFTED.fullmatch(name)
    if shifted is None or name.startswith("Etc/"):
        return name, 0
    return shifted[1], int(shifted[2])


def stamps(
    column: pd.Series,
    label: str,
    timezone: str | None,
    market_zone: str = "UTC",
    date_format: str | None = None,
) -> Stamps:
    """
    Return a time column's stamps.

    Stamps without a zone are in `timezone` ("America/New_York+7" is seven hours ahead of New
    York), or taken as UTC. A column whose every value is a midnight, as written or in UTC or in
    `market_zone`, holds days. `date_format` is that of strptime.
    Raises DataError for an empty cell, for text that is no date, for one that could be read two
    ways, for years that nanoseconds cannot count, and for a mix of stamps with and without zone.
    """
    missing = column.isna().to_numpy()
    if column.dtype.kind not in "iufM":
        missing = missing | (column == "").to_numpy(dtype=bool, na_value=True)
    empty = np.flatnonzero(missing)
    if empty.size:
        raise DataError(
            f"{label}: expected a date or stamp in {_name(column)} at row {empty[0] + 1}, "
            "was empty"
        )
    notes: list[str] = []
    values = _values(column, label, date_format, notes)
    if values.tz is None:
        written = _ns(values, label, column)
        if (dates := _dates(written, notes)) is not None:
            return dates
        ns = _localised(values, timezone or "UTC", label)
        midnight = written % DAY_NS == 0
        days = written // DAY_NS
        return Stamps(ns, days, False, midnight, timezone is None, tuple(notes))
    midnight = np.zeros(len(values), dtype=bool)
    for local in _locals(values, column, market_zone):
        at = _ns(local, label, column)
        if (dates := _dates(at, notes)) is not None:
            return dates
        midnight |= at % DAY_NS == 0
    ns = _ns(values.tz_convert("UTC").tz_localize(None), label, column)
    local_ns = _ns(values.tz_convert(market_zone).tz_localize(None), label, column)
    return Stamps(ns, local_ns // DAY_NS, False, midnight, notes=tuple(notes))


def _dates(written: IntArray, notes: list[str]) -> Stamps | None:
    """Return stamps that are all midnights, or all a day's last minute, as days; else None."""
    rest = written % DAY_NS
    if bool((rest >= DAY_END_NS).all()):
        notes.append("stamps in a day's last minute taken as that day")
    elif not bool((rest == 0).all()):
        return None
    days = written // DAY_NS
    return Stamps(days * DAY_NS, days, True, np.ones(len(days), dtype=bool), notes=tuple(notes))


def _locals(
    values: pd.DatetimeIndex, column: pd.Series, market_zone: str
) -> Iterator[pd.DatetimeIndex]:
    """Yield stamps as written, in UTC and in the market's zone, all without a zone."""
    if column.dtype.kind == "M":
        yield values.tz_localize(None)
    elif column.dtype.kind not in "iuf":
        clock = column.astype(str).str.strip().str[:19].str.replace("T", " ", regex=False)
        if bool(clock.str.fullmatch(_ISO_CLOCK).all()):
            yield _iso(clock, utc=False)
    for zone in ("UTC", market_zone):
        yield values.tz_convert(zone).tz_localize(None)


def localised(ns: IntArray, timezone: str) -> IntArray | None:
    """Return stamps of a zone's clock in UTC, None where a stamp is not on that clock."""
    try:
        return _localised(pd.DatetimeIndex(ns.astype("M8[ns]")), timezone, "")
    except DataError:
        return None


def _localised(values: pd.DatetimeIndex, timezone: str, label: str) -> IntArray:
    zone, hours = _zone(timezone)
    shift = pd.Timedelta(hours=hours)
    try:
        return _as_ns((values - shift).tz_localize(zone).tz_convert("UTC"))
    except ValueError as e:
        reason = one_line(e)[:120]
        raise DataError(f"{label}: expected stamps of {timezone}, was {reason}") from e


def _values(
    column: pd.Series, label: str, date_format: str | None, notes: list[str]
) -> pd.DatetimeIndex:
    """Return a column's stamps, with a zone where they tell one."""
    if column.dtype.kind == "M":
        return pd.DatetimeIndex(column)
    if column.dtype.kind in "iuf":
        return _counted(column.to_numpy(), label, column, notes)
    text = column.astype(str)
    if date_format is None and bool((text.str.len() == 10).all()) and text.iloc[0][4] == "-":
        plain = pd.DatetimeIndex(pd.to_datetime(text, format="%Y-%m-%d", errors="coerce"))
        if not plain.isna().any():
            return plain
    text = text.str.strip()
    if date_format is not None:
        return _stated(text, date_format, label)
    if _all_digits(text):
        return _counted(text.to_numpy(), label, column, notes)
    named = _NAMED_ZONE.fullmatch(text.iloc[0])
    if named is not None and bool(text.str.endswith(" " + named[2]).all()):
        clock = text.str[: -len(named[2]) - 1]
        return _in_named_zone(_values(clock, label, None, notes), named[2], label)
    zoned = text.str.contains(_ZONE, regex=True) & ~text.str.contains(_DATE, regex=True)
    if zoned.any() and not zoned.all():
        row = int(np.flatnonzero(zoned.to_numpy() != bool(zoned.iloc[0]))[0])
        raise DataError(
            f"{label}: expected stamps all with or all without a time zone in {_name(column)}, "
            f"was {text.iloc[0][:40]!r} at row 1 and {text.iloc[row][:40]!r} at row {row + 1}"
        )
    first = text.iloc[0]
    if re.match(r"\d{4}-\d{2}", first):
        parsed = _iso(text, bool(zoned.all()))
        if not parsed.isna().any() or not _known_clock(first):
            return _whole(parsed, text, label)
    if _RFC.fullmatch(first):
        return _rfc(text, label)
    return _written(text, label, notes)


def _known_clock(text: str) -> bool:
    """Tell whether a text that begins like ISO has an hour of twelve, which ISO has not."""
    return re.search(r"[AP]M$", text, re.IGNORECASE) is not None


def _iso(text: pd.Series, utc: bool) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(text, format="ISO8601", utc=utc, errors="coerce"))


def _in_named_zone(values: pd.DatetimeIndex, zone: str, label: str) -> pd.DatetimeIndex:
    try:
        return values.tz_localize(zone)
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{label}: expected stamps of {zone}, was {one_line(e)[:120]}") from e


def _stated(text: pd.Series, date_format: str, label: str) -> pd.DatetimeIndex:
    utc = "%z" in date_format
    try:
        parsed = pd.to_datetime(text, format=date_format, errors="coerce", utc=utc)
    except ValueError as e:
        raise DataError(
            f"{label}: expected a date_format of strptime, was {one_line(e)[:120]}"
        ) from e
    return _whole(pd.DatetimeIndex(parsed), text, label)


def _rfc(text: pd.Series, label: str) -> pd.DatetimeIndex:
    """Return stamps of RFC 2822, as feeds and mails write them."""
    found = []
    for row, cell in enumerate(text.to_numpy()):
        try:
            stamp = parsedate_to_datetime(cell)
            found.append(stamp.timestamp() if stamp.tzinfo else np.nan)
        except (ValueError, TypeError, OverflowError) as e:
            raise _no_date(cell, row, text, label) from e
    seconds = np.array(found)
    if np.isnan(seconds).any():
        row = int(np.flatnonzero(np.isnan(seconds))[0])
        raise _no_date(text.iloc[row], row, text, label)
    return pd.DatetimeIndex(pd.to_datetime(seconds, unit="s", utc=True))


def _written(text: pd.Series, label: str, notes: list[str]) -> pd.DatetimeIndex:
    """Return stamps of the first format that reads the whole column and no other way does."""
    text = text.str.replace(r"GMT(?=[+-]\d{4}$)", "", regex=True)
    first = text.iloc[0]
    fitting: dict[str, pd.DatetimeIndex] = {}
    nearest: pd.DatetimeIndex | None = None
    for date_format in _formats(first):
        utc = "%z" in date_format
        parsed = pd.DatetimeIndex(
            pd.to_datetime(text, format=date_format, errors="coerce", utc=utc)
        )
        if not parsed.isna().any():
            fitting[date_format] = parsed
        elif nearest is None or np.sum(parsed.isna()) < np.sum(nearest.isna()):
            nearest = parsed
    if not fitting:
        parsed = _iso(text, bool(text.str.contains(_ZONE, regex=True).all()))
        return _whole(nearest if nearest is not None else parsed, text, label)
    if len(fitting) > 1:
        fitting = _plausible(fitting)
    if len(fitting) > 1:
        one, other = sorted(fitting)[:2]
        raise DataError(
            f"{label}: expected dates that can be read in one way in {_name(text)}, was "
            f"{first[:40]!r} at row 1: set date_format: '{one}' or '{other}' in source.yaml"
        )
    (date_format, found), *_ = fitting.items()
    late = found.year >= PIVOT
    if "%y" in date_format and late.any():
        found = found.where(~late, found - pd.DateOffset(years=100))
        notes.append(f"years of two digits from {PIVOT % 100} on read as 19..")
    if re.search(r"%d[/.-]%m|%m[/.-]%d", date_format):
        notes.append(f"dates read as {date_format}")
    return found


def _formats(text: str) -> Iterator[str]:
    """Yield the formats that a text may be written in."""
    for day in _DAYS:
        match = _pattern(day).match(text)
        if match is None:
            continue
        rest = text[match.end() :]
        if not rest:
            yield day
            continue
        between = re.match(r", |[ T,-]", rest)
        if between is not None:
            clocks = (c for c in _CLOCKS if _pattern(c).fullmatch(rest[between.end() :]))
            yield from (f"{day}{between[0]}{clock}" for clock in clocks)


@lru_cache(maxsize=256)
def _pattern(date_format: str) -> re.Pattern[str]:
    """Return what texts of a format look like."""
    parts = re.split(r"(%[A-Za-z])", date_format)
    return re.compile("".join(_DIRECTIVES.get(p) or re.escape(p) for p in parts))


def _plausible(fitting: dict[str, pd.DatetimeIndex]) -> dict[str, pd.DatetimeIndex]:
    """Return the formats that put the fewest dates on weekends, and of these those in order."""
    for rate in (_weekends, _turns):
        rates = {f: rate(found) for f, found in fitting.items()}
        least = min(rates.values())
        fitting = {f: found for f, found in fitting.items() if rates[f] <= least + 0.02}
    return fitting


def _weekends(found: pd.DatetimeIndex) -> float:
    return float((~is_weekday(_days(found))).mean())


def _turns(found: pd.DatetimeIndex) -> float:
    """Return the share of neighbours that run against the column's direction."""
    step = np.sign(np.diff(_days(found)))
    return float(min((step < 0).mean(), (step > 0).mean())) if len(step) else 0.0


def _days(found: pd.DatetimeIndex) -> IntArray:
    return np.asarray(found.tz_localize(None).to_numpy().astype("M8[D]").astype(np.int64))


def _all_digits(text: pd.Series) -> bool:
    pattern = r"-?\d{1,19}(?:\.\d+)?"
    return re.fullmatch(pattern, text.iloc[0]) is not None and bool(
        text.str.fullmatch(pattern).all()
    )


def _counted(
    cells: np.ndarray, label: str, column: pd.Series, notes: list[str]
) -> pd.DatetimeIndex:
    """Return stamps of numbers: 20240102, 20240102093000, or a count since 1970."""
    values = np.array([float(c) for c in cells])
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _no_date(str(cells[row]), row, column, label)
    text = pd.Series([f"{v:.0f}" for v in values], name=column.name)
    for length, date_format in _WRITTEN_OUT:
        if bool(text.str.fullmatch(rf"(?:1[6-9]|2[0-2])\d{{{length - 2}}}").all()):
            parsed = pd.to_datetime(text, format=date_format, errors="coerce")
            if not parsed.isna().any():
                return pd.DatetimeIndex(parsed)
    largest = np.abs(values).max()
    if largest < 1e8:
        raise DataError(
            f"{label}: expected dates, stamps or counts since 1970 in {_name(column)}, "
            f"was {str(cells[0])[:40]!r} at row 1"
        )
    whole = next(u for least, u in _COUNTS if largest >= least)
    units = [  # Binance's files turned from milliseconds to microseconds with 2025
        next((u for least, u in _COUNTS if abs(v) >= least > 0), whole) for v in values.tolist()
    ]
    if len(set(units)) > 1:
        notes.append("counts since 1970 in more than one unit, each read in its own")
    ns = [
        int(c) * u if str(c).lstrip("-").isdigit() else int(v // 1) * u + round(v % 1 * u)
        for c, v, u in zip(cells.tolist(), values.tolist(), units, strict=True)
    ]
    most = np.iinfo(np.int64).max
    for row, stamp in enumerate(ns):
        if abs(stamp) > most:
            raise _beyond(str(cells[row]), row, column, label)
    return pd.DatetimeIndex(np.array(ns, dtype="M8[ns]")).tz_localize("UTC")


def _whole(found: pd.DatetimeIndex, text: pd.Series, label: str) -> pd.DatetimeIndex:
    """Return stamps of which none is missing. Raises DataError at the first that is."""
    bad = np.flatnonzero(found.isna())
    if bad.size:
        raise _no_date(text.iloc[bad[0]], int(bad[0]), text, label)
    return found


def _ns(found: pd.DatetimeIndex, label: str, column: pd.Series) -> IntArray:
    years = found.year.to_numpy()
    bad = np.flatnonzero((years <= YEARS[0]) | (years >= YEARS[1]))
    if bad.size:
        raise _beyond(str(column.iloc[bad[0]]), int(bad[0]), column, label)
    return _as_ns(found)


def _as_ns(found: pd.DatetimeIndex) -> IntArray:
    return np.asarray(found.as_unit("ns").asi8, dtype=np.int64)


def _name(column: pd.Series) -> str:
    return repr(str(column.name)[:40])


def _no_date(cell: str, row: int, column: pd.Series, label: str) -> DataError:
    return DataError(
        f"{label}: expected a date or stamp in {_name(column)} at row {row + 1}, "
        f"was {str(cell)[:60]!r}"
    )


def _beyond(cell: str, row: int, column: pd.Series, label: str) -> DataError:
    return DataError(
        f"{label}: expected years from {YEARS[0] + 1} to {YEARS[1] - 1} in {_name(column)} at "
        f"row {row + 1}, was {cell[:40]!r}"
    )
