"""In which currency a market is accounted, and that a run in it fills at the file's prices."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from agents.features.feature_engine import FeatureEngine
from agents.messages import FillRecord, Instrument
from backtest.check import check_source
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.accounts import with_account
from backtest.market.catalog import write_catalog
from backtest.market.tradable import check_tradable
from backtest.sources import open_source
from config.settings import load_settings
from ops.composition.run_market import open_market
from tests.scripted_mind import Wants

DECIDED, SOLD = 30, 40  # sessions


def written(folder, symbols, yaml="", *, every="B", volume=1000.0):
    """Write bars that hardly move; `symbols` maps a symbol to its price."""
    days = pd.date_range("2023-01-02", periods=60, freq=every).strftime("%Y-%m-%d")
    rows = ["date,symbol,open,high,low,close,volume"]
    for symbol, price in symbols.items():
        for k, day in enumerate(days):
            o, c = (float(f"{price * (1 + 0.001 * f(k)):.6g}") for f in (np.cos, np.sin))
            rows.append(f"{day},{symbol},{o!r},{max(o, c)!r},{min(o, c)!r},{c!r},{volume!r}")
    (folder / "bars.csv").write_text("\n".join(rows) + "\n")
    (folder / "source.yaml").write_text("non_sessions: drop\n" + yaml)
    return str(folder)


def settings_of(source, **stated):
    given = {"data.source": source, "limits.min_history": 20, "market.slippage_probability": 0.0}
    return load_settings("simulator", given | stated, environ={})


def lived(source, **stated):
    """Buy 5% of each instrument, sell it ten sessions later; return the run with its market."""
    settings = settings_of(source, **stated)
    assert check_source(source, settings=settings).problems == ()
    market, settings, _ = open_market(settings)
    stamps = [market.session_closes[k] for k in (DECIDED, SOLD)]
    rows = [dict.fromkeys(market.symbols, weight) for weight in (0.05, 0.0)]
    spec = BookSpec("test", market, settings, stamps[0])
    run = run_book(spec, Wants.at(stamps, rows))
    return market, settings, run


def check_fills(market, run, symbol):
    """Check that a buy and a sale were filled half a spread beside the file's opening."""
    bars = market.bars[market.bars["symbol"] == symbol].set_index("ts_open")
    fills = [f for f in run.records.of(FillRecord) if f.symbol == symbol]
    buy, sale = fills
    for fill, side in ((buy, 1), (sale, -1)):
        opened = bars["open"][fill.ts_event]
        assert fill.price == pytest.approx(opened * (1 + side * 1e-4), rel=1e-6)
        assert fill.quantity * side > 0
    assert buy.quantity == -sale.quantity
    return buy


@pytest.mark.parametrize("volume", [1234.5, 0.0])
def test_a_coin_is_bought_in_fractions_in_the_stable_coin_that_quotes_it(tmp_path, volume):
    source = written(tmp_path, {"BTCUSDT": 60_000.0}, "calendar: 24/7\n", every="D", volume=volume)
    market, settings, run = lived(source)
    assert (market.sessions_per_year, settings.market.currency) == (365, "USDT")
    assert market.notes[0] == "accounted in USDT, from 100,000: all instruments are quoted in it"
    buy = check_fills(market, run, "BTCUSDT")
    assert 0.05 < buy.quantity < 0.1
    assert buy.commission == pytest.approx(buy.quantity * buy.price * 10e-4, abs=1e-8)
    assert (run.book.equity[0], settings.limits.stop) == (100_000.0, "volatility")


def test_an_order_for_a_coin_is_held_against_its_volume_where_it_has_any(tmp_path):
    source = written(tmp_path, {"BTCUSDT": 60_000.0}, "calendar: 24/7\n", every="D", volume=0.04)
    market, settings, _ = open_market(settings_of(source))
    market.bars["volume"] = 0.04  # as a reader gives it that rounds to the lot
    spec = BookSpec("test", market, settings, market.session_closes[DECIDED])
    run = run_book(spec, Wants.at([market.session_closes[DECIDED]], [{"BTCUSDT": 0.05}]))
    sizes = [fill.quantity for fill in run.records.of(FillRecord)]
    assert max(sizes) <= 0.004 + 1e-9


def test_features_see_volumes_of_less_than_a_coin(tmp_path, monkeypatch):
    source = written(tmp_path, {"BTCUSDT": 60_000.0}, "calendar: 24/7\n", every="D")
    market, settings, _ = open_market(settings_of(source))
    market.bars["volume"] = 0.00123
    seen, real = [], FeatureEngine.on_session

    def watched(engine, *bars):
        seen.append(bars[-1])
        return real(engine, *bars)

    monkeypatch.setattr(FeatureEngine, "on_session", watched)
    spec = BookSpec("test", market, settings, market.session_closes[DECIDED])
    run_book(spec, Wants.at([spec.decide_from], [{}]))
    assert np.concatenate(seen).tolist() == [0.00123] * 60


def test_a_coin_of_a_hundred_millionth_keeps_its_prices(tmp_path):
    source = written(tmp_path, {"PEPEUSDT": 1.2345e-8}, "calendar: 24/7\n", every="D", volume=1e13)
    market, _, run = lived(source)
    check_fills(market, run, "PEPEUSDT")
    assert market.bars["open"].iloc[0] == pytest.approx(1.2345e-8 * 1.001, rel=1e-4)


