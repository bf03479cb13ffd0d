"""
Hides the dates in a text: as distances from the text's own "now", or as "(date)" without one.

Calendar dates, months with a year, quarters, fiscal years and lone years are found in ISO, US and
European writing; names of weekdays and of lone months stay. It knows no company.
"""

import re
from datetime import UTC, date, datetime, timedelta

DAY_NS = 86_400_000_000_000
NO_DATE = "(date)"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
QUARTERS = ("first", "second", "third", "fourth")

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d"
_FISCAL = r"(?:fy|fiscal(?:\s+year)?)\s*['’]?"
_SHORT = rf"(?:{_YEAR}|\d\d)"
_QUARTER = r"(?:q[1-4]|[1-4]q|(?:first|second|third|fourth)[\s-]quarter)"
_COUNTED = (
    r"(?:[.,]\d|\s?%|\s?[-–]?\s?(?:million|billion|trillion|mln|bln|shares|points|jobs|units|cars"
    r"|people|employees|workers|stores|barrels|bps|dollars|euros)\b)"
)
FOUND = re.compile(
    rf"""(?<![^\W_])(?:
      (?P<iso>{_YEAR}-\d\d?-\d\d?)(?:T[\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?
    | (?P<numeric>\d\d?[/.]\d\d?[/.](?:{_YEAR}|\d\d))
    | (?P<us>{_MONTH}\s*{_DAY}(?:,?\s*{_YEAR})?)
    | (?P<european>{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s*{_YEAR})?)
    | (?P<month>{_MONTH},?\s*(?:of\s+)?{_YEAR})
    | (?P<quarter>{_QUARTER}(?:\s*(?:of\s+)?(?:{_FISCAL})?['’/]?\s*{_YEAR}
                             |(?:\s*of)?\s*{_FISCAL}\s*\d\d|\s?['’/]\s?\d\d|(?<=q)\d\d)
        | q[1-4]|[1-4]q)
    | (?P<year>(?:{_FISCAL}\s*{_SHORT}|(?<![$€£]){_YEAR}(?!{_COUNTED})))
    )(?![^\W_])""",
    re.IGNORECASE | re.VERBOSE,
)


def hide_dates(text: str, now_ns: int | None = None) -> str:
    """Return the text with each date as its distance from `now_ns`; "(date)" without one."""
    now = None if now_ns is None else _day(now_ns)
    return FOUND.sub(lambda match: _told(match, now), text)


def _day(ts: int) -> date:
    return datetime.fromtimestamp(ts // 1_000_000_000, tz=UTC).date()


def _told(match: re.Match[str], now: date | None) -> str:
    """Return what a date becomes; one that cannot be, such as 31 February, is "(date)" too."""
    kind, text = match.lastgroup, match.group().lower()
    if kind == "quarter" and len(text) == 2:
        return "(quarter)"
    if now is None:
        return NO_DATE
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    try:
        if kind == "iso":
            return _days_apart(date(*numbers[:3]), now)
        if kind == "numeric":
            month, day, year = numbers
            if month > 12:
                month, day = day, month
            return _days_apart(date(_whole(year), month, day), now)
        if kind in ("us", "european"):
            return _days_apart(_nearest(numbers, _month(text), now), now)
        if kind == "month":
            return _units_apart(
                numbers[-1] * 12 + _month(text), now.year * 12 + now.month, "month"
            )
        year = _whole(numbers[-1] % 10_000)
        if kind == "year":
            return _units_apart(year, now.year, "year")
        quarter = next((k for k, word in enumerate(QUARTERS, 1) if word in text), None)
        if quarter is None:
            said = re.search(r"q([1-4])|([1-4])q", text)
            quarter = int(said[1] or said[2]) if said else 1
        return _units_apart(year * 4 + quarter, now.year * 4 + (now.month + 2) // 3, "quarter")
    except ValueError:
        return NO_DATE


def _whole(year: int) -> int:
    return year if year >= 100 else 2000 + year if year < 70 else 1900 + year


def _month(text: str) -> int:
    found = re.search("|".join(MONTHS), text)
    return MONTHS.index(found.group()) + 1 if found else 0


def _nearest(numbers: list[int], month: int, now: date) -> date:
    """Return the date of a day and a month; without a year, the one nearest to now."""
    if len(numbers) > 1:
        return date(numbers[1], month, numbers[0])
    around = (date(now.year + k, month, numbers[0]) for k in (-1, 0, 1))
    return min(around, key=lambda day: abs(day - now))


def _days_apart(day: date, now: date) -> str:
    days = (day - now) // timedelta(days=1)
    if abs(days) <= 1:
        return ("yesterday", "today", "tomorrow")[days + 1]
    if abs(days) < 60:
        return _units(days, "day")
    months = round(days / 30.44)
    return _units(months, "month") if abs(months) < 24 else _units(round(days / 365.25), "year")


def _units_apart(then: int, now: int, unit: str) -> str:
    if then == now:
        return f"this {unit}"
    if abs(then - now) == 1:
        return f"{'next' if then > now else 'last'} {unit}"
    return _units(then - now, unit)


def _units(count: int, unit: str) -> str:
    return f"in {count} {unit}s" if count > 0 else f"{-count} {unit}s ago"
