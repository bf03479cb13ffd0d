"""
The desk: the strategy to read first.

Events come in; a case goes out through the port to the mind; a decision comes back; the gate
judges it; orders leave at the next tradable price. One session runs like this:

    opening quote   -> what waits is dispatched: judged at these prices, sent, filled
    bars            -> the session's prices; a close beyond a stop forces an exit
    news, reports   -> evidence for the features and for the next case
    closing alert   -> features, marks, outcomes, learning; the gate looks for drift;
                       when a decision is due, a case leaves through the port
    delivery alert  -> the decision's verdict; its targets wait for the next opening quote

The desk keeps the order of events; each part of the work has a file of its own: `session_bars`
folds bars, `case_maker` makes cases, `ports` leads to the mind, `risk` is the gate, `orders` says
in which order what is sent, `ledger` counts what is held, `outcomes` says what decisions came to,
`history` keeps the book's rows. Everything that happens is published on the bus; observers
subscribe, and the desk does not know of them.

Prices inside are engine prices: as quoted, times the splits since the run began, so that a split
moves no quantity; features and records see prices and volumes as quoted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from nautilus_trader.common.component import Clock
from nautilus_trader.common.generators import ClientOrderIdGenerator
from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.data import Bar, DataType, QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import (
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.trading.strategy import Strategy

from agents.arrays import BoolArray, FloatArray, IntArray, Panel
from agents.features.feature_engine import FeatureEngine
from agents.gate.limits import LIMIT_CODES
from agents.gate.rules import QUANTITY_DECIMALS, Holding
from agents.gate.state import Pending
from agents.messages import Decision, FillRecord, Message, OrderReason, OrderRecord, SessionReturns
from agents.protocols import Feedback
from config.errors import Halt, OrderFailed
from config.settings import Settings
from strategies.case_maker import CaseMaker
from strategies.data import Action, Fundamentals, Macro, News
from strategies.history import History
from strategies.instruments import Universe
from strategies.ledger import Ledger
from strategies.orders import by_gate, in_order, reason
from strategies.outcomes import OutcomeBook
from strategies.ports import Port
from strategies.recorder import SESSION_TOPIC, TOPIC
from strategies.risk import Gate
from strategies.session_bars import SessionBars
from strategies.timekeeper import EngineTime, Timekeeper

type MakePort = Callable[[Timekeeper, Callable[[Decision], None]], Port]

CLIENT = ClientId("QUARTERDECK")  # the data client of news, reports, macro values and actions
VOLUME_PRECISION = 2  # decimals, or as many as the lot has


class Desk(Strategy):
    """
    One book: a universe, a port to its mind, a gate, and the state between them.

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
        super().__init__(StrategyConfig(strategy_id="DESK-000"))
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
        self.cases = CaseMaker(universe.instruments, settings.desk, features)
        self.session = SessionBars(n)
        self._make_port = make_port
        self._make_time = make_time
        self._decide_from = decide_from
        self._index = {instrument_id: i for i, instrument_id in enumerate(universe.ids)}
        self._symbol_index = {x.symbol: i for i, x in enumerate(universe.instruments)}
        self._lot = np.array([i.lot_size for i in universe.instruments])
        self._scale = np.array([10.0**i.printed_precision for i in universe.instruments])
        places = [max(VOLUME_PRECISION, i.size_precision) for i in universe.instruments]
        self._volume_scale = 10.0 ** np.array(places)
        self._factor = np.ones(n)  # shares now per share when the run began
        self._dividends = np.zeros(n)  # of this session, per engine unit
        self._mid = np.full(n, np.nan)  # the newest quotes while something waits, and their stamps
        self._mid_ts = np.zeros(n, dtype=np.int64)
        self._waiting = False  # whether anything waits: a quote's first question, asked often
        self._dispatch_at = -1
        self._held_at_case: dict[int, FloatArray] = {}  # by the case's stamp
        self._pending_id = ""  # the decision that what waits was asked by
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
        self.last_ts = bar.ts_init
        close = self.session.add(i, bar)
        if close <= self.gate.stop_below[i] or close >= self.gate.stop_above[i]:
            self.gate.stop_out(i, bar.ts_init)
            self._wait(self._last_decision_id)

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
        if self._dispatch_at != ts and self.gate.waits_since(i) < ts:
            self._dispatch_at = ts
            self.time.alert(f"dispatch-{ts}", ts, self.on_dispatch)

    def on_data(self, data: Any) -> None:
        """Take in corporate actions, news, reports and macro values."""
        if isinstance(data, Action):
            i = self._symbol_index[data.symbol]
            self._dividends[i] += data.dividend * self._factor[i]
            self._factor[i] *= data.split
            self.features.on_action(data.symbol, data.split, data.dividend)
        elif self.port.needs_features:
            self.cases.take(data)

    # --- the session's end -------------------------------------------------------------------

    def on_session_close(self, ts: int) -> None:
        """Mark the book, close outcomes, learn, look for drift and decide when it is due."""
        opened, high, low, close, volume = self.session.take()
        quoted = np.array([opened, high, low, close]) / self._factor
        prices = np.rint(quoted * self._scale) / self._scale  # as printed, to the last bit
        volumes = np.rint(volume * self._volume_scale) / self._volume_scale
        self.features.on_session(ts, prices[0], prices[1], prices[2], prices[3], volumes)
        ledger = self.ledger
        ledger.mark = np.where(np.isfinite(close), close, ledger.mark)
        ledger.revalue(ledger.mark, self.universe.rate_sources)
        equity = self._equity()
        panel = self.features.panel()
        self._publish_returns(ts, panel)
        age = self.gate.close_session(close, volume / self._factor, panel.returns, equity)
        self._learn(ts, opened, close)
        self.msgbus.publish(SESSION_TOPIC, ts)
        if ts >= self._decide_from:
            holding = self._holding(ledger.mark, equity)
            held = holding.weights() if equity > 0 else np.zeros(len(close))
            self.history.add_session(ts, equity, held, ledger, self.gate)
            self._leave_delisted(ts, age)
            if not equity > 0:  # ruined: the gate has halted the book
                return
            if self.gate.reduce_drift(held, holding, ts):
                self._wait(self._last_decision_id)
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

    def _learn(self, ts: int, opened: FloatArray, close: FloatArray) -> None:
        """Close the outcomes that end here, and let the mind learn from their rewards."""
        closed = self.outcomes.close_session(ts, opened, close, self._dividends)
        self._dividends = np.zeros_like(self._dividends)
        feedback = []
        for item in closed:
            reward = item.reward(self.settings.supervisor)
            feedback.append(Feedback(item.route, item.opinions, item.outcome, reward.value))
            self._publish(item.outcome)
            self._publish(reward)
        self.port.learn(feedback)

    def _leave_delisted(self, ts: int, age: IntArray) -> None:
        """Leave what had no bar for too long, at the next price: the feed gives one."""
        gone = age == self.settings.market.delisting_sessions
        gone &= np.isfinite(self.ledger.mark)
        if gone.any():
            self.gate.leave(gone, ts)
            self._wait(self._last_decision_id)

    def _listed(self, age: IntArray) -> BoolArray:
        """Tell what may be asked for (N,): not vanished, and its currency has a rate."""
        listed: BoolArray = age < self.settings.market.delisting_sessions
        for i, source in enumerate(self.universe.rate_sources):
            if source is not None:
                listed[i] &= np.isfinite(self.ledger.mark[source[0]])
        return listed

    def _send_case(self, ts: int, held: FloatArray, equity: float, listed: BoolArray) -> None:
        """Publish a case and send it to the mind; what is held then is kept beside it."""
        case, panel = self.cases.make(
            ts,
            held,
            listed,
            equity=equity,
            drawdown=self.gate.drawdown,
            track=self.port.track(),
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
        holding = self._holding(self.ledger.mark, self._equity())
        asked = self._asked(decision, at_case, holding.weights())
        judged = self.gate.judge_decision(asked, holding)
        self._publish(self.gate.verdict(decision.decision_id, now, "delivery", judged))
        self.gate.let_wait(decision, judged, holding, now)
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
        self.ledger.revalue(price, self.universe.rate_sources)
        pending = self.gate.take(ts, fresh)
        if pending.movable.any():
            self._dispatch(ts, self._holding(price, self._equity()), pending)
        self._waiting = self.gate.waits

    def _dispatch(self, ts: int, holding: Holding, pending: Pending) -> None:
        """Judge what may be sent at these prices; send the difference to what is held."""
        movable, forced = pending.movable[0], pending.forced[0]
        held = holding.weights() if float(holding.equity) > 0 else np.zeros(len(movable))
        asked = held
        if float(holding.equity) > 0:
            asked = self.gate.asked(pending, holding, self.settings.band(len(movable)))
        judged = self.gate.judge(asked, holding, movable, forced)
        change = np.round(judged.quantity - holding.quantity, QUANTITY_DECIMALS)
        cut = movable & (judged.cause == LIMIT_CODES["volume"]) & ~pending.reduced[0]
        self.gate.wait_on(cut, ts)
        if not change.any() and not judged.cause.any():
            return
        stage = "risk" if by_gate(pending) else "dispatch"
        self._publish(self.gate.verdict(self._pending_id, ts, stage, judged))
        self.history.add_orders(change, float(holding.equity), self.gate)
        for i in in_order(change, holding.quantity):
            why = reason(pending, i, wanted=bool(asked[i] != held[i]))
            self._send(i, float(change[i]), pending, why, ts)

    def _wait(self, decision_id: str) -> None:
        """Look at quotes from now on if anything waits; orders will name this decision."""
        self._pending_id = decision_id
        self._waiting = self.gate.waits

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
        self.gate.set_stop(i, self.ledger.quantity, self.ledger.average)

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

    def _publish(self, message: Message) -> None:
        self.msgbus.publish(TOPIC, message)
