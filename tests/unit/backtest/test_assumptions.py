"""What a reader assumes is noted, and what cannot be known is refused with the way out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.market.sessions import load_sessions, stamp_text
from backtest.sources import open_source
from backtest.sources.files.names import is_symbol, symbol_in
from backtest.sources.files.rows import read_rows
from backtest.sources.folder import read_sources
from config.errors import ConfigError, DataError
from tests.unit.backtest.vendor_files import (
    METATRADER,
    Truth,
    coin,
    fx_hours,
    stock,
    stock_hours,
)


def write(folder: Path, name: str, truth: Truth, at: list[str], **columns) -> None:
    """Write bars with a column of stamps."""
    frame = truth.frame().assign(**columns)
    frame.insert(0, "time", at)
    frame.to_csv(folder / name, index=False)


def local(truth: Truth, zone: str, pattern: str = "%Y-%m-%d %H:%M") -> list[str]:
    at = truth.at.tz_localize("UTC")
    if zone == METATRADER:
        at = at.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=7)
    else:
        at = at.tz_convert(zone)
    return [f"{t:{pattern}}" for t in at]


def days(truth: Truth, pattern: str = "%Y-%m-%d") -> list[str]:
    return [f"{t:{pattern}}" for t in truth.at]


def said(folder: Path, words: str) -> list[str]:
    return [note for note in read_sources([folder]).notes if words in note]


@pytest.fixture
def folder(tmp_path):
    """Return a folder that holds ACME's days."""
    truth = stock()
    write(tmp_path, "ACME.csv", truth, days(truth))
    return tmp_path


# --- symbols -------------------------------------------------------------------------------------


def test_the_symbol_of_a_files_name_is_all_but_its_ending_and_is_noted(tmp_path):
    truth = stock()
    for name in ("BRK.B.csv", "ENI.MI.csv.gz", "AAPL.txt"):
        write(tmp_path, name, truth, days(truth))
    (tmp_path / "source.yaml").write_text("calendar: XNYS\n")
    market = read_sources([tmp_path])
    assert market.symbols == ("AAPL", "BRK.B", "ENI.MI")
    assert any(n.startswith("3 files (AAPL.txt (AAPL)") for n in market.notes)


def test_one_line_with_a_pattern_holds_for_every_file_that_fits(tmp_path):
    truth = stock()
    for name in ("daily_A.csv", "B.csv", "C.csv"):
        write(tmp_path, name, truth, days(truth))
    (tmp_path / "source.yaml").write_text(
        "files: {'*.csv': {symbol: stem}, C.csv: {symbol: SEA}}\n"
    )
    assert read_sources([tmp_path]).symbols == ("B", "SEA", "daily_A")


@pytest.mark.parametrize(
    ("stem", "symbol"),
    [
        ("BTCUSDT-1d-2023-01", "BTCUSDT"),
        ("XBTUSD_1440", "XBTUSD"),
        ("BINANCE_BTCUSDT, 60_1a2b3", "BTCUSDT"),
        ("EURUSD_M15_202301020000_202312292345", "EURUSD"),
        ("GOOGL Historical Data (1)", "GOOGL"),
        ("%5EGSPC", "^GSPC"),
        ("intraday_5min_IBM", "IBM"),
        ("FOREX_EURUSD_1H_ASK", "EURUSD"),
        ("BTC-USD", "BTC-USD"),
        ("aapl", "AAPL"),
        ("MSFT", "MSFT"),
        ("prices", None),
        ("HistoricalData_1700000000", None),
        ("my own notes", None),
    ],
)
def test_vendors_names_of_files_tell_the_symbol(stem, symbol):
    assert symbol_in(stem) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "../x",
        "a..b",
        "a\0b",
        "a\nb",
        "<|im_end|>",
        "=cmd|' /C calc'!A0",
        "a b",
        "",
        "x" * 33,
        "-A",
    ],
)
def test_what_is_no_symbol_is_refused_in_one_line(text, tmp_path):
    assert not is_symbol(text)
    truth = stock()
    frame = truth.frame().assign(date=days(truth), ticker=text)
    frame.to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(DataError, match="expected a symbol") as caught:
        read_sources([tmp_path])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("symbol", ["BRK.B", "^GSPC", "EURUSD=X", "BTC/USDT", "M&M.NS", "7203.T"])
