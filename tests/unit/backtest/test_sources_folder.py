"""A small folder written by each test: what is read, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from backtest.market.sessions import stamp_text
from backtest.sources import open_source
from backtest.sources.folder import read_sources
from config.errors import DataError

HEADER = "date,ticker,open,high,low,close,adj_close,volume\n"
DAYS = ["2015-01-02", "2015-01-05", "2015-01-06", "2015-01-07", "2015-01-08", "2015-01-09"]


def bars_csv(symbols=("AAA", "BBB"), days=DAYS, header=HEADER):
    rows = [
        f"{d},{s},{p},{p + 1},{p - 1},{p + 0.5},{p + 0.5},{1000 + i}"
        for s in symbols
        for i, d in enumerate(days)
        for p in [10 + i + ord(s[0]) - ord("A")]
    ]
    return header + "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bars.csv").write_text(bars_csv())
    return tmp_path


def refused(folder, *words, **kwargs):
    with pytest.raises(DataError) as caught:
        open_source(str(folder), **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    for word in ("expected", "was", *words):
        assert word in text, text
    return text


def test_dated_bar_opens_and_closes_with_its_session(folder):
    bars = open_source(str(folder)).bars
    first = bars.iloc[0]
    assert stamp_text(first.ts_open) == "2015-01-02T14:30:00Z"
    assert stamp_text(first.ts_close) == "2015-01-02T21:00:00Z"


def test_news_by_date_is_known_at_the_next_sessions_open(folder):
    (folder / "news.csv").write_text("Date,Ticker,Headline\n2015-01-02,AAA,Shares rise\n")
    (item,) = open_source(str(folder)).news
    assert stamp_text(item.ts_event) == "2015-01-02T00:00:00Z"
    assert stamp_text(item.ts_init) == "2015-01-05T14:30:00Z"


def test_news_by_second_is_known_at_its_stamp(folder):
    (folder / "news.csv").write_text("ts,symbol,text\n2015-01-05T10:11:12Z,AAA,Shares rise\n")
    (item,) = open_source(str(folder)).news
    assert item.ts_event == item.ts_init
    assert stamp_text(item.ts_init) == "2015-01-05T10:11:12Z"


def test_naive_stamps_are_in_the_zone_that_source_yaml_names(folder):
    (folder / "news.csv").write_text("ts,symbol,text\n2015-01-05 10:11:12,AAA,Up\n")
    (folder / "source.yaml").write_text("timezone: America/New_York\n")
    (item,) = open_source(str(folder)).news
    assert stamp_text(item.ts_init) == "2015-01-05T15:11:12Z"


def test_news_that_repeats_is_dropped_and_counted(folder):
    line = "2015-01-05T10:11:12Z,AAA,Up\n"
    (folder / "news.csv").write_text("ts,symbol,text\n" + line * 3)
    market = open_source(str(folder))
    assert len(market.news) == 1
    assert "2 news items that repeat a (source, id) left out" in market.notes


def test_news_before_its_instrument_exists_is_dropped_and_counted(folder):
    text = "ts,symbol,text\n2014-06-05T10:00:00Z,AAA,Early\n2015-01-05T10:00:00Z,ZZZ,Other\n"
    (folder / "news.csv").write_text(text)
    market = open_source(str(folder))
    assert market.news == ()
    assert any(n.startswith("1 news items from before") for n in market.notes)
    assert any(n.startswith("1 news items of symbols without bars") for n in market.notes)


def test_quarterly_report_is_known_after_45_days_and_annual_after_90(tmp_path):
    days = [str(d) for d in pd.bdate_range("2015-01-05", "2015-06-30")]
    days = [d[:10] for d in days if d[:10] not in ("2015-01-19", "2015-02-16")]
    days = [d for d in days if d not in ("2015-04-03", "2015-05-25")]
    (tmp_path / "bars.csv").write_text(bars_csv(("AAA",), days))
    (tmp_path / "f.csv").write_text(
        "symbol,date,period,Total Revenue,Net Income\n"
        "AAA,2014-12-31,10-K,400,40\nAAA,2015-03-31,10-Q,100,\n"
    )
    annual, quarter = open_source(str(tmp_path)).fundamentals
    assert (annual.period, quarter.period) == ("annual", "quarter")
    assert stamp_text(annual.ts_init)[:10] == "2015-03-31"
    assert stamp_text(quarter.ts_init)[:10] == "2015-05-15"
    assert annual.figures == {"revenue": 400.0, "net_income": 40.0}
    assert quarter.figures == {"revenue": 100.0}


def test_filing_date_says_when_a_report_became_known(folder):
    (folder / "f.csv").write_text(
        "ticker,date,item,value,filing_date\n"
        "AAA,2014-09-30,Stockholders Equity,7,2015-01-05\nAAA,2014-09-30,EPS,2,2015-01-05\n"
    )
    (report,) = open_source(str(folder)).fundamentals
    assert report.figures == {"equity": 7.0, "eps": 2.0}
    assert stamp_text(report.ts_init) == "2015-01-06T14:30:00Z"


def test_current_ratio_comes_from_the_amounts_rather_than_a_percentage(folder):
    (folder / "f.csv").write_text(
        "ticker,date,filing_date,Current Ratio,Total Current Assets,Total Current Liabilities\n"
        "AAA,2014-09-30,2015-01-05,150,30,20\n"
    )
    (report,) = open_source(str(folder)).fundamentals
    assert report.figures == {"current_ratio": 1.5}


def test_daily_macro_is_known_at_the_next_open_and_monthly_after_its_month(folder):
    rows = [f"{d},DGS10,2.{i}" for i, d in enumerate(DAYS)]
    rows += [f"2014-{m:02d}-01,UNRATE,5.{m}" for m in range(6, 13)]
    (folder / "macro.csv").write_text("date,series,value\n" + "\n".join(rows) + "\n")
    macro = open_source(str(folder)).macro
    first = next(m for m in macro if m.series == "yield_long")
    assert stamp_text(first.ts_init) == "2015-01-05T14:30:00Z"
    monthly = [m for m in macro if m.series == "unrate"]
    assert all(m.ts_init - m.ts_event > 44 * 86_400_000_000_000 for m in monthly)


def test_sector_file_sets_the_groups(folder):
    (folder / "sectors.csv").write_text("Symbol,GICS Sector\nAAA,Energy\n")
    groups = {i.symbol: i.group for i in open_source(str(folder)).instruments}
    assert groups == {"AAA": "Energy", "BBB": "Unknown"}


def test_order_of_files_and_rows_does_not_matter(tmp_path):
    for name, order in (("one", 1), ("two", -1)):
        (tmp_path / name).mkdir()
        parts = {"a.csv": ("AAA", "CCC"), "b.csv": ("BBB",)}
        for file, symbols in zip(list(parts)[::order], parts.values(), strict=True):
            text = bars_csv(symbols[::order])
            (tmp_path / name / file).write_text(text)
        news = ["2015-01-05T10:00:00Z,AAA,Up", "2015-01-06T10:00:00Z,BBB,Down"]
        lines = "\n".join(news[::order])
        (tmp_path / name / "news.csv").write_text("ts,symbol,text\n" + lines + "\n")
    assert open_source(str(tmp_path / "one")).digest == open_source(str(tmp_path / "two")).digest


def test_parquet_and_csv_of_the_same_rows_are_the_same_market(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("parquet")
    frame = pd.read_csv(folder / "bars.csv", parse_dates=["date"])
    frame.to_parquet(other / "bars.parquet")
    assert open_source(str(folder)).digest == open_source(str(other)).digest


def test_end_drops_what_became_known_later_and_start_drops_nothing(folder):
    (folder / "news.csv").write_text("date,symbol,headline\n2015-01-06,AAA,Late\n")
    market = open_source(str(folder), start="2015-01-05", end="2015-01-06")
    assert stamp_text(market.bars["ts_close"].max())[:10] == "2015-01-06"
    assert stamp_text(market.bars["ts_close"].min())[:10] == "2015-01-02"
    assert market.news == ()
    assert len(market.session_closes) == 3


def test_value_after_the_end_changes_nothing_before_it(folder):
    before = open_source(str(folder), end="2015-01-07").digest
    text = (folder / "bars.csv").read_text().replace("2015-01-09,AAA,15", "2015-01-09,AAA,14.5")
    (folder / "bars.csv").write_text(text)
    assert open_source(str(folder), end="2015-01-07").digest == before


def test_empty_range_is_refused(folder):
    refused(folder, "2015-01-02 to 2015-01-09", start="2016-01-01")
    refused(folder, start="2015-01-03", end="2015-01-04")


def test_unknown_symbol_is_refused_with_what_there_is(folder):
    with pytest.raises(Exception, match=r"AAA, BBB.*was ZZZ"):
        open_source(str(folder), symbols=["ZZZ"])


def test_symbols_keep_only_those(folder):
    assert open_source(str(folder), symbols=["BBB"]).symbols == ("BBB",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("open,high", "opne,high", ["bars.csv", "column open", "opne"]),
        ("ticker,", "who,", ["a column of symbols", "who"]),
        ("date,", "when,", ["column time", "when"]),
        ("2015-01-05,AAA", "2015-01-02,AAA", ["duplicate", "AAA", "row 2"]),
        ("2015-01-05,AAA", "2014-12-31,AAA", ["unsorted", "AAA", "row 2"]),
        ("AAA,11,12,10", "AAA,nan,12,10", ["open", "AAA", "nan", "row 2"]),
        ("AAA,11,12,10", "AAA,0,12,10", ["open > 0", "AAA", "row 2", "was open 0"]),
        ("AAA,11,12,10", "AAA,-3,12,10", ["open > 0", "was open -3"]),
        ("AAA,11,12,10", "AAA,11,9,10", ["high >= low", "high 9, low 10"]),
        ("AAA,11,12,10", "AAA,14,12,10", ["open and close within low and high", "open 14"]),
        ("AAA,11,12,10", "AAA,abc,12,10", ["a finite number in 'open' at row 2", "'abc'"]),
        ("2015-01-05,AAA", "2015-01-04,AAA", ["1 bars outside the sessions", "2015-01-04"]),
        ("2015-01-05,AAA", "soon,AAA", ["date or stamp in 'date' at row 2", "'soon'"]),
        ("2015-01-05,AAA", "2015-01-05T00:00:00Z,AAA", ["time zone", "row 2"]),
    ],
)
def test_bad_bars_are_refused_in_one_line(folder, old, new, words):
    text = (folder / "bars.csv").read_text()
    assert old in text
    (folder / "bars.csv").write_text(text.replace(old, new, 1))
    refused(folder, *words)


def test_non_session_bars_can_be_dropped_and_noted(folder):
    text = (folder / "bars.csv").read_text().replace("2015-01-05,AAA", "2015-01-04,AAA")
    (folder / "bars.csv").write_text(text)
    (folder / "source.yaml").write_text("non_sessions: drop\n")
    market = open_source(str(folder))
    assert len(market.bars) == 11
    assert any("1 bars outside the sessions of XNYS left out" in n for n in market.notes)


def test_bar_given_by_two_files_is_refused(folder):
    (folder / "more.csv").write_text(bars_csv(("BBB",)))
    refused(folder, "duplicate for BBB", "6 such bars")


def test_empty_folder_is_refused(tmp_path):
    refused(tmp_path, "empty folder")


def test_unreadable_file_is_refused(folder):
    (folder / "bars.parquet").write_bytes(b"not parquet")
    refused(folder, "bars.parquet", "readable Parquet")


def test_file_like_nothing_known_is_refused(folder):
    (folder / "other.csv").write_text("a,b\n1,2\n")
    refused(folder, "other.csv", "was a, b")


def test_news_alone_is_no_market(tmp_path):
    (tmp_path / "news.csv").write_text("date,symbol,headline\n2015-01-06,AAA,Up\n")
    refused(tmp_path, "at least one file of bars")


@pytest.mark.parametrize(
    ("yaml", "word"),
    [
        ("calender: XNYS", "calender"),
        ("files: {bars.csv: {kindd: bars}}", "files.bars.csv"),
        ("files: {nope.csv: {}}", "files.nope.csv"),
        ("files: {bars.csv: {columns: {open: Eröffnung}}}", "Eröffnung"),
        ("files: {bars.csv: {columns: {opening: open}}}", "opening"),
        ("instruments: {ZZZ: {group: Energy}}", "instruments.ZZZ"),
        ("calendar: [", "unreadable"),
    ],
)
def test_wrong_source_yaml_is_refused(folder, yaml, word):
    (folder / "source.yaml").write_text(yaml + "\n", encoding="utf-8")
    refused(folder, word)


def test_source_yaml_names_columns_symbol_and_facts(tmp_path):
    lines = bars_csv(("AAA",), header="date,x,o,high,low,close,adj_close,volume\n")
    (tmp_path / "ACME.csv").write_text(lines)
    (tmp_path / "source.yaml").write_text(
        "price_basis: unadjusted\n"
        "files: {ACME.csv: {symbol: stem, columns: {open: o}}}\n"
        "instruments: {ACME: {group: Energy, cost_bps: 5, precision: 3}}\n"
    )
    market = open_source(str(tmp_path))
    (instrument,) = market.instruments
    assert instrument.symbol == "ACME"
    assert (instrument.group, instrument.cost_bps, instrument.price_precision) == ("Energy", 5, 3)
    assert market.price_basis == "unadjusted"


def test_intraday_stamp_is_the_opening_and_the_last_bar_closes_with_the_session(tmp_path):
    stamps = pd.date_range("2015-01-02 14:30", periods=7, freq="h")
    rows = [f"{t},AAA,10,11,9,10,5" for t in stamps]
    (tmp_path / "bars.csv").write_text(
        "time,symbol,open,high,low,close,volume\n" + "\n".join(rows)
    )
    market = open_source(str(tmp_path))
    assert market.step_ns == 3_600_000_000_000
    assert market.bars["ts_close"].iloc[0] == market.bars["ts_open"].iloc[1] - 1
    assert stamp_text(market.bars["ts_close"].iloc[0]) == "2015-01-02T15:29:59Z"
    assert stamp_text(market.bars["ts_close"].iloc[-1]) == "2015-01-02T21:00:00Z"


def test_fx_sessions_are_utc_days_closed_by_their_last_bar(tmp_path):
    stamps = pd.date_range("2015-01-05 20:00", periods=8, freq="h", tz="UTC")
    frame = pd.DataFrame({"time": stamps, "symbol": "USDJPY", "volume": 5})
    frame = frame.assign(open=110.123, high=111.0, low=109.0, close=110.5)
    frame.to_parquet(tmp_path / "bars.parquet")
    market = open_source(str(tmp_path))
    (instrument,) = market.instruments
    assert (instrument.asset_class, instrument.currency) == ("forex", "JPY")
    assert instrument.shortable
    assert instrument.price_precision == 3
    closes = [stamp_text(c) for c in market.session_closes]
    assert closes == ["2015-01-05T23:59:59Z", "2015-01-06T03:59:59Z"]


def test_a_week_of_fx_is_five_sessions_and_sunday_evening_is_mondays(tmp_path):
    stamps = pd.date_range("2015-01-04 21:00", "2015-01-09 20:00", freq="h", tz="UTC")
    frame = pd.DataFrame({"time": stamps, "symbol": "EURUSD", "volume": 5})
    frame.assign(open=1.1, high=1.2, low=1.0, close=1.1).to_parquet(tmp_path / "bars.parquet")
    market = open_source(str(tmp_path))
    closes = [stamp_text(c) for c in market.session_closes]
    assert closes == [
        *(f"2015-01-0{day}T23:59:59Z" for day in (5, 6, 7, 8)),
        "2015-01-09T20:59:59Z",
    ]
    assert len(market.bars) == len(stamps)
    assert (market.calendar, market.sessions_per_year) == ("24x5", 260)
    assert "1 weekend sessions joined to the sessions that follow them" in market.notes


def test_bars_of_a_weekend_that_no_session_follows_are_left_out(tmp_path):
    rows = [f"2015-01-{day:02d},EURUSD,1.1,1.2,1.0,1.1,5" for day in (8, 9, 11)]
    header = "date,symbol,open,high,low,close,volume\n"
    (tmp_path / "bars.csv").write_text(header + "\n".join(rows))
    market = read_sources([tmp_path])
    assert len(market.bars) == len(market.session_closes) == 2
    (tmp_path / "bars.csv").write_text(header + rows[-1])
    refused(tmp_path, "bars on weekdays")


def test_a_calendar_of_every_day_has_a_session_a_day(tmp_path):
    days = pd.date_range("2022-01-01", periods=14).strftime("%Y-%m-%d")
    rows = [f"{day},BTC,10,11,9,10,5" for day in days]
    (tmp_path / "bars.csv").write_text(
        "date,symbol,open,high,low,close,volume\n" + "\n".join(rows)
    )
    (tmp_path / "source.yaml").write_text("calendar: 24/7\n")
    market = open_source(str(tmp_path))
    assert len(market.session_closes) == 14
    assert market.sessions_per_year == 365
    assert not set(market.bars["ts_open"]) & set(market.bars["ts_close"])


def test_the_whole_sources_digest_stays_when_dates_and_symbols_are_chosen(folder):
    whole = open_source(str(folder))
    part = open_source(str(folder), symbols=["BBB"], end=DAYS[2])
    assert part.source_digest == whole.source_digest == whole.digest
    assert part.digest != whole.digest


def test_bars_of_different_length_are_refused_by_name(tmp_path):
    for name, freq in (("bars_H1", "h"), ("bars_M15", "15min")):
        stamps = pd.date_range("2015-01-05 20:00", periods=8, freq=freq, tz="UTC")
        frame = pd.DataFrame({"time": stamps, "symbol": "EURUSD", "volume": 5})
        frame.assign(open=1.1, high=1.2, low=1.0, close=1.1).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    refused(tmp_path, "one length", "bars_H1.parquet of 60 minutes", "of 15 minutes")
    assert open_source(str(tmp_path / "bars_H1.parquet")).step_ns == 3_600_000_000_000


def test_sources_joined_by_plus_are_read_together(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("macro")
    (other / "macro.csv").write_text("date,series,value\n2015-01-02,VIXCLS,20\n")
    market = open_source(f"{folder}+{other}")
    assert [m.value for m in market.macro if m.series == "vix"] == [20.0]


def test_prices_are_rounded_to_the_instruments_precision(folder):
    bars = open_source(str(folder)).bars
    assert np.array_equal(bars["close"], np.round(bars["close"], 2))


def test_figures_and_macro_series_are_named_as_the_features_name_them():
    from agents.features.ledgers import FIGURES, MACRO_SERIES
    from backtest.sources.context import MACRO_IDS
    from backtest.sources.files.columns import FIGURE_SYNONYMS

    assert tuple(FIGURE_SYNONYMS) == tuple(FIGURES)
    assert set(MACRO_IDS) == set(MACRO_SERIES)
