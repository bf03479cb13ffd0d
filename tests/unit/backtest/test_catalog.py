from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
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


def first_bars(catalog):
    return next(catalog.glob("data/bar/*/*.parquet"))


def with_fourth_close(table, value):
    at = table.schema.get_field_index("close")
    values = table["close"].to_pylist()
    values[3] = value
    field = table.schema.field(at).with_nullable(True)
    return table.set_column(at, field, pa.array(values, field.type))


TAMPERED = {
    "no metadata": lambda t: t.replace_schema_metadata({}),
    "a column too few": lambda t: t.drop_columns(["close"]),
    "an empty value": lambda t: with_fourth_close(t, None),
    "a price beyond the engine's": lambda t: with_fourth_close(t, b"\x00" * 15 + b"\x10"),
    "rows too few": lambda t: t.slice(0, 5),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_bars_that_were_tampered_with_are_refused_and_end_no_process(market, tmp_path, name):
    write_catalog(market, tmp_path / "x")
    path = first_bars(tmp_path / "x")
    pq.write_table(TAMPERED[name](pq.read_table(path, partitioning=None)), path)
    with pytest.raises(DataError, match=r"^x: expected"):
        read_catalog(tmp_path / "x")


def test_bars_that_were_cut_are_refused(market, tmp_path):
    write_catalog(market, tmp_path / "x")
    path = first_bars(tmp_path / "x")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"^x: expected a Parquet file of bars") as caught:
        read_catalog(tmp_path / "x")
    assert str(tmp_path) not in str(caught.value)


def test_news_of_another_type_are_refused(market, tmp_path):
    write_catalog(market, tmp_path / "x")
    path = next((tmp_path / "x").glob("data/custom_news*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    wrong = pa.array([5.5] * len(table))
    pq.write_table(table.set_column(0, table.schema.names[0], wrong), path)
    with pytest.raises(DataError, match=r"^x: expected"):
        read_catalog(tmp_path / "x")