def test_symbols_of_the_world_are_symbols(symbol):
    assert is_symbol(symbol)


def test_a_stock_whose_name_begins_with_vix_is_a_stock_and_the_index_is_a_series(folder):
    truth = stock()
    write(folder, "VIXY.csv", truth, days(truth))
    frame = truth.frame().drop(columns="volume").assign(DATE=days(truth, "%m/%d/%Y"))
    frame.to_csv(folder / "VIX_History.csv", index=False)
    market = read_sources([folder])
    assert market.symbols == ("ACME", "VIXY")
    assert {m.series for m in market.macro} >= {"vix"}


# --- dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["+01:00", "+05:30", "+09:00", "-05:00"])
def test_midnights_with_an_offset_are_the_dates_that_are_written(tmp_path, offset):
    truth = stock()
    write(tmp_path, "ACME.csv", truth, [f"{d} 00:00:00{offset}" for d in days(truth)])
    opens = read_sources([tmp_path]).bars["ts_open"].to_numpy()
    assert stamp_text(opens[0])[:10] == days(truth)[0]
    assert len(opens) == len(truth.at)


def test_dates_that_can_be_read_two_ways_are_refused_with_the_formats(tmp_path):
    frame = pd.DataFrame({"open": [9.0] * 4, "high": 9.5, "low": 8.5, "close": 9.1, "volume": 5})
    frame.insert(0, "date", ["01/03/2023", "01/05/2023", "01/06/2023", "01/09/2023"])
    frame.to_csv(tmp_path / "ACME.csv", index=False)
    with pytest.raises(DataError, match=r"in one way.*date_format: '%d/%m/%Y' or '%m/%d/%Y'"):
        read_sources([tmp_path])
    (tmp_path / "source.yaml").write_text("files: {'*.csv': {date_format: '%m/%d/%Y'}}\n")
    assert stamp_text(read_sources([tmp_path]).bars["ts_open"].iloc[0])[:10] == "2023-01-03"


@pytest.mark.parametrize("year", ["1500", "1677", "2263", "9999"])
def test_years_that_stamps_cannot_count_are_refused(folder, year):
    path = folder / "ACME.csv"
    path.write_text(path.read_text().replace("2023-10-02", f"{year}-10-02"))
    with pytest.raises(DataError, match="expected years from 1679 to 2261"):
        read_sources([folder])


def test_bars_of_a_week_are_refused(tmp_path):
    truth = stock()
    weekly = Truth(*(getattr(truth, c)[::5] for c in ("at", *truth.frame().columns)), True)
    write(tmp_path, "ACME.csv", weekly, days(weekly))
    with pytest.raises(DataError, match="bars 7 days apart: bars of a week"):
        read_sources([tmp_path])


# --- time zones and stamps -----------------------------------------------------------------------


def test_stamps_without_a_zone_are_taken_as_utc_and_noted(tmp_path):
    truth = stock_hours()
    write(tmp_path, "ACME.csv", truth, local(truth, "UTC"))
    assert said(tmp_path, "ACME.csv: stamps without a zone taken as UTC")


def test_local_stamps_of_an_exchange_are_refused_with_the_zone_that_fits(tmp_path):
    truth = stock_hours()
    write(tmp_path, "ACME.csv", truth, local(truth, "America/New_York"))
    with pytest.raises(DataError, match="they fit timezone: America/New_York, in source"):
        read_sources([tmp_path])


