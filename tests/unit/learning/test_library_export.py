"""Exports: complete, the same bytes each time, and whole or not there."""

from __future__ import annotations

import msgspec
import pyarrow.parquet as pq
import pytest

from agents.messages import Case, Decision, Outcome
from config.errors import ConfigError
from learning.experience.export import export
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
    assert export(library, first, name) == export(library, second, name) == counts[name]
    assert first.read_bytes() == second.read_bytes()


def test_an_exported_case_is_its_json(library, tmp_path):
    export(library, tmp_path / "cases.jsonl", "cases")
    for line in (tmp_path / "cases.jsonl").read_bytes().splitlines():
        row = msgspec.json.decode(line)
        assert msgspec.convert(row["body"], Case).decision_id == row["decision_id"]


def test_a_failed_export_leaves_the_old_file_and_no_part(library, tmp_path, monkeypatch):
    path = tmp_path / "all.jsonl"
    path.write_text("old")

    def broken(size):
        yield library.top(limit=1, min_reward=0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "pages", broken)
    with pytest.raises(KeyboardInterrupt):
        export(library, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_a_wrong_suffix_table_or_folder_is_refused(library, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a path ending in"):
        export(library, tmp_path / "all.csv")
    with pytest.raises(ConfigError, match="expected a table"):
        export(library, tmp_path / "all.jsonl", "nothing")
    with pytest.raises(ConfigError, match="expected to write"):
        export(library, tmp_path / "none" / "all.jsonl")


@pytest.mark.slow
def test_the_librarys_numbers_hold(tmp_path):
    measured = measure_library(rows=200_000, decisions=1_000_000, folder=str(tmp_path))
    assert measured["rows_per_s"] >= 40_000
    assert measured["found"] == 1000
    assert measured["top_median_ms"] < 50
