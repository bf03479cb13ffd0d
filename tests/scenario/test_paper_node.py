"""The trading node's session against the backtest engine, where stamps meet and minds fail."""

import asyncio
import os
import signal
import threading
import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from agents.messages import Decision, FillRecord, Instrument, OrderRecord, Verdict
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData
from config.errors import ConfigError, Halt, RunIncomplete
from config.settings import DeskSettings, LimitSettings, MarketSettings, Settings
from live.node import run_paper_book
from strategies.desk import Desk
from tests.conftest import DAY_NS, session
from tests.scenario.test_spine import flat
from tests.scripted_mind import Wants

LIMITS = LimitSettings(min_history=20)
DECIDE_DAY = 30
WEIGHTS = {0: {}, 31: {"AAA": 0.08}, 34: {"AAA": 0.02, "BBB": 0.08}, 39: {"BBB": 0.0}}


def settings(latency_ms: float = 2_000.0, **market) -> Settings:
    return Settings(
        limits=LIMITS,
        desk=DeskSettings(latency_ms=latency_ms, panel_sessions=25),
        market=MarketSettings(**market),
    )


def run(run_book, market: MarketData, mind, settings: Settings, **options):
    return run_book(BookSpec("test", market, settings, session(DECIDE_DAY)[1]), mind, **options)


def stored(book, kind) -> list[bytes]:
    return [msgspec.json.encode(record) for record in book.records.of(kind)]


@pytest.fixture
def calm(make_market):
    prices = {s: flat(50, 100.0 * (k + 1)) for k, s in enumerate(("AAA", "BBB", "CCC", "DDD"))}
    prices["BBB"][40:] *= 0.95  # through its stop
    actions = [("AAA", 36, 2.0, 0.0), ("BBB", 38, 1.0, 0.5)]
    return make_market(sessions=50, prices=prices, actions=actions)


def round_the_clock(market: MarketData) -> MarketData:
    """Return a market whose sessions open a nanosecond after the close before."""
    bars = market.bars.copy()
    bars["ts_open"] = bars["ts_close"] - DAY_NS + 1
    return replace(market, bars=bars)


@pytest.mark.parametrize("latency_ms", [0.0, 2_000.0, 30 * 3_600_000.0])
@pytest.mark.parametrize("clock", ["days", "round the clock"])
def test_the_node_trades_as_the_engine_does(calm, latency_ms, clock):
    market = round_the_clock(calm) if clock == "round the clock" else calm
    chosen = settings(latency_ms, open_liquidity_frac=1e-5)
    engine, node = (
        run(book, market, Wants(WEIGHTS), chosen) for book in (run_book, run_paper_book)
    )
    orders = [fill.order_id for fill in node.records.of(FillRecord)]
    assert len(set(orders)) > 1
    assert clock != "days" or len(orders) > len(set(orders))  # a touch takes part of an order
    for kind in (Decision, Verdict, OrderRecord, FillRecord):
        assert stored(node, kind) == stored(engine, kind), kind
    np.testing.assert_array_equal(node.book.equity, engine.book.equity)
    assert node.cash_flows == engine.cash_flows


def test_profit_in_another_currency_agrees(make_market):
    pair = Instrument(
        symbol="USDJPY", venue="SIM", asset_class="forex", currency="JPY", price_precision=3
    )
    prices = {"USDJPY": flat(50, 110.0) * np.linspace(1, 1.03, 50)[:, None]}
    market = make_market(sessions=50, instruments=(pair,), prices=prices, news_every=0)
    mind = {0: {}, 31: {"USDJPY": 0.09}, 40: {"USDJPY": 0.0}}
    engine, node = (
        run(book, market, Wants(mind), settings()) for book in (run_book, run_paper_book)
    )
    assert len(node.records.of(FillRecord)) >= 2
    np.testing.assert_array_equal(node.book.equity, engine.book.equity)


class Failing(Wants):
    """Fails at the third decision."""

    def __init__(self, error: Exception) -> None:
        super().__init__({0: {}})
        self.error = error
        self.asked = 0

    def decide(self, case, panel, **times):
        self.asked += 1
        if self.asked == 3:
            raise self.error
        return super().decide(case, panel, **times)


def test_a_mind_that_fails_once_costs_one_decision_and_is_counted(calm):
    book = run(run_paper_book, calm, Failing(ConnectionError("no route")), settings())
    assert book.missed_decisions == 1
    assert len(book.records.of(Decision)) == 50 - DECIDE_DAY - 1


@pytest.mark.parametrize("error", [Halt("unsafe"), ConfigError("not recorded")])
def test_an_error_that_halts_ends_the_session(calm, error):
    with pytest.raises(type(error), match=str(error)):
        run(run_paper_book, calm, Failing(error), settings())


def test_an_error_of_the_desk_ends_the_session(calm, monkeypatch):
    def fail(desk, ts):
        raise ValueError("expected a price, was none")

    monkeypatch.setattr(Desk, "on_dispatch", fail)
    with pytest.raises(ValueError, match="expected a price"):
        run(run_paper_book, calm, Wants(WEIGHTS), settings())


def test_an_error_on_the_nodes_queue_ends_the_session(calm, monkeypatch):
    def fail(desk, bar):
        raise ValueError("expected a bar, was none")

    monkeypatch.setattr(Desk, "on_bar", fail)
    with pytest.raises(RunIncomplete, match="expected no engine error"):
        run(run_paper_book, calm, Wants(WEIGHTS), settings())


def test_ctrl_c_is_obeyed_while_the_mind_thinks(calm):
    release = threading.Event()

    class Stuck(Wants):
        def decide(self, case, panel, **times):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            release.wait(30)
            return super().decide(case, panel, **times)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(run_paper_book, calm, Stuck({0: {}}), settings())
    release.set()
    assert time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_slower_replay_keeps_the_datas_pace(calm):
    begun = time.monotonic()
    run(run_paper_book, calm, Wants({0: {}}), settings(), speed=DAY_NS * 1e-9 * 50)
    assert time.monotonic() - begun > 0.9  # 49 days, fifty a second


def test_nothing_is_left_behind(calm):
    threads = {t.name for t in threading.enumerate()}
    run(run_paper_book, calm, Wants({0: {}}), settings())
    time.sleep(0.05)
    assert {t.name for t in threading.enumerate()} <= threads
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
