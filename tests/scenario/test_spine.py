"""The spine from end to end, on markets small enough to know what must happen."""

import random

import msgspec
import numpy as np
import pytest

from agents.messages import (
    Decision,
    FillRecord,
    FundamentalsReport,
    Instrument,
    MacroValue,
    OrderRecord,
    Verdict,
)
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import BookRun, run_book
from backtest.market.market_data import MarketData, canonical
from backtest.market.rules import YEAR_NS
from config.errors import DataError
from config.settings import DeskSettings, LimitSettings, MarketSettings, Settings
from ops.composition.model_minds import build_mind
from tests.conftest import session
from tests.scripted_mind import Wants

LIMITS = LimitSettings(min_history=20)
SETTINGS = Settings(limits=LIMITS)
FREE = MarketSettings(cost_frac=0.0, spread_bps=0.0, slippage_probability=0.0)


def run(
    market: MarketData,
    mind=None,
    *,
    settings: Settings = SETTINGS,
    limits: LimitSettings | None = None,
    decide_day: int = 30,
) -> BookRun:
    spec = BookSpec("test", market, settings, session(decide_day)[1], gate=limits)
    return run_book(spec, mind or build_mind(settings))


def flat(sessions: int, price: float) -> np.ndarray:
    """Return bars that hardly move, so that stops and VaR stay silent."""
    wiggle = 1 + 0.001 * np.sin(np.arange(sessions))
    return np.column_stack([price * wiggle] * 4) * np.array([1, 1.0005, 0.9995, 1])


def lines(records, until: int) -> bytes:
    return b"\n".join(msgspec.json.encode(r) for r in records if r.ts_event <= until)


@pytest.mark.parametrize("latency_ms", [0.0, 2_000.0])
@pytest.mark.parametrize("gap", [0.85, 1.15])
def test_an_order_after_the_close_fills_beyond_an_overnight_gap(make_market, gap, latency_ms):
    bars = flat(60, 100.0)
    bars[40:] *= gap
    market = make_market(sessions=60, prices={"AAA": bars}, news_every=0)
    settings = Settings(limits=LIMITS, desk=DeskSettings(latency_ms=latency_ms))
    book = run(market, Wants({0: {}, 39: {"AAA": 0.08}}), settings=settings)
    fills = book.records.of(FillRecord)
    assert {f.symbol for f in fills} == {"AAA"}
    assert fills[0].price == pytest.approx(bars[40, 0], rel=1e-3)
    assert fills[0].ts_event == session(40)[0]


def test_no_fill_has_a_price_older_than_its_order(make_market):
    market = make_market(sessions=120, symbols=tuple("ABCDEFGH"))
    records = run(market).records
    orders = {o.order_id: o for o in records.of(OrderRecord)}
    fills = records.of(FillRecord)
    assert len(fills) > 20
    for fill in fills:
        order = orders[fill.order_id]
        assert order.ts_decided <= order.ts_held < order.ts_event <= fill.ts_price
        assert fill.ts_price == fill.ts_event


@pytest.mark.parametrize("day", [75, 88, 101])
def test_poisoning_the_future_changes_no_decision_before_it(make_market, day):
    t = session(day)[1]
    clean = make_market(
        sessions=120,
        actions=[("AAA", 50, 2.0, 0.0), ("BBB", 60, 1.0, 0.5), ("BBB", 100, 1.0, 0.5)],
        macro=macro_values(),
        fundamentals=reports(),
    )
    poisoned = poison(clean, t)
    assert poisoned.digest != clean.digest
    before, after = run(clean).records, run(poisoned).records
    for kind in (Decision, Verdict, OrderRecord, FillRecord):
        past = lines(before.of(kind), t)
        assert past, kind
        assert past == lines(after.of(kind), t)
    assert lines(before.of(Decision), 2**63) != lines(after.of(Decision), 2**63)


def macro_values() -> tuple[MacroValue, ...]:
    return tuple(
        MacroValue(series=s, ts_event=session(d)[0], ts_init=session(d)[0], value=v + 0.001 * d)
        for d in range(120)
        for s, v in (("vix", 15.0), ("risk_free", 2.0), ("yield_long", 3.0))
    )


def reports() -> tuple[FundamentalsReport, ...]:
    return tuple(
        FundamentalsReport(
            symbol=symbol,
            ts_event=session(day)[0] - 45 * 86_400_000_000_000,
            ts_init=session(day)[0],
            period="quarter",
            figures={"eps": 0.5 + 0.01 * day, "equity": 1e6, "net_income": 1e5, "shares": 1e5},
        )
        for day in range(5, 120, 20)
        for symbol in ("AAA", "BBB")
    )


