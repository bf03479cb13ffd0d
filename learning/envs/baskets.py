"""
The targets that wait, of many books at once: `strategies.orders.Basket` as arrays.

The rules are the desk's: a newer decision replaces an older one's targets, a forced exit outlives
all decisions until it is sent, a reduction that the gate asked for knows no no-trade band, and a
target is sent at the first opening stamped after it began to wait, unless it expired. Which books
decide and which quotes are fresh is the twin's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.envs.tape import NEVER

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]
type Rows = IntArray | slice


@dataclass(frozen=True)
class Pending:
    """What may be sent now; shapes (R, N), as `strategies.orders.Pending`."""

    target: FloatArray
    movable: BoolArray
    forced: BoolArray
    reduced: BoolArray

    def targets(self, held: FloatArray, band: float) -> FloatArray:
        """Return the weights to ask for: the targets, or what is held within the band."""
        near = (np.abs(self.target - held) < band) & (self.target != 0) & ~self.reduced
        return np.where(self.movable & ~near, self.target, held)


class Baskets:
    """What waits in each book. Shapes: all (B, N)."""

    def __init__(self, batch: int, size: int) -> None:
        shape = (batch, size)
        self.target: FloatArray = np.zeros(shape)
        self.held_since: IntArray = np.full(shape, NEVER)
        self.expires: IntArray = np.full(shape, NEVER)
        self.forced: BoolArray = np.zeros(shape, bool)
        self.reduced: BoolArray = np.zeros(shape, bool)

    def clear(self, which: BoolArray) -> None:
        """Let nothing wait in the books `which` (B,)."""
        self.target[which] = 0.0
        self.held_since[which] = self.expires[which] = NEVER
        self.forced[which] = self.reduced[which] = False

    def decide(self, rows: Rows, targets: FloatArray, ts: IntArray, expires: IntArray) -> None:
        """Let a decision's targets (R, N), delivered at `ts` (R,), wait in place of older ones."""
        forced = self.forced[rows]
        self.target[rows] = np.where(forced, 0.0, targets)
        self.held_since[rows] = np.where(forced, self.held_since[rows], ts[:, None])
        self.expires[rows] = expires[:, None]

    def reduce(self, rows: Rows, which: BoolArray, targets: FloatArray, ts: IntArray) -> None:
        """Let reductions (R, N) that the gate asks for wait."""
        self._gate_asks(rows, which & ~self.forced[rows], targets, ts)
        self.reduced[rows] |= which

    def force(self, rows: Rows, which: BoolArray, ts: IntArray) -> None:
        """Let exits (R, N) wait; they never expire."""
        self._gate_asks(rows, which, np.zeros(which.shape), ts)
        self.forced[rows] |= which

    def take(self, rows: Rows, ts: IntArray, fresh: BoolArray) -> Pending:
        """Return what may be sent at `ts` (R,) where `fresh` (R, N); it waits no longer."""
        since, forced = self.held_since[rows], self.forced[rows]
        late = (ts[:, None] > self.expires[rows]) & ~forced
        since = np.where(late, NEVER, since)
        movable = (since < ts[:, None]) & fresh
        reduced = self.reduced[rows]
        pending = Pending(self.target[rows].copy(), movable, forced & movable, reduced & movable)
        self.held_since[rows] = np.where(movable, NEVER, since)
        self.forced[rows] = forced & ~movable
        self.reduced[rows] = reduced & ~movable
        return pending

    def _gate_asks(self, rows: Rows, which: BoolArray, targets: FloatArray, ts: IntArray) -> None:
        self.target[rows] = np.where(which, targets, self.target[rows])
        self.held_since[rows] = np.where(which, ts[:, None], self.held_since[rows])
        self.expires[rows] = np.where(which, NEVER, self.expires[rows])
