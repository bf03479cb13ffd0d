"""
Runs one book through a Nautilus TradingNode: a replayed feed, the desk, sandbox fills.

The desk, its gate and its minds are those of a backtest; only the time, the port and the wiring
of the venue differ. One node a process: Nautilus's logger and its signal handlers are one for
all of it. State is in memory; a session that ends early is begun again, not resumed.
"""

import asyncio
import math
import signal
from collections.abc import Callable
from contextlib import ExitStack

from nautilus_trader.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    LoggingConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.node import TradingNode

from agents.messages import Decision
from agents.protocols import ExperienceWriter, Mind
from backtest.engine.book_spec import BookSpec
from backtest.engine.desk_result import BookRun, EngineLog, book_run, check_end
from backtest.engine.desk_setup import make_desk, observe
from backtest.engine.run_book import ORDER_RATE, TRADER
from config.errors import RunIncomplete
from live.feeds.replay import Replay
from live.venues.sandbox import Sandbox
from strategies.ports import AsyncPort
from strategies.timekeeper import ReplayTime, Timekeeper

START_SECONDS = 10.0


def run_paper_book(
    spec: BookSpec,
    mind: Mind,
    *,
    writer: ExperienceWriter | None = None,
    on_session: Callable[[int], None] | None = None,
    speed: float = math.inf,
) -> BookRun:
    """
    Replay a book's market to one mind in a trading node and return the book, as `run_book` does.

    `speed` is how many times faster than the data's own time it goes at most.
    Raises what the mind failed with, RunIncomplete where the run may not be believed, and
    KeyboardInterrupt after Ctrl-C, the node having been stopped.
    """
    session = _Session(spec, mind, speed)
    records = observe(session.node.kernel.msgbus, writer, on_session)
    session.run()
    if writer is not None:
        writer.flush()
    return book_run(
        session.desk,
        spec.market,
        records,
        dict(session.cash.credited),
        name=spec.name,
        missed_decisions=session.port.missed,
    )


class _Session:
    """The node and its parts, from its building to its end."""

    def __init__(self, spec: BookSpec, mind: Mind, speed: float) -> None:
        self._spec = spec
        self._loop = asyncio.new_event_loop()
        self._log = EngineLog()
        self._failure: BaseException | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._ends = ExitStack()  # closes the port, which the desk has made when it starts
        time = ReplayTime()

        def make_port(_: Timekeeper, deliver: Callable[[Decision], None]) -> AsyncPort:
            def at_its_stamp(decision: Decision) -> None:
                name = f"deliver-{decision.decision_id}"
                time.alert(name, decision.ts_init, lambda _: deliver(decision))

            self.port = AsyncPort(
                mind,
                self._loop,
                at_its_stamp,
                latency_ns=spec.latency_ns,
                expires=spec.expires,
                deadline_seconds=math.inf,  # a replay waits: its clock stands still meanwhile
                on_failure=self._fail,
            )
            self._ends.callback(self.port.close)
            return self.port

        feed = spec.feed
        self.desk, self.cash = make_desk(spec, make_port, make_time=lambda _: time)
        self.node = TradingNode(_config(self._log.config), loop=self._loop)
        kernel = self.node.kernel
        venue = Sandbox(kernel, spec.market, spec.settings, self.cash, time.clock)
        events = sorted([*feed.custom, *feed.prices], key=lambda event: int(event.ts_init))
        self._replay = Replay(kernel, events, time, venue, speed=speed)
        self.node.trader.add_strategy(self.desk)
        self.node.build()

    def run(self) -> None:
        """Run the session and end the node, whatever happens."""
        try:
            self._loop.run_until_complete(self._session(self._spec.end))
            if self._failure is None:
                self._log.check()
                check_end(self.node.portfolio, self.desk, self._spec.market)
        finally:
            self._ends.close()
            self.node.dispose()
        if self._failure is not None:
            raise self._failure
        self._log.check()

    async def _session(self, end: int) -> None:
        node = self.node
        running = asyncio.create_task(node.run_async())
        for name in (signal.SIGINT, signal.SIGTERM):  # in place of the node's own handlers
            self._loop.add_signal_handler(name, self._interrupt)
        try:
            await self._started()
            if self._failure is None:
                self._feeding = asyncio.create_task(self._replay.run(self.port, end))
                await asyncio.wait([self._feeding])
                if not self._feeding.cancelled():
                    self._feeding.result()
        finally:
            await node.stop_async()
            await running
            await _cancel_the_rest()

    async def _started(self) -> None:
        until = self._loop.time() + START_SECONDS
        while not self.node.trader.is_running:
            if self._loop.time() > until:
                raise RunIncomplete(f"expected the node to start in {START_SECONDS:g} s, did not")
            await asyncio.sleep(0.001)

    def _fail(self, error: BaseException) -> None:
        """Stop opening positions, and end the session."""
        self.desk.gate.halt()
        self._end(error)

    def _interrupt(self) -> None:
        self._end(KeyboardInterrupt())

    def _end(self, cause: BaseException) -> None:
        self._failure = self._failure or cause
        if self._feeding is not None:
            self._feeding.cancel()


async def _cancel_the_rest() -> None:
    """End the node's own tasks: it leaves its strategies' executors running."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _config(logging: LoggingConfig) -> TradingNodeConfig:
    """Return a node that keeps all in memory and, on an error, shuts down in good order."""
    return TradingNodeConfig(
        trader_id=TRADER,
        logging=logging,
        data_engine=LiveDataEngineConfig(graceful_shutdown_on_exception=True),
        risk_engine=LiveRiskEngineConfig(
            graceful_shutdown_on_exception=True,
            max_order_submit_rate=ORDER_RATE,
            max_order_modify_rate=ORDER_RATE,
        ),
        exec_engine=LiveExecEngineConfig(
            graceful_shutdown_on_exception=True,
            reconciliation=False,
            inflight_check_interval_ms=0,
        ),
        timeout_post_stop=0.001,
    )
