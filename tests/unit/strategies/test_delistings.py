"""The end of an instrument, and its coming again; the twin lives through each as the desk does."""

import dataclasses

import msgspec
import numpy as np
import pytest

from agents.baselines import EqualWeight
from agents.messages import Decision, FillRecord, Instrument, OrderRecord
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.engine.stepped_book import EngineBook
from backtest.market.market_data import canonical, window
from backtest.report.notes import delisting_notes
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings
from learning.twin.parity import compare
from learning.twin.schedules import Schedule
from ops.composition.model_minds import build_mind
from tests.conftest import session
from tests.unit.backtest.test_engine_book import HOUR_NS, hourly_market

START, LAST, MISSED = 30, 40, 10  # the first decision, the last bar, the sessions without one
DUE = LAST + MISSED + 1  # the session at whose opening a vanished position is closed
INDEX = tuple(
    Instrument(symbol=s, venue="SIM", asset_class="index", group=s, shortable=True)
    for s in ("AAA", "BBB")
)
JAPAN = (
    msgspec.structs.replace(INDEX[0], symbol="JPN225", currency="JPY", price_precision=0),
    Instrument(
        symbol="USDJPY",
        venue="SIM",
        asset_class="forex",
        currency="JPY",
        price_precision=3,
        shortable=True,
    ),
)


def rules(recovery: float = 1.0, slippage: float = 0.0, **limits) -> Settings:
    """Return settings under which nothing but the price changes a book's value."""
    return Settings(
        market=MarketSettings(
            cost_frac=0.0,
            slippage_probability=slippage,
            financing_bps_per_year=0.0,
            open_liquidity_frac=1.0,
            delisting_recovery=recovery,
        ),
        limits=msgspec.structs.replace(UNLIMITED, **limits),
        desk=DeskSettings(latency_ms=0.0, no_trade_band=0.0),
    )


def without(market, symbol, missing):
    """Return the market without a symbol's bars of the sessions `missing`."""
    closes = [market.session_closes[t] for t in missing]
    gone = (market.bars["symbol"] == symbol) & market.bars["ts_close"].isin(closes)
    return canonical(dataclasses.replace(market, bars=market.bars[~gone]))


def lived(market, settings, first, later=np.nan, start=START):
    """
    Return an engine's closes by session: it asks for `first`, then for `later` (NaN: it holds).

    The twin must live the same.
    """
    count = len(market.session_closes) - 1 - start
    path = np.full((count, len(first)), later)
    path[0] = first
    assert compare(Schedule("delistings", 0, market, settings, start, path)).difference == ""
    book = EngineBook(market, settings, start=start)
    closes = {}
    try:
        close = closes[start] = book.start()
        for t, row in enumerate(path, start + 1):
            close = closes[t] = book.step(np.where(np.isnan(row), close.weights, row))
        book.finish()
    finally:
        book.close()
    return closes


def the_end(closes, symbol):
    """Return the one order and fill that closed a delisted position."""
    (order,) = [o for c in closes.values() for o in c.orders if o.reason == "delisted"]
    (fill,) = [f for c in closes.values() for f in c.fills if f.order_id == order.order_id]
    assert order.symbol == symbol
    return order, fill


def last_close(market, symbol):
    return market.bars.loc[market.bars["symbol"] == symbol, "close"].iloc[-1]


@pytest.mark.parametrize("recovery", [1.0, 0.4])
@pytest.mark.parametrize("weight", [0.3, -0.3])
def test_a_vanished_position_is_worth_its_last_price_times_the_recovery(
    make_market, weight, recovery
):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    closes = lived(market, rules(recovery, slippage=1.0), [weight, 0.0])
    order, fill = the_end(closes, "AAA")
    held, last = closes[DUE - 1].quantity[0], last_close(market, "AAA")
    assert (order.ts_event, fill.ts_event) == (session(DUE)[0],) * 2
    assert fill.quantity == -held
    assert fill.price == pytest.approx(last * recovery, abs=2e-9)
    gain = held * (last * recovery - last)
    assert closes[DUE].equity - closes[DUE - 1].equity == pytest.approx(gain, abs=0.005)
    assert all(closes[t].equity == closes[DUE].equity for t in range(DUE, 60))
    symbols = [[i.symbol for i in closes[t].case.instruments] for t in (DUE - 2, DUE - 1)]
    assert symbols == [["AAA", "BBB"], ["BBB"]]


@pytest.mark.parametrize("recovery", [1.0, 0.4])
def test_a_vanished_position_in_yen_is_booked_in_dollars_at_that_days_rate(make_market, recovery):
    walk = 20_000 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 60)))
    yen = 110 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.005, 60)))
    prices = {"JPN225": np.tile(walk, (4, 1)).T, "USDJPY": np.tile(yen, (4, 1)).T}
    market = make_market(sessions=60, instruments=JAPAN, prices=prices, news_every=0)
    market = without(market, "JPN225", range(LAST + 1, 60))
    closes = lived(market, rules(recovery), [0.3, 0.0])
    _, fill = the_end(closes, "JPN225")
    last, bought = last_close(market, "JPN225"), closes[START + 1].fills[0]
    assert fill.price == pytest.approx(last * recovery)
    profit = -fill.quantity * (fill.price - bought.price) / yen[DUE]
    assert closes[DUE].balance - 100_000 == pytest.approx(profit, rel=2e-3)


def test_a_currency_pair_that_vanishes_ends_at_its_last_price_whatever_is_recovered(make_market):
    market = make_market(sessions=60, instruments=JAPAN, news_every=0)
    market = without(market, "USDJPY", range(LAST + 1, 60))
    _, fill = the_end(lived(market, rules(0.4), [0.0, 0.3]), "USDJPY")
    assert fill.price == last_close(market, "USDJPY")


