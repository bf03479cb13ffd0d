"""The line that says why a run sent no order."""

from dataclasses import replace

import msgspec
import pytest

from agents.baselines import plain_decision
from agents.messages import Instrument, Verdict, VerdictLine
from backtest.report.silence import why_no_orders
from config.settings import LimitSettings, Settings
from tests.unit.agents.cases import case, state

SETTINGS = Settings(limits=LimitSettings(min_history=20))


def said(market, weight=0.0, allowed=0.0, limit="", session=-1):
    symbol, ts = market.symbols[0], market.session_closes[session]
    asked = plain_decision(case(state(symbol)), {symbol: weight}, "x", latency_ns=1, expires=ts)
    decision = msgspec.structs.replace(asked, ts_event=ts)
    line = VerdictLine(symbol=symbol, held=0.0, asked=weight, allowed=allowed, limit=limit)
    verdict = Verdict(decision_id="d", ts_event=ts, ts_init=ts, stage="delivery", lines=(line,))
    line = why_no_orders(market, SETTINGS, [decision], [verdict])
    return line.removeprefix("no order was sent: ")


@pytest.fixture
def one(make_market):
    return make_market(symbols=("AAA",), sessions=40, news_every=0)


def test_each_reason_is_named(one):
    assert why_no_orders(one, SETTINGS, [], []) == "no order was sent: no decision was made"
    assert said(one) == "no decision asked for a position"
    assert said(one, 0.1, session=9) == "10 sessions of history and 21 needed"
    assert said(one, 0.1, limit="var") == "every position was cut to nothing, mostly by var"
    assert said(one, 0.1, 0.001).startswith("no target reached the no-trade band of 1.00%")
    assert said(one, 0.1, 0.05) == "no target met a price before it expired"


def test_a_lot_dearer_than_its_target_is_named(one):
    dear = tuple(msgspec.structs.replace(i, lot_size=1e6) for i in one.instruments)
    lots = said(replace(one, instruments=dear), 0.1, 0.05)
    assert lots == "a lot of each instrument costs more than its target"


def test_bars_without_volume_silence_stocks_and_not_currencies(one, make_market):
    pair = Instrument(symbol="EURUSD", venue="SIM", asset_class="forex", shortable=True)
    forex = make_market(instruments=(pair,), sessions=40, news_every=0)
    quiet = [replace(m, bars=m.bars.assign(volume=0.0)) for m in (one, forex)]
    assert said(quiet[0], 0.1).startswith("no bar has volume")
    assert said(quiet[1]) == "no decision asked for a position"
