from decimal import Decimal

import pytest
from nautilus_trader.model.instruments import Cfd, CurrencyPair, Equity

from agents.messages import Instrument
from config.currencies import COINS, CURRENCIES, METALS, STABLE_COINS, decimals_of
from config.errors import ConfigError
from strategies.instruments import bar_type, to_currency, to_nautilus

HOUR = 3_600_000_000_000


def instrument(symbol="AAPL", **facts):
    return Instrument(symbol=symbol, venue="SIM", **facts)


def test_equity_is_whole_shares_with_the_default_cost():
    made = to_nautilus(instrument(price_precision=4), cost_frac=0.003)
    assert isinstance(made, Equity)
    assert (made.price_precision, made.size_precision) == (11, 0)
    assert made.price_increment.as_double() == 0.0001
    assert made.taker_fee == Decimal("0.003")
    assert made.margin_init == 0


def test_instruments_own_cost_wins():
    made = to_nautilus(instrument(cost_bps=5.0), cost_frac=0.003)
    assert made.taker_fee == Decimal("0.0005")


def test_fx_pair_is_quoted_in_its_second_currency():
    facts = {"asset_class": "forex", "currency": "JPY", "price_precision": 3}
    made = to_nautilus(instrument("USDJPY", **facts), cost_frac=0.0)
    assert isinstance(made, CurrencyPair)
    assert (made.base_currency.code, made.quote_currency.code) == ("USD", "JPY")


def test_gold_is_a_pair_dealt_in_hundredths():
    facts = {"asset_class": "commodity", "lot_size": 0.01}
    gold = instrument("XAUUSD", **facts)
    made = to_nautilus(gold, cost_frac=0.0)
    assert made.base_currency.code == "XAU"
    assert made.size_precision == gold.size_precision == 2


@pytest.mark.parametrize(("symbol", "kind"), [("SPX500", "index"), ("WTIUSD", "commodity")])
def test_index_and_oil_are_cfds(symbol, kind):
    made = to_nautilus(instrument(symbol, asset_class=kind, lot_size=0.01), cost_frac=0.0)
    assert isinstance(made, Cfd)


def test_a_stock_in_fractions_is_no_equity_of_nautilus_and_stays_funded():
    stock = instrument(lot_size=0.0001)
    made = to_nautilus(stock, cost_frac=0.0)
    assert isinstance(made, Cfd)
    assert made.size_increment.as_double() == 0.0001
    assert (made.size_precision, stock.funded) == (4, True)


def test_a_coin_is_a_pair_of_its_two_codes_however_it_is_spelt():
    facts = {"asset_class": "crypto", "lot_size": 0.00001}
    for symbol, currency in (("BTCUSDT", "USDT"), ("BTC-USD", "USD"), ("XXBTZEUR", "EUR")):
        made = to_nautilus(instrument(symbol, currency=currency, **facts), cost_frac=0.0)
        assert isinstance(made, CurrencyPair)
        assert (made.base_currency.code, made.quote_currency.code) == ("BTC", currency)
        assert made.size_precision == 5
    strange = to_nautilus(instrument("ZZZUSDT", currency="USDT", **facts), cost_frac=0.0)
    assert isinstance(strange, Cfd)


def test_every_known_code_is_a_currency_of_as_many_decimals_as_we_say():
    for code in sorted(CURRENCIES | METALS | COINS | STABLE_COINS):
        assert to_currency(code).precision == decimals_of(code), code
    assert to_currency("GBX").precision == 2
    with pytest.raises(ConfigError, match="expected a currency code that is known, was 'XQQ'"):
        to_currency("XQQ")


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (0, "BRK-A.SIM-1-DAY-LAST-EXTERNAL"),
        (HOUR, "BRK-A.SIM-1-HOUR-LAST-EXTERNAL"),
        (HOUR // 4, "BRK-A.SIM-15-MINUTE-LAST-EXTERNAL"),
    ],
)
def test_bar_type_names_its_step(step, text):
    assert str(bar_type(instrument("BRK-A"), step)) == text


def test_step_that_divides_nothing_is_refused():
    with pytest.raises(ConfigError, match="was 420 seconds"):
        bar_type(instrument(), 420_000_000_000)
