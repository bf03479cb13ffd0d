"""
The desk's own account of what it holds: quantities, average entries, trades, marks.

Nautilus keeps the cash; this keeps what the gate and the outcomes need at hand as arrays over
the universe. Quantities are engine units: shares as they were counted when the run began, so
that a split changes no quantity (`backtest.engine.feed` scales the prices instead).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray
from agents.gate.rules import QUANTITY_DECIMALS
from agents.messages import OrderReason


@dataclass(frozen=True)
class RoundTrip:
    """
    One closed position: profit net of commissions, in the account's currency.

    `exit` is the reason of the order that closed it.
    """

    index: int
    ts_open: int
    ts_close: int
    profit: float
    exit: OrderReason


class Ledger:
    """
    Positions of one account, netted by instrument.

    Shapes: quantity, average, mark, rate (N,). `average` is the mean entry price, `mark` the
    newest price known, `rate` the value of one unit of the quote currency in the account's.
    """

    def __init__(self, size: int) -> None:
        self.quantity: FloatArray = np.zeros(size)
        self.average: FloatArray = np.zeros(size)
        self.mark: FloatArray = np.full(size, np.nan)
        self.rate: FloatArray = np.ones(size)
        self.traded_notional = 0.0
        self.commissions = 0.0
        self.round_trips: list[RoundTrip] = []
        self._opened = np.zeros(size, dtype=np.int64)
        self._profit = np.zeros(size)

    def fill(
        self,
        i: int,
        quantity: float,
        price: float,
        commission: float,
        ts: int,
        reason: OrderReason,
    ) -> None:
        """Book a signed fill of instrument `i`; a fill across zero closes and reopens."""
        held = self.quantity[i]
        self.traded_notional += abs(quantity) * price * self.rate[i]
        self.commissions += commission
        if held * quantity >= 0:
            if held == 0:
                self._opened[i], self._profit[i] = ts, 0.0
            total = np.round(held + quantity, QUANTITY_DECIMALS)
            cost = held * self.average[i] + quantity * price
            self.average[i] = cost / total if held != 0 else price  # to the last bit
            self.quantity[i] = total
            self._profit[i] -= commission
            return
        closed = np.sign(quantity) * min(abs(quantity), abs(held))
        share = closed / quantity
        self._profit[i] += -closed * (price - self.average[i]) * self.rate[i] - commission * share
        self.quantity[i] = np.round(held + closed, QUANTITY_DECIMALS)
        if self.quantity[i] == 0:
            profit = float(self._profit[i])
            self.round_trips.append(RoundTrip(i, int(self._opened[i]), ts, profit, reason))
            rest = np.round(quantity - closed, QUANTITY_DECIMALS)
            self.average[i] = 0.0
            if rest != 0:
                self._opened[i], self._profit[i] = ts, -commission * (1 - share)
                self.quantity[i], self.average[i] = rest, price

    def revalue(self, price: FloatArray, sources: Sequence[tuple[int, bool] | None]) -> None:
        """Take exchange rates from prices (N,), as `Universe.rate_sources` says where."""
        for i, source in enumerate(sources):
            if source is not None and np.isfinite(price[source[0]]):
                value = float(price[source[0]])
                self.rate[i] = 1.0 / value if source[1] else value

    def unrealised(self) -> float:
        """Return the open positions' profit at the marks, in the account's currency."""
        held = self.quantity != 0
        move = (self.mark - self.average)[held]
        return float(np.sum(self.quantity[held] * move * self.rate[held]))

    def notional(self) -> FloatArray:
        """Return the signed value of each position at its mark, in the account's currency."""
        return np.where(self.quantity != 0, self.quantity * self.mark * self.rate, 0.0)

    def take_session(self) -> tuple[float, float]:
        """Return the traded notional and commissions since the last call, and start again."""
        traded = self.traded_notional, self.commissions
        self.traded_notional = self.commissions = 0.0
        return traded
