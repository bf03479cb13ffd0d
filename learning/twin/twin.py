"""
The twin: many books in lockstep, one session a step, traded as the desk trades.

One step goes from a session's close, where weights are decided, to the next close. In between,
event by event as in the engine: the decision is delivered a latency later and cut by the gate;
at an opening interest, financing and dividends are booked, then what waits is judged in whole
lots and filled; stops are tested on every bar's close. At the session's close the gate takes the
session in and asks for the reduction of what drifted. A decision that arrives after an opening
waits for the next one.

It is `strategies.desk` with a decision every session and a constant latency, over arrays: the
gate and its state are `agents.gate`'s, the venue is `learning.twin.venue`. A step loops over a
session's bar slots, never over books or instruments. It makes no observation and no reward.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.limits import LIMIT_CODES
from agents.gate.measures import value_at_risk
from agents.gate.risk_model import RiskModel
from agents.gate.rules import (
    QUANTITY_DECIMALS,
    Holding,
    Market,
    delivery_targets,
    drifted,
    judge,
    stop_width,
    tightened,
)
from agents.gate.state import DELISTED, GateState, Pending, Rows
from backtest.market.rules import YEAR_NS, interest
from config.errors import ConfigError
from config.settings import Settings
from learning.twin.exchange_rates import ExchangeRates
from learning.twin.market_arrays import NEVER, MarketArrays, by_session
from learning.twin.risk_arrays import RiskReader
from learning.twin.step import Dispatch, Step
from learning.twin.venue import SlippageStream, fill_orders, fixed, make_terms, money, send_ranks

SLIPPAGE_SHIFTS = 1 << 16  # where in the stream a book's slippage begins


class Twin:
    """
    B books over some markets. Shapes: market, t, equity, drawdown (B,); weights, quantity (B, N).

    `weights` are those at the last marks. With `record` every dispatch is kept and each book
    reads the stream of slippage from its start, as an engine does.

    Raises ConfigError for a desk whose decisions take longer than a session.
    """

    def __init__(
        self, market_arrays: MarketArrays, settings: Settings, batch: int, *, record: bool = False
    ) -> None:
        latency = settings.desk.latency_ns
        if latency >= np.diff(market_arrays.ts_close, axis=1).min():
            raise ConfigError(
                "desk.latency_ms: expected less than a session where policies are trained, "
                f"was {settings.desk.latency_ms:g}"
            )
        n = len(market_arrays.instruments)
        self.market_arrays, self.settings = market_arrays, settings
        self.batch, self.record = batch, record
        self._limits, self._tight = settings.limits, tightened(settings.limits)
        self._year = market_arrays.sessions_per_year
        self._band = settings.band(len(market_arrays.instruments))
        self._latency = latency
        self._financing = settings.market.financing_bps_per_year / 1e4
        self._terms = make_terms(
            market_arrays.instruments,
            market_arrays.fee_frac,
            market_arrays.rate_sources,
            settings.market.currency,
        )
        self._risk = RiskReader(market_arrays.risk, market_arrays.group, market_arrays.shortable)
        self._exchange = ExchangeRates(market_arrays)
        self._flat = by_session(market_arrays)
        newest = self._flat["last_close"]
        self._listed = np.isfinite(newest) & self._exchange.known(newest)
        self._listed &= self._flat["age"] < settings.market.delisting_sessions
        self._pays = self._flat["dividends"].any(axis=1)
        self._funded = market_arrays.funded.astype(np.float64)
        self.market: IntArray = np.zeros(batch, np.int64)
        self.t: IntArray = np.zeros(batch, np.int64)
        self.quantity: FloatArray = np.zeros((batch, n))
        self.weights: FloatArray = np.zeros((batch, n))
        self.equity: FloatArray = np.zeros(batch)
        self._average: FloatArray = np.zeros((batch, n))
        self._mark: FloatArray = np.full((batch, n), np.nan)
        self._rate: FloatArray = np.ones((batch, n))
        self._balance: FloatArray = np.zeros(batch)  # in the currency's last digit
        self._accrued_until: IntArray = np.zeros(batch, np.int64)
        self._earning: FloatArray = np.zeros(batch)  # the rate since then, percent a year
        self.gate = GateState(batch, n, settings.limits)
        self._seed = 0
        self._slippage = self._slippage_stream()
        self._model: RiskModel | None = None

    # --- episodes ----------------------------------------------------------------------------

    def reset(
        self, market: IntArray, session: IntArray, seed: int, *, where: BoolArray | None = None
    ) -> None:
        """
        Start books at the close of `session`, each with a fresh account.

        `seed` is that of the slippage; where only some books start, they go on in their streams.
        Shapes: all (B,). Raises ValueError for a market or session that the arrays lack,
        or a session that none follows.
        """
        which = np.ones(self.batch, bool) if where is None else where
        if where is None:
            self._seed = seed
            self._slippage = self._slippage_stream()
        self.market = np.where(which, market, self.market)
        self.t = np.where(which, session, self.t)
        last = self.market_arrays.sessions - 2
        beyond = (self.market < 0) | (self.market >= self.market_arrays.markets) | (self.t < 0)
        beyond |= which & (self.t > last)
        if beyond.any():
            raise ValueError(
                f"expected markets in 0..{self.market_arrays.markets - 1} and sessions in "
                f"0..{last}, was market {self.market[beyond][0]} and session {self.t[beyond][0]}"
            )
        cash = self.settings.market.starting_cash
        row = self._row(0)
        self.quantity[which] = self._average[which] = self.weights[which] = 0.0
        self._mark[which] = self._flat["last_close"][row[which]]
        self._rate[which] = self._exchange.rates(
            np.ones_like(self._rate[which]), self._mark[which]
        )
        self._balance[which] = money(np.array(cash), self._terms.account_scale)
        self.equity[which] = cash
        self._accrued_until[which] = self._flat["ts_close"][row[which]]
        self._earning[which] = self._flat["risk_free_close"][row[which]]
        self.gate.reset(which, cash)
        self._model = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that a bit-equal continuation needs."""
        own = {name: getattr(self, name).copy() for name in _STATE}
        gate = {f"gate_{name}": values for name, values in self.gate.arrays().items()}
        slippage = {"slippage": self._slippage.count.copy(), "seed": np.array(self._seed)}
        return own | gate | slippage

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a state. Raises ValueError for that of a twin of another size."""
        if state["quantity"].shape != self.quantity.shape:
            raise ValueError(
                f"expected the state of {self.quantity.shape} books and instruments, "
                f"was {state['quantity'].shape}"
            )
        for name in _STATE:
            setattr(self, name, state[name].copy())
        self.gate.restore(
            {k.removeprefix("gate_"): v for k, v in state.items() if k.startswith("gate_")}
        )
        self._seed = int(state["seed"])
        self._slippage = self._slippage_stream()
        self._slippage.count = state["slippage"].copy()
        self._model = None

    @property
    def drawdown(self) -> FloatArray:
        """How far each book stands below its peak, a fraction; (B,)."""
        return self.gate.drawdown

    @property
    def var_frac(self) -> FloatArray:
        """
        The one-day 99% VaR of each book at its last close; NaN while none is known; (B,).

        It reads every book's scenarios, which a step mostly need not.
        """
        model = self._risk.at(self.market, self.t)
        known = model.known.any(axis=-1)
        return np.where(known, value_at_risk(self.weights, model), np.nan)

    @property
    def listed(self) -> BoolArray:
        """
        What may be asked for at the present close, as the desk's cases hold it; (B, N).

        It has had a bar, is not vanished, and its currency has a rate.
        """
        return self._listed[self._row(0)]

    @property
    def balance(self) -> FloatArray:
        """The accounts' balances, without what open positions have gained; (B,)."""
        return fixed(self._balance, self._terms.account_scale)

    # --- a session ---------------------------------------------------------------------------

    def step(
        self,
        targets: FloatArray,
        *,
        decides: BoolArray | None = None,
        latency_ns: IntArray | None = None,
    ) -> Step:
        """
        Go to the next close with the weights (B, N) decided at the present one.

        What is asked of an instrument that is not listed has no effect.
        `decides` (B,) says which books decide at all, by default every one; `latency_ns` (B,) how
        long their decisions are on their way, by default the desk's.
        Raises ValueError for targets of another shape or not finite, or where a book has no next
        session; ConfigError for a desk that does not decide every session, unless `decides` says
        which does.
        """
        if decides is None and self.settings.desk.decide_every_sessions != 1:
            raise ConfigError(
                "desk.decide_every_sessions: expected 1 where policies are trained, "
                f"was {self.settings.desk.decide_every_sessions}"
            )
        asked = np.asarray(targets, dtype=np.float64)
        if asked.shape != self.quantity.shape or not np.isfinite(asked).all():
            raise ValueError(
                f"expected finite weights of shape {self.quantity.shape}, "
                f"was {asked.shape} with {int((~np.isfinite(asked)).sum())} not finite"
            )
        if np.any(self.t + 1 >= self.market_arrays.sessions):
            raise ValueError(
                f"expected a session after {self.market_arrays.sessions - 1}, was none"
            )
        before = self.equity.copy()
        solvent = before > 0
        now, self._next = self._row(0), self._row(1)
        self._now = now
        self._asked = np.where(self.listed, asked, 0.0)
        if self._model is None:
            self._model = self._risk.at(self.market, self.t)
        latency = self._latency if latency_ns is None else latency_ns
        self._arrives = np.asarray(self._flat["ts_close"][now] + latency, np.int64)
        self._expires = self._flat["ts_expires"][now]
        self._left = solvent.copy()  # decisions on their way; a ruined book makes none
        if decides is not None:
            self._left &= decides
        self._unmoved = True  # whether books are still as they closed
        self._due = self._flat["ts_accrue"][self._next]
        self._cause = np.zeros(asked.shape, np.int64)
        self._traded, self._fees = np.zeros(self.batch), np.zeros(self.batch)
        self._risk_free = np.zeros(self.batch)
        self._dispatches: list[Dispatch] = []
        for k in range(self.market_arrays.ts_bar.shape[2]):
            self._open_slot(k)
            self._close_slot(k)
        self._deliver(self._left)
        self._close_session()
        growth = np.divide(self.equity, before, out=np.ones(self.batch), where=solvent) - 1.0
        return Step(
            growth=growth,
            risk_free=self._risk_free,
            fees=self._fees,
            turnover=np.divide(
                self._traded, self.equity, out=np.zeros(self.batch), where=self.equity > 0
            ),
            limited=(self._cause != 0).any(axis=1),
            cause=self._cause,
            loss_beyond_limit=-growth > self._limits.max_var,
            dispatches=tuple(self._dispatches),
        )

    def _open_slot(self, k: int) -> None:
        """Take the opening quotes of a slot: book cash flows, send what waits."""
        ts = self._flat["ts_bar"][self._next, k]
        self._deliver(self._left & (self._arrives < ts))
        self._unmoved = False
        self._accrue(self._due <= ts)
        self._deliver(self._left & (self._arrives == ts))  # before what waits is sent
        waits = self.gate.held_since < ts[:, None]
        if not waits.any():
            return
        waits &= np.isfinite(self._flat["bid"][self._next, k])
        wanted = waits.any(axis=1)
        if wanted.any():
            rows = self._rows(wanted)
            self._dispatch(rows, k, ts[rows])

    def _close_slot(self, k: int) -> None:
        """Take the bars of a slot, and test the stops on their closes."""
        ts = self._flat["ts_end"][self._next, k]
        self._deliver(self._left & (self._arrives < ts))
        self._accrue(self._due <= ts)
        close = self._flat["close"][self._next, k]
        hit = (close <= self.gate.stop_below) | (close >= self.gate.stop_above)
        stopped = hit.any(axis=1)
        if stopped.any():
            rows = np.flatnonzero(stopped)
            self.gate.stop_out(rows, hit[rows], ts[rows])

    def _deliver(self, which: BoolArray) -> None:
        """Cut the decisions that arrive, at the marks of now, and let them wait."""
        if not which.any():
            return
        rows, self._left = self._rows(which), self._left & ~which
        model = self._model_of(rows)
        holding = self._holding(rows)
        held = self.weights[rows] if self._unmoved else holding.weights()
        asked = np.where(self._asked[rows] == self.weights[rows], held, self._asked[rows])
        blocked = self._blocked(rows, self._now, self._flat["last_close"][self._now[rows]], model)
        allowed, cause = delivery_targets(asked, held, blocked, model, self._tight, self._year)
        arrives = self._arrives[rows]
        decided = self._flat["ts_close"][self._now[rows]]
        self.gate.decide(rows, held, allowed, holding, arrives, decided, self._expires[rows])
        self._cause[rows] = cause

    def _dispatch(self, rows: Rows, k: int, ts: IntArray) -> None:
        """Judge what waits at the prices of an opening, and fill the orders."""
        at = self._next[rows]
        bid, ask = self._flat["bid"][at, k], self._flat["ask"][at, k]
        fresh = np.isfinite(bid)
        self._mark[rows] = np.where(fresh, (bid + ask) / 2, self._mark[rows])
        self._rate[rows] = self._exchange.rates(self._rate[rows], self._mark[rows])
        holding = self._holding(rows)
        model = self._model_of(rows)
        pending = self.gate.take(rows, ts, fresh)
        solvent = np.asarray(holding.equity)[:, None] > 0
        wanted = np.where(solvent, pending.weights(holding, self._band), 0.0)
        blocked = self._blocked(rows, self._now, holding.price, model)
        quantity, cause, self.gate.orders[rows] = judge(
            wanted,
            holding,
            pending.movable,
            pending.forced,
            Market(blocked, self._flat["volume"][self._now[rows]]),
            self.gate.orders[rows],
            model,
            self._limits,
        )
        cut = pending.movable & (cause == LIMIT_CODES["volume"]) & ~pending.reduced
        self.gate.wait_on(rows, cut, ts)
        cause = np.where(pending.movable.any(axis=1, keepdims=True), cause, 0)
        self._cause[rows] = np.where(self._cause[rows] == 0, cause, self._cause[rows])
        order = np.round(quantity - holding.quantity, QUANTITY_DECIMALS)
        sends = order.any(axis=1)
        if sends.all():
            self._fill(rows, k, ts, order, pending)
        elif sends.any():
            books = np.arange(self.batch)[rows][sends]
            self._fill(books, k, ts[sends], order[sends], pending.take(sends))

    def _fill(self, rows: Rows, k: int, ts: IntArray, order: FloatArray, pending: Pending) -> None:
        """Send orders (R, N) to the venue, and set the stops of what was filled."""
        at = self._next[rows]
        held = self.quantity[rows]
        rank = send_ranks(order, held)
        rate_bid, rate_ask = self._exchange.quotes(at, k)
        done = fill_orders(
            self._terms,
            self._slippage,
            order,
            rank,
            held,
            self._average[rows],
            bid=self._flat["bid"][at, k],
            ask=self._flat["ask"][at, k],
            size=self._flat["size"][at, k],
            tick=self._flat["tick"][at, k],
            rate=self._rate[rows],
            rate_bid=rate_bid,
            rate_ask=rate_ask,
            rows=rows,
        )
        self.quantity[rows], self._average[rows] = done.quantity, done.average
        self._balance[rows] += done.balance
        self._traded[rows] += done.traded
        self._fees[rows] += done.fees
        width = stop_width(self._flat["volatility"][self._now[rows]], self._limits)
        self.gate.set_stops(rows, order != 0, done.quantity, done.average, width)
        if self.record:
            books = np.arange(self.batch)[rows]
            self._dispatches.append(
                Dispatch(
                    books, ts, rank, done.fills, self._rate[rows], pending.exits, pending.reduced
                )
            )

    def _accrue(self, which: BoolArray) -> None:
        """Book interest, financing and dividends at a session's first event."""
        which = which & (self._due != NEVER)
        if not which.any():
            return
        ts, self._due = self._due, np.where(which, NEVER, self._due)
        scale = self._terms.account_scale
        years = np.where(which, ts - self._accrued_until, 0) / YEAR_NS
        self._accrued_until = np.where(which, ts, self._accrued_until)
        rate = self._earning
        self._earning = np.where(which, self._flat["risk_free"][self._next], rate)
        self._risk_free = np.where(which, rate / 100 * years, self._risk_free)
        tied = (self.quantity * self._average * self._rate) @ self._funded
        earned = interest(fixed(self._balance, scale), tied, rate, years)
        self._balance = self._balance + money(earned, scale)
        if not self._funded.all():
            held = self.quantity != 0
            value = np.where(held, np.abs(self.quantity) * self._mark * self._rate, 0.0)
            owed = (value @ (1.0 - self._funded)) * self._financing * years
            self._balance = self._balance + money(-owed, scale)
        if self._pays[self._next].any():
            paid = money(self.quantity * self._flat["dividends"][self._next], scale).sum(axis=1)
            self._balance = self._balance + np.where(which, paid, 0.0)

    def _close_session(self) -> None:
        """Mark the book, take the session in, and ask for the reduction of what drifted."""
        self.t = self.t + 1
        row = self._next
        self._mark = self._flat["last_close"][row]
        self._rate = self._exchange.rates(self._rate, self._mark)
        holding = self._holding(slice(None))
        self.equity = np.asarray(holding.equity)
        self.gate.close_session(self.equity)
        self._model = self._risk.at(self.market, self.t)
        solvent = self.equity > 0
        self.weights = np.where(solvent[:, None], holding.weights(), 0.0)
        closed = self._flat["ts_close"][row]
        gone = self._flat["age"][row] == self.settings.market.delisting_sessions
        gone &= np.isfinite(self._mark)
        some = gone.any(axis=1)
        if some.any():
            rows = self._rows(some)
            self.gate.force(rows, gone[rows], DELISTED, closed[rows])
        beyond = drifted(self.weights, self._model, self._limits) & solvent[:, None]
        some = beyond.any(axis=1)
        if some.any():
            rows = self._rows(some)
            held, model = self.weights[rows], self._model_of(rows)
            blocked = self._blocked(rows, row, self._mark[rows], model)
            targets, _ = delivery_targets(held, held, blocked, model, self._tight, self._year)
            self.gate.reduce(rows, beyond[rows], targets, self._holding(rows), closed[rows])

    # --- what a book is ----------------------------------------------------------------------

    def _row(self, ahead: int) -> IntArray:
        """Return where the present session, or one ahead, lies in the flat arrays."""
        return self.market * self.market_arrays.sessions + self.t + ahead

    def _rows(self, which: BoolArray) -> Rows:
        """Return an index of some books: all of them without a copy."""
        return slice(None) if which.all() else np.flatnonzero(which)

    def _model_of(self, rows: Rows) -> RiskModel:
        assert self._model is not None
        return self._model if isinstance(rows, slice) else self._model.take(rows)

    def _blocked(
        self, rows: Rows, session: IntArray, price: FloatArray, model: RiskModel
    ) -> IntArray:
        at = session[rows]
        return self.gate.blocked(
            rows, price, self._flat["last_close"][at], self._flat["age"][at], model.known
        )

    def _holding(self, rows: Rows) -> Holding:
        """Return the books at their marks, equity and all."""
        quantity, mark, rate = self.quantity[rows], self._mark[rows], self._rate[rows]
        held = quantity != 0
        gain = np.where(held, quantity * (mark - self._average[rows]) * rate, 0.0).sum(axis=1)
        equity = fixed(self._balance[rows], self._terms.account_scale) + gain
        return Holding(quantity, mark, rate, self.market_arrays.lot, equity)

    def _slippage_stream(self) -> SlippageStream:
        shift = np.zeros(self.batch, np.int64)
        if not self.record:
            shift = np.random.default_rng(self._seed).integers(0, SLIPPAGE_SHIFTS, self.batch)
        probability = self.settings.market.slippage_probability
        return SlippageStream(probability, self._seed, self.batch, shift=shift)


_STATE = (
    *("market", "t", "quantity", "weights", "equity", "_average", "_mark", "_rate"),
    *("_balance", "_accrued_until", "_earning"),
)
