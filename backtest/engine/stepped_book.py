"""
A book of the real engine that is stepped from outside, a session at a time.

The engine runs in a greenlet. The desk's mind hands each session's case to the caller and waits
there for target weights; the engine goes on to the next close. Everything else is the desk's own
path: the gate, the pending targets, the venue, the cash flows. Nautilus keeps process-wide state,
so a process has one such book at a time; `close` ends its greenlet and disposes of its engine.

A ruined book decides nothing any more: its closes come without a case.

It knows no learner, observation or reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from greenlet import getcurrent, greenlet
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.component import Clock

from agents.arrays import FloatArray, Panel
from agents.baselines import plain_decision
from agents.messages import Case, Decision, FillRecord, OrderRecord
from agents.protocols import Mind
from backtest.engine.book_spec import BookSpec
from backtest.engine.desk_result import EngineLog, check_end
from backtest.engine.desk_setup import make_desk, observe
from backtest.engine.feed import Feed, make_feed
from backtest.engine.run_book import load, make_engine
from backtest.market.market_data import MarketData
from config.errors import DataError, RunIncomplete
from config.settings import Settings
from strategies.ports import SimulatedPort
from strategies.timekeeper import Callback, EngineTime

POLICY = "environment"


@dataclass(frozen=True)
class Close:
    """
    The book at a session's close.

    Shapes: quantity, weights (N,). `case` holds the instruments that are listed, and is None where
    the book is ruined. `balance` is the account's cash, `fills` what was filled since
    the close before, `orders` what was sent, `fees` in the account's currency, `turnover` the
    traded notional over equity, `risk_free` what cash earned, a fraction; `last` says that no
    session follows.
    """

    ts: int
    case: Case | None
    equity: float
    balance: float
    drawdown: float
    risk_free: float
    fees: float
    turnover: float
    quantity: FloatArray
    weights: FloatArray
    orders: tuple[OrderRecord, ...]
    fills: tuple[FillRecord, ...]
    last: bool


class _Scripted(Mind):
    """A mind that asks the caller: it switches to the greenlet that steps the book."""

    name = POLICY

    def __init__(self, symbols: Sequence[str], needs_features: bool) -> None:
        self.needs_features = needs_features
        self.decided_at = -1  # the stamp of the newest case
        self._index = {symbol: i for i, symbol in enumerate(symbols)}

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the decision that the caller's weights make of what is listed."""
        self.decided_at = case.ts_event
        weights: FloatArray = getcurrent().parent.switch(case)
        by_symbol = {s.symbol: float(weights[self._index[s.symbol]]) for s in case.instruments}
        return plain_decision(case, by_symbol, POLICY, latency_ns=latency_ns, expires=expires)


class _CloseTime(EngineTime):
    """The engine's time, which calls `after` with the stamp of each session's close, when done."""

    def __init__(self, clock: Clock, after: Callback) -> None:
        super().__init__(clock)
        self._after = after

    def alert(self, name: str, ts: int, callback: Callback) -> None:
        """Set an alert; a session's close is followed by `after`."""
        if name != f"close-{ts}":
            super().alert(name, ts, callback)
            return

        def both(now: int) -> None:
            callback(now)
            self._after(now)

        super().alert(name, ts, both)


