from datetime import date

import numpy as np
import pandas as pd
import pytest

from agents.messages import Instrument
from backtest.market.sessions import stamp_text
from backtest.sources import open_source
from backtest.sources.actions import derive
from backtest.sources.findings import Notes

CLOSE_AT = int(np.datetime64("2015-01-02T21:00", "ns").astype(np.int64))


def bars(close, **columns):
    opens = CLOSE_AT + np.arange(len(close)) * 86_400_000_000_000
    return pd.DataFrame({"symbol": "AAA", "ts_open": opens, "close": close, **columns})


def test_split_is_a_small_ratio_with_a_fall_of_the_raw_price():
    found = derive(
        bars([100.0, 100.0, 50.5], adj_close=[50.0, 50.0, 50.5]), "x", None, False, Notes()
    )
    assert found.basis == "unadjusted"
    assert found.rows[["split", "dividend"]].to_numpy().tolist() == [[2.0, 0.0]]


def test_dividend_is_what_the_adjustment_took_from_the_close_before():
    adjusted = [99.0, 99.0, 100.0]
    found = derive(bars([100.0, 100.0, 100.0], adj_close=adjusted), "x", None, False, Notes())
    assert found.basis == "split_adjusted"
    assert found.rows["dividend"].tolist() == [1.0]
    assert found.rows["split"].tolist() == [1.0]


def test_noise_of_printed_decimals_is_no_dividend():
    rng = np.random.default_rng(3)
    close = np.round(np.exp(rng.normal(0, 0.02, 400).cumsum()) * 30, 2)
    adjusted = np.round(close * 0.1317, 2)
    found = derive(bars(close, adj_close=adjusted), "x", None, False, Notes())
    assert found.rows.empty


def test_crash_without_a_change_of_adjustment_is_no_split():
    found = derive(
        bars([100.0, 50.0, 50.0], adj_close=[90.0, 45.0, 45.0]), "x", None, False, Notes()
    )
    assert found.rows.empty


def test_adjustment_that_jumps_without_the_price_is_ignored_and_noted():
    notes = Notes()
    table = bars([100.0, 100.0, 100.0], adj_close=[50.0, 50.0, 100.0])
    found = derive(table, "x", None, False, notes)
    assert found.rows.empty
    assert any("no split or dividend" in n for n in notes.lines())


def test_smooth_prices_with_explicit_dividends_are_adjusted_and_credit_nothing():
    table = bars([100.0, 101.0, 102.0], dividends=[0, 1.0, 0], stock_splits=[0, 0, 2.0])
    found = derive(table, "x", None, False, notes := Notes())
    assert found.basis == "adjusted"
    assert found.rows.empty
    assert any("not credited again" in n for n in notes.lines())


def test_explicit_split_with_a_falling_price_is_unadjusted_and_credited():
    table = bars([100.0, 101.0, 51.0], dividends=[0, 1.0, 0], stock_splits=[0, 0, 2.0])
    found = derive(table, "x", None, False, Notes())
    assert found.basis == "unadjusted"
    assert found.rows[["split", "dividend"]].to_numpy().tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_stated_basis_wins_over_the_inferred_one():
    table = bars([100.0, 100.0, 50.5], adj_close=[50.0, 50.0, 50.5])
    assert derive(table, "x", "adjusted", False, Notes()).rows.empty


@pytest.fixture(scope="module")
def packaged():
    return open_source("packaged")


def test_packaged_bars_have_their_three_splits_at_the_opening(packaged):
    splits = packaged.actions[packaged.actions["split"] != 1.0]
    assert [(r.symbol, stamp_text(r.ts), r.split) for r in splits.itertuples()] == [
        ("AAPL", "2000-06-21T13:30:00Z", 2.0),
        ("MSFT", "2003-02-18T14:30:00Z", 2.0),
        ("AAPL", "2005-02-28T14:30:00Z", 2.0),
    ]
    assert packaged.price_basis == "unadjusted"
    assert isinstance(packaged.instruments[0], Instrument)
    assert packaged.symbols == ("AAPL", "GOOG", "IBM", "MSFT")


def test_packaged_dividends_are_those_that_were_paid(packaged):
    paid = packaged.actions[packaged.actions["dividend"] > 0]
    by_day = {
        (r.symbol, date.fromisoformat(stamp_text(r.ts)[:10])): r.dividend
        for r in paid.itertuples()
    }
    assert by_day["MSFT", date(2004, 11, 15)] == pytest.approx(3.08, rel=0.03)
    assert by_day["AAPL", date(2012, 8, 9)] == pytest.approx(2.65, rel=0.04)
    assert by_day["IBM", date(2012, 2, 8)] == pytest.approx(0.75, rel=0.10)
    assert not any(symbol == "GOOG" for symbol, _ in by_day)


def test_packaged_apple_is_split_adjusted_with_its_dividends():
    market = open_source("packaged:apple")
    assert market.price_basis == "split_adjusted"
    assert (market.actions["split"] == 1.0).all()
    assert len(market.actions) == 24


def test_opening_twice_gives_the_same_digest(packaged):
    assert open_source("packaged").digest == packaged.digest


def test_unknown_source_is_refused_naming_what_there_is():
    with pytest.raises(Exception, match=r"expected a source \(packaged, .* was 'nowhere'"):
        open_source("nowhere")
