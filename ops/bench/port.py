"""
Measures how long the asynchronous port holds an event loop while its mind misbehaves.

A task sleeps for a millisecond at a time and measures how late it wakes; the same loop without a
port, in the same run, is what the machine itself costs. Every callback of the port, and `send`,
is timed as well: those are the port's own, whatever the machine does.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from agents.arrays import Panel
from agents.baselines import BuyAndHold
from agents.features.feature_engine import FeatureEngine
from agents.messages import Case, Decision, Instrument, NewsItem, Portfolio
from agents.protocols import Mind
from strategies.ports import AsyncPort

DAY_NS = 86_400_000_000_000
BEAT_SECONDS = 0.001
DEADLINE_SECONDS = 0.15
EXPIRY_NS = 3 * DAY_NS
LIMIT_MS = 5.0  # the port may hold the loop for so long
REAL = "real mind, 20 instruments"


class TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that notes how long the callbacks of one object take."""

    def __init__(self) -> None:
        super().__init__()
        self.owner: object = None
        self.held: list[float] = []

    def call_soon_threadsafe(  # type: ignore[override]  # as loose as what it wraps
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """Schedule a callback, timed if it is the owner's."""
        return super().call_soon_threadsafe(self._timed(callback), *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """Schedule a callback for later, timed if it is the owner's."""
        return super().call_later(delay, self._timed(callback), *args, context=context)

    def _timed(self, callback: Any) -> Any:
        if self.owner is None or getattr(callback, "__self__", None) is not self.owner:
            return callback

        def timed(*args: Any) -> None:
            begun = time.perf_counter()
            callback(*args)
            self.held.append(time.perf_counter() - begun)

        return timed


class Misbehaving(Mind):
    """A mind that decides as `inner` does, after `before` did what it likes with each case."""

    def __init__(self, inner: Mind, before: Callable[[int], Decision | None]) -> None:
        self.name = inner.name
        self.inner = inner
        self.before = before
        self.asked = 0

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Misbehave, then decide, unless misbehaving gave the answer."""
        self.asked += 1
        answer = self.before(self.asked)
        if answer is not None:
            return answer
        return self.inner.decide(case, panel, latency_ns=latency_ns, expires=expires)


@dataclass
class _Trial:
    """What one mind did to the loop; seconds."""

    lateness: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def make_cases(count: int, instruments: int, sessions: int = 300) -> list[tuple[Case, Panel]]:
    """Return successive cases over random walks, with 50 headlines an instrument."""
    rng = np.random.default_rng(0)
    universe = tuple(
        Instrument(symbol=f"S{i:02}", venue="SIM", group=f"G{i % 4}") for i in range(instruments)
    )
    engine = FeatureEngine(universe, price_basis="unadjusted", score=lambda _: 0.1)
    close = np.full(instruments, 100.0)
    cases = []
    for day in range(1, sessions + count):
        ts = day * DAY_NS
        opened, close = close, close * np.exp(rng.normal(0.0, 0.01, instruments))
        high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
        engine.on_session(ts, opened, high, low, close, np.full(instruments, 1e6))
        if day < sessions:
            continue
        states, macro = engine.snapshot(ts).to_states(universe, np.zeros(instruments))
        news = tuple(
            NewsItem(
                item_id=f"{i.symbol}-{k}",
                symbol=i.symbol,
                headline=f"{i.symbol} beats expectations for the {k}th time",
                source="bench",
                ts_event=ts,
                ts_init=ts,
            )
            for i in universe
            for k in range(50)
        )
        case = Case(
            ts_event=ts,
            ts_init=ts,
            trigger="schedule",
            horizon="medium",
            instruments=states,
            macro=macro,
            portfolio=Portfolio(equity=1e5, cash=1e5, drawdown=0.0),
            news=news,
        )
        cases.append((case, engine.panel([s.symbol for s in states])))
    return cases


def measure_port(
    real: Mind | None = None, *, cases: int = 20, every: float = 0.05
) -> dict[str, Any]:
    """
    Return the loop's lateness and the port's own share of it, in ms, one entry a misbehaviour.

    `real`: a mind to measure beside the misbehaving ones, on cases of 20 instruments, after it
    decided once (what it imports then is not measured) and with no deadline. A case is sent each
    `every` seconds; `over_idle_ms` is the lateness beyond the idle loop's.
    """
    small, large = make_cases(cases, 4, 40), make_cases(cases, 20)
    release = threading.Event()
    minds: dict[str, tuple[Mind, list[tuple[Case, Panel]]]] = {
        name: (Misbehaving(BuyAndHold(), before), small)
        for name, before in _misbehaviours(small, every, release).items()
    }
    minds["large cases"] = (BuyAndHold(), large)
    if real is not None:
        minds[REAL] = (real, large)
        real.decide(*large[0], latency_ns=0, expires=EXPIRY_NS)
    seconds = cases * every
    idle = _run(None, small, seconds=seconds)
    facts: dict[str, Any] = {"cases": cases, "idle": _percentiles(idle.lateness)}
    worst = 0.0
    for name, (mind, sent) in minds.items():
        deadline = math.inf if name == REAL else DEADLINE_SECONDS
        trial = _run(mind, sent, seconds=seconds, deadline=deadline)
        release.set()
        release.clear()
        worst = max(worst, *trial.held)
        late = _percentiles(trial.lateness)
        facts[name] = {
            **late,
            "over_idle_ms": {k: round(late[k] - facts["idle"][k], 3) for k in late},
            "held_by_port_max_ms": round(max(trial.held) * 1e3, 3),
            **trial.counts,
        }
    facts["idle again"] = _percentiles(_run(None, small, seconds=seconds).lateness)
    facts["held_by_port_max_ms"] = round(worst * 1e3, 3)
    facts["within_limit"] = worst * 1e3 < LIMIT_MS
    return facts


def _misbehaviours(
    cases: list[tuple[Case, Panel]], every: float, release: threading.Event
) -> dict[str, Callable[[int], Decision | None]]:
    def sleeps(_: int) -> None:
        time.sleep(every / 2)

    def is_late(_: int) -> None:
        time.sleep(DEADLINE_SECONDS * 1.5)

    def fails(asked: int) -> None:
        if asked % 2:
            raise ConnectionError("expected an answer, was none")

    def dies(asked: int) -> None:
        if asked == 3:
            release.wait()

    def computes(_: int) -> None:
        end, x = time.perf_counter() + every * 0.8, 1
        while time.perf_counter() < end:
            x = x * 31 % 1_000_003

    def reorders(asked: int) -> Decision | None:
        """Answer the second of each pair of cases first: both are out by then."""
        time.sleep(every * 1.5 if asked % 2 else 0.0)
        other = asked if asked % 2 else asked - 2
        case, panel = cases[min(other, len(cases) - 1)]
        return BuyAndHold().decide(case, panel, latency_ns=0, expires=EXPIRY_NS)

    return {
        "sleeps": sleeps,
        "is late": is_late,
        "fails": fails,
        "dies": dies,
        "computes in Python": computes,
        "answers out of order": reorders,
    }


def _run(
    mind: Mind | None,
    cases: list[tuple[Case, Panel]],
    *,
    seconds: float,
    deadline: float = DEADLINE_SECONDS,
) -> _Trial:
    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        return runner.run(_trial(mind, cases, seconds, deadline))


async def _trial(
    mind: Mind | None, cases: list[tuple[Case, Panel]], seconds: float, deadline: float
) -> _Trial:
    """Send the cases at an even pace, with a heart beating beside them."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    trial = _Trial()
    beating = loop.create_task(_beat(trial.lateness))
    if mind is None:
        await asyncio.sleep(seconds)
    else:
        delivered: list[Decision] = []
        port = AsyncPort(
            mind,
            loop,
            delivered.append,
            latency_ns=0,
            expires=lambda ts: ts + EXPIRY_NS,
            deadline_seconds=deadline,
            on_failure=_no_failure,
        )
        loop.owner = port
        for case, panel in cases:
            begun = time.perf_counter()
            port.send(msgspec.structs.replace(case), panel)
            loop.held.append(time.perf_counter() - begun)
            await asyncio.sleep(seconds / len(cases))
        await port.drain()
        port.close()
        trial.held = loop.held
        trial.counts = {
            "delivered": len(delivered),
            "late": port.late,
            "failed": port.failed,
            "superseded": port.superseded,
        }
    beating.cancel()
    return trial


async def _beat(lateness: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(BEAT_SECONDS)
        lateness.append(time.perf_counter() - begun - BEAT_SECONDS)


def _no_failure(error: BaseException) -> None:
    raise AssertionError("expected no error that halts") from error


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ms = np.array(seconds) * 1e3
    figures = {"median_ms": np.median(ms), "p99_ms": np.quantile(ms, 0.99), "max_ms": ms.max()}
    return {name: round(float(value), 3) for name, value in figures.items()}
