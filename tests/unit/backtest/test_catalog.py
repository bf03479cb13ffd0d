from dataclasses import replace

import pytest

from agents.messages import FundamentalsReport, MacroValue, NewsItem
from backtest.market.catalog import list_catalogs, read_catalog, write_catalog
from backtest.market.market_data import canonical
from backtest.sources import open_source
from config.errors import DataError
from config.sources import CATALOG_FACTS, find_catalog


@pytest.fixture(scope="module")
def market():
    base = open_source("packaged", end="2003-12-31")
    ts = base.session_closes[3]
    return canonical(
        replace(
            base,
            news=tuple(
                NewsItem(
                    symbol="IBM",
                    ts_event=ts + k,
                    ts_init=ts + k + 5,
                    source="wire",
                    item_id=str(k),
                    headline=f"Ünïcode “{k}”",
                    body="line\nline",
                )
                for k in range(20)
            ),
            fundamentals=(
                FundamentalsReport(
                    symbol="IBM",
                    ts_event=ts,
                    ts_init=ts + 9,
                    period="annual",
                    figures={"revenue": 1.1, "eps": -0.3},
                ),
            ),
            macro=(MacroValue(series="vix", ts_event=ts, ts_init=ts + 1, value=20.25),),
            notes=("a note",),
            calendar="24/7",
        )
    )


def test_round_trip_keeps_the_digest_and_the_notes(market, tmp_path):
    write_catalog(market, tmp_path / "one")
    again = read_catalog(tmp_path / "one")
    assert again.digest == market.digest
    assert again.notes == market.notes
    assert (again.calendar, again.source_digest) == ("24/7", market.source_digest)
    assert market.source_digest
    assert open_source(str(tmp_path / "one")).digest == market.digest


def test_catalogs_are_listed_and_found_by_name(market, tmp_path):
    assert list_catalogs(tmp_path / "none") == []
    write_catalog(market, tmp_path / "two")
    (info,) = list_catalogs(tmp_path)
    assert (info.name, info.bars, info.news) == ("two", len(market.bars), 20)
    assert info.symbols == market.symbols
    assert find_catalog("two", tmp_path) == tmp_path / "two"
    assert find_catalog("three", tmp_path) is None


def test_catalog_that_exists_is_not_overwritten(market, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="expected a new folder"):
        write_catalog(market, tmp_path / "there")


def test_market_that_would_not_come_back_leaves_nothing_behind(market, tmp_path):
    bars = market.bars.assign(close=market.bars["close"] + 0.001, high=market.bars["high"] + 1)
    with pytest.raises(DataError, match="decimals"):
        write_catalog(replace(market, bars=bars), tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_changed_catalog_is_refused(market, tmp_path):
    write_catalog(market, tmp_path / "x")
    path = tmp_path / "x" / CATALOG_FACTS
    path.write_text(path.read_text().replace('"unadjusted"', '"adjusted"'))
    with pytest.raises(DataError, match="expected content with digest"):
        read_catalog(tmp_path / "x")


def test_folder_without_facts_is_no_catalog(tmp_path):
    with pytest.raises(DataError, match="expected a catalog"):
        read_catalog(tmp_path)
