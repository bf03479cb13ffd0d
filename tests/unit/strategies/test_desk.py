"""
The desk between its events: cases that leave, decisions that come, orders that are sent.

Each test lets a small market run through a real engine to a mind that asks for known weights.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from nautilus_trader.model.enums import OrderSide, OrderType

from agents.messages import (
    Case,
    Decision,
    FillRecord,
    OrderRecord,
    Outcome,
    Reward,
    Route,
    Verdict,
)
from backtest.engine.book_spec import BookSpec
from backtest.engine.desk_result import EngineLog, Records
from backtest.engine.desk_setup import make_desk, observe
from backtest.engine.run_book import load, make_engine
from backtest.market.market_data import MarketData, canonical
from config.errors import Halt, OrderFailed
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings
from strategies.desk import Desk
from strategies.ports import SimulatedPort
from tests.conftest import session
from tests.scripted_mind import Wants

FIRST = 30  # the session at whose close the desk first decides
HOUR_MS = 3_600_000.0
FREE = MarketSettings(cost_frac=0.0, spread_bps=0.0, slippage_probability=0.0)


class Asks(Wants):
    """Asks for given weights from each session on, and keeps its cases."""

    needs_features = True

    def __init__(self, weights: dict[int, dict[str, float]] | None = None) -> None:
        super().__init__({0: {}} | (weights or {}))
        self.cases: list[Case] = []
        self.heard: list[str] = []

    def observe(self, feedback) -> None:
        self.heard += ["observe"] * bool(feedback)

    def learn(self, feedback) -> None:
        self.heard += ["learn"] * bool(feedback)

    def decide(self, case, panel, *, latency_ns, expires):
        self.cases.append(case)
        self.heard.append("decide")
        return super().decide(case, panel, latency_ns=latency_ns, expires=expires)


@dataclass
class Ran:
    """What a run leaves: the desk, what it published, and the orders that the engine was sent."""

    desk: Desk
    records: Records
    orders: list

    def of(self, kind):
        return self.records.of(kind)


def rules(*, limits=None, market=FREE, **desk) -> Settings:
    return Settings(
        market=market,
        limits=msgspec.structs.replace(UNLIMITED, **(limits or {})),
        desk=DeskSettings(**{"no_trade_band": 0.0, "panel_sessions": 25} | desk),
    )


def run(market: MarketData, mind: Asks, settings: Settings | None = None) -> Ran:
    """Let a market run to a mind; an error of the desk is raised."""
    spec = BookSpec("test", market, settings or rules(), session(FIRST)[1])

    def make_port(time, deliver):
        return SimulatedPort(mind, time, deliver, latency_ns=spec.latency_ns, expires=spec.expires)

    desk, cash = make_desk(spec, make_port)
    engine = make_engine(market, spec.settings, cash, EngineLog().config)
    try:
        load(engine, spec.feed)
        engine.add_strategy(desk)
        records = observe(engine.kernel.msgbus, None, None)
        engine.run(start=spec.start, end=spec.end)
        return Ran(desk, records, engine.kernel.cache.orders())
    except BaseException:
        engine.trader.stop()
        raise
    finally:
        engine.dispose()


def steady(sessions: int, price: float = 100.0) -> np.ndarray:
    """Return bars that hardly move: open, high, low, close a session."""
    wiggle = 1 + 0.001 * np.sin(np.arange(sessions))
    return np.column_stack([price * wiggle] * 4) * np.array([1, 1.0005, 0.9995, 1])


@pytest.fixture
def market_of(make_market):
    """Return a maker of steady markets of AAA and BBB; a symbol's bars may be others."""

    def make(sessions: int = 50, **prices: np.ndarray) -> MarketData:
        bars = {"AAA": steady(sessions), "BBB": steady(sessions, 50.0)} | prices
        return make_market(symbols=("AAA", "BBB"), sessions=sessions, prices=bars, news_every=0)

    return make


def without(market: MarketData, symbol: str, days: range) -> MarketData:
    """Return the market without a symbol's bars of some sessions."""
    closes = [session(day)[1] for day in days]
    gone = (market.bars["symbol"] == symbol) & market.bars["ts_close"].isin(closes)
    return canonical(MarketData(**{**market.__dict__, "bars": market.bars[~gone]}))


# --- when a case leaves, and what it shows -------------------------------------------------------


@pytest.mark.parametrize("every", [1, 5])
def test_the_first_case_leaves_at_the_first_close_that_may_decide_and_then_every_so_often(
    market_of, every
):
    mind = Asks()
    run(market_of(), mind, rules(decide_every_sessions=every))
    assert [c.ts_init for c in mind.cases] == [session(d)[1] for d in range(FIRST, 50, every)]


