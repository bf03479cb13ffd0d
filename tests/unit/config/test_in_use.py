"""A place is one process's at a time, and a kill leaves nothing that stands in the way."""

import errno
import fcntl
import os
import signal

import pytest

from config.errors import ConfigError
from config.files.in_use import in_use, left_by
from tests.forker import REFUSED, Forker


@pytest.fixture(scope="module")
def forked():
    with Forker("tests.unit.config.places") as forker:
        yield forker


def test_a_place_that_is_held_is_refused_to_another_process_until_it_is_let_go(tmp_path, forked):
    place = tmp_path / "deep" / "run"
    with in_use(place):
        assert forked(("hold", place, 0)) == [REFUSED]
        assert forked(("hold", tmp_path / "other", 0)) == [0]
    assert [p.name for p in tmp_path.iterdir()] == ["held"]
    assert forked(("hold", place, 0)) == [0]


def test_the_refusal_names_the_process_that_holds_the_place(tmp_path):
    lock = tmp_path / ".run.lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("4711")
        other.flush()
        said = "^expected .*run to be free, was in use by process 4711$"
        with pytest.raises(ConfigError, match=said), in_use(tmp_path / "run"):
            pass
    assert lock.exists()


def test_a_place_by_another_name_is_the_same_place(tmp_path, forked):
    (tmp_path / "link").symlink_to(tmp_path)
    with in_use(tmp_path / "run"):
        for name in ("link/run", "missing/../run", "./run"):
            assert forked(("hold", tmp_path / name, 0)) == [REFUSED]


def test_who_holds_a_place_may_take_it_again_and_keeps_it(tmp_path, forked):
    with in_use(tmp_path / "run"):
        with in_use(tmp_path / "run"):
            pass
        assert forked(("hold", tmp_path / "run", 0)) == [REFUSED]


def test_only_one_process_at_a_time_is_in_a_place(tmp_path, forked):
    jobs = [("take_turns", tmp_path / "run", 150)] * 4
    assert forked(*jobs) == [0, 0, 0, 0]
    assert [*tmp_path.iterdir()] == []


def test_of_two_that_come_at_once_one_is_refused(tmp_path, forked):
    for k in range(3):
        codes = forked(*[("hold", tmp_path / str(k) / "run", 0.5)] * 2)
        assert sorted(codes) == [0, REFUSED]


def test_a_killed_process_holds_nothing_and_its_id_is_known_until_the_next_one(tmp_path, forked):
    held = tmp_path / "held"
    assert forked(("hold", tmp_path / "run", 60), kill_when=held) == [-signal.SIGKILL]
    lock = tmp_path / ".run.lock"
    assert left_by(lock) == int(held.read_text())
    with in_use(tmp_path / "run"):
        assert left_by(lock) is None
    assert not lock.exists()


def test_what_a_kill_left_beside_a_place_is_swept_when_it_is_taken(tmp_path, forked):
    begun = tmp_path / "begun"
    jobs = ("begin_folder", tmp_path / "run", begun)
    assert forked(jobs, kill_when=begun) == [-signal.SIGKILL]
    begun.unlink()
    assert len([*tmp_path.glob(".run.*.part")]) == 1
    with in_use(tmp_path / "run"):
        assert [p.name for p in tmp_path.iterdir()] == [".run.lock"]


def test_a_place_of_which_a_part_only_can_be_made_leaves_nothing(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"^expected to write .*, was: File name too long$"),
        in_use(tmp_path / "made" / ("x" * 300) / "run"),
    ):
        pass
    assert [*tmp_path.iterdir()] == []


def test_a_place_not_known_yet_is_held_by_nobody():
    with in_use(None):
        pass


def test_a_filesystem_without_locks_is_one_line_and_nothing_is_left(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(ConfigError, match=r"^expected to write .*run, was: No locks available$"),
        in_use(tmp_path / "deep" / "run"),
    ):
        pass


def test_who_waits_comes_in_when_the_holder_goes(tmp_path, forked):
    place = tmp_path / "run"
    assert forked(("hold", place, 0.2), ("wait_for_holder", place)) == [0, 0]