@pytest.mark.parametrize("zone", [METATRADER, "Etc/GMT+5", "America/New_York"])
def test_fx_weeks_prove_stamps_wrong_and_say_what_fits(tmp_path, zone):
    truth = fx_hours()
    write(tmp_path, "EURUSD.csv", truth, local(truth, zone))
    with pytest.raises(DataError, match="while FX and CFDs rest") as caught:
        read_sources([tmp_path])
    stated = str(caught.value).split("timezone: ")[1].split(",")[0]
    (tmp_path / "source.yaml").write_text(f"timezone: {stated}\n")
    bars = read_sources([tmp_path]).bars
    shifted = (bars["ts_open"].to_numpy() != truth.at.as_unit("ns").asi8).mean()
    assert shifted == 0 if stated == zone else shifted < 0.9  # winter alone tells two zones apart


def test_a_zone_that_is_stated_is_held_against_the_fx_week_too(tmp_path):
    truth = fx_hours()
    write(tmp_path, "EURUSD.csv", truth, local(truth, METATRADER))
    (tmp_path / "source.yaml").write_text("timezone: Asia/Tokyo\n")
    with pytest.raises(DataError, match="expected stamps of Asia/Tokyo"):
        read_sources([tmp_path])


def test_flat_bars_of_closed_weekends_are_left_out_and_counted(tmp_path):
    truth = fx_hours()
    frame = truth.frame().assign(time=truth.at)
    saturday = pd.DataFrame({"time": pd.date_range("2023-10-21 03:00", periods=9, freq="h")})
    flat = saturday.assign(open=1.08, high=1.08, low=1.08, close=1.08, volume=0)
    whole = pd.concat([frame, flat]).sort_values("time")
    whole["time"] = [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in whole["time"]]
    whole.to_csv(tmp_path / "EURUSD.csv", index=False)
    market = read_sources([tmp_path])
    assert len(market.bars) == len(truth.at)
    assert any("9 flat bars of closed weekends left out" in n for n in market.notes)


def test_bars_stamped_at_their_ends_are_recognised_and_close_when_they_are_stamped(tmp_path):
    truth = stock_hours()
    ends = [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in truth.at + pd.Timedelta(minutes=30)]
    write(tmp_path, "ACME.csv", truth, ends)
    market = read_sources([tmp_path])
    assert any("stamps taken as the bars' ends" in n for n in market.notes)
    closes = market.bars["ts_close"].to_numpy()
    ended = (truth.at + pd.Timedelta(minutes=30)).as_unit("ns").asi8
    sessions = load_sessions("XNYS", 2023, 2023).closes
    assert np.array_equal(closes, np.where(np.isin(ended, sessions), ended, ended - 1))
    (tmp_path / "source.yaml").write_text("stamp: open\n")
    with pytest.raises(DataError, match="bars outside the sessions"):
        read_sources([tmp_path])


def test_news_without_a_zone_beside_bars_of_a_stated_one_is_refused(tmp_path):
    truth = stock_hours()
    write(tmp_path, "ACME.csv", truth, local(truth, "America/New_York"))
    news = "time,ticker,headline\n2023-10-24 10:05,ACME,Up\n"
    (tmp_path / "news.csv").write_text(news)
    stated = "files: {ACME.csv: {timezone: America/New_York}}\n"
    (tmp_path / "source.yaml").write_text(stated)
    with pytest.raises(DataError, match="expected a timezone for stamps without one"):
        read_sources([tmp_path])
    (tmp_path / "source.yaml").write_text("timezone: America/New_York\n")
    assert stamp_text(read_sources([tmp_path]).news[0].ts_init) == "2023-10-24T14:05:00Z"


# --- what is left out ----------------------------------------------------------------------------


