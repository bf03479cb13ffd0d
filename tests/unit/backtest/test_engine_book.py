"""The engine stepped from outside: at which prices it fills, and what a process may hold."""

import dataclasses

import msgspec
import numpy as np
import pandas as pd
import pytest

from agents.messages import Instrument
from backtest.engine.feed import make_feed
from backtest.engine.stepped_book import EngineBook
from backtest.market.market_data import MarketData, canonical
from config.errors import DataError
from config.settings import UNLIMITED, Settings

HOUR_NS = 3_600_000_000_000
FIRST_DAY = 18_001  # a Monday
PAIRS = (
    ("EURUSD", "USD", 5, 1.1),
    ("USDJPY", "JPY", 3, 110.0),
)


def hourly_market(days: int = 6, gap_ns: int = 1) -> MarketData:
    """Return two pairs around the clock, each bar closing `gap_ns` before the next one opens."""
    rng = np.random.default_rng(3)
    opens = FIRST_DAY * 24 * HOUR_NS + np.arange(24 * days) * HOUR_NS
    instruments, tables = [], []
    for symbol, currency, precision, price in PAIRS:
        instruments.append(
            Instrument(
                symbol=symbol,
                venue="SIM",
                asset_class="forex",
                group="forex",
                currency=currency,
                price_precision=precision,
                shortable=True,
            )
        )
        close = price * np.exp(np.cumsum(rng.normal(0, 2e-3, len(opens))))
        opened = np.concatenate([[price], close[:-1]]) * np.exp(rng.normal(0, 1e-3, len(opens)))
        close, opened = close.round(precision), opened.round(precision)
        tables.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "ts_open": opens,
                    "ts_close": opens + HOUR_NS - gap_ns,
                    "open": opened,
                    "high": np.maximum(opened, close),
                    "low": np.minimum(opened, close),
                    "close": close,
                    "volume": 400.0,
                }
            )
        )
    closes = opens.reshape(days, 24)[:, -1] + HOUR_NS - gap_ns
    return canonical(
        MarketData(
            name="hours",
            instruments=tuple(instruments),
            bars=pd.concat(tables),
            actions=pd.DataFrame({"symbol": [], "ts": [], "split": [], "dividend": []}),
            session_closes=tuple(closes.tolist()),
            step_ns=HOUR_NS,
            price_basis="unadjusted",
        )
    )


def rules(latency_ms: float = 2_000.0, **limits) -> Settings:
    settings = Settings()
    return msgspec.structs.replace(
        settings,
        limits=msgspec.structs.replace(UNLIMITED, **limits),
        market=msgspec.structs.replace(settings.market, slippage_probability=0.0),
        desk=msgspec.structs.replace(settings.desk, latency_ms=latency_ms, no_trade_band=0.0),
    )


