"""
Trading sessions: when a market opens and closes, and when a dated fact may first be acted on.

An exchange's sessions come from exchange_calendars (half days included). Two calendars are ours:
"24x5" of FX and CFDs, whose sessions are the weekdays in UTC, Sunday evening being Monday's, and
"24/7" of crypto, whose sessions are the UTC days. All days are counted from 1970-01-01 and all
stamps are UTC nanoseconds. It reads no clock: the span of years is given.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.arrays import IntArray
from config.errors import ConfigError

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

DAY_NS = 86_400_000_000_000
XNYS = "XNYS"
WEEKDAYS = "24x5"
EVERY_DAY = "24/7"
AROUND_THE_CLOCK = (WEEKDAYS, EVERY_DAY)
_A_YEAR = {XNYS: 252, WEEKDAYS: 260, EVERY_DAY: 365}
_STAMPED = (1678, 2261)  # whole years that nanoseconds since 1970 can count
_MEASURED = (2000, 2019)  # the years over which other calendars' sessions are counted


@dataclass(frozen=True)
class Sessions:
    """
    The sessions of one calendar over a span of years, in order.

    Shapes: days, opens, closes (T,).
    """

    name: str
    timezone: str
    days: IntArray
    opens: IntArray
    closes: IntArray

    def find(self, days: IntArray) -> IntArray:
        """Return the position of each day's session, -1 where the day has none."""
        at = np.searchsorted(self.days, days)
        inside = np.minimum(at, len(self.days) - 1)
        return np.where(self.days[inside] == days, inside, -1).astype(np.int64)

    def next_open(self, days: IntArray) -> IntArray:
        """
        Return the opening of the first session strictly after each day.

        Past the calendar's end the answer is the largest int64: never.
        """
        opens = np.append(self.opens, np.iinfo(np.int64).max)
        return opens[np.searchsorted(self.days, days, side="right")].astype(np.int64)

    def containing(self, stamps: IntArray) -> IntArray:
        """Return the position of the session with open <= stamp < close, -1 if none."""
        at = np.searchsorted(self.opens, stamps, side="right") - 1
        inside = np.maximum(at, 0)
        ok = (at >= 0) & (stamps < self.closes[inside])
        return np.where(ok, inside, -1).astype(np.int64)


@lru_cache(maxsize=32)
def load_sessions(name: str, first_year: int, last_year: int) -> Sessions:
    """
    Return a calendar's sessions from January of one year to December of another.

    `name` is an exchange_calendars code (XNYS, XLON, ...) or an alias of one, "24x5" or "24/7";
    the sessions have the code. A session that ends
    where the next one begins closes a nanosecond before, so that no bar closes as another opens.
    Years that a calendar does not know, or that stamps cannot count, have no sessions.
    Raises ConfigError for a calendar that does not exist.
    """
    first_year, last_year = max(first_year, _STAMPED[0]), min(last_year, _STAMPED[1])
    start, end = f"{first_year}-01-01", f"{last_year}-12-31"
    if name in AROUND_THE_CLOCK:
        days = np.arange(np.datetime64(start), np.datetime64(end) + np.timedelta64(1, "D")).astype(
            np.int64
        )
        if name == WEEKDAYS:
            days = days[is_weekday(days)]
        opens = days * DAY_NS
        return Sessions(name, "UTC", days, opens, opens + DAY_NS - 1)
    import exchange_calendars

    try:
        with warnings.catch_warnings():
            # exchange_calendars 4.13 reads Series.values of zoned stamps, deprecated in pandas 3.1
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = _exchange(name, start, end)
    except exchange_calendars.errors.InvalidCalendarName as e:
        raise ConfigError(
            f"expected a calendar of exchange_calendars, {WEEKDAYS} or {EVERY_DAY}, was {name!r}"
        ) from e
    days = calendar.sessions.as_unit("ns").asi8 // DAY_NS
    opens = calendar.opens.dt.as_unit("ns").astype("int64").to_numpy(np.int64)
    closes = calendar.closes.dt.as_unit("ns").astype("int64").to_numpy(np.int64)
    closes = np.minimum(closes, np.append(opens[1:], np.iinfo(np.int64).max) - 1)
    return Sessions(calendar.name, str(calendar.tz), days.astype(np.int64), opens, closes)


def _exchange(name: str, start: str, end: str) -> "ExchangeCalendar":
    """Return an exchange's calendar over a span, cut to what is known of it."""
    from exchange_calendars import errors, get_calendar

    try:
        return get_calendar(name, start=start, end=end)
    except errors.InvalidCalendarName:
        raise
    except ValueError:
        known = get_calendar(name, start="2019-01-01", end="2019-12-31")
        earliest, latest = known.bound_min(), known.bound_max()
        start = start if earliest is None else max(start, f"{earliest:%Y-%m-%d}")
        end = end if latest is None else min(end, f"{latest:%Y-%m-%d}")
        return get_calendar(name, start=start, end=end)


@lru_cache(maxsize=32)
def sessions_per_year(name: str) -> int:
    """
    Return how many sessions a calendar has in a year, on average and rounded.

    Raises ConfigError for a calendar that does not exist.
    """
    if name in _A_YEAR:
        return _A_YEAR[name]
    first, last = _MEASURED
    return round(len(load_sessions(name, first, last).days) / (last - first + 1))


def is_weekday(days: IntArray) -> NDArray[np.bool_]:
    """Tell which days are no Saturday and no Sunday."""
    return np.asarray((days + 3) % 7 < 5)  # day 0 was a Thursday


def session_day(closes: IntArray) -> IntArray:
    """Return the day of each session from its closing stamp (a close at midnight ends a day)."""
    return np.asarray((closes - 1) // DAY_NS, dtype=np.int64)


def day_text(day: int) -> str:
    """Return a day as YYYY-MM-DD."""
    return str(np.datetime64(int(day), "D"))


def stamp_text(stamp: int) -> str:
    """Return a stamp as an ISO date and time in UTC, to the second."""
    return str(np.datetime64(int(stamp) // 1_000_000_000, "s")) + "Z"


def parse_day(text: str, what: str) -> int:
    """
    Return the day that a YYYY-MM-DD text names.

    Raises ConfigError if it names none.
    """
    try:
        if len(text) != 10:
            raise ValueError(text)
        return int(np.datetime64(text, "D").astype(np.int64))
    except ValueError as e:
        raise ConfigError(f"expected {what} as YYYY-MM-DD, was {text!r}") from e
