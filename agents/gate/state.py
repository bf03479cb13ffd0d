"""
The state of books under the gate: pending targets, stops, peaks, cool-downs, order counts.

One implementation with a leading batch axis, for the desk (a batch of one) and the training twin
(thousands). A pending target is a quantity, fixed when its decision is delivered, so that a gap
overnight changes no order: what a decision holds is held, and waits for nothing. A newer decision
replaces an older one's targets; a forced exit outlives all decisions until it is sent; where the
gate asked for a reduction, the newest target is sent however small the change. A target is sent
at the first price event stamped after it began to wait. Equity at or below zero halts a book for
good.

It knows no venue, no clock and no market data beyond what its methods are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.rules import Holding, blocked_codes
from agents.messages import OrderReason
from config.settings import LimitSettings

type Rows = IntArray | slice

NEVER = np.iinfo(np.int64).max
STOP, DELISTED = 1, 2  # codes of why a position must be left; 0 for nothing
EXITS: dict[int, OrderReason] = {STOP: "stop", DELISTED: "delisted"}


@dataclass(frozen=True)
class Pending:
    """
    What may be sent at one stamp.

    Shapes: all (R, N). `target` is a quantity; `movable` has a target and a fresh price; `exits`
    is the code of what forces an exit, 0 for nothing; `reduced` was asked by the gate and knows no
    band; `ts_decided` and `ts_held` say since when the target is known and waits.
    """

    target: FloatArray
    movable: BoolArray
    exits: NDArray[np.int8]
    reduced: BoolArray
    ts_decided: IntArray
    ts_held: IntArray

    def take(self, which: BoolArray) -> Pending:
        """Return what concerns some of the books; which (R,)."""
        return Pending(
            self.target[which],
            self.movable[which],
            self.exits[which],
            self.reduced[which],
            self.ts_decided[which],
            self.ts_held[which],
        )

    @property
    def forced(self) -> BoolArray:
        """Where a position is to be left whole."""
        return self.exits > 0

    def weights(self, holding: Holding, band: float) -> FloatArray:
        """
        Return the weights to ask for, at the holding's prices: (R, N).

        They are those of the pending quantities, or of what is held where nothing waits or the
        change is within the no-trade band. An exit and a reduction that the gate asked for are
        never too small to trade.
        """
        held, wanted = holding.weights(), holding.weights(self.target)
        near = (np.abs(wanted - held) < band) & (self.target != 0) & ~self.reduced
        return np.where(self.movable & ~near, wanted, held)


class GateState:
    """
    What the gate remembers of B books of N instruments from event to event.

    Shapes: target, held_since, expires, ts_decided, exits, reduced, stop_below, stop_above,
    cooldown (B, N); orders, expired, peak, drawdown, halted (B,). `orders` counts those of the
    session, `expired` the decisions whose targets waited in vain since the start.
    """

    def __init__(self, batch: int, size: int, limits: LimitSettings) -> None:
        shape = (batch, size)
        self._limits = limits
        self.target: FloatArray = np.zeros(shape)
        self.held_since: IntArray = np.full(shape, NEVER)
        self.expires: IntArray = np.full(shape, NEVER)
        self.ts_decided: IntArray = np.zeros(shape, np.int64)
        self.exits: NDArray[np.int8] = np.zeros(shape, np.int8)
        self.reduced: BoolArray = np.zeros(shape, bool)
        self.stop_below: FloatArray = np.full(shape, -np.inf)
        self.stop_above: FloatArray = np.full(shape, np.inf)
        self.cooldown: IntArray = np.zeros(shape, np.int64)
        self.orders: IntArray = np.zeros(batch, np.int64)
        self.expired: IntArray = np.zeros(batch, np.int64)
        self.peak: FloatArray = np.zeros(batch)
        self.drawdown: FloatArray = np.zeros(batch)
        self.halted: BoolArray = np.full(batch, limits.kill_switch)

    def reset(self, which: BoolArray, equity: FloatArray | float) -> None:
        """Start the books `which` (B,) anew with an equity (B,)."""
        self.target[which] = 0.0
        self.held_since[which] = self.expires[which] = NEVER
        self.ts_decided[which] = self.cooldown[which] = 0
        self.exits[which], self.reduced[which] = 0, False
        self.stop_below[which], self.stop_above[which] = -np.inf, np.inf
        self.orders[which] = self.expired[which] = 0
        self.peak[which] = np.broadcast_to(equity, self.peak.shape)[which]
        self.drawdown[which] = 0.0
        self.halted[which] = self._limits.kill_switch

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return a copy of everything, by name."""
        return {name: getattr(self, name).copy() for name in FIELDS}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` returned; written in place, since others may look on."""
        for name in FIELDS:
            getattr(self, name)[:] = arrays[name]

    # --- what waits --------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether anything waits in any book."""
        return bool((self.held_since != NEVER).any())

    def decide(
        self,
        rows: Rows,
        held: FloatArray,
        allowed: FloatArray,
        holding: Holding,
        ts: IntArray,
        ts_decided: IntArray,
        expires: IntArray,
    ) -> None:
        """
        Let a decision's allowed weights wait, in place of any older decision's.

        Shapes: held and allowed weights (R, N), at the holding's prices; ts (of the delivery),
        ts_decided, expires (R,). Where the held weight is allowed, it is held: nothing waits.
        """
        hold = allowed == held
        forced = self.exits[rows] > 0
        keep = forced | (hold & self.reduced[rows])
        since = np.where(hold, NEVER, ts[:, None])
        quantity = np.where(hold, holding.quantity, quantities(allowed, holding))
        self.target[rows] = np.where(keep, self.target[rows], quantity)
        self.held_since[rows] = np.where(keep, self.held_since[rows], since)
        self.expires[rows] = np.where(keep, NEVER, expires[:, None])
        decided = np.where(keep, self.ts_decided[rows], ts_decided[:, None])
        self.ts_decided[rows] = decided

    def reduce(
        self, rows: Rows, which: BoolArray, weights: FloatArray, holding: Holding, ts: IntArray
    ) -> None:
        """Let reductions that the gate asks for wait; shapes: which, weights (R, N), ts (R,)."""
        which = which & (self.exits[rows] == 0)
        self._gate_asks(rows, which, quantities(weights, holding), ts)
        self.reduced[rows] |= which

    def force(self, rows: Rows, which: BoolArray, why: int, ts: IntArray) -> None:
        """Let exits (R, N) wait; they never expire. `why` is STOP or DELISTED."""
        self._gate_asks(rows, which, np.zeros(which.shape), ts)
        self.exits[rows] = np.where(which, np.int8(why), self.exits[rows])

    def take(self, rows: Rows, ts: IntArray, fresh: BoolArray) -> Pending:
        """Return what may be sent at `ts` (R,) where `fresh` (R, N); it waits no longer."""
        since, exits = self.held_since[rows], self.exits[rows]
        late = (since != NEVER) & (ts[:, None] > self.expires[rows]) & (exits == 0)
        self.expired[rows] += late.any(axis=1)
        since = np.where(late, NEVER, since)
        movable = (since < ts[:, None]) & fresh
        reduced = self.reduced[rows]
        pending = Pending(
            self.target[rows].copy(),
            movable,
            np.where(movable, exits, np.int8(0)),
            reduced & movable,
            self.ts_decided[rows].copy(),
            since,
        )
        self.held_since[rows] = np.where(movable, NEVER, since)
        self.exits[rows] = np.where(movable, np.int8(0), exits)
        self.reduced[rows] = reduced & ~movable
        return pending

    def wait_on(self, rows: Rows, which: BoolArray, ts: IntArray) -> None:
        """Let the rest of targets (R, N) that were cut wait for the next price after `ts` (R,)."""
        self.held_since[rows] = np.where(which, ts[:, None], self.held_since[rows])

    def _gate_asks(self, rows: Rows, which: BoolArray, quantity: FloatArray, ts: IntArray) -> None:
        self.target[rows] = np.where(which, quantity, self.target[rows])
        self.held_since[rows] = np.where(which, ts[:, None], self.held_since[rows])
        self.ts_decided[rows] = np.where(which, ts[:, None], self.ts_decided[rows])
        self.expires[rows] = np.where(which, NEVER, self.expires[rows])

    # --- stops -------------------------------------------------------------------------------

    def set_stops(
        self,
        rows: Rows,
        which: BoolArray,
        quantity: FloatArray,
        average: FloatArray,
        width: FloatArray,
    ) -> None:
        """
        Set the stops of what was filled: `width` (R, N), a fraction, from the average entry.

        Where the width is not known (NaN) there is no stop. Shapes: all (R, N).
        """
        known = np.isfinite(width)
        below = np.where(known & (quantity > 0), average * (1 - width), -np.inf)
        above = np.where(known & (quantity < 0), average * (1 + width), np.inf)
        self.stop_below[rows] = np.where(which, below, self.stop_below[rows])
        self.stop_above[rows] = np.where(which, above, self.stop_above[rows])

    def stop_out(self, rows: Rows, which: BoolArray, ts: IntArray) -> None:
        """Leave the stopped positions (R, N) at the next price; their cool-downs begin."""
        self.stop_below[rows] = np.where(which, -np.inf, self.stop_below[rows])
        self.stop_above[rows] = np.where(which, np.inf, self.stop_above[rows])
        self.cooldown[rows] = np.where(
            which, self._limits.stop_cooldown_sessions, self.cooldown[rows]
        )
        self.force(rows, which, STOP, ts)

    # --- sessions ----------------------------------------------------------------------------

    def close_session(self, equity: FloatArray) -> None:
        """Age cool-downs, renew peaks, halt where equity (B,) is at or below zero."""
        self.cooldown[:] = np.maximum(0, self.cooldown - 1)
        self.orders[:] = 0
        self.halt_where_ruined(equity)
        solvent = np.where(np.isfinite(equity), equity, 0.0)
        self.peak[:] = np.maximum(self.peak, solvent)
        above = self.peak > 0
        share = np.divide(solvent, self.peak, out=np.ones_like(solvent), where=above)
        self.drawdown[:] = np.maximum(0.0, 1.0 - share)

    def halt_where_ruined(self, equity: FloatArray) -> None:
        """Halt books whose equity (B,) is at or below zero, or not a number."""
        self.halted |= ~(np.isfinite(equity) & (equity > 0))

    def blocked(
        self,
        rows: Rows,
        price: FloatArray,
        last_close: FloatArray,
        age: IntArray,
        known: BoolArray,
    ) -> IntArray:
        """Return the code of what forbids an instrument to grow, 0 for nothing; all (R, N)."""
        return blocked_codes(
            price,
            last_close,
            age,
            self.cooldown[rows],
            self.drawdown[rows],
            known,
            self._limits,
            halted=self.halted[rows],
        )


def quantities(weights: FloatArray, holding: Holding) -> FloatArray:
    """Return the quantities that weights come to at the holding's prices; shapes: (..., N)."""
    unit = holding.price * holding.rate
    equity = np.asarray(holding.equity)[..., None]
    asked = weights * equity
    moved = (weights != 0) & (unit > 0)
    return np.asarray(np.divide(asked, unit, out=np.zeros_like(asked), where=moved))


FIELDS = tuple(name for name in vars(GateState(1, 1, LimitSettings())) if not name.startswith("_"))
