"""
How a case leaves the desk and a decision returns.

The simulated port lets the mind answer at once and delivers by a time alert at the decision's
own stamp, so that no fill sees an answer before it could have existed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nautilus_trader.common.component import Clock

from agents.messages import Case, Decision
from agents.protocols import Lesson, Mind, Panel


class Port(Protocol):
    """Where the desk sends its cases."""

    def send(self, case: Case, panel: Panel) -> None:
        """Take a case away; the decision comes back through the deliver callback."""
        ...

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Let the mind learn before it is sent the next case."""
        ...


class SimulatedPort:
    """Answers within the simulation's clock, `latency_ns` after the case's stamp."""

    def __init__(
        self,
        mind: Mind,
        clock: Clock,
        deliver: Callable[[Decision], None],
        *,
        latency_ns: int,
        expiry_ns: int,
    ) -> None:
        self._mind = mind
        self._clock = clock
        self._deliver = deliver
        self._latency_ns = latency_ns
        self._expiry_ns = expiry_ns

    def send(self, case: Case, panel: Panel) -> None:
        """Decide now, deliver at the decision's `ts_init`."""
        decision = self._mind.decide(
            case, panel, latency_ns=self._latency_ns, expiry_ns=self._expiry_ns
        )
        self._clock.set_time_alert_ns(
            f"deliver-{decision.decision_id}",
            decision.ts_init,
            lambda _: self._deliver(decision),
        )

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Learn now."""
        self._mind.learn(lessons)