@pytest.mark.parametrize("latency_ms", [0.0, 2_000.0, 5.5 * 3_600_000.0])
def test_intraday_orders_fill_at_the_next_openings_quote(latency_ms):
    market, settings = hourly_market(), rules(latency_ms)
    opened = {(r.symbol, r.ts_open): r.open for r in market.bars.itertuples()}
    half = settings.market.spread_bps / 2e4
    book = EngineBook(market, settings, start=1)
    fills = []
    try:
        close = book.start()
        for weights in ([0.3, -0.2], [-0.1, 0.3], [0.2, 0.1]):
            decided = close.ts
            close = book.step(np.array(weights))
            due = decided + int(latency_ms * 1e6)
            next_open = -(-due // HOUR_NS) * HOUR_NS
            assert {f.ts_event for f in close.fills} == {next_open}
            fills += close.fills
        book.finish()
    finally:
        book.close()
    assert len(fills) == 6
    for f in fills:
        tick = 1e-5 if f.symbol == "EURUSD" else 1e-3
        mid = opened[f.symbol, f.ts_event]
        price = mid * (1 + half) if f.quantity > 0 else mid * (1 - half)
        assert abs(f.price - price) < tick * 1.01
        assert (f.price > mid) == (f.quantity > 0)


def test_a_bar_that_closes_as_another_opens_is_refused():
    market = hourly_market(gap_ns=0)
    with pytest.raises(DataError, match="expected hours to have no bar that closes as another"):
        make_feed(market, Settings().market, 0)


def test_lots_of_a_hundredth_can_be_bought_and_sold_any_number_of_times(make_market):
    gold = Instrument(
        symbol="XAUUSD", venue="SIM", asset_class="commodity", lot_size=0.01, shortable=True
    )
    market = make_market(instruments=(gold,), sessions=60, news_every=0)
    rng = np.random.default_rng(0)
    book = EngineBook(market, rules(), start=5)
    try:
        close = book.start()
        while not close.last:
            close = book.step(rng.choice([-0.3, -0.1, 0.0, 0.1, 0.11, 0.3], 1))
            assert close.quantity[0] == round(close.quantity[0], 2)
        book.finish()
    finally:
        book.close()


def test_a_process_has_one_engine_at_a_time(make_market):
    market = make_market(sessions=20)
    first = EngineBook(market, rules(), start=5)
    try:
        with pytest.raises(RuntimeError, match="expected one engine a process"):
            EngineBook(market, rules(), start=5)
    finally:
        first.close()
    second = EngineBook(market, rules(), start=5)
    second.start()
    second.close()
    second.close()
    with pytest.raises(RuntimeError, match="expected an open book"):
        second.step(np.zeros(4))


def test_a_run_in_pieces_is_the_same_run_again(make_market):
    market = make_market(sessions=30)
    targets = np.random.default_rng(1).uniform(0, 0.3, (20, 4))
    runs = []
    for _ in range(2):
        book = EngineBook(market, rules(), start=5)
        try:
            book.start()
            runs.append([book.step(row) for row in targets])
        finally:
            book.close()
    for one, other in zip(*runs, strict=True):
        assert one.fills == other.fills
        assert one.equity == other.equity


def test_weights_that_are_no_numbers_are_refused_and_the_book_goes_on(make_market):
    book = EngineBook(make_market(sessions=20), rules(), start=5)
    try:
        book.start()
        for bad in (np.full(4, np.nan), np.zeros(3)):
            with pytest.raises(ValueError, match="expected 4 finite target weights"):
                book.step(bad)
        assert book.step(np.zeros(4)).fills == ()
    finally:
        book.close()


def test_a_start_that_no_session_follows_is_refused(make_market):
    with pytest.raises(DataError, match="expected a start before the last of 20 sessions"):
        EngineBook(make_market(sessions=20), rules(), start=19)


def listed_from(market, symbol, day):
    """Return the market without a symbol's bars of the sessions before `day`."""
    early = market.bars["ts_close"] < market.session_closes[day]
    late = market.bars[~(early & (market.bars["symbol"] == symbol))]
    return canonical(dataclasses.replace(market, bars=late))


def test_what_lists_after_the_start_joins_then_and_asking_for_it_before_has_no_effect(make_market):
    market = listed_from(make_market(sessions=30), "BBB", 12)
    runs = []
    for early in (0.2, 0.9):
        book = EngineBook(market, rules(), start=5)
        try:
            close, closes = book.start(), []
            while not close.last:
                late = early if close.ts < market.session_closes[12] else 0.2
                close = book.step(np.array([0.2, late, 0.2, 0.2]))
                closes.append(close)
            book.finish()
        finally:
            book.close()
        runs.append(closes)
    symbols = [[i.symbol for i in close.case.instruments] for close in runs[0]]
    assert symbols[:6] == [["AAA", "CCC", "DDD"]] * 6  # closes of sessions 6 to 11
    assert all(found == list(market.symbols) for found in symbols[6:])
    bought = [close.ts for close in runs[0] if close.quantity[1] > 0]
    assert bought[0] == market.session_closes[14]  # one return is known at the close of 13
    assert [c.fills for c in runs[0]] == [c.fills for c in runs[1]]


def test_nothing_is_bought_in_a_currency_that_has_no_rate_yet(make_market):
    index = Instrument(
        symbol="JPN225", venue="SIM", asset_class="index", currency="JPY", shortable=True
    )
    pair = Instrument(
        symbol="USDJPY", venue="SIM", asset_class="forex", currency="JPY", price_precision=3
    )
    price = np.full((30, 4), 20_000.0) * np.linspace(1, 1.1, 30)[:, None]
    prices = {"JPN225": price, "USDJPY": np.full((30, 4), 110.0)}
    market = make_market(sessions=30, instruments=(index, pair), prices=prices, news_every=0)
    market = listed_from(market, "USDJPY", 12)
    book = EngineBook(market, rules(), start=5)
    try:
        close = book.start()
        while not close.last:
            before, close = close, book.step(np.array([0.5, 0.0]))
            if before.ts < market.session_closes[12]:
                assert close.fills == ()
                assert close.case.instruments == () or close.ts == market.session_closes[12]
        assert close.quantity[0] * 22_000 / 110 == pytest.approx(0.5 * close.equity, rel=0.01)
        book.finish()
    finally:
        book.close()


def test_a_ruined_book_is_stepped_to_the_end_and_decides_nothing_more(make_market):
    price = 100.0 * np.array([1.0] * 12 + [0.5] * 8)[:, None] * np.ones(4)
    index = Instrument(symbol="SPX500", venue="SIM", asset_class="index", shortable=True)
    market = make_market(sessions=20, instruments=(index,), prices={"SPX500": price}, news_every=0)
    limits = {"max_position": 9.0, "max_group": 9.0, "max_gross": 9.0, "max_volume_frac": 1e9}
    book = EngineBook(market, rules(**limits), start=5)
    try:
        close = book.start()
        while not close.last:
            close = book.step(np.array([4.0]))
            ruined = close.ts >= market.session_closes[12]
            assert (close.equity < 0, close.case is None) == (ruined, ruined)
            assert not (ruined and close.orders)
        assert close.quantity[0] > 0
        book.finish()
    finally:
        book.close()
