"""Writing whole: what stands at a place is the old or the new, and what a kill leaves is swept."""

import errno
import os
import random
import resource
import signal
import time

import pytest

from config.errors import ConfigError, DataError
from config.files import whole
from config.files.whole import sweep_below, whole_file, whole_folder, write_whole
from tests.forker import Forker
from tests.unit.config.places import FILES


@pytest.fixture(scope="module")
def forked():
    with Forker("tests.unit.config.places") as forker:
        yield forker


def said(folder) -> set[str]:
    """Return all that a folder's files say: one text where it is whole."""
    texts = [p.read_text() for p in folder.iterdir()]
    assert len(texts) == FILES
    assert all(len(text) == 50 for text in texts)
    return set("".join(texts))


def write_both(place) -> None:
    with whole_folder(place) as folder:
        (folder / "a").write_text("new")
        write_whole(folder / "b", b"x" * 10_000)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_takes_the_place_of_one_that_is_there_and_leaves_nothing_beside(tmp_path):
    for text in ("a", "b"):
        with whole_folder(tmp_path / "deep" / "run") as folder:
            (folder / "below").mkdir()
            (folder / "below" / text).write_text(text)
    found = [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))]
    assert found == ["deep", "deep/run", "deep/run/below", "deep/run/below/b"]


def test_a_file_takes_the_place_of_one_that_is_there_with_usual_rights(tmp_path):
    path = tmp_path / "deep" / "one.json"
    for text in (b"a", b"b"):
        write_whole(path, text)
    assert (path.read_bytes(), [*path.parent.iterdir()]) == (b"b", [path])
    (tmp_path / "usual").write_text("")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with whole_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "a"


@pytest.mark.parametrize("broken", ["fsync", "replace", "open"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "one.json"
    write_whole(path, b"old")
    owner = whole.Path if broken == "replace" else os
    monkeypatch.setattr(owner, broken, full)
    with pytest.raises(ConfigError, match=r"^expected to write .*one\.json, was: No space left"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert (path.read_bytes(), [*tmp_path.iterdir()]) == (b"old", [path])


def test_a_disk_that_is_full_in_mid_folder_leaves_the_old_one(tmp_path):
    with whole_folder(tmp_path / "run") as folder:
        (folder / "a").write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ConfigError, match=r"^expected to write .*run/b, was: File too large"):
            write_both(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert [(p.name, p.read_text()) for p in (tmp_path / "run").iterdir()] == [("a", "old")]


def test_an_error_of_what_is_written_keeps_its_kind_and_names_the_place(tmp_path):
    with (
        pytest.raises(DataError, match=rf"^expected sense in {tmp_path}/run/a, was none$"),
        whole_folder(tmp_path / "run") as folder,
    ):
        raise DataError(f"expected sense in {folder / 'a'}, was none")
    assert [*tmp_path.iterdir()] == []


def test_two_writers_of_one_folder_leave_one_of_theirs(tmp_path, forked):
    seen = set()
    for k in range(10):
        place = tmp_path / str(k)
        assert forked(("write_folder", place, "a"), ("write_folder", place, "b")) == [0, 0]
        (text,) = said(place)
        seen.add(text)
    assert seen <= {"a", "b"}
    assert all(not p.name.startswith(".") for p in tmp_path.iterdir())


@pytest.mark.parametrize("writer", ["write_folder", "write_file"])
def test_a_killed_writer_leaves_the_old_or_the_new_and_the_next_one_sweeps(
    tmp_path, forked, writer
):
    rng = random.Random(3)
    place, old, seen = tmp_path / "run", "-", []
    begun = time.monotonic()
    assert forked((writer, tmp_path / "run", old)) == [0]
    longest = 1.5 * (time.monotonic() - begun)
    for k in range(20):
        new = chr(ord("a") + k)
        (code,) = forked((writer, place, new), kill_after=rng.uniform(0.0, longest))
        assert code in (0, -signal.SIGKILL)
        (text,) = said(place) if place.is_dir() else set(place.read_text())
        assert text in (old, new)
        seen.append(text == new)
        old = text
        assert len([*tmp_path.iterdir()]) <= 2  # the one before was swept
    assert {True, False} == set(seen)
    assert forked((writer, place, "!")) == [0]
    assert [*tmp_path.iterdir()] == [place]


def test_a_reader_always_finds_a_folder_that_is_written_again_and_again(tmp_path, forked):
    place = tmp_path / "run"
    forked(("write_folder", place, "a"))
    jobs = ("rewrite_folder", place, "b", 15), ("read_folder", place, 8_000)
    assert forked(*jobs) == [0, 0]


def test_what_is_being_written_is_not_swept(tmp_path):
    with whole_folder(tmp_path / "run") as first:
        (first / "a").write_text("first")
        with whole_folder(tmp_path / "run") as second:
            (second / "a").write_text("second")
        sweep_below(tmp_path)
    assert (tmp_path / "run" / "a").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOSYS])
def test_without_an_exchange_a_folder_is_moved_aside(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(whole, "_renameat2", lambda one, other: answer)
    for text in ("a", "b"):
        with whole_folder(tmp_path / "run") as folder:
            (folder / "a").write_text(text)
    assert (tmp_path / "run" / "a").read_text() == "b"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_a_kill_left_aside_comes_back(tmp_path):
    aside = tmp_path / f".run.{'0' * 16}.old"
    aside.mkdir()
    (aside / "a").write_text("old")
    (tmp_path / f".run.{'1' * 16}.part").mkdir()
    (tmp_path / f".other.{'1' * 16}.part").mkdir()
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "run"):
        1 / 0  # noqa: B018
    assert (tmp_path / "run" / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name != "run"] == [f".other.{'1' * 16}.part"]


def test_a_training_is_swept_everywhere_of_what_is_ours_alone(tmp_path):
    (tmp_path / "phase").mkdir()
    ours = [tmp_path / f".a.{'0' * 16}.part", tmp_path / "phase" / f".b.c.{'f' * 16}.part"]
    theirs = [tmp_path / ".a.part", tmp_path / "phase" / ".b.0123.part", tmp_path / "x.partial"]
    for path in (*ours, *theirs):
        path.write_text("")
    sweep_below(tmp_path)
    assert not any(p.exists() for p in ours)
    assert all(p.exists() for p in theirs)


def test_a_writer_that_streams_is_given_a_file_of_bytes(tmp_path):
    with whole_file(tmp_path / "a") as file:
        assert file.writable()
        assert file.seekable()
        file.write(b"a")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"a"