def poison(market: MarketData, t: int) -> MarketData:
    """Change prices, volumes, actions, news, reports and macro values after `t`."""
    bars = market.bars.copy()
    late = bars["ts_open"] > t
    for column in ("open", "high", "low", "close"):
        bars.loc[late, column] = (bars.loc[late, column] * 3.7).round(2)
    bars.loc[late, "volume"] *= 11
    actions = market.actions.copy()
    actions.loc[actions["ts"] > t, ["split", "dividend"]] = [3.0, 1.23]

    def changed(item):
        if item.ts_init <= t:
            return item
        if isinstance(item, MacroValue):
            return msgspec.structs.replace(item, value=90.0)
        if isinstance(item, FundamentalsReport):
            return msgspec.structs.replace(item, figures={"eps": -40.0, "equity": 1.0})
        return msgspec.structs.replace(item, headline="bankruptcy fraud lawsuit")

    return canonical(
        MarketData(
            **{
                **market.__dict__,
                "bars": bars,
                "actions": actions,
                "news": tuple(map(changed, market.news)),
                "macro": tuple(map(changed, market.macro)),
                "fundamentals": tuple(map(changed, market.fundamentals)),
            }
        )
    )


def test_the_same_market_gives_the_same_bytes_twice(make_market):
    market = make_market(sessions=80)
    one, two = run(market).records, run(market).records
    for kind in (Decision, Verdict, OrderRecord, FillRecord):
        assert one.of(kind)
        assert lines(one.of(kind), 2**63) == lines(two.of(kind), 2**63)


def test_other_users_of_the_interpreters_random_stream_change_no_fill(make_market):
    class Nosy(Wants):
        def decide(self, case, panel, **when):
            random.random()
            return super().decide(case, panel, **when)

    market = make_market(sessions=80, news_every=0)
    wants = {0: {}} | {d: {"AAA": 0.03 * (d % 3), "BBB": 0.02 * (d % 4)} for d in range(31, 79)}
    plain, nosy = run(market, Wants(wants)).records, run(market, Nosy(wants)).records
    assert len(plain.of(FillRecord)) > 20
    assert lines(plain.of(FillRecord), 2**63) == lines(nosy.of(FillRecord), 2**63)


def test_every_decision_has_a_verdict_and_every_order_one_at_its_prices(make_market):
    records = run(make_market(sessions=120)).records
    verdicts = records.of(Verdict)
    delivered = {(v.decision_id, v.ts_event) for v in verdicts if v.stage == "delivery"}
    assert delivered == {(d.decision_id, d.ts_init) for d in records.of(Decision)}
    assert all(d.ts_init == d.ts_event + 2_000_000_000 for d in records.of(Decision))
    sent = {(v.decision_id, v.ts_event) for v in verdicts if v.stage != "delivery"}
    assert {(o.decision_id, o.ts_event) for o in records.of(OrderRecord)} <= sent


def test_a_usdjpy_round_trip_books_its_profit_in_dollars(make_market):
    pair = Instrument(
        symbol="USDJPY",
        venue="SIM",
        asset_class="forex",
        group="forex",
        currency="JPY",
        price_precision=3,
        shortable=True,
    )
    bars = flat(60, 110.0)
    bars[41:] *= 111.5 / 110.0
    market = make_market(instruments=(pair,), sessions=60, prices={"USDJPY": bars}, news_every=0)
    settings = Settings(
        market=MarketSettings(
            spread_bps=0.0, financing_bps_per_year=0.0, cost_frac=0.0, slippage_probability=0.0
        ),
        limits=LIMITS,
    )
    book = run(
        market, Wants({0: {}, 38: {"USDJPY": 0.09}, 45: {"USDJPY": 0.0}}), settings=settings
    ).book
    (trade,) = book.trades
    quantity = 0.09 * 100_000 / 1.0
    earned = quantity * (111.5 - 110.0) / 111.5
    assert trade.profit == pytest.approx(earned, rel=0.02)
    assert book.equity[-1] - 100_000 == pytest.approx(trade.profit, abs=0.05)


def test_a_foreign_instrument_without_its_rate_is_refused(make_market):
    bund = Instrument(symbol="BUND", venue="SIM", asset_class="index", group="x", currency="EUR")
    with pytest.raises(DataError, match="expected EURUSD or USDEUR"):
        run(make_market(instruments=(bund,), sessions=40, news_every=0))


def test_a_split_moves_neither_equity_nor_economic_position(make_market):
    whole = flat(60, 120.0)
    halved = whole.copy()
    halved[45:] /= 2
    settings = Settings(market=FREE, limits=LIMITS)
    wants = {0: {}, 38: {"AAA": 0.08}, 50: {"AAA": 0.0}}
    plain = make_market(sessions=60, prices={"AAA": whole}, news_every=0)
    split = make_market(
        sessions=60, prices={"AAA": halved}, news_every=0, actions=[("AAA", 45, 2.0, 0.0)]
    )
    one = run(plain, Wants(wants), settings=settings)
    two = run(split, Wants(wants), settings=settings)
    np.testing.assert_allclose(one.book.equity, two.book.equity, rtol=1e-5)
    sold, sold_split = one.records.of(FillRecord)[-1], two.records.of(FillRecord)[-1]
    assert sold_split.quantity == 2 * sold.quantity
    assert sold_split.price == pytest.approx(sold.price / 2, rel=1e-4)


