"""Idle cash earns the federal funds rate where a source names none, a month after its own."""

import numpy as np
import pandas as pd

from backtest.market.market_data import window
from backtest.market.rules import rates_known, risk_free_rates
from backtest.sources import open_source
from backtest.sources.federal_funds import federal_funds


def stamp(text):
    return int(pd.Timestamp(text, tz="UTC").as_unit("ns").value)


def known(rates, *texts):
    return rates_known(rates, np.array([stamp(t) for t in texts])).tolist()


def source(folder, first="2015-01-05", periods=60):
    days = pd.bdate_range(first, periods=periods).strftime("%Y-%m-%d")
    rows = [f"{d},AAA,10,11,9,10,500" for d in days]
    (folder / "bars.csv").write_text(
        "date,symbol,open,high,low,close,volume\n" + "\n".join(rows) + "\n"
    )
    (folder / "source.yaml").write_text("non_sessions: drop\n")
    return open_source(str(folder))


def test_a_months_rate_counts_from_the_next_month_on():
    rates = [(m.ts_init, m.value) for m in federal_funds()]
    assert known(rates, "2007-08-31", "2007-09-01", "2007-09-30") == [5.26, 5.02, 5.02]
    assert known(rates, "1980-01-31", "1980-02-01") == [0.0, 13.82]


def test_the_last_rate_is_held_for_a_year_and_then_cash_earns_nothing():
    rates = [(m.ts_init, m.value) for m in federal_funds()]
    assert known(rates, "2024-12-31 23:59", "2025-01-01") == [5.33, 0.0]


def test_a_source_without_a_rate_gets_the_months_that_its_span_needs(tmp_path):
    market = source(tmp_path)
    rates = risk_free_rates(market, "USD")
    assert known(rates, "2015-01-05", "2015-03-02") == [0.12, 0.11]
    assert any("federal funds rate" in note for note in market.notes)
    assert risk_free_rates(market, "EUR") == []
    kept, _ = window(market, stamp("2015-03-02"), 5)
    assert known(risk_free_rates(kept, "USD"), "2015-03-02") == [0.11]


def test_a_source_with_a_rate_keeps_it(tmp_path):
    (tmp_path / "macro.csv").write_text("date,series,value\n2015-01-02,DGS3MO,0.02\n")
    market = source(tmp_path)
    assert [v for _, v in risk_free_rates(market, "USD")] == [0.02]
    assert not any("federal funds" in note for note in market.notes)


def test_a_source_beyond_the_table_says_so(tmp_path):
    market = source(tmp_path, first="2024-11-18")
    (note,) = [n for n in market.notes if "federal funds" in n]
    assert "ends with 2023-12, its last rate is held for 12 months" in note
    assert known(risk_free_rates(market, "USD"), "2024-12-31", "2025-01-02") == [5.33, 0.0]