def test_a_case_shows_the_whole_universe_as_it_is_held_at_the_close(market_of):
    mind = Asks({32: {"BBB": 0.3}})
    ran = run(market_of(), mind)
    assert {tuple(s.symbol for s in c.instruments) for c in mind.cases} == {("AAA", "BBB")}
    held = {c.ts_init: [s.weight for s in c.instruments] for c in mind.cases}
    assert held[session(32)[1]] == [0.0, 0.0]
    np.testing.assert_allclose(held[session(33)[1]], [0.0, 0.3], atol=0.002)
    assert mind.cases[-1].portfolio.equity == ran.desk.history.equity[-1]


def test_a_case_shows_the_news_since_the_last_case_newest_first(make_market):
    mind = Asks()
    market = make_market(symbols=("AAA", "BBB"), sessions=50, news_every=1)
    run(market, mind, rules(decide_every_sessions=2))
    shown = [(n.symbol, n.item_id) for n in mind.cases[3].news]
    assert shown == [("AAA", "AAA-36"), ("AAA", "AAA-35"), ("BBB", "BBB-36"), ("BBB", "BBB-35")]


def test_news_beyond_what_a_case_shows_are_counted(make_market):
    market = make_market(symbols=("AAA", "BBB"), sessions=50, news_every=1)
    mind = Asks()
    ran = run(market, mind, rules(decide_every_sessions=2, news_per_symbol=1))
    shown = sum(len(c.news) for c in mind.cases)
    assert {len(c.news) for c in mind.cases} == {2}
    known = sum(n.ts_init <= mind.cases[-1].ts_init for n in market.news)
    assert ran.desk.cases.news_left_out == known - shown


def test_what_has_vanished_is_not_asked_about(market_of):
    mind = Asks()
    run(without(market_of(), "BBB", range(34, 50)), mind)
    there = {c.ts_init: [s.symbol for s in c.instruments] for c in mind.cases}
    assert there[session(42)[1]] == ["AAA", "BBB"]
    assert there[session(43)[1]] == ["AAA"]


# --- when a decision comes -----------------------------------------------------------------------


def test_a_decision_is_sent_at_the_next_opening_as_market_orders(market_of):
    ran = run(market_of(), Asks({32: {"AAA": 0.3}, 33: {}, 36: {"AAA": 0.1}, 37: {}}))
    sent = ran.of(OrderRecord)
    assert [(o.ts_event, o.reason) for o in sent] == [
        (session(33)[0], "decision"),
        (session(37)[0], "decision"),
    ]
    assert {o.order_type for o in ran.orders} == {OrderType.MARKET}
    assert [o.side for o in sorted(ran.orders, key=lambda o: o.ts_init)] == [
        OrderSide.BUY,
        OrderSide.SELL,
    ]


def test_a_late_decision_misses_openings_and_trades_its_quantity_at_the_next_one(market_of):
    bars = steady(50)
    bars[33:] *= 1.2  # before the delivery, and after the case
    ran = run(
        market_of(AAA=bars), Asks({32: {"AAA": 0.3}, 33: {}}), rules(latency_ms=30 * HOUR_MS)
    )
    (order,) = ran.of(OrderRecord)
    delivered = session(32)[1] + int(30 * HOUR_MS * 1e6)
    assert session(33)[1] < delivered < session(34)[0]
    assert (order.ts_decided, order.ts_held) == (session(32)[1], delivered)
    assert order.ts_event == session(34)[0]
    assert order.quantity == np.floor(0.3 * 100_000 / bars[33, 3])


def test_a_decision_that_comes_after_its_expiry_is_counted_and_changes_nothing(market_of):
    settings = rules(latency_ms=100 * HOUR_MS, expiry_sessions=2)
    ran = run(market_of(), Asks({30: {"AAA": 0.3}}), settings)
    delivered = sum(
        session(d)[1] + 100 * HOUR_MS * 1e6 <= session(49)[1] for d in range(FIRST, 50)
    )
    assert 0 < delivered <= ran.desk.dropped_decisions
    assert ran.of(Decision) == ran.of(Verdict) == ran.of(OrderRecord) == ()


def test_a_target_without_a_price_until_its_expiry_is_counted_and_sends_nothing(market_of):
    market = without(market_of(), "BBB", range(FIRST + 1, FIRST + 4))
    settings = rules(decide_every_sessions=100, expiry_sessions=2)
    ran = run(market, Asks({FIRST: {"BBB": 0.3}}), settings)
    assert ran.desk.gate.state.expired.tolist() == [1]
    assert ran.of(OrderRecord) == ()
    assert len(ran.of(Decision)) == 1


