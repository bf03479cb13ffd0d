"""
Replays stored data through a live node, in the order of a backtest, on the node's own paths.

Data go in through a data client and the node's queues, one at a time; the next is published when
the queues are empty, the venue has filled what it was sent and no decision is pending. Before the
first event of a stamp come the alerts due before it, after its last those due at it, as in
Nautilus's backtest loop. Time is the data's: how long anything took changes no result.
"""

import asyncio
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.core.data import Data
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.system.kernel import NautilusKernel

from live.venues.sandbox import Sandbox
from strategies.desk import CLIENT
from strategies.ports import AsyncPort
from strategies.timekeeper import ReplayTime


class ReplayClient(LiveMarketDataClient):  # type: ignore[misc]  # untyped
    """The data client of everything that is replayed; all is published, asked for or not."""

    def __init__(self, kernel: NautilusKernel) -> None:
        super().__init__(
            loop=kernel.loop,
            client_id=CLIENT,
            venue=None,
            msgbus=kernel.msgbus,
            cache=kernel.cache,
            clock=kernel.clock,
            instrument_provider=InstrumentProvider(),
        )

    def publish(self, data: Data) -> None:
        """Put one event on the node's data queue."""
        self._handle_data(data)

    async def _connect(self) -> None:
        """Do nothing: the data are in this process."""

    _disconnect = _connect

    async def _subscribe(self, command: Any) -> None:
        """Do nothing: all data are published."""

    _subscribe_bars = _subscribe_quote_ticks = _subscribe


class Replay:
    """
    The feed of one session.

    `events` are sorted by `ts_init`. `speed` is how many times faster than the data's own time
    the replay goes at most; `math.inf` waits for nothing but the work.
    """

    def __init__(
        self,
        kernel: NautilusKernel,
        events: Sequence[Data],
        time: ReplayTime,
        venue: Sandbox,
        *,
        speed: float,
    ) -> None:
        self._kernel = kernel
        self._events = events
        self._time = time
        self._venue = venue
        self._speed = speed
        self._client = ReplayClient(kernel)
        kernel.data_engine.register_client(self._client)
        kernel.data_engine.register_default_client(self._client)
        self._queues = (
            kernel.data_engine.cmd_qsize,
            kernel.data_engine.req_qsize,
            kernel.data_engine.res_qsize,
            kernel.data_engine.data_qsize,
            kernel.risk_engine.cmd_qsize,
            kernel.risk_engine.evt_qsize,
            kernel.exec_engine.cmd_qsize,
            kernel.exec_engine.evt_qsize,
        )
        time.advance(events[0].ts_init - 1)  # a session that closes at it is still to come

    async def run(self, port: AsyncPort, end: int) -> None:
        """Publish everything up to `end`, and fire the alerts up to it, while the node runs."""
        await self._settle()
        for ts, events in groupby(self._events, key=lambda event: int(event.ts_init)):
            if ts > end:
                break
            await self._alerts(port, until=ts - 1)
            await self._pace(ts)
            self._time.advance(ts)
            for event in events:
                if not self._going:
                    return
                self._client.publish(event)
                await self._settle()
            await self._alerts(port, until=ts)
        await self._alerts(port, until=end)

    @property
    def _going(self) -> bool:
        return bool(self._kernel.trader.is_running)

    async def _alerts(self, port: AsyncPort, *, until: int) -> None:
        """Fire what is due, a stamp at a time; a stamp's orders are filled after its alerts."""
        while self._going and (ts := self._time.next_alert) is not None and ts <= until:
            while self._going and self._time.next_alert == ts:
                self._time.call_next()
                await port.drain()
            await self._settle()

    async def _settle(self) -> None:
        """Let the node work until its queues are empty and the venue has nothing to fill."""
        while True:
            empty = 0
            while empty < 2:  # what a queue's last message asked for comes one turn later
                await asyncio.sleep(0)
                empty = 0 if any(size() for size in self._queues) else empty + 1
            if not self._venue.waiting:
                return
            self._venue.work(self._time.now_ns())

    async def _pace(self, ts: int) -> None:
        if self._speed != math.inf:
            await asyncio.sleep((ts - self._time.now_ns()) / 1e9 / self._speed)
