"""A paper session that replays stored data decides and trades as the backtest does."""

import csv
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

# a split of AAPL lies in it: the venue is handed a new tick
SOURCE = ("--start", "2005-02-01", "--end", "2005-03-28", "--symbols", "AAPL,IBM,MSFT")
PROFILE = """
desk:
  panel_sessions: 80
market:
  open_liquidity_frac: 0.0000001  # no touch takes a whole order: every order has two fills
"""
EQUAL = ("decisions.jsonl", "verdicts.jsonl", "orders.csv", "fills.csv", "equity.csv")


@pytest.fixture(scope="module")
def both(tmp_path_factory, command) -> Path:
    """Return a folder with a backtest and a paper session of the same data, and a library."""
    place = tmp_path_factory.mktemp("paper")
    (place / "short.yaml").write_text(PROFILE)
    for verb, source in (("backtest", "--source"), ("paper", "--replay")):
        words = (source, "packaged", *SOURCE, "--config", "short.yaml", "--out", verb)
        ended = command(verb, *words, "--library", "library.sqlite", "--json", cwd=place)
        assert (ended.code, ended.err) == (0, ""), verb
        (place / f"{verb}.json").write_text(ended.out)
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_session_decides_and_trades_enough_to_compare(both):
    assert len((both / "paper/decisions.jsonl").read_text().splitlines()) == 38
    fills = rows(both / "paper/fills.csv")
    assert len(fills) >= 10
    assert len({fill["order_id"] for fill in fills}) < len(fills)


@pytest.mark.parametrize("name", EQUAL)
def test_a_replayed_session_equals_the_backtest_to_the_byte(both, name):
    assert (both / "paper" / name).read_bytes() == (both / "backtest" / name).read_bytes()


def test_both_learn_the_same(both):
    digests = [
        json.loads((both / verb / "manifest.json").read_text())["end_state_digest"]
        for verb in ("backtest", "paper")
    ]
    assert digests[0] == digests[1]


def test_the_library_holds_both_runs_with_the_same_decisions(both):
    manifests = [
        json.loads((both / verb / "manifest.json").read_text()) for verb in ("backtest", "paper")
    ]
    assert [m["mode"] for m in manifests] == ["backtest", "paper"]
    assert manifests[0]["run_id"] != manifests[1]["run_id"]
    with closing(sqlite3.connect(both / "library.sqlite")) as connection:
        status = dict(connection.execute("SELECT run_id, status FROM runs"))
        kept = [
            [
                connection.execute(
                    f"SELECT * FROM {table} WHERE run_id = ? ORDER BY ts_event, 1, 2",
                    (m["run_id"],),
                ).fetchall()
                for table in ("decisions", "fills")
            ]
            for m in manifests
        ]
    assert set(status.values()) == {"completed"}
    decisions = [[json.loads(row[-1]) for row in run[0]] for run in kept]
    assert len(decisions[1]) == 38
    assert decisions[0] == decisions[1]


def test_the_session_says_what_the_backtest_says(both):
    backtest, paper = (
        json.loads((both / f"{verb}.json").read_text()) for verb in ("backtest", "paper")
    )
    for said in ("notes", "sessions", "first_ns", "last_ns"):
        assert backtest[said] == paper[said]
    assert (both / "paper/report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replay", "nowhere"), "expected a source"),
        (("--replay", "packaged", "--speed", "abc"), "expected --speed max or a positive number"),
        (("--replay", "packaged", "--speed", "-1"), "expected --speed max or a positive number"),
        (("--replay", "packaged", "--speed", "nan"), "expected --speed max or a positive number"),
        (("--replay", "packaged", "--config", "nowhere"), "expected a profile"),
        ((), "Missing option '--replay'"),
    ],
)
def test_bad_input_ends_in_one_line_and_two(command, tmp_path, words, said):
    ended = command("paper", *words, cwd=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith(f"quarterdeck: {said}")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_ctrl_c_stops_the_node_and_leaves_an_interrupted_run(command, tmp_path):
    (tmp_path / "short.yaml").write_text(PROFILE)
    words = ("--replay", "packaged", *SOURCE[:2], "--config", "short.yaml", "--out", "kept/run")
    slow = ("--speed", "10000000")  # 3 s a year, four years: the signal finds it at work
    child = command.start("paper", *words, *slow, "--library", "kept.sqlite", cwd=tmp_path)
    until = time.monotonic() + 40
    while decided(tmp_path / "kept.sqlite") < 3 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(child, signal.SIGINT)
    begun = time.monotonic()
    ended = command.end()
    assert (ended.code, ended.err) == (130, "quarterdeck: interrupted\n")
    assert time.monotonic() - begun < 10
    assert not (tmp_path / "kept").exists()
    with closing(sqlite3.connect(tmp_path / "kept.sqlite")) as connection:
        assert connection.execute("SELECT status FROM runs").fetchall() == [("interrupted",)]
    assert decided(tmp_path / "kept.sqlite") >= 3


def decided(library: Path) -> int:
    if not library.exists():
        return 0
    with closing(sqlite3.connect(library)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM decisions").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