def test_an_indian_stock_is_accounted_in_rupees(tmp_path):
    source = written(tmp_path, {"RELIANCE.NS": 2500.0}, "calendar: XBOM\n", volume=1e6)
    market, settings, run = lived(source)
    assert (settings.market.currency, settings.market.starting_cash) == ("INR", 1e7)
    assert market.notes[0] == "accounted in INR, from 10,000,000: all instruments are quoted in it"
    assert not any("dollars" in note for note in market.notes)
    buy = check_fills(market, run, "RELIANCE.NS")
    assert buy.quantity == pytest.approx(1e7 * 0.05 / buy.price, rel=0.01)
    assert buy.commission == pytest.approx(buy.quantity * buy.price * 0.003, abs=0.01)
    assert run.book.equity[0] == 1e7


def test_a_london_stock_is_accounted_in_pence(tmp_path):
    source = written(tmp_path, {"VOD.L": 80.0}, "calendar: XLON\n", volume=1e6)
    market, settings, run = lived(source)
    assert (settings.market.currency, run.book.equity[0]) == ("GBX", 1e7)
    check_fills(market, run, "VOD.L")


def test_one_cross_alone_is_accounted_in_its_quote_currency(tmp_path):
    market, settings, run = lived(written(tmp_path, {"EURJPY": 150.0}))
    assert settings.market.currency == "JPY"
    check_fills(market, run, "EURJPY")


@pytest.mark.parametrize("symbols", [("EURJPY", "USDJPY"), ("EUR/JPY", "USDJPY=X")])
def test_a_cross_beside_its_rate_is_accounted_in_dollars(tmp_path, symbols):
    market, settings, run = lived(
        written(tmp_path, dict(zip(symbols, (150.0, 140.0), strict=True)))
    )
    assert (settings.market.currency, settings.market.starting_cash) == ("USD", 100_000.0)
    assert not any("accounted" in note for note in market.notes)
    assert any("idle cash in dollars" in note for note in market.notes)
    buy = check_fills(market, run, symbols[0])
    assert buy.quantity * buy.price / 140.0 == pytest.approx(5_000.0, rel=0.01)


def test_fractional_shares_are_dealt_where_they_are_stated(tmp_path):
    yaml = "calendar: XNYS\ninstruments: {AAPL: {lot_size: 0.0001}}\n"
    market, _, run = lived(written(tmp_path, {"AAPL": 150.0}, yaml, volume=1e6))
    buy = check_fills(market, run, "AAPL")
    assert buy.quantity % 1 != 0
    assert buy.quantity * buy.price == pytest.approx(5_000.0, abs=100.0)


def test_what_was_stated_of_the_account_stays(tmp_path):
    source = written(tmp_path, {"EURJPY": 150.0})
    market = open_source(source)
    _, settings = with_account(market, settings_of(source, **{"market.starting_cash": 5e6}))
    assert (settings.market.currency, settings.market.starting_cash) == ("JPY", 5e6)
    stated = settings_of(source, **{"market.currency": "USD"})
    assert with_account(market, stated) == (market, stated)
    problems = check_source(source, settings=stated).problems
    assert problems[0].startswith("expected JPYUSD or USDJPY among the instruments")


def test_choosing_the_account_again_changes_nothing(tmp_path):
    source = written(tmp_path, {"EURJPY": 150.0})
    once = with_account(open_source(source), settings_of(source))
    market, settings = with_account(*once)
    assert settings == once[1]
    assert market.notes == once[0].notes


def test_an_index_that_nobody_knows_says_what_was_assumed(make_market):
    facts = {"venue": "SIM", "asset_class": "index", "group": "index", "shortable": True}
    instruments = tuple(Instrument(symbol=s, **facts) for s in ("^GSPC", "^NOSUCH"))
    market = make_market(sessions=5, instruments=instruments, news_every=0)
    told, _ = with_account(market, settings_of("mine"))
    assert told.notes == (
        "^NOSUCH: unknown indices, taken for quoted in USD; source.yaml can state currency and "
        "calendar",
    )
    assert with_account(told, settings_of("mine"))[0].notes == told.notes


def test_a_rate_is_named_in_a_short_line_however_many_instruments(make_market):
    instruments = tuple(
        Instrument(symbol=f"S{k:03}", venue="SIM", group="G", currency=("INR", "EUR")[k % 2])
        for k in range(120)
    )
    market = make_market(sessions=5, instruments=instruments, news_every=0)
    market, settings = with_account(market, settings_of("mine"))
    lines = check_tradable(market, settings.market.currency)
    assert lines[0].endswith("was S000, S001, S002, S003, S004 and 115 more")
    assert max(map(len, lines)) <= 300


def test_a_catalog_keeps_symbols_that_nautilus_cannot_query(tmp_path):
    (tmp_path / "in").mkdir()
    symbols = {"EUR/USD": 1.1, "C:GBPUSD": 1.3, "USDJPY=X": 140.0, "^GSPC": 4000.0}
    market = open_source(written(tmp_path / "in", symbols, "calendar: 24x5\n"))
    write_catalog(market, tmp_path / "out")
    again = open_source(str(tmp_path / "out"))
    assert (again.digest, again.symbols) == (market.digest, tuple(sorted(symbols)))


def test_the_digest_of_a_dollar_book_does_not_know_of_coins(make_market):
    market = make_market(sessions=5)
    settings = settings_of("mine")
    assert with_account(market, settings) == (market, settings)
    assert b"crypto" not in msgspec.json.encode(market.instruments)
