"""The project's shared real data, read as it lies; skipped where the folder is missing."""

from pathlib import Path

import pytest

from backtest.sources import open_source
from config.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is missing")


@pytest.fixture(scope="module")
def stocknet():
    return open_source(str(SHARED / "stocknet_2014_2016"))


def test_stocknet_is_88_stocks_with_tweets(stocknet):
    assert len(stocknet.instruments) == 88
    assert len(stocknet.bars) == 108_592 - 3
    assert len(stocknet.news) > 118_000
    assert stocknet.price_basis == "split_adjusted"


def test_stocknet_prices_keep_their_four_decimals(stocknet):
    apple = stocknet.bars[stocknet.bars["symbol"] == "AAPL"].iloc[0]
    assert (apple.open, apple.high, apple.low, apple.close) == (95.1086, 96.4486, 94.9286, 96.4243)


@pytest.mark.parametrize(
    ("name", "instruments", "basis"),
    [
        ("news_gnews_2022_2023", 3, "split_adjusted"),
        ("news_rcorizzo_2021_2022", 3, "split_adjusted"),
        ("stockemotions_2020", 41, "split_adjusted"),
        ("cfd_mt5_wti_2023_2024", 1, "unadjusted"),
        ("cfd_dukascopy_to_2023/bars_D1.parquet", 8, "unadjusted"),
        ("us126_daily_2008_2022", 126, "adjusted"),
    ],
)
def test_shared_source_opens_as_it_is(name, instruments, basis):
    market = open_source(str(SHARED / name))
    assert len(market.instruments) == instruments
    assert market.price_basis == basis
    if basis == "adjusted":
        assert market.actions.empty


def test_context_of_three_folders_joins_one_market():
    parts = ("news_gnews_2022_2023", "macro_fred", "fundamentals")
    market = open_source("+".join(str(SHARED / p) for p in parts))
    series = {m.series for m in market.macro}
    expected = {"vix", "yield_short", "yield_long", "credit_spread", "commodity", "risk_free"}
    assert expected <= series
    assert {f.symbol for f in market.fundamentals} == {"AAPL", "META", "NVDA"}
    assert {i.group for i in market.instruments} <= {
        "Information Technology",
        "Communication Services",
    }


def test_dukascopys_folder_of_stocks_beside_fx_is_refused():
    with pytest.raises(DataError, match=r"one calendar in one source, was BRENT \(24x5\)"):
        open_source(str(SHARED / "cfd_dukascopy_to_2023"))
