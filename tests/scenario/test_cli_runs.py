"""Whole runs through the real command line: files, library, repeatability, states, Ctrl-C."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from backtest.identity import identity_of, run_id_of

FILES = {
    "results.json",
    "decisions.jsonl",
    "verdicts.jsonl",
    "orders.csv",
    "fills.csv",
    "equity.csv",
    "manifest.json",
    "report.html",
    "state",
}
SAME_FILES = ("decisions.jsonl", "verdicts.jsonl", "orders.csv", "fills.csv")
DAY_NS = 86_400_000_000_000


def page(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def count(library: Path, table: str, run_id: str) -> int:
    with closing(sqlite3.connect(library)) as connection:
        query = f"SELECT count(*) FROM {table} WHERE run_id = ?"
        return connection.execute(query, (run_id,)).fetchone()[0]


def status(library: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(library)) as connection:
        return connection.execute("SELECT run_id, status FROM runs").fetchall()


def test_a_run_writes_all_its_files_and_no_other(finished):
    assert {p.name for p in (finished / "kept" / "run").iterdir()} == FILES
    assert {p.name for p in (finished / "kept" / "run" / "state").iterdir()} == {
        "supervisor.npz",
        "track.json",
    }
    assert {p.name for p in (finished / "kept").iterdir()} == {"run", "library.sqlite"}
    html = (finished / "kept" / "run" / "report.html").read_text(encoding="utf-8")
    assert "<html" in html
    assert "</html>" in html


def test_json_output_is_the_results_file(finished):
    printed = page(finished / "printed.json")
    assert printed == page(finished / "kept" / "run" / "results.json")
    assert printed["run_id"] == page(finished / "kept" / "run" / "manifest.json")["run_id"]


def test_the_library_holds_what_the_files_hold(finished):
    run, library = finished / "kept" / "run", finished / "kept" / "library.sqlite"
    run_id = page(run / "manifest.json")["run_id"]
    assert status(library) == [(run_id, "completed")]
    decisions = lines(run / "decisions.jsonl")
    assert len(decisions) >= 30
    fills = rows(run / "fills.csv")
    assert fills
    assert count(library, "decisions", run_id) == len(decisions)
    assert count(library, "routes", run_id) == sum(len(d["routes"]) for d in decisions)
    assert count(library, "verdicts", run_id) == len(lines(run / "verdicts.jsonl"))
    assert count(library, "orders", run_id) == len(rows(run / "orders.csv"))
    assert count(library, "fills", run_id) == len(fills)
    with closing(sqlite3.connect(library)) as connection:
        stored = connection.execute("SELECT body FROM decisions ORDER BY ts_event").fetchall()
    assert [json.loads(body) for (body,) in stored] == decisions


def test_every_line_is_one_decision_with_its_stamp_and_parts(finished):
    stamps = []
    for decision in lines(finished / "kept" / "run" / "decisions.jsonl"):
        assert decision["decision_id"]
        stamps.append(decision["ts_event"])
        for part in ("routes", "opinions", "abstentions", "proposals", "allocation"):
            assert part in decision
    assert stamps == sorted(set(stamps))


def test_every_order_and_fill_belongs_to_a_decision_and_no_fill_is_older_than_its_order(finished):
    run = finished / "kept" / "run"
    known = {d["decision_id"] for d in lines(run / "decisions.jsonl")}
    orders = {o["order_id"]: o for o in rows(run / "orders.csv")}
    for order in orders.values():
        assert order["decision_id"] in known
    for fill in rows(run / "fills.csv"):
        order = orders[fill["order_id"]]
        assert fill["decision_id"] == order["decision_id"]
        assert int(fill["ts_price"]) >= int(order["ts_event"])


def test_the_manifest_says_with_what_the_run_was_made(finished):
    manifest = page(finished / "kept" / "run" / "manifest.json")
    for name in ("data_digest", "config_digest", "start_state_digest", "end_state_digest"):
        assert len(bytes.fromhex(manifest[name])) == 32, name
    assert bytes.fromhex(manifest["code"])
    assert manifest["python"].startswith("3.12.")
    libraries = manifest["libraries"]
    assert libraries["python"] == "3.12"
    for name in ("nautilus_trader", "numpy", "pandas", "scipy", "exchange_calendars"):
        assert libraries[name][0].isdigit()
    assert manifest["completions"] is None
    assert run_id_of(identity_of(manifest)) == manifest["run_id"]
    assert manifest["minds"]["kind"] == "rules"
    assert {"news", "technical", "fundamental", "strategist", "supervisor"} <= {*manifest["minds"]}
    assert manifest["start_state"] == "fresh"
    assert manifest["config"]["desk"]["panel_sessions"] == 60
    assert [i["symbol"] for i in manifest["instruments"]] == ["AAPL", "IBM", "MSFT"]


def test_another_process_folder_order_of_files_and_day_give_the_same_bytes(
    finished, tmp_path, child_environ, tiny_market, profile_text
):
    market = tiny_market()
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    names = {"AAPL": "z", "IBM": "m", "MSFT": "a"}
    source = tmp_path / "the same market"
    source.mkdir()
    for symbol, name in names.items():
        market.bars[symbol].to_csv(source / f"{name}.csv", index=False)
    market.news.iloc[::-1].to_csv(source / "0.csv", index=False)
    for i, path in enumerate(sorted(source.iterdir())):
        os.utime(path, (2_000_000_000 + i, 2_000_000_000 + i))
    (elsewhere / "p.yaml").write_text(profile_text)
    words = ["backtest", "--config", "p.yaml", "--source", str(source)]
    ended = subprocess.run(
        [sys.executable, "-m", "ops.cli", *words, "--out", "out", "--library", "l.sqlite"],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=child_environ | {"PYTHONHASHSEED": "4242", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (0, "")
    first, second = finished / "kept" / "run", elsewhere / "out"
    for name in SAME_FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    run_id = page(first / "manifest.json")["run_id"]
    assert page(second / "manifest.json")["run_id"] == run_id
    assert status(elsewhere / "l.sqlite") == [(run_id, "completed")]
    text = (second / "decisions.jsonl").read_text() + (second / "verdicts.jsonl").read_text()
    assert str(tmp_path) not in text


def test_the_same_run_again_adds_nothing_and_leaves_its_files_as_they_were(finished, command):
    library, run = finished / "kept" / "library.sqlite", finished / "kept" / "run"
    with closing(sqlite3.connect(library)) as connection:
        before = list(connection.iterdump())
    digests = {p: hashlib.sha256((run / p).read_bytes()).hexdigest() for p in FILES - {"state"}}
    words = ("--config", "small.yaml", "--source", "source", "--out", "kept/run")
    ended = command("backtest", *words, "--library", "kept/library.sqlite", cwd=finished)
    assert ended.code == 0
    with closing(sqlite3.connect(library)) as connection:
        assert list(connection.iterdump()) == before
    for name, digest in digests.items():
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() == digest, name


def test_a_run_started_on_a_finished_runs_state_says_so_and_is_another_run(
    finished, command, tmp_path
):
    first = page(finished / "kept" / "run" / "manifest.json")
    state = finished / "kept" / "run" / "state"
    words = ("--config", "small.yaml", "--source", "source", "--state", state)
    places = ("--out", tmp_path / "run", "--library", tmp_path / "library.sqlite")
    ended = command("backtest", *words, *places, cwd=finished)
    assert ended.code == 0
    second = page(tmp_path / "run" / "manifest.json")
    assert second["start_state"] == "run/state"
    assert second["start_state_digest"] == first["end_state_digest"]
    assert second["run_id"] != first["run_id"]
    assert second["data_digest"] == first["data_digest"]
    first_note, *_ = page(tmp_path / "run" / "results.json")["notes"]
    assert first_note.startswith("OVERLAP: the start state learned until 20")
    assert first["learned_until"] == 0
    assert not any(
        "OVERLAP" in n for n in page(finished / "kept" / "run" / "results.json")["notes"]
    )


def test_an_imported_catalog_gives_the_same_run_as_its_folder(finished, command, tmp_path):
    (tmp_path / "home").mkdir()
    home = {"QUARTERDECK_HOME": str(tmp_path / "home")}
    words = ("data", "import", "source", "--name", "tiny", "--json")
    ended = command(*words, cwd=finished, env=home)
    assert ended.code == 0
    facts = json.loads(ended.out)
    listed = json.loads(command("data", "list", "--json", cwd=finished, env=home).out)
    assert [c["name"] for c in listed["catalogs"]] == ["tiny"]
    words = ("--config", "small.yaml", "--source", "tiny", "--out", tmp_path / "run")
    library = ("--library", tmp_path / "library.sqlite")
    assert command("backtest", *words, *library, cwd=finished, env=home).code == 0
    first, second = finished / "kept" / "run", tmp_path / "run"
    for name in SAME_FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, other = page(first / "manifest.json"), page(second / "manifest.json")
    assert one["run_id"] == other["run_id"]
    assert one["data_digest"] == other["data_digest"] == facts["digest"]


def test_a_run_without_words_for_its_places_makes_them(finished, command, tmp_path):
    (tmp_path / "source").symlink_to(finished / "source")
    shutil.copy(finished / "small.yaml", tmp_path)
    words = ("--config", "small.yaml", "--source", "source")
    ended = command("backtest", *words, cwd=tmp_path)
    assert (ended.code, ended.err.strip()) == (0, "")
    run_id = page(finished / "kept" / "run" / "manifest.json")["run_id"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [run_id]
    assert status(tmp_path / "home" / "experience.sqlite") == [(run_id, "completed")]


def test_a_run_leaves_nothing_in_the_temporary_folder(finished, command, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("--config", "small.yaml", "--source", "source", "--out", tmp_path / "run")
    library = ("--library", tmp_path / "library.sqlite")
    env = {"TMPDIR": str(scratch)}
    assert command("backtest", *words, *library, cwd=finished, env=env).code == 0
    assert list(scratch.rglob("*")) == []


def test_a_walk_forward_run_decides_in_its_test_windows_only(
    tiny_market, command, profile_text, tmp_path
):
    tiny_market(150).write(tmp_path / "source")
    windows = "walk_forward:\n  train: 60\n  test: 30\n  purge: 20\n  embargo: 5\n"
    (tmp_path / "walk.yaml").write_text(profile_text + windows)
    words = ("--config", "walk.yaml", "--source", "source", "--out", "run")
    ended = command(
        "backtest", *words, "--library", "l.sqlite", "--walk-forward", "--json", cwd=tmp_path
    )
    assert ended.code == 0, ended.err
    manifest = page(tmp_path / "run" / "manifest.json")
    assert manifest["start_state"] == "walk-forward from fresh"
    decisions = lines(tmp_path / "run" / "decisions.jsonl")
    assert len(decisions) == 150 - 60 - 25
    assert decisions[0]["ts_event"] == manifest["decide_from"]
    assert json.loads(ended.out)["run_id"] == manifest["run_id"]
    assert count(tmp_path / "l.sqlite", "decisions", manifest["run_id"]) == len(decisions)
    assert (tmp_path / "run" / "state" / "supervisor.npz").is_file()


def test_what_comes_after_the_end_changes_no_decision(finished, command, tmp_path):
    words = ("--config", "small.yaml", "--source", "source", "--start", "2020-02-21")
    runs = {}
    for end in ("2020-03-16", "2020-03-31"):
        out = tmp_path / end
        places = ("--end", end, "--out", out, "--library", tmp_path / "library.sqlite")
        assert command("backtest", *words, *places, cwd=finished).code == 0
        runs[end] = (out / "decisions.jsonl").read_bytes()
    short, long = runs.values()
    assert long.startswith(short)
    assert len(long) > len(short)


def test_help_answers_in_three_tenths_of_a_second_of_processor_time(child_environ, tmp_path):
    def seconds() -> float:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "--help"],
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
            env=child_environ,
        )
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(4)) < 0.3


def test_ctrl_c_in_mid_run_keeps_whole_decisions_and_leaves_no_run_folder(
    tiny_market, command, profile_text, tmp_path, wait_until
):
    tiny_market(240).write(tmp_path / "source")
    (tmp_path / "small.yaml").write_text(profile_text)
    words = ("--config", "small.yaml", "--source", "source")
    for attempt in range(3):  # on a busy machine a run can be over before the signal comes
        library = tmp_path / f"library{attempt}.sqlite"
        places = ("--out", f"kept{attempt}/run", "--library", library)
        child = command.start("backtest", *words, *places, cwd=tmp_path)
        wait_until(lambda at=library: decided(at) >= 10)
        os.kill(child, signal.SIGINT)
        ended = command.end()
        if ended.code != 0:
            break
    assert (ended.code, ended.err) == (130, "quarterdeck: interrupted\n")
    assert not (tmp_path / f"kept{attempt}").exists()
    ((run_id, said),) = status(library)
    assert said == "interrupted"
    with closing(sqlite3.connect(library)) as connection:
        bodies = [json.loads(b) for (b,) in connection.execute("SELECT body FROM decisions")]
    assert 10 <= len(bodies) < 180
    assert count(library, "routes", run_id) == sum(len(b["routes"]) for b in bodies)
    assert count(library, "proposals", run_id) == sum(len(b["proposals"]) for b in bodies)
    assert count(library, "cases", run_id) - len(bodies) in (0, 1)  # one may be unanswered
    assert count(library, "allocations", run_id) == len(bodies)

    assert command("backtest", *words, *places, cwd=tmp_path).code == 0
    assert status(library) == [(run_id, "completed")]
    written = lines(tmp_path / f"kept{attempt}" / "run" / "decisions.jsonl")
    assert count(library, "decisions", run_id) == len(written)


def decided(library: Path) -> int:
    """Return how many decisions a library holds, zero before it has its tables."""
    if not library.exists():
        return 0
    with closing(sqlite3.connect(library)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM decisions").fetchone()[0]
        except sqlite3.OperationalError:
            return 0
