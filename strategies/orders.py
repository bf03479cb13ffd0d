"""
Says in which order the gate's quantities are traded, and why each order is sent.

The gate has judged what may be held; the difference to what is held is traded. Reductions go
before increases, so that no measure peaks in between; a flip through zero is an increase. Targets
that still wait for a price are kept in `agents.gate.state`.
"""

import numpy as np

from agents.arrays import FloatArray
from agents.gate.rules import grows
from agents.gate.state import EXITS, Pending
from agents.messages import OrderReason


def in_order(change: FloatArray, held: FloatArray) -> list[int]:
    """Return the instruments to trade, reductions first; shapes: (N,)."""
    enlarged = grows(held + change, held)
    traded = np.flatnonzero(change).tolist()
    return sorted(traded, key=lambda i: (bool(enlarged[i]), i))


def reason(pending: Pending, i: int, *, wanted: bool) -> OrderReason:
    """
    Return why an order of instrument `i` is sent, of the first book of `pending`.

    `wanted`: its target asked for a trade.
    """
    if pending.exits[0, i]:
        return EXITS[int(pending.exits[0, i])]
    return "decision" if wanted and not pending.reduced[0, i] else "limit"


def by_gate(pending: Pending) -> bool:
    """Tell whether the gate alone asked for all that may be sent."""
    return bool(np.all((pending.forced | pending.reduced)[pending.movable]))
