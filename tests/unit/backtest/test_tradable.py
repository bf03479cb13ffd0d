"""What a backtest refuses of a source, `data check` lists, in the same line."""

import pandas as pd
import pytest

from backtest.check import check_source
from backtest.engine.feed import make_feed
from backtest.market.tradable import check_tradable
from backtest.sources import open_source
from config.errors import ConfigError, DataError
from config.settings import DataSettings, MarketSettings, Settings
from ops.composition.run_market import open_market

HEADER = "date,symbol,open,high,low,close,volume\n"


def written(folder, *symbols, volume=1000, price="1.1,1.2,1.0,1.1", yaml="", periods=10):
    days = pd.bdate_range("2015-01-05", periods=periods).strftime("%Y-%m-%d")
    rows = [f"{d},{s},{price},{volume}" for s in symbols for d in days]
    (folder / "bars.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (folder / "source.yaml").write_text("non_sessions: drop\n" + yaml)
    return str(folder)


CASES = {
    "a cross without its rate": (
        ("EURGBP", "EURJPY"),
        {},
        "expected GBPUSD or USDGBP among the instruments, so that GBP has a rate, "
        "or --symbols of one currency, was EURGBP, EURJPY",
    ),
    "prices beyond the engine's": (
        ("AAA",),
        {"price": "1e13,2e13,1e13,1e13"},
        "expected prices below 8.5e+12 for AAA, was 2e+13",
    ),
    "volumes beyond the engine's": (
        ("AAA",),
        {"volume": 10**14},
        "expected volumes below 3.4e+13 for AAA, was 1e+14",
    ),
    "a lot too fine": (
        ("GOLD",),
        {"yaml": "asset_class: commodity\ninstruments: {GOLD: {lot_size: 0.0000001}}\n"},
        "expected a lot_size of at least 0.000001 for GOLD, was 1e-07",
    ),
    "an unknown currency": (
        ("AAA", "BBB"),
        {"yaml": "instruments: {AAA: {currency: XQQ}, BBB: {currency: XQQ}}\n"},
        "expected a currency code that is known, was 'XQQ'",
    ),
    "stocks that never trade": (
        ("AAA", "BBB"),
        {"volume": 0},
        "expected stocks whose bars have volume, was volume 0 in every bar of AAA, BBB: "
        "no order could be filled",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_check_and_backtest_refuse_a_source_in_the_same_line(tmp_path, name):
    symbols, facts, line = CASES[name]
    source = written(tmp_path, *symbols, **facts)
    assert line in check_source(source).problems
    settings = Settings(data=DataSettings(source=source, start=None, end=None))
    with pytest.raises(ConfigError) as caught:
        open_market(settings)
    assert str(caught.value) == check_source(source).problems[0]
    with pytest.raises(DataError):
        make_feed(open_source(source), MarketSettings(), 0)


def test_an_account_in_the_quote_currency_needs_no_rate(tmp_path):
    market = open_source(written(tmp_path, "EURJPY"))
    assert check_tradable(market, "JPY") == ()


def test_a_pair_is_recognised_by_its_two_currencies(tmp_path):
    market = open_source(written(tmp_path, "EURJPY", "USDJPY", "XAGUSD"))
    euro, _, silver = market.instruments
    assert (euro.asset_class, euro.currency, euro.shortable) == ("forex", "JPY", True)
    assert (silver.asset_class, silver.lot_size) == ("commodity", 0.01)
    assert market.calendar == "24x5"
    assert check_tradable(market, "USD") == ()


def test_fx_without_volume_is_quoted_and_one_such_stock_is_noted(tmp_path):
    market = open_source(written(tmp_path, "EURUSD", volume=0))
    assert check_tradable(market, "USD") == ()
    quotes = [e for e in make_feed(market, MarketSettings(), 0).prices if hasattr(e, "ask_price")]
    assert len(quotes) == len(market.bars)
    written(tmp_path, "AAA", "BBB", price="10,11,9,10")
    text = (tmp_path / "bars.csv").read_text()
    (tmp_path / "bars.csv").write_text(text.replace("BBB,10,11,9,10,1000", "BBB,10,11,9,10,0"))
    report = check_source(str(tmp_path))
    assert report.ok
    assert "BBB has volume 0 in every bar: it is never quoted, so no order for it is sent" in (
        report.notes
    )


def test_a_source_of_survivors_says_so(tmp_path):
    def notes(**chosen):
        market = open_source(str(tmp_path), **chosen)
        return [n for n in market.notes if n.startswith("survivors")]

    written(tmp_path, "AAA", "BBB", price="10,11,9,10", periods=300)
    assert notes(end="2015-06-30") == [
        "survivors: all 2 stocks last to the source's end: what was delisted before is not in "
        "these data, so results are too good"
    ]
    assert notes(symbols=["AAA"]) == []
    lines = (tmp_path / "bars.csv").read_text().splitlines()
    (tmp_path / "bars.csv").write_text("\n".join(lines[:-30]))
    assert notes() == []
    written(tmp_path, "AAA", "BBB", price="10,11,9,10", periods=200)
    assert notes() == []