def test_few_rows_that_lack_a_price_are_left_out_and_many_are_refused(tmp_path):
    truth = stock()
    at = days(truth) * 2
    frame = pd.concat([truth.frame()] * 2, ignore_index=True).assign(date=at)
    frame["symbol"] = ["A"] * len(truth.at) + ["B"] * len(truth.at)
    frame.loc[5, "open"] = np.nan
    frame.to_csv(tmp_path / "bars.csv", index=False)
    assert said(tmp_path, "bars.csv: 1 rows that lack a price left out")
    frame.loc[:20, "open"] = np.nan
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(DataError, match="expected a finite open for A"):
        read_sources([tmp_path])


def test_title_and_text_are_headline_and_body_and_late_items_are_counted(folder):
    (folder / "news.csv").write_text(
        "date,ticker,title,text\n2023-10-03T12:00:00Z,ACME,Soars,It said.\n"
        "2026-10-03T12:00:00Z,ACME,Late,It said.\n"
    )
    market = read_sources([folder])
    assert [(n.headline, n.body) for n in market.news] == [("Soars", "It said.")]
    assert "1 news items known after the last session's close left out" in market.notes


def test_columns_that_are_not_used_are_one_note(folder):
    path = folder / "ACME.csv"
    frame = pd.read_csv(path).assign(**{"Change %": 1.0, "Trades": 4})
    frame.to_csv(path, index=False)
    assert said(folder, "ACME.csv: columns not used: Change %, Trades")


def test_freds_own_file_is_a_series_and_a_point_is_a_missing_value(folder):
    (folder / "DGS10.csv").write_text("observation_date,DGS10\n2023-10-02,4.69\n2023-10-03,.\n")
    values = [m for m in read_sources([folder]).macro if m.series == "yield_long"]
    assert [m.value for m in values] == [4.69]


def test_fx_needs_no_volume_and_a_stock_does(tmp_path):
    truth = fx_hours()
    frame = truth.frame().drop(columns="volume")
    frame.insert(0, "time", [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in truth.at])
    frame.to_csv(tmp_path / "EURUSD.csv", index=False)
    assert (read_sources([tmp_path]).bars["volume"] == 0).all()
    frame.to_csv(tmp_path / "ACME.csv", index=False)
    (tmp_path / "EURUSD.csv").unlink()
    with pytest.raises(DataError, match=r"column volume.*ACME is taken for a stock"):
        read_sources([tmp_path])


def test_an_endless_number_is_refused_wherever_it_stands(folder):
    (folder / "DGS10.csv").write_text("observation_date,DGS10\n2023-10-02,1e999\n")
    with pytest.raises(DataError, match="expected a finite number in 'value' at row 1"):
        read_sources([folder])


def test_a_cell_of_a_megabyte_is_refused(folder):
    (folder / "news.csv").write_text(
        f"date,ticker,headline\n2023-10-03T12:00:00Z,ACME,{'x' * 1_500_000}\n"
    )
    with pytest.raises(DataError, match="cells of at most 1,000,000 characters"):
        read_sources([folder])


def test_an_fx_folder_of_any_name_has_five_sessions_a_week(tmp_path):
    truth = fx_hours()
    write(tmp_path, "EURUSD.csv", truth, local(truth, "UTC", "%Y-%m-%dT%H:%M:%SZ"))
    market = open_source(str(tmp_path))
    weekdays = pd.DatetimeIndex(np.array(market.session_closes, "M8[ns]")).day_of_week
    assert set(weekdays) == {0, 1, 2, 3, 4}


def test_bars_before_and_after_hours_are_told_by_what_they_cover_of_the_sessions(tmp_path):
    weekdays = pd.date_range("2023-10-23", "2023-11-17", freq="B")
    at = [
        d + pd.Timedelta(hours=4) + k * pd.Timedelta(minutes=30)
        for d in weekdays
        for k in range(32)
    ]
    truth = Truth(pd.DatetimeIndex(at), *(np.full(len(at), v) for v in (10, 11, 9, 10, 5)), False)
    write(tmp_path, "ACME.csv", truth, [f"{t:%Y-%m-%d %H:%M}" for t in at])
    (tmp_path / "source.yaml").write_text("non_sessions: drop\n")
    with pytest.raises(DataError, match="they fit timezone: America/New_York"):
        read_sources([tmp_path])


