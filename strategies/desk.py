"""
The desk: the strategy to read first.

Events come in, a case goes out through the port, a decision comes back, the gate judges it, and
orders leave at the next tradable price. One session runs like this:

    opening quote   -> what is pending is dispatched: judged at these prices, sent, filled
    bars            -> the session's prices; a close beyond a stop forces an exit
    news, reports   -> evidence for the features and for the next case
    closing alert   -> features, marks, outcomes, learning; the gate looks for drift;
                       when a decision is due, a case leaves through the port
    delivery alert  -> the decision's verdict; its targets wait for the next opening quote

Everything that happens is published on the bus; observers subscribe, and the desk does not know
of them. Prices inside are engine prices: as quoted, times the splits since the run began, so
that a split moves no quantity; features and records see prices and volumes as quoted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nautilus_trader.common.component import Clock
from nautilus_trader.common.generators import ClientOrderIdGenerator
from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.data import Bar, BarType, DataType, QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import (
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.trading.strategy import Strategy
from numpy.typing import NDArray

from agents.arrays import FloatArray, Panel
from agents.features.batch import FeatureEngine
from agents.gate.limits import LIMIT_CODES
from agents.gate.measures import measure
from agents.gate.rules import QUANTITY_DECIMALS, Holding
from agents.gate.state import DELISTED, Pending
from agents.messages import (
    Case,
    Decision,
    FillRecord,
    FundamentalsReport,
    Instrument,
    Message,
    NewsItem,
    OrderReason,
    OrderRecord,
    Portfolio,
    Reward,
    SessionReturns,
)
from agents.protocols import Feedback
from agents.supervisor.reward import route_reward, route_use
from config.errors import Halt, OrderFailed
from config.settings import Settings
from strategies.data import Action, Fundamentals, Macro, News, to_fundamentals, to_macro, to_news
from strategies.ledger import Ledger
from strategies.orders import by_gate, in_order, reason
from strategies.outcomes import OutcomeBook
from strategies.ports import Port
from strategies.recorder import SESSION_TOPIC, TOPIC
from strategies.risk import Gate, Judgement
from strategies.timekeeper import EngineTime, Timekeeper

type MakePort = Callable[[Timekeeper, Callable[[Decision], None]], Port]

CLIENT = ClientId("QUARTERDECK")  # the data client of news, reports, macro values and actions
EVERY = slice(None)  # of the gate's books: the one
REPORTS_PER_SYMBOL = 8
VOLUME_PRECISION = 2  # decimals; no lot is finer


class DeskConfig(StrategyConfig, frozen=True):  # type: ignore[call-arg]  # untyped
    """Nautilus's part of the desk's configuration; the rest is `config.settings.Settings`."""


@dataclass(frozen=True)
class Universe:
    """
    What the desk trades: instruments sorted by symbol, each beside its Nautilus identity.

    `rate_sources[i]` is the index of the pair that turns the quote currency of `i` into the
    account's, and whether it is to be inverted; None where they are the same. `cost_frac` (N,) is
    one fill's commission, `session_closes` the closing stamps at which the desk wakes.
    """

    instruments: tuple[Instrument, ...]
    ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...]
    cost_frac: FloatArray
    rate_sources: tuple[tuple[int, bool] | None, ...]
    session_closes: tuple[int, ...]


@dataclass
class History:
    """
    The book, a row a session; the columns of `backtest.results.Book`.

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


def _batch(holding: Holding) -> Holding:
    """Return a holding as a batch of one."""
    equity = np.array([holding.equity])
    one = holding.quantity[None], holding.price[None], holding.rate[None]
    return Holding(*one, holding.lot, equity)


