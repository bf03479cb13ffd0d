"""Several folders, spellings and calendars: what is stated of a folder is of that one."""

import pandas as pd
import pytest

from backtest.check import check_source
from backtest.sources import open_source
from config.errors import ConfigError, DataError
from config.settings import load_settings
from ops.composition.checked_source import check_run_source
from ops.composition.run_market import open_market


def written(folder, *symbols, yaml="", start="2023-01-04", periods=12):
    """Write a file a symbol of the same daily bars."""
    folder.mkdir(exist_ok=True)
    days = pd.bdate_range(start, periods=periods).strftime("%Y-%m-%d")
    for k, symbol in enumerate(symbols):
        rows = [f"{day},{symbol},100,101,99,100.5,1000" for day in days]
        text = "\n".join(["date,symbol,open,high,low,close,volume", *rows])
        (folder / f"{k}.csv").write_text(text + "\n")
    (folder / "source.yaml").write_text("non_sessions: drop\n" + yaml)
    return str(folder)


def facts(source):
    return {i.symbol: (i.asset_class, i.currency) for i in open_source(source).instruments}


def test_a_folders_class_holds_for_its_own_files_only(tmp_path):
    one = written(tmp_path / "one", "ACME")
    two = written(tmp_path / "two", "BETA", yaml="asset_class: crypto\ncalendar: XNYS\n")
    both = {"ACME": ("equity", "USD"), "BETA": ("crypto", "USD")}
    assert facts(f"{one}+{two}") == facts(f"{two}+{one}") == both


def test_a_folder_may_name_the_class_of_anothers_instrument(tmp_path):
    one = written(tmp_path / "one", "ACME", yaml="asset_class: equity\n")
    yaml = "calendar: XNYS\ninstruments: {ACME: {asset_class: index}}\n"
    two = written(tmp_path / "two", "BETA", yaml=yaml)
    assert facts(f"{one}+{two}") == {"ACME": ("index", "USD"), "BETA": ("equity", "USD")}


def test_two_classes_of_one_symbol_are_refused(tmp_path):
    one = written(tmp_path / "one", "ACME", yaml="asset_class: equity\n")
    two = written(tmp_path / "two", "ACME", yaml="asset_class: index\n", start="2023-03-01")
    with pytest.raises(DataError, match="expected one asset_class of ACME, was equity, index"):
        open_source(f"{one}+{two}")


def test_two_spellings_of_a_symbol_are_refused(tmp_path):
    source = written(tmp_path / "a", "AAPL", "aapl")
    line = "expected one spelling of a symbol, was AAPL, aapl"
    with pytest.raises(DataError, match=line):
        open_source(source)
    assert check_source(source).problems == (line,)


@pytest.mark.parametrize(
    ("calendar", "symbol", "known"),
    [
        ("XTKS", "7203", ("equity", "JPY")),
        ("JPX", "7203", ("equity", "JPY")),
        ("XLON", "VOD", ("equity", "GBX")),
        ("XLON", "^MINE", ("index", "GBP")),
        ("XLON", "^GSPC", ("index", "USD")),
        ("XLON", "SAP.DE", ("equity", "EUR")),
        ("XLON", "SPX500", ("index", "USD")),
        ("XNYS", "7203", ("equity", "USD")),
    ],
)
def test_a_stated_calendar_says_the_currency_of_what_has_no_suffix(
    tmp_path, calendar, symbol, known
):
    source = written(tmp_path / "a", symbol, yaml=f"calendar: {calendar}\n")
    assert facts(source) == {symbol: known}
    notes = [n for n in open_source(source).notes if "as the calendar" in n]
    assert len(notes) == (known[1] != "USD" and "." not in symbol)


def test_a_stated_currency_wins_over_the_calendars(tmp_path):
    yaml = "calendar: XTKS\ninstruments: {'7203': {currency: USD}}\n"
    market = open_source(written(tmp_path / "a", "7203", "6758", yaml=yaml))
    assert [i.currency for i in market.instruments] == ["JPY", "USD"]
    note = (
        "stocks or indices without an exchange's suffix taken to be in JPY, "
        "as the calendar XTKS says"
    )
    assert market.notes.count(note) == 1


def test_a_symbol_of_digits_needs_an_exchange(tmp_path):
    with pytest.raises(DataError) as caught:
        open_source(written(tmp_path / "a", "7203"))
    assert str(caught.value) == (
        "expected the exchange of 7203, was a symbol of digits without one: "
        "name it 7203.T or the like, or set calendar in source.yaml"
    )


def refused(source, **stated):
    """Return what `data check` and a run say of a source, which have to agree."""
    settings = load_settings("simulator", {"data.source": source} | stated, environ={})
    with pytest.raises(ConfigError) as caught:
        open_market(settings)
    assert check_run_source(settings).problems[0] == str(caught.value)
    return str(caught.value)


def test_an_equity_book_without_stocks_is_refused_in_one_line(tmp_path):
    source = written(tmp_path / "fx", "EURUSD", "USDJPY", start="2023-01-02")
    assert refused(f"equity:{source}") == "expected stocks in fx, was EURUSD, USDJPY"


def test_an_equity_book_takes_stocks_alone(tmp_path):
    source = written(tmp_path / "mixed", "AAPL", "EURUSD", "MSFT", yaml="calendar: XNYS\n")
    stated = {"data.source": f"equity:{source}"}
    market, *_ = open_market(load_settings("simulator", stated, environ={}))
    assert market.symbols == ("AAPL", "MSFT")
    assert any(note.startswith("2 of 2 stocks") for note in market.notes)
