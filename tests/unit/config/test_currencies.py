"""What a symbol names: a pair of codes, a CFD, an index, a stock of an exchange, or neither."""

import math

import pytest

from config.currencies import (
    COINS,
    CURRENCIES,
    METALS,
    STABLE_COINS,
    kind_of_pair,
    pair_of,
    usual_cash,
)
from config.listings import EXCHANGES, INDICES, cfd_of, is_energy, listing_of


@pytest.mark.parametrize(
    ("spellings", "pair"),
    [
        (
            "EURUSD eurusd EUR/USD EUR_USD EUR-USD EUR.USD EURUSD=X C:EURUSD OANDA:EUR_USD "
            "EURUSD.pro EURUSD.FOREX",
            ("EUR", "USD"),
        ),
        ("JPY=X USDJPY", ("USD", "JPY")),
        (
            "BTCUSD BTC-USD XBTUSD XBT/USD XXBTZUSD tBTCUSD TBTCUSD X:BTCUSD BTC-USD.CC",
            ("BTC", "USD"),
        ),
        ("BTCUSDT BTC/USDT BINANCE:BTCUSDT tBTCUST btcusdt", ("BTC", "USDT")),
        ("ETHBTC XETHXXBT", ("ETH", "BTC")),
        ("BNBUSD", ("BNB", "USD")),
        ("USDTUSD", ("USDT", "USD")),
        ("TON11419-USD", ("TON", "USD")),
        ("1000SHIBUSDT", ("1000SHIB", "USDT")),
        ("ABC-USDC ABCUSDC", ("ABC", "USDC")),
        ("XAUUSD XAU_USD", ("XAU", "USD")),
        ("USDT_BTC BTC_USDT", ("BTC", "USDT")),
        ("KRW-BTC BTC-KRW KRWBTC UPBIT:KRW-BTC", ("BTC", "KRW")),
    ],
)
def test_a_pair_is_read_in_every_vendors_spelling(spellings, pair):
    assert {s: pair_of(s) for s in spellings.split()} == dict.fromkeys(spellings.split(), pair)


def test_what_is_no_pair_is_not_taken_for_one():
    symbols = (
        "AAPL GOOGL BRK-B BRK.B BF.B VOD.L SOL.PA ABCUSD ABC-USD HYUNDAI DAI USDT EUR USDU EURX "
        "OPUSD RELIANCE-EQ GC=F WTIUSD SPX500 USDUSD A-B-C"
    )
    assert [s for s in symbols.split() if pair_of(s) is not None] == []


def test_two_codes_tell_forex_metals_and_coins_apart():
    kinds = {s: kind_of_pair(*(pair_of(s) or ("", ""))) for s in ("EURTRY", "XAGJPY", "EURUSDT")}
    assert kinds == {"EURTRY": "forex", "XAGJPY": "commodity", "EURUSDT": "crypto"}
    assert not CURRENCIES & (METALS | COINS | STABLE_COINS)


def test_what_is_usual_to_start_with_is_a_round_power_of_ten():
    codes = ("USD", "EUR", "INR", "JPY", "KRW", "GBX", "IDR", "USDT", "BTC", "ETH")
    known = {code: usual_cash(code) for code in codes}
    assert list(known.values()) == [1e5, 1e5, 1e7, 1e7, 1e8, 1e7, 1e9, 1e5, 1.0, 100.0]
    for code in CURRENCIES | COINS | STABLE_COINS:
        assert math.log10(usual_cash(code)).is_integer()


@pytest.mark.parametrize(
    ("symbol", "listing"),
    [
        ("VOD.L", ("XLON", "GBX")),
        ("vod.uk", ("XLON", "GBX")),
        ("ENI.MI", ("XMIL", "EUR")),
        ("RELIANCE.NS", ("XBOM", "INR")),
        ("TCS.BO", ("XBOM", "INR")),
        ("SBIN-EQ", ("XBOM", "INR")),
        ("7203.T", ("XTKS", "JPY")),
        ("SAP.DE", ("XETR", "EUR")),
        ("aapl.us", ("XNYS", "USD")),
        ("^GSPC", ("XNYS", "USD")),
        ("^FTSE", ("XLON", "GBP")),
        ("^nsei", ("XBOM", "INR")),
        ("^TA125.TA", ("XTAE", "ILS")),
        ("^NOSUCH", None),
        ("AAPL", None),
        ("BRK.B", None),
    ],
)
def test_a_suffix_or_a_caret_tells_calendar_and_currency(symbol, listing):
    assert listing_of(symbol) == listing


def test_every_calendar_exists_and_every_currency_is_known():
    from exchange_calendars import get_calendar_names

    places = {*EXCHANGES.values(), *INDICES.values()}
    assert {calendar for calendar, _ in places} <= set(get_calendar_names())
    assert {currency for _, currency in places} <= CURRENCIES


@pytest.mark.parametrize(
    ("spellings", "known", "energy"),
    [
        ("US500 SPX500 SPX500USD SPX500_USD US30.cash USA500IDXUSD", ("index", "USD"), False),
        ("DAX GER40 DE30EUR DE30_EUR DEUIDXEUR", ("index", "EUR"), False),
        ("JP225", ("index", "JPY"), False),
        ("UK100", ("index", "GBP"), False),
        ("BRENT brent WTIUSD XTIUSD BCO_USD NATGAS BRENTCMDUSD", ("commodity", "USD"), True),
        ("CORN_USD COPPERCMDUSD", ("commodity", "USD"), False),
        ("WTI CORN GOLD SPY EURUSD", None, False),
    ],
)
def test_a_cfd_is_known_by_its_brokers_names(spellings, known, energy):
    for symbol in spellings.split():
        assert (cfd_of(symbol), is_energy(symbol)) == (known, energy), symbol
