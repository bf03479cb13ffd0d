"""
Gives the desk its time: from the engine's clock, or from the data that a replay publishes.

The desk asks for the time and for calls at a stamp; it never knows which of the two answers.
Calls due at one stamp come in the order in which they were asked for, whoever keeps the time, so
that a backtest and a replay agree to the last one. Nothing here reads the machine's clock.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from nautilus_trader.common.component import Clock, TestClock, TimeEvent

type Callback = Callable[[int], None]


class Timekeeper:
    """
    Tells the time and calls back at a stamp: the earliest first, then the longest waiting.

    `clock` is a Nautilus clock that shows the same time, for what Nautilus stamps and names.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._alerts: list[tuple[int, int, Callback]] = []
        self._count = 0

    def now_ns(self) -> int:
        """Return the time."""
        return int(self.clock.timestamp_ns())

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Call `callback(ts)` once everything stamped `ts` is in; `name` says what for."""
        self._count += 1
        heappush(self._alerts, (ts, self._count, callback))

    @property
    def next_alert(self) -> int | None:
        """The stamp of the earliest alert; None where there is none."""
        return self._alerts[0][0] if self._alerts else None

    def call_next(self) -> None:
        """Call the earliest alert."""
        ts, _, callback = heappop(self._alerts)
        callback(ts)


class EngineTime(Timekeeper):
    """
    The time of a Nautilus engine.

    The engine's clock looks at every alert that is set whenever it goes on, so that it is given
    the earliest one only.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._set: set[int] = set()  # the stamps that the engine will call at

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Set an alert; those of one stamp are called in the order in which they were set."""
        super().alert(name, ts, callback)
        self._arm()

    def _arm(self) -> None:
        ts = self.next_alert
        if ts is not None and ts not in self._set:
            self._set.add(ts)
            self.clock.set_time_alert_ns(f"alert-{ts}", ts, self._call)

    def _call(self, event: TimeEvent) -> None:
        """Call back all that waits for the event's stamp, what is added meanwhile included."""
        ts = event.ts_event
        while self.next_alert == ts:
            self.call_next()
        self._set.discard(ts)
        self._arm()


class ReplayTime(Timekeeper):
    """The time of a replay: it goes on when the feed says so, and only then."""

    def __init__(self) -> None:
        super().__init__(TestClock())

    def advance(self, ts: int) -> None:
        """Go on to a stamp; alerts are the feed's to call."""
        self.clock.set_time(ts)

    def call_next(self) -> None:
        """Go on to the earliest alert and call it."""
        if self.next_alert is not None:
            self.advance(self.next_alert)
            super().call_next()