def test_a_dividend_is_credited_on_what_was_held_before_the_opening(make_market):
    settings = Settings(market=FREE, limits=LIMITS)
    market = make_market(
        sessions=60,
        prices={"AAA": flat(60, 100.0)},
        news_every=0,
        actions=[("AAA", 39, 1.0, 7.0), ("AAA", 45, 1.0, 1.5)],
    )
    book = run(market, Wants({0: {}, 38: {"AAA": 0.08}}), settings=settings)
    (bought,) = book.records.of(FillRecord)
    assert bought.ts_event == session(39)[0]
    assert book.cash_flows["dividends"] == pytest.approx(1.5 * bought.quantity, abs=0.01)


def test_idle_cash_earns_the_risk_free_rate(make_market):
    settings = Settings(market=FREE, limits=LIMITS)
    rate = (MacroValue(series="risk_free", ts_event=0, ts_init=session(0)[0], value=5.0),)
    market = make_market(sessions=60, news_every=0, macro=rate)
    book = run(
        market, Wants({0: dict.fromkeys(("AAA", "BBB", "CCC", "DDD"), 0.0)}), settings=settings
    )
    years = (session(59)[0] - session(30)[1]) / YEAR_NS
    assert book.cash_flows["interest"] == pytest.approx(100_000 * 0.05 * years, rel=0.01)
    assert book.book.equity[-1] == pytest.approx(100_000 + book.cash_flows["interest"], abs=0.01)


def test_a_close_beyond_the_stop_exits_at_the_next_opening(make_market):
    bars = flat(60, 100.0)
    bars[45:] *= 0.95
    market = make_market(sessions=60, prices={"AAA": bars}, news_every=0)
    records = run(market, Wants({0: {}, 38: {"AAA": 0.08}})).records
    orders = records.of(OrderRecord)
    assert [o.reason for o in orders[:2]] == ["decision", "stop"]
    assert orders[1].ts_event == session(46)[0]


def test_a_book_that_drifts_beyond_its_limit_is_reduced_at_the_next_opening(make_market):
    bars = flat(60, 100.0) * np.linspace(1, 1.6, 60)[:, None]
    market = make_market(sessions=60, prices={"AAA": bars}, news_every=0)
    records = run(market, Wants({0: {}, 38: {"AAA": 0.095}})).records
    orders = records.of(OrderRecord)
    assert [o.reason for o in orders[:2]] == ["decision", "limit"]
    for verdict in records.of(Verdict):
        if verdict.stage != "delivery":
            assert all(abs(line.allowed) <= 0.1 + 1e-9 for line in verdict.lines)


def test_a_breach_at_the_close_is_reduced_below_the_limit_however_small_the_change(make_market):
    bars = flat(60, 100.0)
    bars[45, 1] = bars[45, 3] = 108.0
    bars[46:] *= 1.08
    market = make_market(sessions=60, prices={"AAA": bars}, news_every=0)
    records = run(market, Wants({0: {}, 38: {"AAA": 0.095}})).records
    bought, reduced = records.of(OrderRecord)[:2]
    assert (reduced.reason, reduced.ts_event) == ("limit", session(46)[0])
    (line,) = next(v for v in records.of(Verdict) if v.ts_event == session(46)[0]).lines
    assert line.held > 0.1
    assert line.allowed <= 0.095
    assert bought.quantity > -reduced.quantity


def test_an_order_waits_for_its_own_instruments_next_price(make_market):
    whole = make_market(
        sessions=60, prices={s: flat(60, 100.0) for s in ("AAA", "BBB")}, news_every=0
    )
    halt = (whole.bars["symbol"] == "BBB") & (whole.bars["ts_close"] == session(40)[1])
    market = canonical(MarketData(**{**whole.__dict__, "bars": whole.bars[~halt]}))
    wants = Wants({0: {}, 39: {"AAA": 0.05, "BBB": 0.05}})
    fills = run(market, wants).records.of(FillRecord)
    assert [(f.symbol, f.ts_event) for f in fills] == [
        ("AAA", session(40)[0]),
        ("BBB", session(41)[0]),
    ]


def test_costs_and_fills_add_up_to_the_equity(make_market):
    market = make_market(sessions=120)
    result = run(market)
    book, fills = result.book, result.records.of(FillRecord)
    quantity: dict[str, float] = {}
    cash = 100_000.0
    for f in fills:
        quantity[f.symbol] = quantity.get(f.symbol, 0.0) + f.quantity
        cash -= f.quantity * f.price + f.commission
    last = market.bars.groupby("symbol")["close"].last()
    worth = cash + sum(q * last[s] for s, q in quantity.items())
    assert book.equity[-1] == pytest.approx(worth, abs=0.02 * len(fills))
    assert book.costs.sum() <= sum(f.commission for f in fills) + 0.01
