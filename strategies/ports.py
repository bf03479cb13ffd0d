"""
The desk's one road to its mind: how a case leaves the desk and how a decision returns.

`LocalMind` asks a mind in this process, with the times of its decisions. Two ports build on it:
the simulated one lets the mind answer at once and delivers by a time alert at the decision's own
stamp, so that no fill sees an answer before it could have existed; the asynchronous one asks on
another thread and leaves the event loop free. Nothing here knows what a mind is made of.
"""

import asyncio
import logging
import math
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from agents.arrays import Panel
from agents.messages import Case, Decision, TrackRecord
from agents.protocols import Feedback, Mind
from config.errors import ConfigError, Halt, Retryable
from strategies.timekeeper import Timekeeper

SWITCH_SECONDS = 0.0005  # a thread that computes gives the interpreter up this often

log = logging.getLogger(__name__)


class LocalMind:
    """
    A mind in this process, asked directly; all answers come while the caller waits.

    Its decisions are delivered `latency_ns` after the case's stamp; `expires` gives the last
    stamp at which the decision on a case of a stamp may be acted on.
    """

    def __init__(self, mind: Mind, *, latency_ns: int, expires: Callable[[int], int]) -> None:
        self._mind = mind
        self._latency_ns = latency_ns
        self._expires = expires

    @property
    def needs_features(self) -> bool:
        """Whether cases are to carry news, reports and macro values."""
        return self._mind.needs_features

    def track(self) -> tuple[TrackRecord, ...]:
        """Return the juniors' track records so far, for the next case."""
        return self._mind.track()

    def decide(self, case: Case, panel: Panel) -> Decision:
        """Return the decision on a case."""
        return self._mind.decide(
            case, panel, latency_ns=self._latency_ns, expires=self._expires(case.ts_init)
        )

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """Let the mind count closed outcomes and learn from them, now."""
        self._mind.observe(feedback)
        self._mind.learn(feedback)


class Port(LocalMind, ABC):
    """Everything that the desk asks of its mind."""

    @abstractmethod
    def send(self, case: Case, panel: Panel) -> None:
        """Take a case away; the decision comes back through the deliver callback."""


class SimulatedPort(Port):
    """Answers within the simulation's time, which stands still while the mind thinks."""

    def __init__(
        self,
        mind: Mind,
        time: Timekeeper,
        deliver: Callable[[Decision], None],
        *,
        latency_ns: int,
        expires: Callable[[int], int],
    ) -> None:
        super().__init__(mind, latency_ns=latency_ns, expires=expires)
        self._time = time
        self._deliver = deliver

    def send(self, case: Case, panel: Panel) -> None:
        """Decide now, deliver at the decision's `ts_init`."""
        decision = self.decide(case, panel)
        self._time.alert(
            f"deliver-{decision.decision_id}",
            decision.ts_init,
            lambda _: self._deliver(decision),
        )


@dataclass(eq=False)
class _Job:
    """One thing that the mind is to do: a decision, named by its id, or feedback."""

    name: str
    run: Callable[[], Decision | None]
    decides: bool
    overdue: bool = False
    timer: asyncio.TimerHandle | None = None