def test_a_target_without_a_price_waits_for_one_until_its_expiry(market_of):
    market = without(market_of(), "BBB", range(FIRST + 1, FIRST + 4))
    settings = rules(decide_every_sessions=100, expiry_sessions=5)
    ran = run(market, Asks({FIRST: {"BBB": 0.3}}), settings)
    assert [o.ts_event for o in ran.of(OrderRecord)] == [session(FIRST + 4)[0]]
    assert ran.desk.gate.state.expired.tolist() == [0]


def test_to_ask_for_the_weight_of_the_case_is_to_hold_whatever_the_price_did_since(market_of):
    bars = steady(50)
    bars[36:] *= 1.3
    ran = run(
        market_of(AAA=bars), Asks({32: {"AAA": 0.3}, 33: {}}), rules(latency_ms=30 * HOUR_MS)
    )
    assert len(ran.of(OrderRecord)) == 1


def test_a_weight_that_is_no_number_stops_the_desk(market_of):
    with pytest.raises(Halt, match="expected finite target weights of decision"):
        run(market_of(), Asks({32: {"AAA": np.nan}}))


def test_each_decision_has_a_verdict_with_a_line_for_each_instrument_that_it_asks_for(market_of):
    limits = {"max_position": 0.2, "headroom": 0.9}
    ran = run(market_of(), Asks({32: {"AAA": 0.5, "BBB": 0.1}}), rules(limits=limits))
    decision = next(d for d in ran.of(Decision) if d.ts_event == session(32)[1])
    delivery, dispatch = (v for v in ran.of(Verdict) if v.decision_id == decision.decision_id)
    assert (delivery.stage, delivery.ts_event) == ("delivery", decision.ts_init)
    assert [(x.symbol, x.asked, x.limit) for x in delivery.lines] == [
        ("AAA", 0.5, "position"),
        ("BBB", 0.1, ""),
    ]
    np.testing.assert_allclose([x.allowed for x in delivery.lines], [0.18, 0.1])
    assert (dispatch.stage, dispatch.ts_event) == ("dispatch", session(33)[0])
    assert [x.symbol for x in dispatch.lines] == ["AAA", "BBB"]


# --- when orders leave ---------------------------------------------------------------------------


def test_a_decision_that_asks_for_what_is_held_sends_nothing(market_of):
    ran = run(market_of(), Asks())
    assert len(ran.of(Decision)) == 20
    assert ran.of(OrderRecord) == ran.of(FillRecord) == ()
    assert ran.orders == []


def test_a_change_within_the_band_is_not_traded_and_an_exit_always_is(market_of):
    asks = {32: {"AAA": 0.3}, 35: {"AAA": 0.28}, 38: {"AAA": 0.0}}
    ran = run(market_of(), Asks(asks), rules(no_trade_band=0.05))
    assert [o.ts_event for o in ran.of(OrderRecord)] == [session(33)[0], session(39)[0]]
    assert ran.desk.ledger.quantity.tolist() == [0.0, 0.0]
    judged = [v.ts_event for v in ran.of(Verdict) if v.stage == "dispatch"]
    assert judged == [o.ts_event for o in ran.of(OrderRecord)]


def test_at_one_opening_sells_are_sent_before_buys(market_of):
    asks = {32: {"AAA": 0.0, "BBB": 0.9}, 36: {"AAA": 0.9, "BBB": 0.0}}
    ran = run(market_of(), Asks(asks))
    swap = [o for o in ran.of(OrderRecord) if o.ts_event == session(37)[0]]
    assert [(o.symbol, o.quantity < 0) for o in swap] == [("BBB", True), ("AAA", False)]
    filled = [f for f in ran.of(FillRecord) if f.ts_event == session(37)[0]]
    assert filled[0].symbol == "BBB"


def test_under_the_kill_switch_nothing_is_bought_and_the_verdict_says_why(market_of):
    ran = run(market_of(), Asks({32: {"AAA": 0.3}}), rules(limits={"kill_switch": True}))
    assert ran.of(OrderRecord) == ()
    lines = [x for v in ran.of(Verdict) for x in v.lines]
    assert {(x.symbol, x.allowed, x.limit) for x in lines} == {("AAA", 0.0, "kill_switch")}


def test_an_order_is_cut_to_its_share_of_the_volume_and_the_rest_is_sent_later(market_of):
    settings = rules(
        limits={"max_volume_frac": 3e-4}, decide_every_sessions=100, expiry_sessions=10
    )
    ran = run(market_of(), Asks({FIRST: {"AAA": 0.9}}), settings)
    most = 3e-4 * ran.desk.gate.mean_volume()[0]
    sizes = [o.quantity for o in ran.of(OrderRecord)]
    assert len(sizes) > 2
    assert max(sizes) <= most
    assert sum(sizes) == pytest.approx(900, abs=2)


