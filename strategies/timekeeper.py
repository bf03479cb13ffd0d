"""
Gives the desk its time: from the engine's clock, or from the data that a replay publishes.

The desk asks for the time and for calls at a stamp; it never knows which of the two answers.
Calls due at one stamp come in the order in which they were asked for, whoever keeps the time, so
that a backtest and a replay agree to the last one. Nothing here reads the machine's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from nautilus_trader.common.component import Clock, TestClock, TimeEvent

type Callback = Callable[[int], None]


class Timekeeper(Protocol):
    """Tells the time and calls back at a stamp."""

    @property
    def clock(self) -> Clock:
        """A Nautilus clock that shows the same time, for what Nautilus stamps and names."""

    def now_ns(self) -> int:
        """Return the time."""

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Call `callback(ts)` once everything stamped `ts` is in; `name` is for the logs."""


class Alerts:
    """Callbacks that wait for their stamps, the earliest first, then the longest waiting."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callback]] = []
        self._count = 0

    @property
    def next_ts(self) -> int | None:
        """The earliest stamp that a callback waits for; None where none does."""
        return self._heap[0][0] if self._heap else None

    def add(self, ts: int, callback: Callback) -> None:
        """Let a callback wait for a stamp."""
        self._count += 1
        heappush(self._heap, (ts, self._count, callback))

    def call_next(self) -> None:
        """Call the first one back."""
        ts, _, callback = heappop(self._heap)
        callback(ts)


class EngineTime:
    """
    The time of a Nautilus engine.

    The engine's clock looks at every alert that is set whenever it goes on, so that it is given
    the earliest one only.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._alerts = Alerts()
        self._set: set[int] = set()  # the stamps that the engine will call at

    def now_ns(self) -> int:
        """Return the clock's time."""
        return int(self.clock.timestamp_ns())

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Set an alert; those of one stamp are called in the order in which they were set."""
        self._alerts.add(ts, callback)
        self._arm()

    def _arm(self) -> None:
        ts = self._alerts.next_ts
        if ts is not None and ts not in self._set:
            self._set.add(ts)
            self.clock.set_time_alert_ns(f"alert-{ts}", ts, self._call)

    def _call(self, event: TimeEvent) -> None:
        """Call back all that waits for the event's stamp, what is added meanwhile included."""
        ts = event.ts_event
        while self._alerts.next_ts == ts:
            self._alerts.call_next()
        self._set.discard(ts)
        self._arm()


class ReplayTime:
    """The time of a replay: it goes on when the feed says so, and only then."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self._alerts = Alerts()

    def now_ns(self) -> int:
        """Return the stamp that the feed has come to."""
        return int(self.clock.timestamp_ns())

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Let a callback wait until the feed comes to a stamp."""
        self._alerts.add(ts, callback)

    def advance(self, ts: int) -> None:
        """Go on to a stamp; alerts are the feed's to call."""
        self.clock.set_time(ts)

    @property
    def next_alert(self) -> int | None:
        """The stamp of the earliest alert; None where there is none."""
        return self._alerts.next_ts

    def call_next(self) -> None:
        """Go on to the earliest alert and call it."""
        if self._alerts.next_ts is not None:
            self.advance(self._alerts.next_ts)
            self._alerts.call_next()
