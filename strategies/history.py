"""
Keeps the book's rows, one a session, of which a run's results are made.

It is written by the desk and read when the run has ended; nothing here decides anything.
"""

from dataclasses import dataclass, field

import numpy as np

from agents.arrays import FloatArray
from strategies.ledger import Ledger
from strategies.risk import Gate


@dataclass
class History:
    """
    The book, a row a session; the columns of `backtest.results.PositionHistory`.

    `capacity` has a row an order whose volume is known: the equity at which it would have been
    the largest that the limits let through.
    """

    ts: list[int] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    turnover: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    var_frac: list[float] = field(default_factory=list)
    weights: list[FloatArray] = field(default_factory=list)
    capacity: list[float] = field(default_factory=list)

    def add_session(
        self, ts: int, equity: float, held: FloatArray, ledger: Ledger, gate: Gate
    ) -> None:
        """Add a session that closed with weights `held` (N,)."""
        traded, costs = ledger.take_session()
        var = gate.value_at_risk(held)
        self.ts.append(ts)
        self.equity.append(equity)
        self.turnover.append(traded / equity if equity > 0 else 0.0)
        self.costs.append(costs)
        self.var_frac.append(var if gate.knows_risk else np.nan)
        self.weights.append(held)

    def add_orders(self, change: FloatArray, equity: float, gate: Gate) -> None:
        """Note the equity at which each order (N,) would be as large as its volume lets it be."""
        most = gate.limits.max_volume_frac * gate.mean_volume()
        sized = (change != 0) & np.isfinite(most)
        self.capacity += (equity * most[sized] / np.abs(change[sized])).tolist()
