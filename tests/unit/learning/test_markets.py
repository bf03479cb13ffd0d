"""A book's market holds the instruments it names, over sessions that all of them share."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from agents.features.batch import INSTRUMENT_FEATURES
from agents.juniors.lexicon import sentiment
from agents.messages import Instrument
from backtest.market.market_data import ACTION_COLUMNS, MarketData, canonical
from backtest.market.sessions import DAY_NS, WEEKDAYS, load_sessions, session_day
from backtest.simulator import simulate
from backtest.sources import open_source
from backtest.sources.bars import in_sessions
from backtest.sources.findings import Notes
from backtest.sources.known import make_instrument
from backtest.sources.opening import cut
from config.errors import ConfigError, DataError
from learning.datasets.markets import (
    DOMAINS,
    MULTI_ASSET,
    SIMULATORS,
    book_market,
    equity_market,
    multi_asset_market,
    real_market,
    simulated_market,
)
from learning.datasets.shared_sessions import common_sessions
from learning.datasets.tensors import compute_tensors

SHARED = Path(__file__).parents[4] / "shared" / "data"
HOUR_NS = 3_600_000_000_000
SUNDAY = 18_000  # 2019-04-14, days since 1970
PAIRS = ("EURUSD", "GBPUSD", "USDJPY")


def hourly(symbols: tuple[str, ...] = PAIRS, weeks: int = 8, seed: int = 0) -> MarketData:
    """Return weeks of two bars on Sunday evening and three on each weekday, as a source does."""
    rng = np.random.default_rng(seed)
    opens = [
        (SUNDAY + 7 * week + day) * DAY_NS + hour * HOUR_NS
        for week in range(weeks)
        for day, hours in [(0, (22, 23)), *((d, (0, 9, 20)) for d in range(1, 6))]
        for hour in hours
    ]
    tables = []
    for symbol in symbols:
        close = np.round(1.2 * np.exp(np.cumsum(rng.normal(0, 2e-3, len(opens)))), 5)
        first = np.r_[close[:1], close[:-1]]
        tables.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "ts_open": opens,
                    "ts_close": np.array(opens) + HOUR_NS - 1,  # as sources stamp contiguous bars
                    "open": first,
                    "high": np.maximum(first, close),
                    "low": np.minimum(first, close),
                    "close": close,
                    "volume": 100.0,
                }
            )
        )
    bars, closes = in_sessions(pd.concat(tables), load_sessions(WEEKDAYS, 2019, 2020), Notes())
    return canonical(
        MarketData(
            name="made",
            instruments=tuple(make_instrument(s, 1.2, {}) for s in symbols),
            bars=bars,
            actions=pd.DataFrame({c: [] for c in ACTION_COLUMNS}),
            session_closes=closes,
            step_ns=HOUR_NS,
            price_basis="unadjusted",
            calendar=WEEKDAYS,
        )
    )


def without(market: MarketData, symbol: str, days: list[int]) -> MarketData:
    gone = (market.bars["symbol"] == symbol) & np.isin(
        session_day(market.bars["ts_close"].to_numpy()), days
    )
    return replace(market, bars=market.bars[~gone])


def test_sunday_evening_belongs_to_monday():
    market = hourly(weeks=2)
    assert len(market.session_closes) == 10
    assert market.sessions_per_year == 260
    made = compute_tensors(market, score=sentiment)
    monday = market.bars[market.bars["symbol"] == "EURUSD"].iloc[:5]
    assert made.bars[0, 0, 0] == monday["open"].iloc[0]  # Sunday's first
    assert made.bars[0, 0, 1] == monday["high"].max()
    assert made.bars[0, 0, 4] == 500.0


def test_one_holiday_of_one_instrument_masks_no_feature_of_price():
    market = without(hourly(weeks=30), "GBPUSD", [SUNDAY + 7 * 12 + 3])
    return_60 = INSTRUMENT_FEATURES.index("return_60")
    kept = compute_tensors(common_sessions(market), score=sentiment)
    assert np.isfinite(kept.features[61:, :, return_60]).all()
    holed = compute_tensors(market, score=sentiment)
    assert np.isnan(holed.features[62:122, 1, return_60]).all()


def test_days_left_out_are_counted_and_nothing_is_filled():
    day = SUNDAY + 7 * 12 + 3
    market = multi_asset_market(without(hourly(weeks=30), "GBPUSD", [day]), PAIRS)
    assert "1 days left out on which an instrument does not trade" in market.notes
    assert day not in session_day(np.array(market.session_closes))
    assert day not in session_day(market.bars["ts_close"].to_numpy())
    whole = hourly(weeks=30).bars
    assert len(market.bars) == len(whole) - 3 * len(PAIRS)
    assert len(market.bars.merge(whole)) == len(market.bars)


HOLE = list(range(SUNDAY + 14, SUNDAY + 35))  # three weeks of eight


def test_a_hole_is_refused_with_its_days_and_the_ways_to_go_on():
    with pytest.raises(DataError) as refused:
        multi_asset_market(without(hourly(), "GBPUSD", HOLE), PAIRS)
    assert str(refused.value) == (
        "expected instruments that trade on the same days, was GBPUSD absent on 15 of 40: "
        "2019-04-29 to 2019-05-17; go on without GBPUSD (symbols) or from 2019-05-20 (start) or "
        "until 2019-04-26 (end)"
    )


def test_each_way_past_a_hole_leads_on():
    market = without(hourly(), "GBPUSD", HOLE)
    alone = multi_asset_market(market, ("EURUSD", "USDJPY"))
    assert len(alone.session_closes) == 40
    late = multi_asset_market(market, PAIRS, start="2019-05-20")
    days = session_day(np.array(late.session_closes))
    assert (days[0], len(days)) == (SUNDAY + 36, 15)
    assert days[0] <= session_day(late.bars["ts_open"].to_numpy()).min() + 1  # Sunday evening
    assert late.notes[0] == (
        "the sessions before 2019-05-20 are left out: GBPUSD is absent on 2019-04-29 to 2019-05-17"
    )
    early = multi_asset_market(cut(market, None, "2019-04-26", ()), PAIRS)
    assert len(early.session_closes) == 10
    with pytest.raises(DataError, match="was GBPUSD absent on 15 of 40"):
        multi_asset_market(market, PAIRS, start="2019-05-17")


def test_a_start_without_a_hole_drops_nothing():
    whole, started = (multi_asset_market(hourly(), PAIRS, start=s) for s in (None, "2019-05-20"))
    assert (whole.digest, whole.notes) == (started.digest, started.notes)


def test_many_holes_of_many_instruments_still_make_one_line():
    symbols = ("AUDUSD", "EURUSD", "GBPUSD", "NZDUSD", "USDCAD", "USDCHF", "USDJPY")
    market = hourly(symbols, weeks=60)
    weeks = [(35, 38), (40, 40), (43, 46), (50, 53)]
    days = [SUNDAY + 7 * w + day for a, b in weeks for w in range(a, b + 1) for day in range(6)]
    for symbol in symbols[:5]:
        market = without(market, symbol, days)
    with pytest.raises(DataError) as refused:
        multi_asset_market(market, symbols)
    assert str(refused.value) == (
        "expected instruments that trade on the same days, was AUDUSD absent on 65 of 300: "
        "2019-12-16 to 2020-01-10, 2020-02-10 to 2020-03-06, 2020-03-30 to 2020-04-24 and 5 other "
        "days; go on without AUDUSD, EURUSD and 3 more (symbols) or from 2020-04-27 "
        "(start) or until 2019-12-13 (end)"
    )
    assert len(str(refused.value)) <= 300


def test_a_source_that_holds_the_eight_is_traded_as_they_alone():
    market = hourly((*MULTI_ASSET, "USDTRY"))
    book = multi_asset_market(market)
    assert book.symbols == MULTI_ASSET
    assert [n for n in book.notes if "group" in n] == []
    named = multi_asset_market(market, MULTI_ASSET)
    assert (book.digest, book.notes) == (named.digest, named.notes)


def test_a_source_without_all_eight_is_traded_with_all_contracts_that_it_has():
    book = multi_asset_market(hourly(("AAPL", "EURUSD", "USDTRY", "XAUUSD")))
    assert book.symbols == ("EURUSD", "USDTRY", "XAUUSD")
    assert book.notes[:2] == (
        "all 3 instruments of the book's groups, for there is no BRENT, GBPUSD, NAS100, SPX500, "
        "US30, USDJPY",
        "no instruments of the group index: left out",
    )
    assert not any("BRENT is the oil leg" in note for note in book.notes)


def test_symbols_choose_among_the_books_groups_alone():
    market = hourly((*MULTI_ASSET, "AAPL", "USDTRY"))
    chosen = multi_asset_market(market, ("USDTRY", "BRENT"))
    assert chosen.symbols == ("BRENT", "USDTRY")
    with pytest.raises(ConfigError) as refused:
        multi_asset_market(market, ("AAPL", "BRENT"))
    assert str(refused.value) == (
        "expected symbols of made in the groups commodity, forex, index (BRENT, EURUSD, GBPUSD, "
        "NAS100, SPX500, US30, USDJPY, USDTRY, XAUUSD), was AAPL"
    )
    with pytest.raises(DataError, match="of the groups commodity, forex, index in made, was AAPL"):
        multi_asset_market(hourly(("AAPL",)))


def test_a_long_list_of_possible_symbols_ends_after_ten(make_market):
    names = tuple(f"STOCK{k:02d}" for k in range(30))
    stocks = tuple(Instrument(symbol=s, venue="SIM", group="Energy") for s in names)
    market = make_market(sessions=20, instruments=stocks)
    asked = tuple(f"ABSENT{k:02d}" for k in range(30))
    for choose in (
        lambda: cut(market, None, None, asked),
        lambda: equity_market(market, "2019-05-01", symbols=asked),
    ):
        with pytest.raises(
            ConfigError, match=r"STOCK08, STOCK09 and 20 more\), was ABS"
        ) as refused:
            choose()
        assert str(refused.value).endswith("ABSENT04 and 25 more")
        assert len(str(refused.value)) <= 300


def test_symbols_choose_among_a_simulated_books_instruments():
    whole = book_market("multi-asset", "simulator", end="2016-12-30")
    groups = {i.symbol: i.group for i in whole.instruments}
    pairs = tuple(s for s, group in groups.items() if group == "forex")
    book = book_market("multi-asset", "simulator", end="2016-12-30", symbols=pairs)
    assert book.symbols == pairs
    assert book.notes[-2:] == (
        "no instruments of the group commodity: left out",
        "no instruments of the group index: left out",
    )
    with pytest.raises(ConfigError, match=r"expected symbols of simulator-0 \(SIM.*, was EURUSD"):
        book_market("multi-asset", "simulator", end="2016-12-30", symbols=("EURUSD",))


def test_the_book_spans_the_sessions_that_all_instruments_share():
    early = SUNDAY + 7 * 2
    late = SUNDAY + 7 * 6
    market = hourly()
    day = session_day(market.bars["ts_close"].to_numpy())
    gone = ((market.bars["symbol"] == "EURUSD") & (day < early)) | (
        (market.bars["symbol"] == "USDJPY") & (day >= late)
    )
    shared = multi_asset_market(replace(market, bars=market.bars[~gone]), PAIRS)
    days = session_day(np.array(shared.session_closes))
    assert (days[0], days[-1]) == (early + 1, late - 2)  # a Monday to a Friday
    assert shared.bars.groupby("symbol").size().nunique() == 1
    before = (market.bars["symbol"] == "EURUSD") & (day >= early)
    after = (market.bars["symbol"] == "USDJPY") & (day < early)
    apart = market.bars[before | after | (market.bars["symbol"] == "GBPUSD")]
    with pytest.raises(DataError, match="was EURUSD from 2019-04-28 and USDJPY until 2019-04-26"):
        multi_asset_market(replace(market, bars=apart), PAIRS)


def test_own_costs_replace_the_default_and_are_noted_as_assumptions():
    market = multi_asset_market(hourly(), PAIRS)
    assert {i.cost_bps for i in market.instruments} == {None}
    own = multi_asset_market(hourly(), PAIRS, own_costs=True)
    assert {i.cost_bps for i in own.instruments} == {0.5}
    assert own.notes[-1] == "own costs of 0.5 to 0.5 bp a fill are assumptions, not quotes"
    assert own.digest != market.digest
    corn = hourly(("CORN", "EURUSD"))
    facts = {"asset_class": "commodity", "group": "commodity"}
    instruments = (msgspec.structs.replace(corn.instruments[0], **facts), corn.instruments[1])
    with pytest.raises(ConfigError, match=r"own cost \(cost_bps\) for CORN, was none"):
        multi_asset_market(
            replace(corn, instruments=instruments), ("CORN", "EURUSD"), own_costs=True
        )


def test_an_equity_book_takes_whole_stocks_of_a_known_sector(make_market):
    groups = {"AAA": "Energy", "BBB": "Energy", "CCC": "Unknown", "DDD": "Utilities"}
    market = make_market(
        sessions=60,
        instruments=tuple(Instrument(symbol=s, venue="SIM", group=g) for s, g in groups.items()),
    )
    closes = np.array(market.session_closes)
    hole = (market.bars["symbol"] == "BBB") & (market.bars["ts_close"] == closes[50])
    young = (market.bars["symbol"] == "DDD") & (market.bars["ts_close"] < closes[10])
    book = equity_market(replace(market, bars=market.bars[~hole & ~young]), "2019-05-01")
    assert book.symbols == ("AAA", "DDD")
    assert len(book.session_closes) == 60
    assert any(note.startswith("2 of 4 stocks: complete from 2019-05-01") for note in book.notes)
    assert any(note.startswith("survivors only") for note in book.notes)
    chosen = equity_market(market, "2019-05-01", symbols=("BBB", "AAA"))
    assert chosen.symbols == ("AAA", "BBB")
    assert any(note.endswith("sessions; 2 of them were chosen") for note in chosen.notes)
    with pytest.raises(ConfigError, match=r"known sector \(AAA, BBB, DDD\), was CCC"):
        equity_market(market, "2019-05-01", symbols=("AAA", "CCC"))
    gone = market.bars["symbol"].isin(["AAA", "DDD"]) & (market.bars["ts_close"] == closes[9])
    holed = replace(market, bars=market.bars[~hole & ~gone])
    with pytest.raises(DataError, match=r"without a hole from 2019-04-15 on in made, was none"):
        equity_market(holed, "2019-04-15")


def test_simulated_markets_share_groups_and_keep_what_the_seed_says():
    settings = msgspec.structs.replace(SIMULATORS["multi-asset"], sessions=20, warm_up=0)
    named = [simulated_market("multi-asset", settings, seed) for seed in (0, 1)]
    for market, seed in zip(named, (0, 1), strict=True):
        assert sorted({i.group for i in market.instruments}) == list(DOMAINS)
        plain = simulate(settings, seed)
        np.testing.assert_array_equal(market.close, plain.close)
        np.testing.assert_array_equal(market.regime, plain.regime)
    assert not np.array_equal(named[0].close, named[1].close)
    crowded = msgspec.structs.replace(settings, sectors=4)
    with pytest.raises(ConfigError, match="at most 3 sectors in the multi-asset book, was 4"):
        simulated_market("multi-asset", crowded, 0)


def test_the_equity_simulator_is_five_stocks_in_each_of_eleven_sectors():
    settings = msgspec.structs.replace(SIMULATORS["equity"], sessions=2, warm_up=0)
    groups = [i.group for i in simulated_market("equity", settings, 3).instruments]
    assert len(groups) == 55
    assert {groups.count(group) for group in groups} == {5}


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is missing")
@pytest.mark.parametrize(
    ("name", "source", "symbols", "end", "sessions", "span"),
    [
        (
            "multi-asset",
            "cfd_dukascopy_to_2023/bars_D1.parquet",
            (),
            None,
            2_643,
            ("2013-05-23", "2023-09-11"),
        ),
        (
            "multi-asset",
            "cfd_mt5_wti_2023_2024",
            ("WTIUSD",),
            None,
            291,
            ("2023-07-13", "2024-12-31"),
        ),
        pytest.param(
            "multi-asset",
            "fx_h1_2012_2022+cfd_dukascopy_to_2023/bars_H1.parquet",
            (),
            "2020-10-15",
            1_894,
            ("2013-05-23", "2020-10-15"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "equity",
            "us126_daily_2008_2022",
            (),
            None,
            3_768,
            ("2008-01-02", "2022-12-16"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_real_books_span_what_their_data_share(name, source, symbols, end, sessions, span):
    whole = "+".join(str(SHARED / part) for part in source.split("+"))
    market = real_market(name, open_source(whole, end=end), symbols)
    days = session_day(np.array(market.session_closes))
    assert len(days) == sessions
    assert tuple(str(np.datetime64(int(d), "D")) for d in days[[0, -1]]) == span
    assert ((days + 3) % 7 < 5).all()
    if name == "equity":
        assert len(market.symbols) == 111
        assert market.price_basis == "adjusted"
    else:
        assert market.symbols == (symbols or MULTI_ASSET)
        assert all(i.shortable for i in market.instruments)