class Desk(Strategy):
    """
    One book: a universe, a mind, a gate, and the state between them.

    `decide_from` is the first stamp at which a case may be made; before it, sessions only warm
    the features up. `make_time` is given the desk's Nautilus clock, `make_port` the time and the
    callback for decisions.
    """

    def __init__(
        self,
        universe: Universe,
        settings: Settings,
        gate: Gate,
        features: FeatureEngine,
        make_port: MakePort,
        *,
        decide_from: int,
        make_time: Callable[[Clock], Timekeeper] = EngineTime,
    ) -> None:
        super().__init__(DeskConfig(strategy_id="DESK-000"))
        self.universe = universe
        self.settings = settings
        self.gate = gate
        self.features = features
        self.history = History()
        self.last_ts = 0
        self.dropped_decisions = 0
        n = len(universe.instruments)
        self.ledger = Ledger(n)
        spread = settings.market.spread_bps / 2e4
        self.outcomes = OutcomeBook(universe.instruments, universe.cost_frac + spread)
        self._make_port = make_port
        self._make_time = make_time
        self._decide_from = decide_from
        self._index = {instrument_id: i for i, instrument_id in enumerate(universe.ids)}
        self._symbol_index = {x.symbol: i for i, x in enumerate(universe.instruments)}
        self._lot = np.array([i.lot_size for i in universe.instruments])
        self._scale = np.array([10.0**i.printed_precision for i in universe.instruments])
        self._factor = np.ones(n)  # shares now per share when the run began
        self._dividends = np.zeros(n)  # of this session, per engine unit
        self._session: list[list[float] | None] = [None] * n
        self._mid = np.full(n, np.nan)  # the newest quotes while something waits, and their stamps
        self._mid_ts = np.zeros(n, dtype=np.int64)
        self._waiting = False  # whether anything waits: a quote's first question, asked often
        self._dispatch_at = -1
        self._below = memoryview(gate.state.stop_below[0])
        self._above = memoryview(gate.state.stop_above[0])
        self._held_at_case: dict[int, FloatArray] = {}  # by the case's stamp
        self._pending_id = ""  # the decision that what waits was asked by
        self._news: dict[str, list[NewsItem]] = {}
        self._reports: dict[str, list[FundamentalsReport]] = {}
        self._orders: dict[str, tuple[OrderRecord, int]] = {}  # by id, with the fills so far
        self._sessions_since_decision = settings.desk.decide_every_sessions
        self._last_decision_id = ""

    # --- start and subscriptions -------------------------------------------------------------

    def on_start(self) -> None:
        """Subscribe to all data and set an alert at every session's close."""
        for instrument_id, bar_type in zip(
            self.universe.ids, self.universe.bar_types, strict=True
        ):
            self.subscribe_bars(bar_type)
            self.subscribe_quote_ticks(instrument_id)
        for kind in (Action, News, Fundamentals, Macro):
            self.subscribe_data(DataType(kind), client_id=CLIENT)
        self.time = self._make_time(self.clock)
        self._order_ids = ClientOrderIdGenerator(self.trader_id, self.id, self.time.clock)
        self.port = self._make_port(self.time, self.on_decision)
        for ts in self.universe.session_closes:
            if ts > self.time.now_ns():
                self.time.alert(f"close-{ts}", ts, self.on_session_close)

    # --- market data -------------------------------------------------------------------------

    def on_bar(self, bar: Bar) -> None:
        """Fold a bar into its session and test the stop on its close."""
        i = self._index[bar.bar_type.instrument_id]
        close = bar.close.as_double()
        self.last_ts = bar.ts_init
        session = self._session[i]
        if session is None:
            self._session[i] = [
                bar.open.as_double(),
                bar.high.as_double(),
                bar.low.as_double(),
                close,
                bar.volume.as_double(),
            ]
        else:
            high, low = bar.high.as_double(), bar.low.as_double()
            if high > session[1]:
                session[1] = high
            if low < session[2]:
                session[2] = low
            session[3] = close
            session[4] += bar.volume.as_double()
        if close <= self._below[i] or close >= self._above[i]:
            self._stop_out(i, bar.ts_init)

    def on_quote_tick(self, quote: QuoteTick) -> None:
        """
        Wake the dispatch, once a stamp and after all its quotes, when something is pending.

        A quote without size is an exchange rate and offers nothing to trade.
        """
        if not self._waiting or quote.ask_size.raw == 0:
            return
        ts, i = quote.ts_init, self._index[quote.instrument_id]
        self._mid[i] = (quote.bid_price.as_double() + quote.ask_price.as_double()) / 2
        self._mid_ts[i] = ts
        if self._dispatch_at != ts and self.gate.state.held_since[0, i] < ts:
            self._dispatch_at = ts
            self.time.alert(f"dispatch-{ts}", ts, self.on_dispatch)

    def on_data(self, data: Any) -> None:
        """Take in corporate actions, news, reports and macro values."""
        if isinstance(data, Action):
            i = self._symbol_index[data.symbol]
            self._dividends[i] += data.dividend * self._factor[i]
            self._factor[i] *= data.split
            self.features.on_action(data.symbol, data.split, data.dividend)
        elif not self.port.needs_features:
            return
        elif isinstance(data, News):
            item = to_news(data)
            self.features.on_news(item)
            self._news.setdefault(item.symbol, []).append(item)
        elif isinstance(data, Fundamentals):
            report = to_fundamentals(data)
            self.features.on_fundamentals(report)
            self._reports.setdefault(report.symbol, []).append(report)
        elif isinstance(data, Macro):
            self.features.on_macro(to_macro(data))

    # --- the session's end -------------------------------------------------------------------

    def on_session_close(self, ts: int) -> None:
        """Mark the book, close outcomes, learn, look for drift and decide when it is due."""
        opened, high, low, close, volume = self._take_session()
        quoted = np.array([opened, high, low, close]) / self._factor
        prices = np.rint(quoted * self._scale) / self._scale  # as printed, to the last bit
        self.features.on_session(
            ts, prices[0], prices[1], prices[2], prices[3], np.round(volume, VOLUME_PRECISION)
        )
        ledger = self.ledger
        ledger.mark = np.where(np.isfinite(close), close, ledger.mark)
        self._update_rates(ledger.mark)
        equity = self._equity()
        panel = self.features.panel()
        self._publish_returns(ts, panel)
        age = self.gate.close_session(close, volume / self._factor, panel.returns, equity)
        self._learn(ts, opened, close)
        self.msgbus.publish(SESSION_TOPIC, ts)
        if ts >= self._decide_from:
            holding = self._holding(ledger.mark, equity)
            held = holding.weights() if equity > 0 else np.zeros(len(close))
            self._record_session(ts, equity, held)
            self._leave_delisted(ts, age)
            if not equity > 0:  # ruined: the gate has halted the book
                return
            self._reduce_drift(ts, held, holding)
            self._sessions_since_decision += 1
            if self._sessions_since_decision >= self.settings.desk.decide_every_sessions:
                self._sessions_since_decision = 0
                self._send_case(ts, held, equity, self._listed(age))

    def _publish_returns(self, ts: int, panel: Panel) -> None:
        """Publish the panel's newest row; no row changes later, and a case is given these."""
        if self.port.needs_features and len(panel.returns):
            newest = panel.returns[-1].tolist()
            returns = tuple(None if r != r else r for r in newest)
            self._publish(SessionReturns(ts_event=ts, symbols=panel.symbols, returns=returns))

    def _take_session(self) -> FloatArray:
        """Return open, high, low, close, volume (5, N) of the session, NaN where no bar came."""
        missing = [np.nan] * 5
        rows = np.array([missing if s is None else s for s in self._session])
        self._session = [None] * len(self._session)
        return rows.T

    def _learn(self, ts: int, opened: FloatArray, close: FloatArray) -> None:
        closed = self.outcomes.close_session(ts, opened, close, self._dividends)
        self._dividends = np.zeros_like(self._dividends)
        feedback = []
        for item in closed:
            tokens, seconds = route_use((*item.opinions, *item.abstentions))
            reward = route_reward(item.outcome, tokens, seconds, self.settings.supervisor)
            feedback.append(Feedback(item.route, item.opinions, item.outcome, reward))
            self._publish(item.outcome)
            self._publish(
                Reward(
                    decision_id=item.outcome.decision_id,
                    symbol=item.outcome.symbol,
                    ts_event=ts,
                    learner="supervisor",
                    value=reward,
                    tokens=tokens,
                )
            )
        self.port.learn(feedback)

    def _record_session(self, ts: int, equity: float, held: FloatArray) -> None:
        traded, costs = self.ledger.take_session()
        measures = measure(held, self.gate.model)
        known = bool(self.gate.model.known.any())
        history = self.history
        history.ts.append(ts)
        history.equity.append(equity)
        history.turnover.append(traded / equity if equity > 0 else 0.0)
        history.costs.append(costs)
        history.var_frac.append(float(measures.var) if known else np.nan)
        history.weights.append(held)

    def _leave_delisted(self, ts: int, age: NDArray[np.int64]) -> None:
        """Leave what had no bar for too long, at the next price: the feed gives one."""
        gone = age == self.settings.market.delisting_sessions
        gone &= np.isfinite(self.ledger.mark)
        if gone.any():  # held or not: what was to be bought is not any more
            self.gate.state.force(EVERY, gone[None], DELISTED, np.array([ts]))
            self._wait(self._last_decision_id)

    def _reduce_drift(self, ts: int, held: FloatArray, holding: Holding) -> None:
        """Ask for a reduction, at the next opening, of a book that drifted beyond a limit."""
        drifted = self.gate.drifted(held)
        if drifted.any():
            targets, _ = self.gate.targets(held, held)
            self.gate.state.reduce(
                EVERY, drifted[None], targets[None], _batch(holding), np.array([ts])
            )
            self._wait(self._last_decision_id)

    def _listed(self, age: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell what may be asked for (N,): not vanished, and its currency has a rate."""
        listed: NDArray[np.bool_] = age < self.settings.market.delisting_sessions
        for i, source in enumerate(self.universe.rate_sources):
            if source is not None:
                listed[i] &= np.isfinite(self.ledger.mark[source[0]])
        return listed

    def _send_case(
        self, ts: int, held: FloatArray, equity: float, listed: NDArray[np.bool_]
    ) -> None:
        states, macro = self.features.snapshot(ts).to_states(self.universe.instruments, held)
        states = tuple(s for s in states if listed[self._symbol_index[s.symbol]])
        news = [
            item
            for symbol in sorted(self._news)
            for item in sorted(
                self._news[symbol], key=lambda n: (-n.ts_init, -n.ts_event, n.source, n.item_id)
            )[: self.settings.desk.news_per_symbol]
        ]
        self._news.clear()
        reports = [
            report
            for symbol in sorted(self._reports)
            for report in self._reports[symbol][-REPORTS_PER_SYMBOL:]
        ]
        invested = float(np.abs(held).sum())
        panel = self.features.panel([state.symbol for state in states])
        case = Case(
            ts_event=ts,
            ts_init=ts,
            trigger="schedule",
            horizon=self.settings.desk.horizon,
            instruments=states,
            macro=macro,
            portfolio=Portfolio(
                equity=equity, cash=equity * (1.0 - invested), drawdown=self.gate.drawdown
            ),
            news=tuple(news),
            fundamentals=tuple(reports),
            track=self.port.track(),
            panel_digest=hashlib.sha256(panel.returns.tobytes()).hexdigest(),
        )
        self._publish(case)
        self._held_at_case[ts] = held
        self.port.send(case, panel)

    # --- decisions and orders ----------------------------------------------------------------

    def on_decision(self, decision: Decision) -> None:
        """Record a delivered decision and let its targets, as the gate allows, wait for prices."""
        now = self.time.now_ns()
        at_case = self._held_at_case[decision.ts_event]
        for ts in [ts for ts in self._held_at_case if ts <= decision.ts_event]:
            del self._held_at_case[ts]
        if now > decision.expires:
            self.dropped_decisions += 1
            return
        self._publish(decision)
        self._last_decision_id = decision.decision_id
        self.outcomes.add(decision, self.settings.desk.horizon)
        equity = self._equity()
        holding = self._holding(self.ledger.mark, equity)
        held = holding.weights()
        asked = self._asked(decision, at_case, held)
        allowed, cause = self.gate.targets(asked, held)
        var = float(measure(allowed, self.gate.model).var)
        judged = Judgement(held, asked, allowed, self.ledger.quantity, cause, var)
        self._publish(self.gate.verdict(decision.decision_id, now, "delivery", judged))
        self.gate.state.decide(
            EVERY,
            held[None],
            allowed[None],
            _batch(holding),
            np.array([now]),
            np.array([decision.ts_event]),
            np.array([decision.expires]),
        )
        self._wait(decision.decision_id)

    def _asked(self, decision: Decision, at_case: FloatArray, held: FloatArray) -> FloatArray:
        """
        Return the weights that a decision asks for; to ask for the case's weight is to hold.

        Raises Halt for a weight that is no number.
        """
        asked = np.zeros(len(held))
        for symbol, weight in decision.allocation.weights.items():
            if not np.isfinite(weight):
                raise Halt(
                    f"expected finite target weights of decision {decision.decision_id}, "
                    f"was {weight} for {symbol}"
                )
            asked[self._symbol_index[symbol]] = weight
        return np.where(asked == at_case, held, asked)

    def on_dispatch(self, ts: int) -> None:
        """Judge what is pending at the prices of this stamp, and send the orders."""
        fresh = self._mid_ts == ts
        price = np.where(fresh, self._mid, self.ledger.mark)
        self.ledger.mark = price
        self._update_rates(price)
        holding = self._holding(price, self._equity())
        state, now = self.gate.state, np.array([ts])
        pending = state.take(EVERY, now, fresh[None])
        movable = pending.movable[0]
        if movable.any():
            self._dispatch(ts, holding, pending)
        self._waiting = state.waits

    def _dispatch(self, ts: int, holding: Holding, pending: Pending) -> None:
        movable, forced = pending.movable[0], pending.forced[0]
        held = holding.weights() if float(holding.equity) > 0 else np.zeros(len(movable))
        asked = held
        if float(holding.equity) > 0:
            band = self.settings.band(len(movable))
            asked = pending.weights(_batch(holding), band)[0]
        judged = self.gate.judge(asked, holding, movable, forced)
        change = np.round(judged.quantity - holding.quantity, QUANTITY_DECIMALS)
        cut = movable & (judged.cause == LIMIT_CODES["volume"]) & ~pending.reduced[0]
        self.gate.state.wait_on(EVERY, cut[None], np.array([ts]))
        if not change.any() and not judged.cause.any():
            return
        stage = "risk" if by_gate(pending) else "dispatch"
        self._publish(self.gate.verdict(self._pending_id, ts, stage, judged))
        self._record_capacity(change, float(holding.equity))
        for i in in_order(change, holding.quantity):
            why = reason(pending, i, wanted=bool(asked[i] != held[i]))
            self._send(i, float(change[i]), pending, why, ts)

    def _record_capacity(self, change: FloatArray, equity: float) -> None:
        """Note the equity at which each order would be as large as its volume lets it be."""
        most = self.gate.limits.max_volume_frac * self.gate.mean_volume()
        sized = (change != 0) & np.isfinite(most)
        self.history.capacity += (equity * most[sized] / np.abs(change[sized])).tolist()

    def _wait(self, decision_id: str) -> None:
        self._pending_id = decision_id
        self._waiting = self.gate.state.waits

    def _send(self, i: int, quantity: float, pending: Pending, why: OrderReason, ts: int) -> None:
        instrument = self.cache.instrument(self.universe.ids[i])
        order = self.order_factory.market(
            instrument.id,
            OrderSide.BUY if quantity > 0 else OrderSide.SELL,
            instrument.make_qty(abs(quantity)),
            client_order_id=self._order_ids.generate(),
        )
        order_id = order.client_order_id.value
        record = OrderRecord(
            decision_id=self._pending_id,
            order_id=order_id,
            symbol=self.universe.instruments[i].symbol,
            ts_decided=int(pending.ts_decided[0, i]),
            ts_held=int(pending.ts_held[0, i]),
            ts_event=ts,
            quantity=quantity * float(self._factor[i]),
            reason=why,
        )
        self._orders[order_id] = (record, 0)
        self._publish(record)
        self.submit_order(order)

    def on_order_filled(self, event: OrderFilled) -> None:
        """Book a fill, publish it and set the stop."""
        i = self._index[event.instrument_id]
        order_id = event.client_order_id.value
        order, count = self._orders[order_id]
        self._orders[order_id] = (order, count + 1)
        sign = 1.0 if event.order_side == OrderSide.BUY else -1.0
        quantity = sign * event.last_qty.as_double()
        price = event.last_px.as_double()
        commission = event.commission.as_double()
        rate = self.ledger.rate[i] if str(event.commission.currency) != self.currency else 1.0
        self.ledger.fill(i, quantity, price, commission * rate, event.ts_event, order.reason)
        quote = self.cache.quote_tick(event.instrument_id)
        factor = float(self._factor[i])
        self._publish(
            FillRecord(
                decision_id=order.decision_id,
                order_id=order_id,
                fill_id=f"{order_id}-{count}",
                symbol=self.universe.instruments[i].symbol,
                ts_event=event.ts_event,
                ts_price=quote.ts_event,
                quantity=quantity * factor,
                price=price / factor,
                commission=commission * rate,
            )
        )
        ledger = self.ledger
        self.gate.state.set_stops(
            EVERY,
            self._only(i),
            ledger.quantity[None],
            ledger.average[None],
            self.gate.stop_width()[None],
        )

    def _stop_out(self, i: int, ts: int) -> None:
        self.gate.state.stop_out(EVERY, self._only(i), np.array([ts]))
        self._wait(self._last_decision_id)

    def _only(self, i: int) -> NDArray[np.bool_]:
        """Return where instrument `i` is, as a batch of one; shapes: (1, N)."""
        return np.asarray(np.arange(len(self._lot))[None] == i, bool)

    def on_order_denied(self, event: OrderDenied) -> None:
        """Fail: an order that the gate let through was not taken."""
        self._fail(event, f"denied: {event.reason}")

    def on_order_rejected(self, event: OrderRejected) -> None:
        """Fail: an order that the gate let through was not taken."""
        self._fail(event, f"rejected: {event.reason}")

    def on_order_expired(self, event: OrderExpired) -> None:
        """Fail: a market order does not end unfilled."""
        self._fail(event, "expired")

    def on_order_canceled(self, event: OrderCanceled) -> None:
        """Fail: a market order does not end unfilled."""
        self._fail(event, "cancelled")

    def _fail(self, event: Any, how: str) -> None:
        raise OrderFailed(
            f"expected order {event.client_order_id} of {event.instrument_id} to be filled, "
            f"was {how}"
        )

    # --- the account -------------------------------------------------------------------------

    @property
    def currency(self) -> str:
        """The account's currency."""
        return self.settings.market.currency

    def _equity(self) -> float:
        account = self.portfolio.account(self.universe.ids[0].venue)
        return float(account.balance_total().as_double()) + self.ledger.unrealised()

    def _holding(self, price: FloatArray, equity: float) -> Holding:
        return Holding(self.ledger.quantity.copy(), price, self.ledger.rate, self._lot, equity)

    def _update_rates(self, price: FloatArray) -> None:
        for i, source in enumerate(self.universe.rate_sources):
            if source is not None and np.isfinite(price[source[0]]):
                value = float(price[source[0]])
                self.ledger.rate[i] = 1.0 / value if source[1] else value

    def _publish(self, message: Message) -> None:
        self.msgbus.publish(TOPIC, message)