class EngineBook:
    """
    One book in the engine, from the close of one session on.

    `feed` is the market's, as `make_feed` returns it, where several books share it; `features`
    says whether cases are to carry news, reports and macro values. The settings must decide
    every session.

    Raises RuntimeError while another book of this process is open, RunIncomplete as
    `backtest.engine.run_book.run_book` does.
    """

    _open: EngineBook | None = None

    def __init__(
        self,
        market: MarketData,
        settings: Settings,
        *,
        start: int,
        feed: Feed | None = None,
        features: bool = False,
    ) -> None:
        if not 0 <= start < len(market.session_closes) - 1:
            raise DataError(
                f"expected a start before the last of {len(market.session_closes)} sessions, "
                f"was {start}"
            )
        if settings.desk.decide_every_sessions != 1:
            raise DataError(
                f"expected decide_every_sessions 1, was {settings.desk.decide_every_sessions}"
            )
        if EngineBook._open is not None:
            raise RuntimeError("expected one engine a process, was another book still open")
        self.market, self.settings = market, settings
        mind = self._mind = _Scripted(market.symbols, features)
        spec = self._spec = BookSpec(POLICY, market, settings, market.session_closes[start])
        self.desk, self.cash = make_desk(
            spec,
            lambda time, deliver: SimulatedPort(
                mind, time, deliver, latency_ns=spec.latency_ns, expires=spec.expires
            ),
            make_time=lambda clock: _CloseTime(clock, self._pause),
        )
        self._log = EngineLog()
        self._engine: BacktestEngine = make_engine(market, settings, self.cash, self._log.config)
        EngineBook._open = self
        load(self._engine, make_feed(market, settings.market, 0) if feed is None else feed)
        self._engine.add_strategy(self.desk)
        self._records = observe(self._engine.kernel.msgbus, None, None)
        self._greenlet = greenlet(lambda: self._engine.run(start=spec.start, end=spec.end))
        self._seen_fills = self._seen_orders = 0
        self._seen_risk_free = 0.0

    def start(self) -> Close:
        """Run to the close of the starting session and return the book there."""
        return self._close(self._switch())

    def step(self, targets: FloatArray) -> Close:
        """
        Decide on target weights (N,) at the present close and go to the next one.

        What is asked of an instrument that is not listed has no effect. Raises ValueError for
        another shape or numbers that are not finite.
        """
        targets = np.asarray(targets, dtype=np.float64)
        if targets.shape != (len(self.market.instruments),) or not np.isfinite(targets).all():
            raise ValueError(
                f"expected {len(self.market.instruments)} finite target weights, was {targets}"
            )
        return self._close(self._switch(targets))

    def close(self) -> None:
        """End the run where it is and dispose of the engine; again is nothing."""
        if EngineBook._open is not self:
            return
        try:
            if self._greenlet and not self._greenlet.dead:
                self._greenlet.throw()
        finally:
            if self._engine.trader.is_running:
                self._engine.trader.stop()
            self._engine.dispose()
            EngineBook._open = None

    def check(self) -> None:
        """Raise RunIncomplete if the engine has logged an error."""
        self._log.check()

    def finish(self) -> None:
        """
        Run to the end with nothing more asked for than is held, check the run, and close.

        Raises RunIncomplete if the engine logged an error or the run may not be believed.
        """
        try:
            while self._greenlet and not self._greenlet.dead:
                self._greenlet.switch(self.desk.history.weights[-1])
            self.check()
            check_end(self._engine.portfolio, self.desk, self.market)
        finally:
            self.close()

    def _pause(self, ts: int) -> None:
        """Wait for the caller at the close of a session in which nothing was to be decided."""
        if ts >= self._spec.decide_from and self._mind.decided_at != ts:
            getcurrent().parent.switch(None)

    def _switch(self, *targets: FloatArray) -> Case | None:
        if EngineBook._open is not self or self._greenlet.dead:
            raise RuntimeError("expected an open book with a session to go on to, was closed")
        try:
            case: Case | None = self._greenlet.switch(*targets)
        except BaseException:
            self.close()
            raise
        if self._greenlet.dead:
            raise RunIncomplete("expected another close, was the run's end")
        return case

    def _close(self, case: Case | None) -> Close:
        desk, history = self.desk, self.desk.history
        orders, fills = self._records.of(OrderRecord), self._records.of(FillRecord)
        at_orders, at_fills = self._seen_orders, self._seen_fills
        self._seen_orders, self._seen_fills = len(orders), len(fills)
        risk_free = self.cash.risk_free - self._seen_risk_free
        self._seen_risk_free = self.cash.risk_free
        account = desk.portfolio.account(desk.universe.ids[0].venue)
        return Close(
            ts=history.ts[-1],
            case=case,
            equity=history.equity[-1],
            balance=float(account.balance_total().as_double()),
            drawdown=desk.gate.drawdown,
            risk_free=risk_free,
            fees=history.costs[-1],
            turnover=float(history.turnover[-1]),
            quantity=desk.ledger.quantity.copy(),
            weights=history.weights[-1],
            orders=orders[at_orders:],
            fills=fills[at_fills:],
            last=history.ts[-1] >= self.market.session_closes[-1],
        )
