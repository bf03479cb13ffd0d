"""A run that a kill left running is told from one that is under way."""

import os
import signal
import time
from pathlib import Path

import pytest

from config.files.whole import write_whole
from learning.experience.library import open_library
from learning.experience.running import interrupt_left, left_running, under_way
from ops.bench.library import sample_run
from tests.forker import Forker


def record(library: str, run_id: str, seconds: str) -> None:
    """Record a run for a while and come to its end."""
    with open_library(library) as held, under_way(held, run_id):
        held.writer(sample_run(run_id))
        write_whole(Path(library).with_name("begun"), str(os.getpid()).encode())
        time.sleep(float(seconds))
        held.finish_run(run_id, "completed")


def look(library: str, out: str) -> None:
    """Keep what another process sees left."""
    with open_library(library) as held:
        Path(out).write_text("\n".join(map(str, left_running(held))))


@pytest.fixture(scope="module")
def forked():
    with Forker("tests.unit.learning.test_running") as forker:
        yield forker


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "library.sqlite"
    with open_library(path):
        pass
    return path


def statuses(library) -> dict[str, str]:
    with open_library(library) as held:
        return {run.run_id: run.status for run in held.runs()}


def test_a_killed_run_is_named_until_it_is_marked(library, forked):
    begun = library.parent / "begun"
    assert forked(("record", library, "ended", 0)) == [0]
    begun.unlink()
    assert forked(("record", library, "left", 60), kill_when=begun) == [-signal.SIGKILL]
    process = begun.read_text()
    said = [f"run left was left running by process {process}"]
    with open_library(library) as held:
        assert [*map(str, left_running(held))] == said
        assert [*map(str, interrupt_left(held))] == said
        assert left_running(held) == []
    assert statuses(library) == {"left": "interrupted", "ended": "completed"}
    assert [p.name for p in library.parent.glob(".*")] == []


def test_a_run_under_way_is_not_left(library, forked, tmp_path):
    with open_library(library) as held, under_way(held, "mine"):
        held.writer(sample_run("mine"))
        assert interrupt_left(held) == []
        assert forked(("look", library, tmp_path / "seen")) == [0]
        assert (tmp_path / "seen").read_text() == ""
    assert statuses(library) == {"mine": "running"}
    assert forked(("look", library, tmp_path / "seen")) == [0]
    assert (tmp_path / "seen").read_text() == (
        "run mine was left running by a process that is gone"
    )


def test_one_run_may_be_recorded_by_two_processes_at_once(library, forked):
    assert forked(*[("record", library, "both", 0.1)] * 2) == [0, 0]
    assert statuses(library) == {"both": "completed"}
    assert [p.name for p in library.parent.glob(".*")] == []


def test_a_run_that_was_left_and_is_taken_up_again_is_not_left_any_more(library, forked):
    begun = library.parent / "begun"
    assert forked(("record", library, "left", 60), kill_when=begun) == [-signal.SIGKILL]
    assert forked(("record", library, "left", 0)) == [0]
    with open_library(library) as held:
        assert interrupt_left(held) == []
    assert [p.name for p in library.parent.glob(".*")] == []