def test_semicolons_mean_decimal_commas_and_the_sign_of_another_currency_is_refused(tmp_path):
    truth = stock(3)
    frame = truth.frame().assign(date=days(truth), ticker="ACME")
    frame.to_csv(tmp_path / "bars.csv", sep=";", decimal=",", index=False, float_format="%.3f")
    np.testing.assert_allclose(read_sources([tmp_path]).bars["close"], truth.close)
    frame["close"] = [f"€{v}" for v in truth.close]
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(DataError, match="expected a finite number in 'close' at row 1"):
        read_sources([tmp_path])


def test_names_that_would_turn_a_line_are_printed_as_escapes(folder):
    path = folder / "ACME.csv"
    frame = pd.read_csv(path).assign(**{"a\x1b[31m\u202eb": 1.0})
    frame.to_csv(path, index=False)
    assert all(note.isprintable() for note in read_sources([folder]).notes)


# --- what strangers' files taught ----------------------------------------------------------------


def headerless(folder: Path, name: str, truth: Truth, order: tuple[str, ...]) -> None:
    """Write bars without a header, the prices in an order of the vendor's."""
    frame = truth.frame()[[*order, "volume"]]
    frame.insert(0, "time", truth.at.as_unit("ns").asi8 // 1_000_000)
    frame.to_csv(folder / name, index=False, header=False)


@pytest.mark.parametrize(
    "order",
    [("low", "high", "open", "close"), ("open", "close", "high", "low")],
    ids=["Coinbase", "Bitfinex"],
)
def test_columns_without_a_header_are_told_by_what_holds_of_prices(tmp_path, order):
    truth = coin(daily=False)
    headerless(tmp_path, "BTCUSDT.csv", truth, order)
    bars = read_sources([tmp_path]).bars
    for column in ("open", "high", "low", "close"):
        np.testing.assert_allclose(bars[column], getattr(truth, column))


def test_named_columns_in_another_order_are_refused_where_most_bars_would_be_widened(tmp_path):
    truth = coin(daily=False)
    frame = truth.frame().rename(columns={"open": "low", "low": "open"})
    frame.insert(0, "time", [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in truth.at])
    frame.to_csv(tmp_path / "BTCUSDT.csv", index=False)
    with pytest.raises(DataError, match="open and close within low and high"):
        read_sources([tmp_path])


def test_numbers_that_read_both_ways_are_refused_and_can_be_stated(tmp_path):
    truth = stock(3)
    frame = pd.DataFrame({"Date": days(truth)})
    for column in ("open", "high", "low", "close"):
        frame[column] = [f"{v:.3f}".replace(".", ",") for v in getattr(truth, column)]
    frame["volume"] = 5
    frame.to_csv(tmp_path / "ACME.csv", index=False)
    with pytest.raises(DataError, match="set decimal: ','"):
        read_sources([tmp_path])
    (tmp_path / "source.yaml").write_text("files: {ACME.csv: {decimal: ','}}\n")
    np.testing.assert_allclose(read_sources([tmp_path]).bars["close"], truth.close)


def test_volumes_with_points_between_thousands_are_read_in_a_table_of_decimal_commas(tmp_path):
    truth = stock()
    frame = truth.frame().assign(Date=days(truth))
    for column in ("open", "high", "low", "close"):
        frame[column] = [f"{v:.2f}".replace(".", ",") for v in frame[column]]
    frame["volume"] = [f"{v:,.0f}".replace(",", ".") for v in truth.volume]
    frame.to_csv(tmp_path / "ACME.csv", sep=";", index=False)
    np.testing.assert_array_equal(read_sources([tmp_path]).bars["volume"], truth.volume)


def test_lines_below_the_rows_are_left_out_and_counted(tmp_path):
    truth = stock()
    write(tmp_path, "ACME.csv", truth, days(truth))
    with (tmp_path / "ACME.csv").open("a") as file:
        file.write('"Downloaded from a vendor, as of 28-06-2024"\n')
    assert said(tmp_path, "ACME.csv: 1 lines below the rows left out")


def test_counts_that_turn_from_milliseconds_to_microseconds_are_read_in_their_own(tmp_path):
    truth = coin(daily=False)
    ms = truth.at.as_unit("ns").asi8 // 1_000_000
    at = np.where(np.arange(len(ms)) < 40, ms, ms * 1_000)
    write(tmp_path, "BTCUSDT.csv", truth, [str(t) for t in at])
    market = read_sources([tmp_path])
    np.testing.assert_array_equal(market.bars["ts_open"], truth.at.as_unit("ns").asi8)
    assert any("in more than one unit" in note for note in market.notes)


def test_hours_written_out_and_the_last_minute_of_a_day_are_no_counts_and_no_openings(tmp_path):
    truth = coin(daily=False)
    write(tmp_path, "BTCUSDT.csv", truth, [f"{t:%Y%m%d%H}" for t in truth.at])
    np.testing.assert_array_equal(
        read_sources([tmp_path]).bars["ts_open"], truth.at.as_unit("ns").asi8
    )
    truth = coin()
    write(tmp_path, "BTCUSDT.csv", truth, [f"{t:%Y-%m-%d} 23:59:59" for t in truth.at])
    np.testing.assert_array_equal(
        read_sources([tmp_path]).bars["ts_open"], truth.at.as_unit("ns").asi8
    )


def test_bars_of_two_days_are_refused_around_the_clock(tmp_path):
    truth = coin()
    every_other = Truth(*(getattr(truth, c)[::2] for c in ("at", *truth.frame().columns)), True)
    write(tmp_path, "BTCUSDT.csv", every_other, days(every_other))
    with pytest.raises(DataError, match="was bars 2 days apart"):
        read_sources([tmp_path])


def test_a_session_may_begin_with_half_a_bar(tmp_path):
    sessions = load_sessions("XNYS", 2023, 2023)
    first = int(np.flatnonzero(sessions.days >= np.datetime64("2023-10-02").astype(int))[0])
    at: list[int] = []
    for opened in sessions.opens[first : first + 12].tolist():
        half = 1_800_000_000_000
        at += [opened, *(opened + half + k * 2 * half for k in range(6))]
    stamps = pd.DatetimeIndex(np.array(at, "M8[ns]"))
    truth = Truth(stamps, *(np.full(len(at), v) for v in (10.0, 11.0, 9.0, 10.0, 5.0)), False)
    write(tmp_path, "ACME.csv", truth, [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in stamps])
    bars = read_sources([tmp_path]).bars
    assert np.array_equal(bars["ts_open"], at)
    assert (bars["ts_close"].to_numpy()[:-1] < bars["ts_open"].to_numpy()[1:]).all()


def test_ends_beyond_the_close_are_those_of_the_session(tmp_path):
    sessions = load_sessions("XNYS", 2023, 2023)
    first = int(np.flatnonzero(sessions.days >= np.datetime64("2023-10-02").astype(int))[0])
    hour = 3_600_000_000_000
    opens = sessions.opens[first : first + 12].tolist()
    ends = [opened + k * hour for opened in opens for k in range(1, 8)]  # the last: 16:30
    stamps = pd.DatetimeIndex(np.array(ends, "M8[ns]"))
    truth = Truth(stamps, *(np.full(len(ends), v) for v in (10.0, 11.0, 9.0, 10.0, 5.0)), False)
    write(tmp_path, "ACME.csv", truth, [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in stamps])
    bars = read_sources([tmp_path]).bars
    assert np.array_equal(bars["ts_open"], [o + k * hour for o in opens for k in range(7)])
    assert set(sessions.closes[first : first + 12]) <= set(bars["ts_close"])


def test_a_metatrader_server_on_european_summer_time_is_told_by_its_weeks(tmp_path):
    truth = fx_hours()
    frame = truth.frame().drop(columns="volume")
    at = truth.at.tz_localize("UTC").tz_convert("EET")
    frame.insert(0, "<TIME>", [f"{t:%H:%M:%S}" for t in at])
    frame.insert(0, "<DATE>", [f"{t:%Y.%m.%d}" for t in at])
    frame = frame.rename(columns=lambda c: c if c[0] == "<" else f"<{c.upper()}>")
    frame.assign(**{"<TICKVOL>": 7, "<SPREAD>": 3}).to_csv(
        tmp_path / "EURUSD_H1.csv", sep="\t", index=False
    )
    market = read_sources([tmp_path])
    np.testing.assert_array_equal(market.bars["ts_open"], truth.at.as_unit("ns").asi8)
    assert any("taken as EET" in note for note in market.notes)


def test_midnights_among_timed_news_are_dates_and_empty_headlines_are_counted(folder):
    (folder / "news.csv").write_text(
        "date,ticker,headline\n2023-10-03 10:30:54-04:00,ACME,Timed\n"
        "2023-10-04 00:00:00-04:00,ACME,Dated\n2023-10-04 11:00:00-04:00,ACME,\n"
    )
    market = read_sources([folder])
    known = {n.headline: stamp_text(n.ts_init) for n in market.news}
    assert known == {"Timed": "2023-10-03T14:30:54Z", "Dated": "2023-10-05T13:30:00Z"}
    assert "news: 1 news items at midnight taken as dates" in market.notes
    assert "news: 1 news items without a headline left out" in market.notes


def test_years_of_two_digits_lie_behind(folder):
    (folder / "DGS10.csv").write_text("DATE,DGS10\n01/31/62,4.0\n10/03/23,4.7\n")
    years = {stamp_text(m.ts_event)[:4] for m in read_sources([folder]).macro}
    assert "2062" not in years


def test_a_column_that_holds_several_names_is_no_single_instrument(tmp_path):
    truth = stock()
    half = len(truth.at) // 2
    who = ["GAZP"] * half + ["SBER"] * (len(truth.at) - half)
    write(tmp_path, "SBER_2023.csv", truth, days(truth), paper=who)
    with pytest.raises(DataError, match="'paper' holds 2 names: set columns"):
        read_sources([tmp_path])


@pytest.mark.parametrize("price", ["1e300", "5e-320"])
def test_prices_beyond_any_market_are_refused(folder, price):
    path = folder / "ACME.csv"
    frame = pd.read_csv(path, dtype=str)
    frame.loc[:, ["open", "high", "low", "close"]] = price
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"of at (most|least)"):
        read_sources([folder])


def test_a_source_yml_is_not_left_unread_without_a_word(folder):
    (folder / "source.yml").write_text("calendar: XLON\n")
    with pytest.raises(DataError, match=r"was source\.yml: rename it"):
        read_sources([folder])
    (folder / "source.yml").unlink()
    (folder / "source.yaml").write_text("instruments: {ACME: {lot_size: 1e-4}}\n")
    assert read_sources([folder]).instruments[0].lot_size == 1e-4


@pytest.mark.parametrize("name", ["", "+"])
def test_a_source_without_a_name_is_refused(name):
    with pytest.raises(ConfigError, match="the name of a source"):
        open_source(name)


def test_prices_are_the_floats_nearest_to_their_texts(tmp_path):
    rng = np.random.default_rng(3)
    texts = [repr(v) for v in np.round(rng.uniform(1e-3, 1e5, 5_000), 9).tolist()]
    frame = pd.DataFrame({"date": pd.date_range("1990-01-01", periods=5_000), "adj_close": texts})
    frame.to_csv(tmp_path / "A.csv", index=False)
    read = read_rows(tmp_path / "A.csv").frame["adj_close"].to_numpy()
    assert read.tolist() == [float(t) for t in texts]
