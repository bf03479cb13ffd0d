"""
Targets -> orders: what waits for the next tradable price, and in which order it is sent.

A basket holds at most one target an instrument: a newer decision replaces an older one's, and a
forced exit outlives all decisions until it is sent. Where the gate asked for a reduction, the
newest target is sent however small the change. A target is sent at the first price event stamped
after it began to wait, never at the one that it was made from. Reductions go before increases, so
that no measure peaks in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.messages import Decision

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Pending:
    """
    What may be sent at one stamp.

    Shapes: target, movable, forced, reduced, ts_decided, ts_held (N,). `movable` has a
    target and a fresh price; `forced` is to be exited; `reduced` was asked by the gate
    and knows no band.
    """

    decision_id: str
    target: FloatArray
    movable: BoolArray
    forced: BoolArray
    reduced: BoolArray
    ts_decided: IntArray
    ts_held: IntArray

    def targets(self, held: FloatArray, band: float) -> FloatArray:
        """
        Return the weights to ask for: the targets, or what is held within the no-trade band.

        An exit and a reduction that the gate asked for are never too small to trade.
        """
        near = (np.abs(self.target - held) < band) & (self.target != 0) & ~self.reduced
        return np.where(self.movable & ~near, self.target, held)

    def in_order(self, change: FloatArray, held: FloatArray) -> list[int]:
        """Return the instruments to trade, reductions first."""
        traded = np.flatnonzero(change)
        grows = np.abs(held + change) > np.abs(held)
        return sorted((int(i) for i in traded), key=lambda i: (bool(grows[i]), i))

    def reason(self, i: int, *, wanted: bool) -> str:
        """Return why an order of `i` is sent; `wanted`: its target asked for a trade."""
        if self.forced[i]:
            return "stop"
        return "decision" if wanted and not self.reduced[i] else "limit"

    def by_gate(self) -> bool:
        """Tell whether the gate alone asked for this."""
        return bool(np.all((self.forced | self.reduced)[self.movable]))


class Basket:
    """The targets that wait. Shapes: all (N,)."""

    def __init__(self, size: int) -> None:
        self._target = np.zeros(size)
        self._held_since = np.full(size, NEVER, dtype=np.int64)
        self._expires = np.full(size, NEVER, dtype=np.int64)
        self._forced = np.zeros(size, dtype=bool)
        self._reduced = np.zeros(size, dtype=bool)
        self._decision_id = ""
        self._ts_decided = np.zeros(size, dtype=np.int64)
        self.expired = 0
        self.waiting = False  # whether anything waits: a quote's first question, asked often

    def wants(self, i: int, ts: int) -> bool:
        """Tell whether a price of instrument `i` stamped `ts` would send something."""
        return bool(self._held_since[i] < ts)

    def decide(self, targets: FloatArray, ts: int, decision: Decision) -> None:
        """Let a delivered decision's targets wait, in place of any older ones."""
        self.waiting = True
        self._target = np.where(self._forced, 0.0, targets)
        self._held_since = np.where(self._forced, self._held_since, ts)
        self._expires[:] = decision.expires
        self._ts_decided = np.where(self._forced, self._ts_decided, decision.ts_event)
        self._decision_id = decision.decision_id

    def reduce(self, which: BoolArray, targets: FloatArray, ts: int, decision_id: str) -> None:
        """Let reductions that the gate asks for wait."""
        self._gate_asks(which & ~self._forced, targets, ts, decision_id)
        self._reduced |= which

    def force(self, i: int, ts: int, decision_id: str) -> None:
        """Let the exit from instrument `i` wait; it never expires."""
        which = np.arange(len(self._target)) == i
        self._gate_asks(which, np.zeros(len(which)), ts, decision_id)
        self._forced |= which

    def take(self, ts: int, fresh: BoolArray) -> Pending | None:
        """Return what may be sent at `ts` and let it wait no longer; None if there is nothing."""
        late = (self._held_since != NEVER) & (ts > self._expires) & ~self._forced
        self.expired += int(late.sum())
        self._held_since[late] = NEVER
        movable = (self._held_since < ts) & fresh
        if not movable.any():
            self.waiting = bool((self._held_since != NEVER).any())
            return None
        pending = Pending(
            decision_id=self._decision_id,
            target=self._target.copy(),
            movable=movable,
            forced=self._forced & movable,
            reduced=self._reduced & movable,
            ts_decided=self._ts_decided.copy(),
            ts_held=self._held_since.copy(),
        )
        self._held_since[movable] = NEVER
        self.waiting = bool((self._held_since != NEVER).any())
        self._forced &= ~movable
        self._reduced &= ~movable
        return pending

    def _gate_asks(self, which: BoolArray, targets: FloatArray, ts: int, decision_id: str) -> None:
        self.waiting = True
        self._target = np.where(which, targets, self._target)
        self._held_since = np.where(which, ts, self._held_since)
        self._expires = np.where(which, NEVER, self._expires)
        self._decision_id = decision_id
        self._ts_decided = np.where(which, ts, self._ts_decided)
