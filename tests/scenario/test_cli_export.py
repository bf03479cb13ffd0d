"""`data export` through the real command line: the record as files, whole or not at all."""

from __future__ import annotations

import json

import msgspec
import pyarrow.parquet as pq
import pytest

from agents.messages import Decision, Outcome
from learning.experience.library import open_library

LIBRARY = ("--library", "kept/library.sqlite")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_experiences_leave_and_come_back_as_they_were_kept(form, command, finished, tmp_path):
    path = tmp_path / f"experiences.{form}"
    ended = command("data", "export", *LIBRARY, "--out", path, "--json", cwd=finished)
    assert (ended.code, ended.err) == (0, "")
    facts = json.loads(ended.out)
    with open_library(finished / "kept" / "library.sqlite", create=False) as library:
        kept = [x for page in library.pages() for x in page]
    if form == "jsonl":
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        decisions = [msgspec.convert(row["decision"], Decision) for row in rows]
        outcomes = [msgspec.convert(row["outcomes"], tuple[Outcome, ...]) for row in rows]
    else:
        rows = pq.read_table(path).to_pylist()
        decisions = [msgspec.json.decode(row["decision"], type=Decision) for row in rows]
        outcomes = [msgspec.json.decode(r["outcomes"], type=tuple[Outcome, ...]) for r in rows]
    assert facts == {"file": str(path), "table": "experiences", "run": None, "rows": len(kept)}
    assert decisions == [x.decision for x in kept]
    assert outcomes == [x.outcomes for x in kept]
    assert [row["reward"] for row in rows] == [x.reward for x in kept]


def test_the_best_of_a_run_leave_best_first(command, finished, tmp_path):
    manifest = json.loads((finished / "kept" / "run" / "manifest.json").read_bytes())
    run = ("--run", manifest["run_id"][:8])
    path = tmp_path / "best.jsonl"
    ended = command("data", "export", *LIBRARY, *run, "--top", 3, "--out", path, cwd=finished)
    assert ended.code == 0, ended.err
    rewards = [json.loads(line)["reward"] for line in path.read_bytes().splitlines()]
    assert len(rewards) == 3
    assert rewards == sorted(rewards, reverse=True)


def test_a_table_leaves_in_the_form_that_is_asked_for(command, finished, tmp_path):
    path = tmp_path / "fills.txt"
    words = ("--table", "fills", "--format", "jsonl", "--out", path)
    assert command("data", "export", *LIBRARY, *words, cwd=finished).code == 0
    fills = (finished / "kept" / "run" / "fills.csv").read_text().splitlines()
    assert len(path.read_bytes().splitlines()) == len(fills) - 1


def test_a_file_is_replaced_only_where_the_words_say_so(command, finished, tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text("years of work")
    words = ("data", "export", *LIBRARY, "--out", path)
    ended = command(*words, cwd=finished)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "not replaced" in ended.err
    assert path.read_text() == "years of work"
    replaced = command(*words, "--overwrite", cwd=finished)
    assert replaced.code == 0
    assert "None" not in replaced.out
    assert json.loads(path.read_bytes().splitlines()[0])["decision"]
