"""A place in use, a run that a kill left, a training that was cut: through the command line."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from rich.console import Console

from config.files.in_use import in_use
from learning.allocator.training.phase_results import (
    CURVE_FILE,
    PhaseResult,
    write_curve,
    write_result,
)
from ops.composition.training import allocator_training
from ops.composition.training.allocator_training import Request, settings_of, train
from ops.printing import write_json

RUN = ("--config", "small.yaml", "--library", "kept/library.sqlite")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("backtest", *RUN, "--source", "source", "--out", "kept/out"), "kept/out"),
        (("paper", *RUN, "--replay", "source", "--out", "kept/out"), "kept/out"),
        (("train", "allocator", "--book", "equity", "--out", "kept/out"), "kept/out"),
        (
            ("train", "supervisor", "--routes", "routes", "--out", "kept/out"),
            "kept/out",
        ),
        (("data", "collect-routes", "--source", "source", "--out", "kept/out"), "kept/out"),
        (("data", "import", "source", "--name", "mine"), "home/catalogs/mine"),
        (("evaluate", "allocator", "training"), "training/test"),
        (("bench", "ablations", "training"), "training/ablations"),
        (("bench", "supervisor", "--out", "kept/out"), "kept/out"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_second_process_at_one_place_is_refused(command, workplace, words, place):
    (workplace / "training").mkdir()
    write_json(workplace / "training" / "training.json", {"settings": {}})
    (workplace / "routes").touch()
    with in_use(workplace / place):
        ended = command(*words, cwd=workplace)
    assert ended.code == 2, ended.err
    said = f"{place} to be free, was in use by process {os.getpid()}\n"
    assert ended.err.startswith("quarterdeck: expected ")
    assert ended.err.endswith(said)
    assert ended.err.count("\n") == 1
    assert not any(path.name.endswith(".lock") for path in workplace.rglob("*"))


def test_an_export_to_one_file_at_once_is_refused(command, finished, tmp_path):
    library = ("--library", finished / "kept" / "library.sqlite")
    with in_use(tmp_path / "all.jsonl"):
        ended = command("data", "export", *library, "--out", "all.jsonl", cwd=tmp_path)
    assert ended.code == 2
    assert f"was in use by process {os.getpid()}" in ended.err


def left(finished, workplace) -> str:
    """Leave a library as a kill leaves it; return the id of the run that was under way."""
    library = workplace / "kept" / "library.sqlite"
    shutil.copy(finished / "kept" / "library.sqlite", library)
    with closing(sqlite3.connect(library)) as connection:
        connection.execute("UPDATE runs SET status = 'running'")
        connection.commit()
        (run_id,) = connection.execute("SELECT run_id FROM runs").fetchone()
    (library.parent / f".library.sqlite.{run_id}.4711.lock").write_text("4711")
    return run_id


def test_a_run_that_a_kill_left_is_named_to_who_reads_and_marked_by_who_records(
    command, finished, workplace, backtest_argv
):
    run_id = left(finished, workplace)
    note = f"note: run {run_id} was left running by process 4711"
    library = ("--library", "kept/library.sqlite")
    for words in (("chat", "--ask", "how did it go?"), ("data", "export", "--out", "all.jsonl")):
        ended = command(*words, *library, cwd=workplace)
        assert (ended.code, ended.err.splitlines()[0]) == (0, note)
    ended = command(*backtest_argv(seed=5), cwd=workplace)
    assert (ended.code, ended.err) == (0, f"{note}: marked interrupted\n")
    with closing(sqlite3.connect(workplace / "kept" / "library.sqlite")) as connection:
        statuses = dict(connection.execute("SELECT run_id, status FROM runs").fetchall())
    assert statuses.pop(run_id) == "interrupted"
    assert [*statuses.values()] == ["completed"]
    assert {p.name for p in (workplace / "kept").iterdir()} == {"library.sqlite", "run"}


@pytest.mark.parametrize("text", ["", '{"book": "equi', "[]", '{"settings": {"seed": "x"}}'])
@pytest.mark.parametrize("words", [("train", "allocator", "--resume"), ("evaluate", "allocator")])
def test_a_training_whose_first_file_was_cut_is_one_line(command, tmp_path, text, words):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "training.json").write_text(text)
    own = ("--book", "equity", "--out") if words[0] == "train" else ()
    ended = command(*words, *own, "cut", cwd=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("quarterdeck: expected ")
    assert re.search(r"cut/training\.json'?, was", ended.err)
    assert ended.err.count("\n") == 1
    assert [p.name for p in (tmp_path / "cut").iterdir()] == ["training.json"]


@pytest.fixture
def finished_training(tmp_path, monkeypatch):
    """Return a request to go on with a training all of whose phases have ended."""
    settings = settings_of("multi-asset", "quick", None, {})
    dataset = SimpleNamespace(name="multi-asset", groups=("forex",), source="made", digest="1")
    monkeypatch.setattr("learning.allocator.phases.open_dataset", lambda *_: (dataset, None, None))
    slots = {"1-specialists/forex": ("bottom-forex",), "2-meta": ("top",)}
    for place, names in (slots | {"3-joint": ("top", "bottom-forex")}).items():
        folder = tmp_path / place
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "policy.json").write_text(place)
        write_curve(folder / CURVE_FILE, [])
        write_result(
            PhaseResult(
                phase=folder.name,
                folder=str(folder),
                steps=1,
                seconds={},
                measures={},
                policies={name: name for name in names},
            )
        )
    identity = {
        "settings_digest": allocator_training._settings_digest(settings),
        "dataset_digest": "1",
        "settings": settings,
    }
    write_json(tmp_path / "training.json", identity)
    return Request(settings, tmp_path, None, resume=True)


def test_policies_that_a_kill_left_unpublished_are_published_by_a_resume(finished_training):
    folder = finished_training.folder
    (folder / "policies" / "top").mkdir(parents=True)
    (folder / "policies" / "top" / "policy.json").write_text("2-meta")
    for place in (folder, folder / "2-meta"):
        (place / f".summary.json.{'0' * 16}.part").touch()
    train(finished_training, Console(quiet=True))
    published = {p.name: (p / "policy.json").read_text() for p in (folder / "policies").iterdir()}
    assert published == {"top": "3-joint", "bottom-forex": "3-joint"}
    assert not list(folder.rglob(".*"))
    assert (folder / "summary.json").exists()
