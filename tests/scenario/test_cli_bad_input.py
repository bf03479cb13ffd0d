"""Bad input through the real command line: one line, exit 2, nothing written, nothing lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

FAKE_RUN = {"manifest.json": '{"run_id": "earlier"}\n', "results.json": '{"run_id": "earlier"}\n'}


@pytest.fixture
def earlier(workplace: Path) -> Path:
    """Return the folder of an earlier run, which must survive whatever goes wrong."""
    folder = workplace / "kept" / "run"
    folder.mkdir()
    for name, text in FAKE_RUN.items():
        (folder / name).write_text(text)
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, and every folder, hidden ones too."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*"))
    }


def assert_refused(ended: Any, *words: str, code: int = 2) -> None:
    assert "Traceback" not in ended.err, ended.err.splitlines()[-1]
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("quarterdeck: "), ended.err
    for word in words:
        assert word in ended.err
    assert ended.code == code
    assert ended.out.strip() == ""


@pytest.fixture
def refuses(command, workplace: Path, earlier: Path, backtest_argv) -> Callable[..., None]:
    """Return a check that a backtest is refused with these words, and that nothing changed."""

    def check(*words: str, env: dict[str, str] | None = None, **options: object) -> None:
        before = everything(workplace)
        ended = command(*backtest_argv(**options), cwd=workplace, env=env)
        assert_refused(ended, "expected", "was", *words)
        assert everything(workplace) == before

    return check


# --- files of a source --------------------------------------------------------------------------


def spoil(workplace: Path, change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "IBM.csv"):
    path = workplace / "source" / name
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def cell(row: int, column: str, text: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = text
        return table

    return change


def swap(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[[0, 2, 1, *range(3, len(table))]]


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[[0, 1, 1, *range(2, len(table))]]


BARS = {
    "a missing column": (lambda t: t.drop(columns="Close"), ("column close",)),
    "two missing columns": (lambda t: t.drop(columns=["Low", "Volume"]), ("low",)),
    "a misnamed column": (lambda t: t.rename(columns={"Close": "Schluss"}), ("close", "Schluss")),
    "columns like nothing known": (
        lambda t: t[["Date"]].assign(Colour="red"),
        ("columns", "Date, Colour"),
    ),
    "unsorted stamps": (swap, ("ascending", "IBM", "2020-01-03")),
    "a duplicate stamp": (twice, ("duplicate", "IBM", "2020-01-03")),
    "a NaN price": (cell(4, "Close", "NaN"), ("finite close", "IBM", "row 5", "nan")),
    "an empty price": (cell(4, "High", ""), ("finite high", "IBM", "row 5")),
    "an infinite price": (cell(4, "High", "inf"), ("a finite number in 'High'", "row 5", "inf")),
    "a price that is no number": (cell(4, "Open", "n.v."), ("Open", "row 5", "n.v.")),
    "a zero price": (cell(6, "Low", "0"), ("low > 0", "IBM", "row 7", "was low 0")),
    "a negative price": (cell(6, "Close", "-3.5"), ("close > 0", "IBM", "row 7", "-3.5")),
    "a price too small to print": (
        lambda t: t.assign(Low="0.00000001"),
        ("IBM",),
    ),
    "a negative volume": (cell(6, "Volume", "-1"), ("volume >= 0", "IBM", "row 7", "-1")),
    "a high below its low": (cell(6, "High", "1"), ("high >= low", "IBM", "row 7")),
    "no symbol": (cell(6, "Symbol", ""), ("a symbol", "row 7")),
    "a date that is none": (cell(6, "Date", "2020-13-01"), ("Date", "row 7", "2020-13-01")),
    "a bar on a Sunday": (cell(1, "Date", "2020-01-05"), ("XNYS", "IBM", "2020-01-05")),
    "mixed time zones": (
        lambda t: t.assign(Date=[f"{d}T14:30:00" + "Z" * (i != 3) for i, d in enumerate(t.Date)]),
        ("time zone", "Date", "row 4"),
    ),
    "no rows": (lambda t: t.iloc[:0], ("rows", "empty")),
}


@pytest.mark.parametrize("fault", BARS)
def test_bars_with_a_fault_are_refused_by_file_and_row(fault, workplace, refuses):
    change, words = BARS[fault]
    spoil(workplace, change)
    refuses("IBM" if "small" in fault else "IBM.csv", *words)


def test_one_instrument_in_two_files_is_refused(workplace, refuses):
    (workplace / "source" / "again.csv").write_bytes(
        (workplace / "source" / "IBM.csv").read_bytes()
    )
    refuses("duplicate", "IBM", "2020-01-02")


def test_news_that_mixes_time_zones_with_none_are_refused(workplace, refuses):
    spoil(workplace, cell(2, "time", "2020-02-03T10:00:00"), "news.csv")
    refuses("news.csv", "time zone", "row 3", "2020-02-03T10:00:00")


def test_an_unreadable_parquet_file_is_refused(workplace, refuses):
    (workplace / "source" / "IBM.csv").rename(workplace / "source" / "IBM.parquet")
    refuses("IBM.parquet", "Parquet")


def test_a_csv_file_that_is_no_text_is_refused(workplace, refuses):
    (workplace / "source" / "IBM.csv").write_bytes(b"\xff\xfe\x00\x81" * 50)
    refuses("IBM.csv")


def test_a_source_that_is_not_there_is_refused_by_its_name(refuses):
    refuses("'nowhere'", source="nowhere")


def test_an_empty_folder_is_refused(workplace, refuses):
    (workplace / "empty").mkdir()
    refuses("empty", "CSV or Parquet", source="empty")


def test_a_folder_of_news_alone_is_refused(workplace, refuses):
    for path in (workplace / "source").glob("[AIM]*.csv"):
        path.unlink()
    refuses("source", "bars", "none")


def test_news_from_before_their_instrument_are_left_out_and_counted(
    command, workplace, backtest_argv
):
    def earlier(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(time=["2019-11-04T10:00:00Z", *table["time"][1:]])

    spoil(workplace, earlier, "news.csv")
    ended = command(*backtest_argv(), "--json", cwd=workplace)
    assert ended.code == 0
    assert "1 news items from before their instrument's first session left out" in ended.out


# --- source.yaml --------------------------------------------------------------------------------

PAGES = {
    "an unknown key": ("colour: red\n", ("colour",)),
    "an unknown key of a file": ("files:\n  IBM.csv:\n    colour: red\n", ("colour", "IBM.csv")),
    "an unknown calendar": ("calendar: XMARS\n", ("calendar", "XMARS")),
    "an unknown time zone": ("timezone: Mars/Olympus\n", ("timezone", "Mars/Olympus")),
    "a file that is not there": ("files:\n  GE.csv:\n    kind: bars\n", ("files.GE.csv",)),
    "a column that is not there": (
        "files:\n  IBM.csv:\n    columns:\n      close: Last\n",
        ("IBM.csv", "'Last'", "close"),
    ),
    "an instrument that is not there": (
        "instruments:\n  GE:\n    group: Industrials\n",
        ("instruments.GE",),
    ),
    "a list": ("- IBM.csv\n", ("source.yaml",)),
    "no YAML": ("files: [\n", ("source.yaml", "YAML")),
}


@pytest.mark.parametrize("fault", PAGES)
def test_a_wrong_source_page_is_refused_with_its_key(fault, workplace, refuses):
    text, words = PAGES[fault]
    (workplace / "source" / "source.yaml").write_text(text)
    refuses(*words)


def test_naive_stamps_in_an_unknown_time_zone_are_refused(workplace, refuses):
    spoil(workplace, lambda t: t.assign(time=t["time"].str.rstrip("Z")), "news.csv")
    (workplace / "source" / "source.yaml").write_text("timezone: Mars/Olympus\n")
    refuses("Mars/Olympus")


# --- the words of the command line --------------------------------------------------------------

RANGES = {
    "a start after the end": ({"start": "2020-03-02", "end": "2020-02-03"}, ("2020-03-02",)),
    "a start after the data": ({"start": "2030-01-02"}, ("2030-01-02", "2020-01-02")),
    "an end before the data": ({"end": "2010-01-04"}, ("2010-01-04", "2020-01-02")),
    "a weekend": ({"start": "2020-02-01", "end": "2020-02-02"}, ("2020-02-01", "2020-02-02")),
    "a start that is no date": ({"start": "soon"}, ("start", "YYYY-MM-DD", "'soon'")),
    "a short date": ({"start": "2020-2-3"}, ("start", "'2020-2-3'")),
    "a day that never was": ({"end": "2020-02-30"}, ("end", "'2020-02-30'")),
    "an unknown symbol": ({"symbols": "IBM,TSLA"}, ("TSLA", "AAPL, IBM, MSFT")),
    "unknown minds": ({"minds": "psychic"}, ("minds.kind", "psychic")),
}


@pytest.mark.parametrize("fault", RANGES)
def test_an_impossible_choice_is_refused_with_what_was_given(fault, refuses):
    options, words = RANGES[fault]
    refuses(*words, **options)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["backtest", "--colour", "red"], ["--colour"]),
        (["backtest", "--seed", "-1"], ["--seed"]),
        (["backtest", "--seed", "many"], ["--seed"]),
        (["backtest", "--source"], ["--source"]),
        (["sail"], ["sail"]),
        (["data", "import", "source"], ["--name"]),
        (["data", "import", "source", "--name", "../out"], ["'../out'"]),
        (["data", "import", "nowhere", "--name", "x"], ["'nowhere'"]),
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_refused_in_one_line(argv, words, command, workplace):
    before = everything(workplace)
    assert_refused(command(*argv, cwd=workplace), *words)
    assert everything(workplace) == before


def test_a_name_that_a_catalog_has_already_is_refused_and_the_catalog_kept(command, workplace):
    words = ["data", "import", "source", "--name", "tiny"]
    assert command(*words, cwd=workplace).code == 0
    before = everything(workplace)
    assert_refused(command(*words, cwd=workplace), "expected", "tiny")
    assert everything(workplace) == before


def test_an_import_where_no_catalog_can_be_written_is_refused(command, workplace, tmp_path):
    (tmp_path / "catalogs").write_text("years of work")
    words = ["data", "import", "source", "--name", "tiny"]
    ended = command(*words, cwd=workplace, env={"QUARTERDECK_HOME": str(tmp_path)})
    assert_refused(ended, "expected to write", "tiny")


def test_data_check_of_a_bad_source_says_what_is_wrong_and_exits_with_2(command, workplace):
    spoil(workplace, cell(6, "Low", "0"))
    ended = command("data", "check", "source", cwd=workplace)
    assert ended.code == 2
    assert "low > 0" in ended.out
    assert "Traceback" not in ended.err


# --- profiles and the environment ---------------------------------------------------------------

PROFILES = {
    "an unknown key": ("colour: red\n", ("colour",)),
    "an unknown key of a section": ("limits:\n  max_positon: 0.1\n", ("limits.max_positon",)),
    "a wrong type": ("limits:\n  max_position: plenty\n", ("limits.max_position",)),
    "a value out of range": ("limits:\n  max_position: 1.5\n", ("limits.max_position",)),
    "a value that is no number": ("market:\n  cost_frac: .nan\n", ("market.cost_frac",)),
    "a value that is infinite": ("market:\n  starting_cash: .inf\n", ("market.starting_cash",)),
    "more cash than money can hold": (
        "market:\n  starting_cash: 1.0e+30\n",
        ("market.starting_cash",),
    ),
    "a seed beyond 64 bits": ("seed: 99999999999999999999999\n", ("seed",)),
    "a section that is a value": ("limits: 3\n", ("limits",)),
    "a list": ("- limits\n", ("mapping", "list")),
    "no YAML": ("limits: [\n", ("bad.yaml", "YAML")),
    "a key that is a list": ("? [a]\n: 1\n", ("bad.yaml",)),
}


@pytest.mark.parametrize("fault", PROFILES)
def test_a_wrong_profile_is_refused_with_the_path_of_its_field(fault, workplace, refuses):
    text, words = PROFILES[fault]
    (workplace / "bad.yaml").write_text(text)
    refuses(*words, config="bad.yaml")


def test_an_account_in_money_without_a_rate_is_refused(command, workplace, earlier, backtest_argv):
    (workplace / "bad.yaml").write_text("market:\n  currency: QQQ\n")
    ended = command(*backtest_argv(config="bad.yaml"), cwd=workplace)
    assert_refused(ended, "expected", "was", "QQQ")
    assert_no_run_counts(workplace / "kept" / "library.sqlite")
    assert {p.name: p.read_text() for p in earlier.iterdir()} == FAKE_RUN


def test_an_unknown_profile_is_refused_with_the_known_ones(refuses):
    refuses("'daring'", "backtest", "simulator", config="daring")


WINDOWS = {
    "a purge below zero": ({"purge": -1}, ("walk_forward.purge",)),
    "a test of nothing": ({"test": 0}, ("walk_forward.test",)),
    "training on nothing": ({"train": 0}, ("walk_forward.train",)),
    "more training than there is data": ({"train": 500}, ("train 500", "70")),
    "a gap longer than the data": ({"train": 30, "purge": 60}, ("purge 60", "70")),
}


@pytest.mark.parametrize("fault", WINDOWS)
def test_impossible_walk_forward_windows_are_refused(
    fault, command, workplace, earlier, backtest_argv
):
    given, words = WINDOWS[fault]
    lines = "".join(f"  {k}: {v}\n" for k, v in given.items())
    (workplace / "bad.yaml").write_text(
        f"desk:\n  panel_sessions: 60\nlimits:\n  min_history: 20\nwalk_forward:\n{lines}"
    )
    before = everything(workplace)
    ended = command(*backtest_argv(config="bad.yaml"), "--walk-forward", cwd=workplace)
    assert_refused(ended, "expected", *words)
    assert everything(workplace) == before


VARIABLES = {
    "an unknown field": ("QUARTERDECK_LIMITS__MAX_POSITON", "0.1", "limits.max_positon"),
    "an unknown section": ("QUARTERDECK_SAILS__AREA", "0.1", "sails"),
    "a wrong type": ("QUARTERDECK_LIMITS__MAX_POSITION", "plenty", "limits.max_position"),
    "a path through a value": ("QUARTERDECK_SEED__DEEP__ER", "1", "QUARTERDECK_SEED__DEEP__ER"),
    "a plain field": ("QUARTERDECK_SEED", "x", "QUARTERDECK_SEED: seed"),
    "no setting at all": ("QUARTERDECK_TAPE", "1", "QUARTERDECK_TAPE"),
    "no YAML": ("QUARTERDECK_LIMITS__MAX_POSITION", "[", "QUARTERDECK_LIMITS__MAX_POSITION"),
}


@pytest.mark.parametrize("fault", VARIABLES)
def test_a_wrong_environment_override_is_refused_by_name(fault, workplace, refuses):
    name, value, word = VARIABLES[fault]
    (workplace / "seeded.yaml").write_text("seed: 1\n")
    refuses(word, env={name: value}, config="seeded.yaml")


# --- start states -------------------------------------------------------------------------------


def test_a_start_state_that_is_no_folder_is_refused(refuses):
    refuses("nowhere", "snapshot", state="nowhere")


def test_a_start_state_without_a_snapshot_is_refused(workplace, refuses):
    (workplace / "state").mkdir()
    refuses("state", "supervisor.npz", state="state")


@pytest.mark.parametrize("spoiled", ["supervisor.npz", "track.json"])
def test_a_damaged_start_state_is_refused(spoiled, finished, command, workplace, backtest_argv):
    state = shutil.copytree(finished / "kept" / "run" / "state", workplace / "state")
    (state / spoiled).write_bytes((state / spoiled).read_bytes()[:-40] + b"?")
    before = everything(workplace)
    ended = command(*backtest_argv(state=state), cwd=workplace)
    assert_refused(ended, "expected", spoiled)
    assert everything(workplace) == before


# --- where the run's files go -------------------------------------------------------------------


def statuses(library: Path) -> list[str]:
    """Return the status of each run that a library holds, none where there is no library."""
    if not library.exists():
        return []
    connection = sqlite3.connect(library)
    try:
        return [status for (status,) in connection.execute("SELECT status FROM runs")]
    finally:
        connection.close()


def assert_no_run_counts(library: Path) -> None:
    """No run in the library passes for one that has its folder."""
    assert set(statuses(library)) <= {"failed"}


@pytest.mark.parametrize("out", ["small.yaml/run", "small.yaml", "/proc/run", "."])
def test_a_run_folder_that_cannot_be_is_refused(out, command, workplace, backtest_argv):
    before = everything(workplace)
    ended = command(*backtest_argv(out=out), cwd=workplace)
    assert_refused(ended, "expected", "was", out)
    after = everything(workplace)
    assert {k: v for k, v in after.items() if not k.startswith("kept/library")} == before
    assert_no_run_counts(workplace / "kept" / "library.sqlite")


def test_a_folder_that_holds_no_run_is_not_replaced_by_one(command, workplace, backtest_argv):
    thesis = workplace / "documents" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    ended = command(*backtest_argv(out="documents"), cwd=workplace)
    assert thesis.exists()
    assert_refused(ended, "expected", "documents")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a file system of this size, or skip where none may be mounted."""
    folder.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if os.geteuid() == 0
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip("needs to mount a small tmpfs, which only root may")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_too_full_for_the_run_folder_leaves_none(command, workplace, backtest_argv):
    with small_disk(workplace / "disk", "1m") as disk:
        (disk / "run").mkdir()
        for name, text in FAKE_RUN.items():
            (disk / "run" / name).write_text(text)
        before = everything(disk)
        ended = command(*backtest_argv(out="disk/run"), cwd=workplace)
        assert_refused(ended, "expected", "disk/run", "No space left")
        assert everything(disk) == before
    assert_no_run_counts(workplace / "kept" / "library.sqlite")


