"""Prices keep what was printed: splits, small prices and spreads are rounded to nothing."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from agents.messages import Instrument
from backtest.engine.stepped_book import EngineBook
from backtest.market.rules import engine_bars, quote_around, split_factors, ticks
from backtest.sources import open_source
from config.errors import DataError
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings

FREE = MarketSettings(cost_frac=0.0, spread_bps=0.0, slippage_probability=0.0)
LIMITS = msgspec.structs.replace(UNLIMITED, min_history=1, stop_loss=1.0)
HEADER = "date,symbol,open,high,low,close,volume\n"


def bars_of(price: np.ndarray) -> np.ndarray:
    """Return (T, 4) bars that stand still at a price of each session."""
    return np.column_stack([price] * 4)


def end_of(market, market_settings: MarketSettings, *, weight: float, session: int = 30):
    """Return the quantity and the equity of a book that buys once and holds to the end."""
    desk = DeskSettings(latency_ms=0.0, no_trade_band=0.5)
    settings = Settings(market=market_settings, limits=LIMITS, desk=desk)
    book = EngineBook(market, settings, start=session)
    try:
        close = book.start()
        target = np.full(len(market.instruments), weight)
        while not close.last:
            close = book.step(target)
        return float(close.quantity[0]), close.equity
    finally:
        book.close()


def test_a_reverse_split_gains_what_the_shares_gained_to_the_cent(make_market):
    quoted = np.r_[np.full(35, 3.17), np.full(10, 64.69)]
    market = make_market(
        symbols=("AAA",),
        sessions=45,
        prices={"AAA": bars_of(quoted)},
        actions=[("AAA", 35, 1 / 20, 0.0)],
        news_every=0,
    )
    quantity, equity = end_of(market, FREE, weight=0.5)
    assert quantity == int(50_000 / 3.17)
    assert equity - 100_000 == pytest.approx(quantity * (64.69 / 20 - 3.17), abs=0.006)


def test_a_price_of_a_fraction_of_a_cent_is_traded_as_it_is(make_market):
    tiny = Instrument(symbol="TINY", venue="SIM", price_precision=8)
    quoted = np.r_[np.full(32, 0.00034), np.full(8, 0.00036306)]
    market = make_market(
        instruments=(tiny,),
        sessions=40,
        prices={"TINY": bars_of(quoted)},
        news_every=0,
    )
    small = msgspec.structs.replace(FREE, open_liquidity_frac=1.0, starting_cash=100.0)
    quantity, equity = end_of(market, small, weight=0.6)
    assert quantity == int(60 / 0.00034)
    assert equity - 100 == pytest.approx(quantity * (0.00036306 - 0.00034), abs=0.006)


@pytest.mark.parametrize("price", [0.00034, 0.5, 5.0, 123.45, 60_000.0])
def test_the_spread_is_what_the_settings_say_at_any_price(price):
    precision = 8 if price < 0.001 else 2
    instrument = Instrument(symbol="AAA", venue="SIM", price_precision=precision)
    mid = np.array([price])
    bid, ask = quote_around(mid, instrument, MarketSettings(spread_bps=2.0))
    assert (ask - bid) / mid == pytest.approx(2e-4, rel=1e-5 if price < 0.001 else 1e-6)


def test_a_tick_is_a_cent_and_less_where_the_price_is_low():
    stock = Instrument(symbol="AAA", venue="SIM")
    prices = np.array([2_000.0, 10.0, 9.99, 1.0, 0.5, 0.00034])
    assert ticks(stock, prices) == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001, 1e-7])
    assert (ticks(stock, prices) <= 0.001 * prices).all()


def test_a_slip_after_a_split_is_a_tick_of_the_new_shares(make_market):
    quoted = np.r_[np.full(35, 20.0), np.full(10, 400.0)]
    market = make_market(
        symbols=("AAA",),
        sessions=45,
        prices={"AAA": bars_of(quoted)},
        actions=[("AAA", 35, 1 / 20, 0.0)],
        news_every=0,
    )
    rows = engine_bars(market.instruments[0], market.bars, split_factors(market), FREE)
    assert rows.tick[[34, 35]] == pytest.approx([0.01, 0.0005])
    slippage = msgspec.structs.replace(FREE, slippage_probability=1.0, open_liquidity_frac=1.0)
    for session, tick in ((30, 0.01), (38, 0.0005)):
        quantity, equity = end_of(market, slippage, weight=0.5, session=session)
        assert 100_000 - equity == pytest.approx(quantity * tick, abs=0.011)


def written(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "bars.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return open_source(str(folder))


def test_bars_after_a_day_change_no_decimals_before_it(tmp_path):
    days = pd.bdate_range("2015-01-05", periods=10).strftime("%Y-%m-%d")
    past = [f"{d},AAA,7.12,7.2,7.1,7.15,1000" for d in days[:5]]
    smooth = [f"{d},AAA,7.12,7.2,7.1,7.15,1000" for d in days[5:]]
    finer = [f"{d},AAA,0.71234567,0.72,0.71,0.71512345,1000" for d in days[5:]]
    one, two = written(tmp_path / "a", past + smooth), written(tmp_path / "b", past + finer)
    assert one.instruments == two.instruments
    settings = MarketSettings()
    rows = [engine_bars(m.instruments[0], m.bars, split_factors(m), settings) for m in (one, two)]
    for name in ("open", "high", "low", "close", "tick"):
        np.testing.assert_array_equal(*(getattr(r, name)[:5] for r in rows))
    assert two.bars["open"].iloc[5] == 0.7123457


def test_a_small_price_keeps_its_printed_decimals(tmp_path):
    market = written(tmp_path, ["2015-01-05,TINY,0.00034,0.00036306,0.00033864,0.00036161,1000"])
    assert market.instruments[0].price_precision == 7
    assert market.bars[["open", "high", "low", "close"]].to_numpy().tolist() == [
        [0.00034, 0.00036306, 0.00033864, 0.00036161]
    ]


def test_a_price_that_its_decimals_cannot_hold_is_refused_with_the_way_out(tmp_path):
    rows = ["2015-01-05,AAA,100,100,100,100,1000", "2015-01-06,AAA,0.00012345,1,0.0001,0.5,1000"]
    with pytest.raises(DataError, match=r"set instruments: AAA: precision: 4 in source\.yaml"):
        written(tmp_path, rows)
    (tmp_path / "source.yaml").write_text("instruments: {AAA: {precision: 4}}\n")
    assert open_source(str(tmp_path)).bars["open"].iloc[1] == 0.00012345
