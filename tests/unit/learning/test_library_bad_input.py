"""What a database may do to us, and what we say: one line, nothing half-written or lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import contextmanager

import msgspec
import pytest

from agents.messages import Outcome
from config.errors import ConfigError, DataError
from learning.experience.library import open_library
from ops.bench.library import sample_records, sample_run


def refusal(action, *words):
    with pytest.raises(ConfigError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    for word in words:
        assert word in message
    return message


@contextmanager
def as_nobody_in(folder):
    """Drop root's right to write everywhere: be nobody, who may write in this folder only."""
    if os.geteuid() != 0:
        yield
        return
    folder.chmod(0o777)
    above = [p for p in folder.parents if p.stat().st_mode & 0o011 != 0o011]
    modes = [(p, p.stat().st_mode) for p in above]
    for p, mode in modes:
        p.chmod(mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for p, mode in modes:
            p.chmod(mode)


def test_a_locked_library_is_refused_in_one_line_and_the_records_stay(tmp_path):
    path = tmp_path / "library.db"
    records = list(sample_records(2))
    with open_library(f"sqlite:///{path}?timeout=0.1") as library:
        writer = library.writer(sample_run())
        for record in records:
            writer.add(record)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refusal(writer.flush, "unlocked", "locked by another process")
        refusal(lambda: library.finish_run("sample", "failed"), "locked")
        other.execute("ROLLBACK")
        other.close()
        assert not any(library.counts("sample").values())
        writer.flush()
        assert library.counts("sample")["decisions"] == 2


def test_a_reader_is_not_kept_waiting_by_a_writer(tmp_path):
    path = tmp_path / "library.db"
    with open_library(f"sqlite:///{path}?timeout=0.1") as library:
        writer = library.writer(sample_run())
        for record in sample_records(2):
            writer.add(record)
        writer.flush()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert len(library.top(min_reward=0.0)) == 2
        other.close()


def test_a_read_only_library_can_be_read_and_refuses_a_run(tmp_path):
    path = tmp_path / "library.db"
    with open_library(path) as library:
        writer = library.writer(sample_run())
        for record in sample_records(2):
            writer.add(record)
        writer.flush()
    path.chmod(0o444)
    with as_nobody_in(tmp_path), open_library(path) as library:
        assert len(library.top(min_reward=0.0)) == 2
        refusal(lambda: library.writer(sample_run("another")), "read-only")


def test_a_library_that_may_not_be_made_leaves_nothing(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    open_library(tmp_path / "warm.db").close()  # what is imported late is read as root
    with as_nobody_in(tmp_path):
        refusal(lambda: open_library(closed / "library.db"), "opened and written")
    assert list(closed.iterdir()) == []


def test_a_library_behind_a_closed_door_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    open_library(closed / "library.db").close()
    closed.chmod(0o000)
    with as_nobody_in(tmp_path):
        refusal(lambda: open_library(closed / "library.db"), "Permission denied")
    closed.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 3 MB; skip where that is not permitted."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_writes_nothing_and_loses_nothing(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    with open_library(small_disk / "library.db") as library:
        writer = library.writer(sample_run())
        for record in sample_records(150):
            writer.add(record)
        refusal(writer.flush, "full disk")
        assert not any(library.counts("sample").values())
        ballast.unlink()
        writer.flush()
        assert library.counts("sample")["decisions"] == 150
        with library.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_a_database_at_its_page_limit_writes_nothing_and_loses_nothing(tmp_path):
    with open_library(tmp_path / "library.db") as library:
        writer = library.writer(sample_run())
        with library.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100")
        for record in sample_records(150):
            writer.add(record)
        refusal(writer.flush, "expected room", "full disk")
        assert not any(library.counts("sample").values())
        with library.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100000")
        writer.flush()
        assert library.counts("sample")["decisions"] == 150


def test_a_disk_too_full_for_the_tables_is_refused(small_disk):
    (small_disk / "ballast").write_bytes(bytes(3_000_000))
    refusal(lambda: open_library(small_disk / "library.db"), "disk")


def test_a_file_that_is_not_sqlite_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "library.db"
    path.write_bytes(b"ticker,close\n" * 500)
    refusal(lambda: open_library(path), "SQLite library", "another kind of file")
    assert path.read_bytes() == b"ticker,close\n" * 500


def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "library.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = path.read_bytes()
    refusal(lambda: open_library(path), "empty database", "bookmarks")
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "library.db"
    open_library(path).close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.close()
    refusal(lambda: open_library(path), "schema", "9999", "newer")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("mysql://someone@host/name", ["sqlite:///FILE or postgresql://"]),
        ("sqlite://", ["sqlite:///FILE"]),
        ("nonsense://", ["sqlite:///FILE"]),
        ("://", ["neither"]),
        ("postgresql://someone:hunter2@127.0.0.1:9/name", ["127.0.0.1", "working library"]),
        ("postgresql://someone:a@hunter2@127.0.0.1:9/name", ["%40 for an @"]),
        ("postgresql://someone:hunter2@127.0.0.1:port/name", ["neither"]),
        ("postgresql://someone:hunter2@127.0.0.1:9/name?password=hunter2&x=1", ["option"]),
        ("postgresql://someone:hunter2@no.such.host.invalid/name", ["no.such.host.invalid"]),
        ("postgresql://someone:hunter2@\u202e/name", ["\\u202e"]),
        ("mysql://someone:hunter2@host/name?token=hunter2", ["sqlite:///FILE or postgresql://"]),
        ("sqlite:///library.db?mode=memory&uri=true", ["?timeout=SECONDS"]),
        ("sqlite:///library.db?timeout=soon", ["?timeout=SECONDS"]),
        ("sqlite://someone:hunter2@host/library.db", ["?timeout=SECONDS"]),
        ("x" * 5_000, ["File name too long"]),
        ("no/such/folder/library.db", ["folder"]),
        (".", ["was a folder"]),
    ],
)
def test_a_wrong_url_is_refused_in_one_line_without_its_password(where, words):
    assert "hunter2" not in refusal(lambda: open_library(where), *words)


def test_reading_where_there_is_no_library_makes_none(tmp_path):
    path = tmp_path / "library.db"
    refusal(lambda: open_library(path, create=False), "was no file")
    assert not path.exists()
    path.touch()
    refusal(lambda: open_library(path, create=False), "empty database")
    assert path.stat().st_size == 0


def test_a_nan_is_refused_and_nothing_is_written(tmp_path):
    records = list(sample_records(2))
    last = next(r for r in records[::-1] if isinstance(r, Outcome))
    records.append(msgspec.structs.replace(last, symbol="other", realised=float("nan")))
    with open_library(tmp_path / "library.db") as library:
        writer = library.writer(sample_run())
        for record in records:
            writer.add(record)
        with pytest.raises(DataError, match=r"outcomes\.realised"):
            writer.flush()
        assert not any(library.counts("sample").values())
