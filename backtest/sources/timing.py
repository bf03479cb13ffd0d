"""
Holds the stamps of bars against what is known of a market's hours.

Stamps without a zone are taken as UTC, and refused where the calendar proves that wrong: FX and
CFDs rest from Friday 17:00 to Sunday 17:00 in New York, and an exchange trades in its sessions
only. Bars that are stamped at their ends are recognised by sessions that end with a stamp and
begin with none. Bars of a week or a month are refused: their close is not known on the day that
they are dated at.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.arrays import BoolArray, IntArray
from backtest.market.sessions import AROUND_THE_CLOCK, DAY_NS, WEEKDAYS, Sessions
from backtest.sources.files.forms import EST, METATRADER
from backtest.sources.files.stamps import localised
from config.errors import DataError

NEW_YORK = "America/New_York"
HOUR_NS = DAY_NS // 24
WEEK_NS = 7 * DAY_NS
FRIDAY, SUNDAY = 4 * DAY_NS, 6 * DAY_NS  # since Monday, 0:00
CLOSED = (FRIDAY + 18 * HOUR_NS, SUNDAY + 16 * HOUR_NS)  # New York's clock, an hour to spare
INSIDE = 0.98  # of the bars: what is not inside is a vendor's slip
_LENGTHS = ((6, 8, "a week"), (27, 32, "a month"), (85, 95, "a quarter"), (360, 370, "a year"))


def closed_weekend(ns: IntArray) -> BoolArray:
    """Tell which stamps lie in the weekend on which FX and CFDs rest; shapes: (R,) -> (R,)."""
    clock = _in_new_york(ns) % WEEK_NS
    return np.asarray((clock >= CLOSED[0]) & (clock < CLOSED[1]))


def _in_new_york(ns: IntArray) -> IntArray:
    """Return New York's clock in nanoseconds since a Monday, 0:00."""
    utc = pd.DatetimeIndex(ns.astype("M8[ns]")).tz_localize("UTC")
    local = utc.tz_convert(NEW_YORK).tz_localize(None).as_unit("ns").asi8
    return np.asarray(local - 4 * DAY_NS, dtype=np.int64)  # 1970-01-01 was a Thursday


def _since_a_sunday(ns: IntArray) -> IntArray:
    """Return New York's clock in nanoseconds since a Sunday, 0:00, with which FX weeks begin."""
    return _in_new_york(ns) + DAY_NS


def refuse_impossible_zone(
    ns: IntArray, calendar: Sessions, zone: str, label: str, *, assumed: bool
) -> None:
    """
    Raise DataError where intraday stamps of bars cannot be of a zone.

    `ns` (R,) are the stamps as understood; `assumed` says that they had no zone and were taken
    as UTC. The line says what zone fits, to be written into source.yaml.
    """
    found = _outside(ns, calendar)
    if found is None:
        return
    fits = fitting_zones(ns, calendar) if assumed else []
    if calendar.name in AROUND_THE_CLOCK or fits:
        advice = f"they fit timezone: {' or '.join(fits)}" if fits else "state timezone"
        raise DataError(
            f"{label}: expected stamps of {zone}{' (none is stated)' if assumed else ''}, was "
            f"{found}; {advice}, in source.yaml"
        )


def fitting_zones(
    naive: IntArray, calendar: Sessions, zones: Sequence[str] = (METATRADER, NEW_YORK, EST)
) -> list[str]:
    """
    Return the zones that stamps without one can be of; several where they fit as well.

    `naive` (R,) is the clock that is written. An exchange's bars can be of its own zone alone; FX
    of `zones`, by how many weeks begin with the hour at which FX opens.
    """
    if calendar.name not in AROUND_THE_CLOCK:
        return [calendar.timezone] if _fits(naive, calendar.timezone, calendar) else []
    fitting = [zone for zone in zones if _fits(naive, zone, calendar)]
    shares = [_opening_weeks(naive, zone) for zone in fitting]
    return [z for z, share in zip(fitting, shares, strict=True) if share >= max(shares) - 0.01]


def server_clock(ns: IntArray) -> IntArray:
    """Return what a MetaTrader server's clock, seven hours ahead of New York, shows; (R,)."""
    return _in_new_york(ns) + 4 * DAY_NS + 7 * HOUR_NS


