"""
The reference books that a report shows next to the hierarchy's, and the limits of each.

Baselines are run without limits and under the hierarchy's gate without its stop. The hierarchy's
own decisions are executed again with the stop off, with limits off, and under stress, which shows
what the gate costs and what a dearer market or a tighter stop would cost. This module says what is
to be run; what runs it is injected (`ReferenceRunner`), since the desk's twin runs many books at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from agents.baselines import BASELINES, Baseline
from agents.messages import Decision
from backtest.market.market_data import MarketData
from backtest.results import Gate, PositionHistory
from config.costs import COST_FRAC
from config.settings import UNLIMITED, LimitSettings, Settings

STRESS_STOP = {"stop": "fraction", "stop_loss": 0.02, "stop_cooldown_sessions": 20}


@dataclass(frozen=True)
class Reference:
    """
    One book to run: a baseline, or recorded decisions that are executed again.

    `fee_frac` takes the place of every instrument's commission; None leaves them.
    """

    name: str
    gate: Gate
    policy: Baseline | tuple[Decision, ...]
    limits: LimitSettings
    stress: str = ""
    fee_frac: float | None = None


class ReferenceRunner(Protocol):
    """Runs references over a market from a first deciding close on; see `learning.twin`."""

    def __call__(
        self,
        market: MarketData,
        settings: Settings,
        decide_from: int,
        references: Sequence[Reference],
        on_session: Callable[[int], None] | None = None,
    ) -> tuple[PositionHistory, ...]:
        """Return the references' books, in their order; `on_session` is called at each close."""
        ...


class StartReferences(Protocol):
    """Lets references run beside everything else; `learning.twin.reference_process`."""

    def __call__(
        self,
        market: MarketData,
        settings: Settings,
        decide_from: int,
        references: Sequence[Reference],
    ) -> Callable[[], tuple[PositionHistory, ...]]:
        """Return what waits for the references' books, in their order."""
        ...


def gate_limits(limits: LimitSettings, gate: Gate) -> LimitSettings:
    """Return the limits of a gate: the book's own, those without the stop, or gross alone."""
    if gate == "full":
        return limits
    if gate == "no_stop":
        return msgspec.structs.replace(limits, stop="none")
    return msgspec.structs.replace(UNLIMITED, max_gross=limits.max_gross)


def baselines(limits: LimitSettings) -> list[Reference]:
    """Return every baseline without limits, then under the gate without its stop."""
    gates: tuple[Gate, ...] = ("gross_only", "no_stop")
    return [
        Reference(make().name, gate, make(), gate_limits(limits, gate))
        for make in BASELINES
        for gate in gates
    ]


def variants(name: str, decisions: tuple[Decision, ...], limits: LimitSettings) -> list[Reference]:
    """Return the hierarchy's own decisions under other gates and under stress."""
    return [
        Reference(name, "no_stop", decisions, gate_limits(limits, "no_stop")),
        Reference(name, "gross_only", decisions, gate_limits(limits, "gross_only")),
        Reference(
            name,
            "full",
            decisions,
            limits,
            stress=f"{COST_FRAC:.1%} a fill",
            fee_frac=COST_FRAC,
        ),
        Reference(
            name,
            "full",
            decisions,
            msgspec.structs.replace(limits, **STRESS_STOP),
            stress="2% stop",
        ),
    ]
