import numpy as np
import pytest

from backtest.market.sessions import (
    DAY_NS,
    load_sessions,
    parse_day,
    session_day,
    sessions_per_year,
    stamp_text,
)
from config.errors import ConfigError


def day(text):
    return int(np.datetime64(text, "D").astype(int))


def days(*texts):
    return np.array([day(t) for t in texts], dtype=np.int64)


def test_new_york_session_opens_and_closes_by_local_time_across_daylight_saving():
    xnys = load_sessions("XNYS", 2015, 2015)
    at = xnys.find(days("2015-03-06", "2015-03-09"))
    assert [stamp_text(s) for s in xnys.opens[at]] == [
        "2015-03-06T14:30:00Z",
        "2015-03-09T13:30:00Z",
    ]
    assert stamp_text(xnys.closes[at[0]]) == "2015-03-06T21:00:00Z"


def test_half_day_closes_early():
    xnys = load_sessions("XNYS", 2015, 2015)
    (at,) = xnys.find(days("2015-11-27"))
    assert stamp_text(xnys.closes[at]) == "2015-11-27T18:00:00Z"


def test_holiday_and_weekend_have_no_session():
    xnys = load_sessions("XNYS", 2015, 2015)
    assert list(xnys.find(days("2015-12-25", "2015-12-26"))) == [-1, -1]


def test_next_open_is_strictly_after_the_date():
    xnys = load_sessions("XNYS", 2015, 2016)
    opens = xnys.next_open(days("2015-01-02", "2015-01-03", "2015-12-31"))
    assert [stamp_text(o)[:10] for o in opens] == ["2015-01-05", "2015-01-05", "2016-01-04"]


def test_next_open_past_the_calendar_is_never():
    xnys = load_sessions("XNYS", 2015, 2015)
    assert xnys.next_open(days("2015-12-31"))[0] == np.iinfo(np.int64).max


def test_round_the_clock_session_is_the_weekday():
    fx = load_sessions("24x5", 2015, 2015)
    assert list(fx.find(days("2015-01-03", "2015-01-04"))) == [-1, -1]
    assert fx.next_open(days("2015-01-02"))[0] == day("2015-01-05") * DAY_NS


@pytest.mark.parametrize(
    ("calendar", "count"), [("XNYS", 252), ("24x5", 260), ("24/7", 365), ("XLON", 253)]
)
def test_sessions_a_year_are_those_of_the_calendar(calendar, count):
    assert sessions_per_year(calendar) == count
    days = load_sessions(calendar, 2001, 2012).days
    assert abs(len(days) / 12 - count) < 1.5


def test_no_session_closes_as_the_next_one_opens():
    for calendar in ("24/7", "24x5", "24/5", "us_futures"):
        sessions = load_sessions(calendar, 2015, 2015)
        assert (sessions.closes[:-1] < sessions.opens[1:]).all()


def test_close_at_midnight_belongs_to_the_day_that_ends():
    assert session_day(np.array([day("2015-01-03") * DAY_NS]))[0] == day("2015-01-02")


def test_stamp_lies_in_the_session_that_contains_it():
    xnys = load_sessions("XNYS", 2015, 2015)
    (at,) = xnys.find(days("2015-01-02"))
    inside = np.array([xnys.opens[at], xnys.closes[at] - 1, xnys.closes[at]])
    assert list(xnys.containing(inside)) == [at, at, -1]


def test_unknown_calendar_is_refused():
    with pytest.raises(ConfigError, match=r"expected a calendar .* was 'XXXX'"):
        load_sessions("XXXX", 2015, 2015)


@pytest.mark.parametrize("text", ["2015-13-01", "2015", "yesterday", "2015-02-30"])
def test_text_that_is_no_day_is_refused(text):
    with pytest.raises(ConfigError, match="expected start as YYYY-MM-DD"):
        parse_day(text, "start")


def test_years_that_a_calendar_does_not_know_have_no_sessions():
    assert stamp_text(load_sessions("XBOM", 1990, 1998).opens[0])[:4] == "1997"
    assert len(load_sessions("24/7", 1670, 1678).days) == 365