def test_a_close_beyond_the_stop_sells_the_whole_position_with_a_market_order(market_of):
    bars = steady(60)
    bars[40:] *= 0.9
    limits = {"stop": "fraction", "stop_loss": 0.05, "stop_cooldown_sessions": 5}
    asks = {32: {"AAA": 0.3}, 33: {}, 42: {"AAA": 0.3}, 45: {}}
    ran = run(market_of(60, AAA=bars), Asks(asks), rules(limits=limits))
    bought, stopped, again = ran.of(OrderRecord)
    assert (stopped.reason, stopped.ts_event) == ("stop", session(41)[0])
    assert stopped.quantity == -bought.quantity
    assert ran.orders[1].order_type == OrderType.MARKET
    verdict = next(v for v in ran.of(Verdict) if v.ts_event == session(41)[0])
    assert verdict.stage == "risk"
    # asked for again, and refused until the stop's own session and four more have closed
    at = {
        v.ts_event: v.lines[0].limit for v in ran.of(Verdict) if v.stage == "delivery" if v.lines
    }
    asked = [session(d)[1] + 2_000_000_000 for d in (42, 43, 44)]
    assert [at[ts] for ts in asked] == ["stop_loss", "stop_loss", ""]
    assert again.ts_event == session(45)[0]


def test_the_stop_lies_where_the_average_entry_puts_it_and_goes_with_the_position(market_of):
    limits = {"stop": "fraction", "stop_loss": 0.05}
    kept = run(market_of(), Asks({32: {"AAA": 0.3}}), rules(limits=limits)).desk
    assert kept.gate.state.stop_below[0, 0] == pytest.approx(0.95 * kept.ledger.average[0])
    left = run(market_of(), Asks({32: {"AAA": 0.3}, 36: {"AAA": 0.0}}), rules(limits=limits)).desk
    assert np.isneginf(left.gate.state.stop_below).all()


def test_a_vanished_position_is_left_even_where_a_decision_holds_it(market_of):
    market = without(market_of(), "BBB", range(35, 50))
    ran = run(market, Asks({32: {"BBB": 0.3}, 33: {}}))
    bought, left = ran.of(OrderRecord)
    assert (left.reason, left.ts_event) == ("delisted", session(45)[0])
    assert left.quantity == -bought.quantity


@pytest.mark.parametrize("how", ["denied", "rejected", "expired", "canceled"])
def test_an_order_that_is_not_filled_fails_the_run(market_of, how):
    desk = run(market_of(), Asks()).desk

    class Event:
        client_order_id, instrument_id, reason = "O-1", "AAA.SIM", "no margin"

    with pytest.raises(OrderFailed, match=r"expected order O-1 of AAA\.SIM to be filled, was"):
        getattr(desk, f"on_order_{how}")(Event())


# --- what comes of it ----------------------------------------------------------------------------


def test_costs_and_turnover_are_recorded_in_the_session_of_the_fill(market_of):
    market = msgspec.structs.replace(FREE, cost_frac=0.01)
    ran = run(market_of(), Asks({32: {"AAA": 0.3}, 33: {}}), rules(market=market))
    history, (fill, *_) = ran.desk.history, ran.of(FillRecord)
    fills = [f for f in ran.of(FillRecord) if f.ts_event == session(33)[0]]
    paid = sum(f.commission for f in fills)
    at = history.ts.index(session(33)[1])
    assert fill.ts_event == session(33)[0]
    assert history.costs[at] == pytest.approx(paid) == pytest.approx(300, rel=0.01)
    assert history.turnover[at] == pytest.approx(0.3, rel=0.01)
    assert history.costs[at - 1] == history.turnover[at - 1] == 0.0
    assert history.costs[-1] == history.turnover[-1] == 0.0


class Routed(Asks):
    """Routes AAA to all juniors and is convinced."""

    def decide(self, case, panel, **times):
        decision = super().decide(case, panel, **times)
        route = Route(symbol="AAA", arm=6, context=(0.0,) * 16, scores=(0.0,) * 7)
        return msgspec.structs.replace(decision, routes=(route,))


def test_what_came_of_a_route_is_counted_and_learned_before_the_next_case(market_of):
    mind = Routed()
    ran = run(market_of(), mind, rules(horizon="short"))
    assert mind.heard[:4] == ["decide", "observe", "learn", "decide"]
    outcomes, rewards = ran.of(Outcome), ran.of(Reward)
    assert [o.ts_event for o in outcomes] == [session(d)[1] for d in range(FIRST + 1, 50)]
    assert [(r.decision_id, r.ts_event) for r in rewards] == [
        (o.decision_id, o.ts_event) for o in outcomes
    ]
    assert ran.desk.outcomes.open_routes == 1