def _opening_weeks(naive: IntArray, zone: str) -> float:
    """Return the share of weeks whose first bar is of the hour in which most weeks begin."""
    ns = localised(naive, zone)
    assert ns is not None
    clock = _since_a_sunday(ns)
    hours = pd.Series(clock % WEEK_NS // HOUR_NS).groupby(clock // WEEK_NS).min()
    return float((hours == hours.mode().iloc[0]).mean())


def _outside(ns: IntArray, calendar: Sessions) -> str | None:
    """Return in words what proves stamps wrong; None where nothing does."""
    if calendar.name == WEEKDAYS:
        weeks = _since_a_sunday(ns) // WEEK_NS
        resting = len(np.unique(weeks[closed_weekend(ns)]))
        if 2 * resting > len(np.unique(weeks)):
            return (
                f"bars in {resting} weeks while FX and CFDs rest (Friday 17:00 to Sunday 17:00 in "
                "New York)"
            )
        return None
    if calendar.name in AROUND_THE_CLOCK:
        return None
    inside = _inside(ns, calendar)
    if inside.mean() >= INSIDE:
        return None
    return f"{int((~inside).sum())} of {len(ns)} bars outside the sessions of {calendar.name}"


def _inside(ns: IntArray, calendar: Sessions) -> BoolArray:
    """Tell which stamps lie in a session, its end included."""
    return np.asarray((calendar.containing(ns) >= 0) | (calendar.containing(ns - 1) >= 0))


def _coverage(ns: IntArray, calendar: Sessions) -> float:
    """Return how much of the sessions that bars span has a bar, at their most common step."""
    every = np.unique(ns)
    steps, counts = np.unique(np.diff(every), return_counts=True)
    if not steps.size:
        return 0.0
    spanned = (calendar.closes > every[0]) & (calendar.opens < every[-1])
    room = (calendar.closes - calendar.opens)[spanned].sum() / steps[np.argmax(counts)]
    return float((calendar.containing(every) >= 0).sum() / max(room, 1.0))


def _fits(naive: IntArray, zone: str, calendar: Sessions) -> bool:
    """Tell whether stamps without a zone can be of one."""
    ns = localised(naive, zone)
    if ns is None:
        return False
    if calendar.name != WEEKDAYS:  # what trades before and after hours covers the sessions
        covered = _coverage(ns, calendar) > max(_coverage(naive, calendar) + 0.05, 0.95)
        return covered or _outside(ns, calendar) is None
    if _outside(ns, calendar) is not None:
        return False
    clock = _since_a_sunday(ns)
    first = pd.Series(clock % WEEK_NS).groupby(clock // WEEK_NS).min()
    early = (first >= 16 * HOUR_NS) & (first < 20 * HOUR_NS)
    return bool(early.mean() > 0.5)


def sessions_of_ends(ns: IntArray, step_ns: int, calendar: Sessions) -> IntArray:
    """
    Return the position of the session of each bar by its end, -1 if none; shapes: (R,) -> (R,).

    A last bar may be stamped beyond its session's end, and a first one be shorter than a step.
    """
    begun = calendar.containing(ns - step_ns)
    return np.where(begun >= 0, begun, calendar.containing(ns - 1))


def stamped_at_close(ns: IntArray, step_ns: int, calendar: Sessions) -> bool:
    """
    Tell whether bars are stamped at their ends: sessions end with a stamp and begin with none.

    A last stamp may lie beyond the session's end by less than a step, as a full hour's does.
    """
    if calendar.name in AROUND_THE_CLOCK:
        return False
    within = sessions_of_ends(ns, step_ns, calendar)
    at = np.unique(within[within >= 0])
    if (within >= 0).mean() < INSIDE:
        return False
    last = pd.Series(ns).groupby(within).max().reindex(at).to_numpy()
    ends = (last >= calendar.closes[at]).mean()
    begins = np.isin(calendar.opens[at], ns).mean()
    return bool(ends > 0.9 and begins < 0.1)


def refuse_long_bars(
    calendar: Sessions, days: IntArray, same: NDArray[np.bool_], label: str
) -> None:
    """
    Raise DataError for bars of two sessions or more.

    Shapes: days (R,) of bars sorted by symbol and time; same (R - 1,) says which neighbours are
    of one symbol.
    """
    apart = np.searchsorted(calendar.days, days[1:]) - np.searchsorted(calendar.days, days[:-1])
    apart = apart[same]
    if len(apart) < 3 or np.median(apart) < 2 or (apart <= 1).mean() > 0.1:
        return
    distance = int(np.median(np.diff(days)[same]))
    length = next((w for low, high, w in _LENGTHS if low <= distance <= high), None)
    raise DataError(
        f"{label}: expected daily or intraday bars, was bars {distance} days apart"
        f"{f': bars of {length}' if length else ''}, whose close is not known on their date"
    )
