"""Exports: complete, the same bytes each time, and whole or not there."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.messages import Case, Decision, Outcome
from backtest.statistics.trials import Trial
from config.errors import ConfigError
from learning.experience.export import Chosen, export
from learning.experience.library import open_library
from learning.experience.models import metadata
from ops.bench.library import measure_library, sample_records, sample_run


@pytest.fixture
def library(tmp_path):
    with open_library(tmp_path / "library.db") as library:
        writer = library.writer(sample_run())
        for record in sample_records(12, instruments=2):
            writer.add(record)
        writer.flush()
        yield library


def test_experiences_leave_whole_as_json_lines(library, tmp_path):
    path = tmp_path / "all.jsonl"
    assert export(library, path) == 12
    for line in path.read_bytes().splitlines():
        row = msgspec.json.decode(line)
        decision = msgspec.convert(row["decision"], Decision)
        assert decision == library.decision(row["decision_id"])
        assert len(msgspec.convert(row["outcomes"], tuple[Outcome, ...])) == 2


def test_experiences_leave_whole_as_parquet(library, tmp_path):
    path = tmp_path / "all.parquet"
    assert export(library, path) == 12
    table = pq.read_table(path).to_pydict()
    for key, body in zip(table["decision_id"], table["decision"], strict=True):
        assert body.encode() == library.decision_json(key)


@pytest.mark.parametrize("name", sorted(metadata.tables))
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_every_table_can_leave_and_leaves_the_same_twice(library, tmp_path, name, suffix):
    first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    counts = library.counts("sample") | {"runs": 1}
    chosen = Chosen(table=name)
    assert export(library, first, chosen) == export(library, second, chosen) == counts[name]
    assert first.read_bytes() == second.read_bytes()


def test_an_exported_case_is_its_json(library, tmp_path):
    export(library, tmp_path / "cases.jsonl", Chosen(table="cases"))
    for line in (tmp_path / "cases.jsonl").read_bytes().splitlines():
        row = msgspec.json.decode(line)
        assert msgspec.convert(row["body"], Case).decision_id == row["decision_id"]


def test_a_failed_export_leaves_the_old_file_and_no_part(library, tmp_path, monkeypatch):
    path = tmp_path / "all.jsonl"
    path.write_text("old")

    def broken(run_id, size):
        yield library.top(limit=1, min_reward=0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "pages", broken)
    with pytest.raises(KeyboardInterrupt):
        export(library, path, overwrite=True)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_a_wrong_suffix_table_or_folder_is_refused(library, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a path ending in"):
        export(library, tmp_path / "all.csv")
    with pytest.raises(ConfigError, match="expected a table"):
        export(library, tmp_path / "all.jsonl", Chosen(table="nothing"))
    with pytest.raises(ConfigError, match="expected experiences to choose by reward"):
        export(library, tmp_path / "all.jsonl", Chosen(table="fills", top=3))
    with pytest.raises(ConfigError, match="expected a number"):
        export(library, tmp_path / "all.jsonl", Chosen(min_reward=float("nan")))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected to write"):
        export(library, tmp_path / "file" / "all.jsonl")


def test_a_missing_folder_is_made(library, tmp_path):
    assert export(library, tmp_path / "none" / "such" / "all.jsonl") == 12


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_the_library_itself_is_never_replaced(library, tmp_path, end):
    (tmp_path / "link").symlink_to(tmp_path)
    path = tmp_path / "link" / f"library.db{end}"
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="was the library's own"):
        export(library, path, Chosen(table="runs"), form="jsonl", overwrite=True)
    assert path.read_bytes() == before


def test_a_runs_returns_leave_as_json(library, tmp_path):
    ts = np.arange(1, 4, dtype=np.int64)
    library.finish_run("sample", "completed", Trial("sample", 0.5, ts, np.full(3, 0.01)), 252)
    export(library, tmp_path / "returns.jsonl", Chosen(table="run_returns"))
    export(library, tmp_path / "returns.parquet", Chosen(table="run_returns"))
    row = msgspec.json.decode((tmp_path / "returns.jsonl").read_bytes())
    assert row["body"] == {"ts": [1, 2, 3], "excess": [0.01] * 3}
    (body,) = pq.read_table(tmp_path / "returns.parquet")["body"].to_pylist()
    assert msgspec.json.decode(body) == row["body"]


def test_one_run_of_two_leaves_alone(library, tmp_path):
    writer = library.writer(sample_run("other"))
    for record in sample_records(3, instruments=1, seed=5):
        writer.add(record)
    writer.flush()
    path = tmp_path / "one.jsonl"
    assert export(library, path, Chosen(run_id="other")) == 3
    assert {msgspec.json.decode(x)["run_id"] for x in path.read_bytes().splitlines()} == {"other"}
    assert export(library, path, Chosen(table="decisions", run_id="other"), overwrite=True) == 3
    assert export(library, path, overwrite=True) == 15


def test_the_best_leave_best_first_and_the_worse_stay(library, tmp_path):
    path, rewards = tmp_path / "best.jsonl", [x.reward for x in library.top(0.0, 100)]
    assert export(library, path, Chosen(top=4)) == 4
    best = [msgspec.json.decode(x)["reward"] for x in path.read_bytes().splitlines()]
    assert best == rewards[:4] == sorted(rewards, reverse=True)[:4]
    assert export(library, path, Chosen(min_reward=rewards[5]), overwrite=True) == 6
    chosen = Chosen(top=9, min_reward=rewards[5])
    assert export(library, path, chosen, overwrite=True) == 6


def test_progress_ends_at_all_rows(library, tmp_path):
    seen = []
    export(library, tmp_path / "a.jsonl", progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (12, 12)


def test_a_file_that_is_there_is_replaced_only_by_order(library, tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text("old")
    with pytest.raises(ConfigError, match=r"expected a new file, was .*: not replaced"):
        export(library, path)
    assert path.read_text() == "old"
    assert export(library, path, overwrite=True) == 12
    for other in (tmp_path, tmp_path / "thesis.txt"):
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(ConfigError, match=r"expected a new file or one ending in \.jsonl"):
            export(library, other, form="jsonl", overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_the_librarys_numbers_hold(tmp_path):
    measured = measure_library(rows=200_000, decisions=1_000_000, folder=str(tmp_path))
    assert measured["rows_per_s"] >= 40_000
    assert measured["found"] == 1000
    assert measured["top_median_ms"] < 50
