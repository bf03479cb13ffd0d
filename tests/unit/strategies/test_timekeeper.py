"""Alerts of one stamp keep their order, whoever keeps the time."""

import pytest
from nautilus_trader.common.component import TestClock

from strategies.timekeeper import EngineTime, ReplayTime


class Driver:
    """Drives either timekeeper up to a stamp."""

    def __init__(self, kind: str) -> None:
        self.clock = TestClock()
        self.time = EngineTime(self.clock) if kind == "engine" else ReplayTime()

    def run_until(self, ts: int) -> None:
        if isinstance(self.time, EngineTime):
            while events := self.clock.advance_time(ts, set_time=False):
                for event in events:
                    self.clock.set_time(event.event.ts_event)
                    event.handle()
        else:
            while self.time.next_alert is not None and self.time.next_alert <= ts:
                self.time.call_next()


@pytest.mark.parametrize("kind", ["engine", "replay"])
def test_alerts_come_by_stamp_and_then_in_the_order_in_which_they_were_set(kind):
    driver, called = Driver(kind), []

    def note(name):
        return lambda ts: called.append((name, ts, driver.time.now_ns()))

    for name, ts in (("z", 20), ("late", 30), ("a", 20), ("early", 10)):
        driver.time.alert(name, ts, note(name))
    driver.run_until(25)
    assert called == [("early", 10, 10), ("z", 20, 20), ("a", 20, 20)]


@pytest.mark.parametrize("kind", ["engine", "replay"])
def test_an_alert_set_by_an_alert_for_the_same_stamp_comes_last_at_that_stamp(kind):
    driver, called = Driver(kind), []
    driver.time.alert(
        "close", 10, lambda ts: driver.time.alert("a deliver", ts, lambda _: called.append("new"))
    )
    driver.time.alert("dispatch", 10, lambda _: called.append("old"))
    driver.run_until(10)
    assert called == ["old", "new"]


def test_a_replays_time_stands_still_until_its_feed_goes_on():
    time = ReplayTime()
    time.advance(5)
    time.alert("x", 10, lambda _: None)
    assert (time.now_ns(), time.next_alert) == (5, 10)
    time.call_next()
    assert (time.now_ns(), time.clock.timestamp_ns(), time.next_alert) == (10, 10, None)