def test_a_disk_made_read_only_is_refused_for_the_run_folder(command, workplace, backtest_argv):
    with small_disk(workplace / "disk", "16m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = command(*backtest_argv(out="disk/run"), cwd=workplace)
        assert_refused(ended, "expected", "disk/run", "Read-only")
    assert_no_run_counts(workplace / "kept" / "library.sqlite")


# --- the library --------------------------------------------------------------------------------


def test_a_locked_library_is_refused_and_left_as_it_was(
    finished, command, workplace, earlier, backtest_argv
):
    path = workplace / "kept" / "library.sqlite"
    shutil.copy(finished / "kept" / "library.sqlite", path)
    rows = statuses(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        url = f"sqlite:///{path}?timeout=0.2"
        ended = command(*backtest_argv(library=url, seed=1), cwd=workplace)
    finally:
        other.close()
    assert_refused(ended, "expected", "library.sqlite", "was locked")
    assert statuses(path) == rows == ["completed"]
    assert {p.name: p.read_text() for p in earlier.iterdir()} == FAKE_RUN


def test_a_file_that_is_no_library_is_refused_and_kept(workplace, refuses):
    (workplace / "kept" / "notes.sqlite").write_text("these are notes\n" * 400)
    refuses("notes.sqlite", "another kind of file", library="kept/notes.sqlite")


def test_a_database_of_another_program_is_refused_and_kept(workplace, refuses):
    path = workplace / "kept" / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    refuses("other.sqlite", "recipes", library="kept/other.sqlite")


@pytest.mark.parametrize(
    "where", ["kept", "small.yaml/library.sqlite", "nowhere/library.sqlite", "mysql://host/name"]
)
def test_a_library_that_cannot_be_there_is_refused(where, refuses):
    refuses("" if ":" in where else where.split("/")[0], library=where)


def test_a_database_password_is_never_shown(command, workplace, backtest_argv):
    url = "postgresql://quarterdeck:hunter2@127.0.0.1:1/none"
    ended = command(*backtest_argv(library=url), cwd=workplace)
    assert_refused(ended, "expected", "127.0.0.1")
    assert "hunter2" not in ended.err


def test_a_read_only_library_is_refused_and_kept(
    finished, command, workplace, earlier, backtest_argv
):
    with small_disk(workplace / "disk", "16m") as disk:
        shutil.copy(finished / "kept" / "library.sqlite", disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = everything(workplace)
        words = backtest_argv(library="disk/library.sqlite", seed=1)
        ended = command(*words, cwd=workplace)
        assert_refused(ended, "expected", "disk/library.sqlite")
        assert everything(workplace) == before


def test_a_disk_that_fills_up_in_mid_run_leaves_whole_sessions_and_no_run_folder(
    command, workplace, earlier, backtest_argv
):
    with small_disk(workplace / "disk", "500k") as disk:
        words = backtest_argv(library="disk/library.sqlite")
        ended = command(*words, cwd=workplace)
        assert_refused(ended, "expected", "disk/library.sqlite", "full disk")
        assert "completed" not in statuses(disk / "library.sqlite")
        assert {p.name: p.read_text() for p in earlier.iterdir()} == FAKE_RUN
        assert [p.name for p in (workplace / "kept").iterdir()] == ["run"]


def test_a_fault_after_the_run_began_is_one_line_for_machines_too(
    command, workplace, backtest_argv
):
    (workplace / "kept" / "notes.sqlite").write_text("these are notes\n" * 400)
    (workplace / "deep.yaml").write_text(
        "desk:\n  panel_sessions: 60\nlimits:\n  min_history: 20\n"
        "walk_forward:\n  train: 35\n  test: 10\n"
    )
    words = backtest_argv(config="deep.yaml", library="kept/notes.sqlite")
    ended = command(*words, "--walk-forward", "--json", cwd=workplace)
    assert_refused(ended, "notes.sqlite")
    assert ended.out == ""
    ended = command(*backtest_argv(out="small.yaml/run"), "--json", cwd=workplace)
    assert_refused(ended, "small.yaml/run")
    assert ended.out == ""


# --- the script itself --------------------------------------------------------------------------


def test_the_program_started_by_python_itself_refuses_in_one_line(workplace, child_environ):
    ended = subprocess.run(
        [sys.executable, "-m", "ops.cli", "backtest", "--colour", "red"],
        capture_output=True,
        text=True,
        cwd=workplace,
        env=child_environ,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("quarterdeck: No such option: --colour")
    assert ended.stderr.count("\n") == 1
