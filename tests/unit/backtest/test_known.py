"""The facts that a symbol and its first price tell of an instrument."""

import pytest

from backtest.sources.known import (
    calendar_of,
    class_of,
    currency_of,
    is_contract,
    make_instrument,
    needs_volume,
    size_decimals,
)
from backtest.sources.manifest import InstrumentManifest


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("AAPL", ("equity", "XNYS", "USD")),
        ("BRK.B", ("equity", "XNYS", "USD")),
        ("DAX.US", ("equity", "XNYS", "USD")),
        ("VOD.L", ("equity", "XLON", "GBX")),
        ("EUR/JPY", ("forex", "24x5", "JPY")),
        ("XAGUSD", ("commodity", "24x5", "USD")),
        ("GER40", ("index", "24x5", "EUR")),
        ("^N225", ("index", "XTKS", "JPY")),
        ("^NOSUCH", ("index", "XNYS", "USD")),
        ("BTCUSDT", ("crypto", "24/7", "USDT")),
        ("xbt/eur", ("crypto", "24/7", "EUR")),
    ],
)
def test_a_symbol_tells_class_calendar_and_currency(symbol, told):
    assert (class_of(symbol), calendar_of(symbol), currency_of(symbol)) == told
    assert is_contract(symbol) == (told[0] != "equity")
    assert needs_volume(symbol, None) == (told[0] == "equity")


def test_a_stated_class_wins_over_the_symbol():
    assert needs_volume("BTCUSDT", "equity")
    assert not needs_volume("AAPL", "crypto")
    token = make_instrument("ABCEUR", 2.0, {}, "crypto")
    assert (token.asset_class, token.group, token.currency) == ("crypto", "crypto", "EUR")
    stock = make_instrument("BTCUSD", 2.0, {}, "equity")
    assert (stock.currency, stock.lot_size, stock.pair) == ("USD", 1.0, None)


@pytest.mark.parametrize(
    ("symbol", "price", "lot", "decimals"),
    [
        ("BTCUSDT", 60_000.0, 1e-5, 1),
        ("BTCUSD", 0.06, 10.0, 7),
        ("BTCJPY", 9e6, 1e-5, 0),
        ("ETHBTC", 0.05, 1e-4, 7),
        ("SHIBUSDT", 1.2e-5, 1e5, 9),
        ("PEPEUSDT", 1e-8, 1e8, 9),
        ("BIGUSD", 1e6, 1e-6, 0),
        ("RICHUSDT", 1e9, 1e-6, 0),
    ],
)
def test_a_coins_lot_is_worth_about_a_dollar_at_its_first_price(symbol, price, lot, decimals):
    coin = make_instrument(symbol, price, {}, "crypto")
    assert (coin.lot_size, coin.price_precision) == (lot, decimals)
    assert (coin.shortable, coin.funded) == (False, True)
    assert round(price, coin.printed_precision) == pytest.approx(price, rel=1e-5)
    assert coin.engine_precision <= 16


def test_volumes_are_kept_with_the_lots_decimals_where_they_count_size():
    given = InstrumentManifest(lot_size=0.0001)
    assert size_decimals(make_instrument("AAPL", 10.0, {}, None, given)) == 4
    assert size_decimals(make_instrument("AAPL", 10.0, {})) == 0
    assert size_decimals(make_instrument("BTCUSDT", 60_000.0, {})) == 5
    assert size_decimals(make_instrument("XAUUSD", 1_800.0, {})) == 0


def test_a_us_stock_with_its_suffix_has_its_sector():
    assert make_instrument("aapl.us", 100.0, {}).group == "Information Technology"
    assert make_instrument("aapl", 100.0, {}).group == "Unknown"
