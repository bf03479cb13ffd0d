import numpy as np
import pytest

from backtest.check import check_source

HEADER = "date,ticker,open,high,low,close,volume\n"
GOOD = [
    "2015-01-02,AAA,10,11,9,10,5",
    "2015-01-05,AAA,10,11,9,10,0",
    "2015-01-07,AAA,20,21,19,20,5",
    "2015-01-02,BBB,10,11,9,10,5",
]


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        (tmp_path / "bars.csv").write_text(HEADER + "\n".join(rows) + "\n")
        return str(tmp_path)

    return write


def test_check_counts_gaps_jumps_and_zero_volume(write):
    report = check_source(write(*GOOD))
    first = report.rows[0]
    assert report.ok
    assert (first.symbol, first.bars, first.gaps, first.zero_volume) == ("AAA", 3, 1, 1)
    assert first.jumps == ("2015-01-07",)
    assert (first.first, first.last) == ("2015-01-02", "2015-01-07")


def test_check_lists_every_fault_and_reads_on(write):
    faults = [
        "2015-01-08,AAA,0,21,19,20,5",
        "2015-01-05,BBB,10,9,11,10,5",
        "2015-01-05,BBB,10,11,9,10,5",
        "2015-01-10,BBB,10,11,9,10,5",
    ]
    report = check_source(write(*GOOD, *faults))
    text = "\n".join(report.problems)
    assert not report.ok
    for word in ("open > 0", "duplicate", "high >= low", "outside the sessions"):
        assert word in text
    assert [r.symbol for r in report.rows] == ["AAA", "BBB"]


def test_check_names_what_ends_before_the_source(write):
    days = [str(d)[:10] for d in np.arange("2015-02-02", "2015-02-28", dtype="M8[D]")]
    days = [d for d in days if np.is_busday(d) and d != "2015-02-16"]
    live = [f"{d},LIVE,10,11,9,10,5" for d in days]
    dead = [f"{d},DEAD,10,11,9,10,5" for d in days[:8]]
    notes = check_source(write(*live, *dead)).notes
    assert (
        "1 of 2 symbols end more than 9 sessions before the source, last bar in brackets: "
        "DEAD (2015-02-11)"
    ) in notes
    fresh = [f"{d},DEAD,10,11,9,10,5" for d in days[:10]]
    assert not any("before the source" in n for n in check_source(write(*live, *fresh)).notes)


def test_check_of_nothing_is_a_problem_and_not_an_exception(tmp_path):
    assert "empty folder" in check_source(str(tmp_path)).problems[0]
    assert "expected a source" in check_source(str(tmp_path / "no")).problems[0]


def test_check_lists_a_wrong_range_and_symbol(write):
    report = check_source(write(*GOOD), symbols=["ZZZ"])
    assert "was ZZZ" in report.problems[0]
    assert "expected a range" in check_source(write(*GOOD), start="2020-01-01").problems[0]


def test_jump_with_a_split_is_not_reported():
    report = check_source("packaged")
    by_symbol = {r.symbol: r for r in report.rows}
    assert by_symbol["AAPL"].splits == 2
    assert by_symbol["AAPL"].jumps == ("2000-09-29",)
    assert by_symbol["MSFT"].jumps == ()
