"""Defaults by the kind of book, where nothing was stated."""

from dataclasses import replace

import pytest

from agents.messages import Instrument
from backtest.market.book_kinds import as_book, book_kind, contract_cost_bps
from config.settings import LimitSettings, load_settings


def settings_of(source="mine", **stated):
    return load_settings("simulator", {"data.source": source, **stated}, environ={})


def test_a_daily_book_of_stocks_has_the_equities_defaults(make_market):
    market, settings = as_book(make_market(sessions=5), settings_of())
    limits = settings.limits
    assert (limits.stop, limits.stop_cooldown_sessions) == ("volatility", 5)
    assert (limits.max_position, limits.max_group) == (0.375, 0.40)
    assert (limits.max_drawdown, limits.volatility_target) == (0.15, 0.10)
    assert settings.market.cost_frac == 0.0005
    assert as_book(market, settings) == (market, settings)


def test_coins_and_stocks_make_a_daily_book_one_of_equities_whatever_is_beside(make_market):
    classes = {"BTCUSD": "crypto", "EURUSD": "forex", "^GSPC": "index"}
    coin, pair, index = (
        Instrument(symbol=s, venue="SIM", group=c, asset_class=c) for s, c in classes.items()
    )
    daily = make_market(sessions=5, instruments=(coin, pair, index), news_every=0)
    assert book_kind(daily, "mine") == "daily equities"
    assert book_kind(replace(daily, step_ns=3_600_000_000_000), "mine") == "other"
    assert book_kind(replace(daily, instruments=(pair, index)), "mine") == "contracts"


def test_what_was_stated_stays_as_it_was_stated(make_market):
    given = {"limits.stop_loss": 0.05, "limits.max_position": 0.2, "market.cost_frac": 0.003}
    _, settings = as_book(make_market(sessions=5), settings_of(**given))
    assert (settings.limits.stop, settings.limits.stop_loss) == ("fraction", 0.05)
    assert (settings.limits.max_position, settings.market.cost_frac) == (0.2, 0.003)
    assert settings.limits.volatility_target == 0.10


def test_one_group_that_is_the_universe_has_no_limit_of_its_own(make_market):
    instruments = tuple(Instrument(symbol=s, venue="SIM", group="G") for s in ("AAA", "BBB"))
    _, settings = as_book(make_market(sessions=5, instruments=instruments), settings_of())
    assert (settings.limits.max_group, settings.limits.max_position) == (1.0, 0.75)


def test_the_multi_asset_book_keeps_the_users_numbers_whatever_stands_in(make_market):
    _, settings = as_book(make_market(sessions=5), settings_of("multi-asset:simulator"))
    assert settings.limits == LimitSettings()
    assert settings.market.cost_frac == 0.003


@pytest.mark.parametrize(
    ("symbol", "asset_class", "cost"),
    [
        ("EURUSD", "forex", 0.5),
        ("XAUUSD", "commodity", 1.5),
        ("US30", "index", 1.5),
        ("WTIUSD", "commodity", 3.0),
        ("EUR/USD", "forex", 0.5),
        ("EURUSD=X", "forex", 0.5),
        ("eurjpy", "forex", 0.5),
        ("USDTRY", "forex", 5.0),
        ("XAUEUR", "commodity", 1.5),
        ("BCO_USD", "commodity", 3.0),
        ("NATGAS", "commodity", 3.0),
        ("CORN", "commodity", None),
        ("BTCUSDT", "crypto", 10.0),
    ],
)
def test_a_contract_costs_what_its_class_does(make_market, symbol, asset_class, cost):
    contract = Instrument(
        symbol=symbol, venue="SIM", group="G", asset_class=asset_class, shortable=True
    )
    assert contract_cost_bps(contract) == cost
    market = make_market(sessions=5, instruments=(contract,), news_every=0)
    traded, _ = as_book(market, settings_of())
    assert traded.instruments[0].cost_bps == cost
    dear, _ = as_book(market, settings_of(**{"market.cost_frac": 0.003}))
    assert dear.instruments[0].cost_bps is None