class AsyncPort(Port):
    """
    Asks the mind on a worker thread, so that the event loop is free while it thinks.

    `decide` and `learn` run on one thread, in the order in which they were asked for: the mind
    has state. Its answers come back as callbacks of `loop`. A decision is matched with its case
    by id; one that comes `deadline_seconds` after its case was sent (`math.inf`: never), or after
    a newer one was delivered, is dropped and counted. A failing mind costs its decision and is
    counted; an error that no later decision can mend, and any error of `deliver`, goes to
    `on_failure`, which must stop the desk from opening positions.

    The interpreter's switch interval is shortened while the port is open: a mind that computes
    in Python may hold the loop for one interval at a time. A call into C that keeps the
    interpreter's lock for longer cannot be cut short from here.

    All methods are for the loop's thread. `late`, `failed` and `superseded` count what was lost.
    """

    def __init__(
        self,
        mind: Mind,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Decision], None],
        *,
        latency_ns: int,
        expires: Callable[[int], int],
        deadline_seconds: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(mind, latency_ns=latency_ns, expires=expires)
        self.late = self.failed = self.superseded = 0
        self._loop = loop
        self._deliver = deliver
        self._deadline_seconds = deadline_seconds
        self._on_failure = on_failure
        self._newest = -1  # the stamp of the newest case whose decision was delivered
        self._feedback = 0
        self._waiting: dict[str, _Job] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        # A daemon: a mind that hangs must not keep the process from ending.
        threading.Thread(target=self._work, name="mind", daemon=True).start()

    @property
    def pending(self) -> int:
        """How many decisions and feedback are asked for, neither done nor overdue."""
        return len(self._waiting)

    @property
    def missed(self) -> int:
        """How many decisions were not delivered, for whatever reason."""
        return self.late + self.failed + self.superseded

    def send(self, case: Case, panel: Panel) -> None:
        """Queue a case and return at once."""
        self._ask(case.decision_id, lambda: self.decide(case, panel), decides=True)

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """Count closed outcomes, queue the learning before the next case, and return at once."""
        self._mind.observe(feedback)
        if feedback:
            self._feedback += 1
            self._ask(
                f"feedback {self._feedback}", lambda: self._mind.learn(feedback), decides=False
            )

    async def drain(self) -> None:
        """Wait until nothing is pending."""
        await self._idle.wait()

    def close(self) -> None:
        """Take no more answers and let the worker end after what it is doing."""
        if self._closed:
            return
        self._closed = True
        for name in list(self._waiting):
            self._settle(name)
        self._queue.put(None)
        sys.setswitchinterval(self._switch_interval)

    # --- the worker's thread -----------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._queue.get()) is not None and not self._closed:
            if job.overdue and job.decides:
                continue
            answer: Decision | BaseException | None
            try:
                answer = job.run()
            except BaseException as e:  # decided upon by `_finish`, on the loop's thread
                answer = e
            try:
                self._loop.call_soon_threadsafe(self._finish, job, answer)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    # --- the loop's thread -------------------------------------------------------------------

    def _ask(self, name: str, run: Callable[[], Decision | None], *, decides: bool) -> None:
        if self._closed:
            raise RuntimeError(f"expected an open port, was closed before {name}")
        job = _Job(name, run, decides)
        if self._deadline_seconds != math.inf:
            job.timer = self._loop.call_later(self._deadline_seconds, self._expire, job)
        self._waiting[name] = job
        self._idle.clear()
        self._queue.put(job)

    def _expire(self, job: _Job) -> None:
        job.overdue = True
        self._settle(job.name)
        if job.decides:
            self.late += 1
            log.warning(
                "decision %s: expected within %g s, was late", job.name, self._deadline_seconds
            )

    def _finish(self, job: _Job, answer: Decision | BaseException | None) -> None:
        if self._closed:
            return
        if isinstance(answer, BaseException):
            self._settle(job.name)
            self._fail(job, answer)
        elif answer is None:
            self._settle(job.name)
        elif answer.decision_id in self._waiting:
            self._settle(answer.decision_id)
            self._take(answer)
        elif not job.overdue:
            self._settle(job.name)
            error = Retryable(f"expected a decision that was asked for, was {answer.decision_id}")
            self._fail(job, error)

    def _take(self, decision: Decision) -> None:
        if decision.ts_event < self._newest:
            self.superseded += 1
            log.warning("decision %s: a newer one was delivered first", decision.decision_id)
            return
        self._newest = decision.ts_event
        try:
            self._deliver(decision)
        except Exception as e:
            self._on_failure(e)

    def _fail(self, job: _Job, error: BaseException) -> None:
        if not job.overdue:  # else it was counted as late
            self.failed += 1
        if isinstance(error, Halt | ConfigError) or not isinstance(error, Exception):
            self._on_failure(error)
        else:
            log.error("decision %s: the mind failed: %r", job.name, error)

    def _settle(self, name: str) -> None:
        job = self._waiting.pop(name, None)
        if job is not None and job.timer is not None:
            job.timer.cancel()
        if not self._waiting:
            self._idle.set()
