"""
Books what the venue pays and charges besides trades: dividends, interest, financing.

It is a Nautilus simulation module, called before each event is processed. Dividends are credited
at the ex-date's opening on what was held before it; interest (act/365) accrues on idle cash at the
rate that was known when the interval began, in percent a year as FRED prints it; borrowed or
shorted notional of unfunded instruments pays financing. Both accrue at each session's first event.
It sees the desk's ledger and nothing later than the event's stamp.
"""

from collections.abc import Sequence

import numpy as np
from nautilus_trader.backtest.modules import SimulationModule, SimulationModuleConfig
from nautilus_trader.model.objects import Money
from numpy.typing import NDArray

from backtest.market.rules import YEAR_NS, interest
from strategies.instruments import to_currency
from strategies.ledger import Ledger

NEVER = 2**63 - 1


class CashFlows(SimulationModule):
    """
    Adjusts the simulated account.

    `dividends` are (ts, index, cash per engine unit) sorted by ts; `rates` (ts known, percent a
    year) sorted by ts; `funded` (N,) is True where holding needs cash; `session_closes` are the
    stamps after which a new session's accrual is due.
    """

    def __init__(
        self,
        ledger: Ledger,
        currency: str,
        *,
        dividends: Sequence[tuple[int, int, float]],
        rates: Sequence[tuple[int, float]],
        funded: NDArray[np.bool_],
        financing_frac: float,
        session_closes: Sequence[int],
        accrue_from: int,
    ) -> None:
        super().__init__(SimulationModuleConfig())
        self._ledger = ledger
        self._currency = to_currency(currency)
        self._dividends = list(dividends)
        self._rates = list(rates)
        self._funded = funded
        self._financing = financing_frac
        self._closes = [ts for ts in session_closes if ts >= accrue_from]
        self._accrued_until = accrue_from
        self._next_dividend = self._next_rate = self._next_close = 0
        self._rate = 0.0
        self._learn_rate(accrue_from)
        self._due = self._next_due()
        self.credited = {"dividends": 0.0, "interest": 0.0, "financing": 0.0}
        self.risk_free = 0.0  # what cash has earned so far, summed as fractions

    def pre_process(self, data: object) -> None:
        """Credit what is due at this event's stamp, before anything trades on it."""
        ts = data.ts_init  # type: ignore[attr-defined]  # any Nautilus Data
        if ts < self._due:
            return
        if self._next_close < len(self._closes) and ts > self._closes[self._next_close]:
            self._accrue(ts)
        while self._next_dividend < len(self._dividends):
            due, i, cash = self._dividends[self._next_dividend]
            if due > ts:
                break
            self._next_dividend += 1
            self._adjust("dividends", float(self._ledger.quantity[i]) * cash)
        self._due = self._next_due()

    def process(self, ts_now: int) -> None:
        """Do nothing after an event: all flows come before it."""

    def log_diagnostics(self, logger: object) -> None:
        """Say nothing: the report tells the flows."""

    def reset(self) -> None:
        """Refuse: a module serves one run."""
        raise RuntimeError("expected one run a module, was reset")

    def _next_due(self) -> int:
        """Return the first stamp at which anything can be due again."""
        due = [ts for ts, _, _ in self._dividends[self._next_dividend : self._next_dividend + 1]]
        due += [ts + 1 for ts in self._closes[self._next_close : self._next_close + 1]]
        return min(due, default=NEVER)

    def _accrue(self, ts: int) -> None:
        while self._next_close < len(self._closes) and ts > self._closes[self._next_close]:
            self._next_close += 1
        years = (ts - self._accrued_until) / YEAR_NS
        self._accrued_until = ts
        self.risk_free += self._rate / 100 * years
        notional = self._ledger.notional()
        balance = float(self.exchange.get_account().balance_total(self._currency).as_double())
        tied = float(
            (self._ledger.quantity * self._ledger.average * self._ledger.rate)[self._funded].sum()
        )
        self._adjust("interest", float(interest(balance, tied, self._rate, years)))
        unfunded = float(np.abs(notional[~self._funded]).sum())
        self._adjust("financing", -unfunded * self._financing * years)
        self._learn_rate(ts)  # for the interval that begins here

    def _learn_rate(self, ts: int) -> None:
        """Take the newest rate known at a stamp."""
        while self._next_rate < len(self._rates) and self._rates[self._next_rate][0] <= ts:
            self._rate = self._rates[self._next_rate][1]
            self._next_rate += 1

    def _adjust(self, kind: str, amount: float) -> None:
        money = Money(amount, self._currency)
        if money.as_double() != 0.0:
            self.credited[kind] += money.as_double()
            self.exchange.adjust_account(money)
