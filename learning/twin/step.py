"""
The results of the twin's step: what each book earned, and the orders that were filled.

It knows no rule of the market.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray, IntArray
from learning.twin.venue import Fills


@dataclass(frozen=True)
class Dispatch:
    """
    What was filled at one opening.

    Shapes: book, ts (R,), the books that sent orders and the stamp; rank (R, N), an order's place
    among those of its book; fills (R, N, 2); rate (R, N), the desk's exchange rates; exits (R, N),
    the code of what forced an order, and reduced (R, N), where the gate asked for it.
    """

    book: IntArray
    ts: IntArray
    rank: IntArray
    fills: Fills
    rate: FloatArray
    exits: NDArray[np.int8]
    reduced: BoolArray


@dataclass(frozen=True)
class Step:
    """
    What a session did to each book.

    `growth` is the equity's ratio less one, `risk_free` what cash would have earned, `fees` in the
    account's currency, `turnover` the traded notional over equity, `limited` where a limit cut
    anything and `cause` which one, the decision's first; `loss_beyond_limit` where the loss was
    larger than the limit of the VaR. `dispatches` is kept where the twin records.

    Shapes: cause (B, N), all others (B,).
    """

    growth: FloatArray
    risk_free: FloatArray
    fees: FloatArray
    turnover: FloatArray
    limited: BoolArray
    cause: IntArray
    loss_beyond_limit: BoolArray
    dispatches: tuple[Dispatch, ...] = ()