def test_what_is_worth_nothing_is_left_for_nothing(make_market):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    closes = lived(market, rules(0.0), [0.3, 0.0])
    _, fill = the_end(closes, "AAA")
    lost = closes[START + 1].fills[0].price * fill.quantity
    assert closes[DUE].equity == pytest.approx(100_000 + lost, abs=0.005)


def test_a_split_during_the_silence_changes_the_shares_and_not_the_value(make_market):
    actions = [("AAA", LAST + 4, 2.0, 0.0)]
    market = make_market(sessions=60, symbols=("AAA", "BBB"), actions=actions, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    closes = lived(market, rules(), [0.3, 0.0])
    _, fill = the_end(closes, "AAA")
    held, last = closes[DUE - 1].quantity[0], last_close(market, "AAA")
    assert (fill.quantity, fill.price) == (-2 * held, last / 2)
    assert closes[DUE].equity == pytest.approx(closes[LAST].equity, abs=0.005)


@pytest.mark.parametrize("back", [None, 5])
def test_within_sessions_the_first_opening_of_the_due_session_closes_it(back):
    market = hourly_market(days=9)
    settings = rules()
    settings = msgspec.structs.replace(
        settings, market=msgspec.structs.replace(settings.market, delisting_sessions=3)
    )
    first = market.bars["ts_open"].min()
    there = (market.bars["ts_open"] - first) // HOUR_NS
    due = 24 * 6  # silent from noon of day 2, then on days 3, 4 and 5
    gone = (market.bars["symbol"] == "EURUSD") & (there >= 24 * 2 + 12)
    if back is not None:
        gone &= there < due + back  # it comes again later on the very day
    market = dataclasses.replace(market, bars=market.bars[~gone].reset_index(drop=True))
    closes = lived(market, settings, [0.3, 0.0], start=1)
    order, _ = the_end(closes, "EURUSD")
    assert order.ts_event == first + due * HOUR_NS


def test_a_silence_of_one_session_less_is_a_halt(make_market):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, LAST + MISSED))
    closes = lived(market, rules(), [0.3, 0.0])
    assert sum(len(c.orders) for c in closes.values()) == 1
    assert closes[59].quantity[0] == closes[LAST].quantity[0] != 0


def test_silence_is_counted_in_sessions_in_which_others_trade(make_market):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    market = without(market, "BBB", range(LAST + 3, LAST + 6))
    order, _ = the_end(lived(market, rules(), [0.3, 0.0]), "AAA")
    assert order.ts_event == session(DUE + 3)[0]


def test_what_comes_again_is_bought_again_and_no_return_spans_the_silence(make_market):
    market = make_market(sessions=70, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    closes = lived(market, rules(), [0.3, 0.0], later=0.3)
    assert closes[DUE].quantity[0] == closes[60].quantity[0] == 0
    assert [i.symbol for i in closes[60].case.instruments] == ["AAA", "BBB"]
    assert closes[61].quantity[0] > 0
    returned = closes[60].case.instruments[0].features[0]  # over one session
    assert returned is None


def test_what_waits_to_be_bought_is_not_bought_at_the_final_price(make_market):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    settings = rules(stale_sessions=50)
    book = EngineBook(market, settings, start=LAST)
    try:
        close = book.start()
        while not close.last:
            close = book.step(np.array([0.3 if close.ts > session(LAST + 2)[1] else 0.0, 0.0]))
            assert close.fills == ()
    finally:
        book.close()


@pytest.mark.parametrize("minds", ["rules", "equal weight"])
def test_cutting_the_tail_changes_nothing_before_the_cut(make_market, minds):
    last, settings = 70, rules(recovery=0.4)
    due = last + MISSED + 1
    decide_from = session(65)[1]  # allocators want 60 sessions of history
    whole = without(make_market(sessions=100, seed=5), "AAA", range(last + 1, 90))

    def run(market):
        mind = EqualWeight() if minds == "equal weight" else build_mind(settings)
        found = run_book(BookSpec("tail", market, settings, decide_from), mind)
        # beyond the data's end an expiry counts days: it is of no other use than to be late
        decisions = [msgspec.structs.replace(d, expires=0) for d in found.records.of(Decision)]
        events = (*found.records.of(OrderRecord), *found.records.of(FillRecord))
        return found.book, [*decisions, *events]

    book, events = run(whole)
    assert any(getattr(e, "reason", "") == "delisted" for e in events)
    for cut in (due,) if minds == "rules" else (last + 3, due - 1, due, due + 4):
        end = session(cut)[1]
        market, _ = window(whole, decide_from, 500, end)
        short, known = run(market)
        before = [e for e in events if e.ts_event <= end]
        assert msgspec.json.encode(known) == msgspec.json.encode(before)
        assert short.equity.tobytes() == book.equity[: len(short.equity)].tobytes()


def test_a_note_names_symbol_date_and_value(make_market):
    market = make_market(sessions=60, instruments=INDEX, news_every=0)
    market = without(market, "AAA", range(LAST + 1, 60))
    closes = lived(market, rules(), [-0.3, 0.3])
    orders = [o for c in closes.values() for o in c.orders]
    fills = [f for c in closes.values() for f in c.fills]
    (note,) = delisting_notes(orders, fills, market.instruments)
    size, last = -closes[LAST].quantity[0], last_close(market, "AAA")
    assert note == (
        f"DELISTED: AAA had no bar while others traded, so {size:,g} held short were closed on "
        f"2019-06-04 at its last price times the recovery, {last:g}: {size * last:,.2f} USD"
    )
