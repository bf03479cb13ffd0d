"""kill -9 in the middle of a real backtest, then the same command again: each row once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SESSIONS = 160
CLOCKED = {"runs": ("created_at",)}
PARTS = ("cases", "routes", "opinions", "proposals", "allocations")


def content(library: Path) -> dict[str, set[tuple[object, ...]]]:
    """Return every table's rows but for what the wall clock wrote; each row is there once."""
    tables: dict[str, set[tuple[object, ...]]] = {}
    with closing(sqlite3.connect(library)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in names.fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            kept = ", ".join(c for c in columns if c not in CLOCKED.get(name, ()))
            found = connection.execute(f"SELECT {kept} FROM {name}").fetchall()
            tables[name] = set(found)
            assert len(tables[name]) == len(found), f"doubled rows in {name}"
    return tables


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclass(frozen=True)
class Undisturbed:
    """A workplace and what one whole run in it took and left."""

    place: Path
    seconds: float
    rows: dict[str, set[tuple[object, ...]]]
    files: dict[str, bytes]

    def words(self, where: Path) -> tuple[object, ...]:
        """Return the command's words for a run whose files go below `where`."""
        given = ("--config", "small.yaml", "--source", "source")
        return (
            "backtest",
            *given,
            "--out",
            where / "run",
            "--library",
            where / "library.sqlite",
        )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_market, profile_text, command) -> Undisturbed:
    place = tmp_path_factory.mktemp("undisturbed")
    tiny_market(SESSIONS).write(place / "source")
    (place / "small.yaml").write_text(profile_text)
    (place / "whole").mkdir()
    made = Undisturbed(place, 0.0, {}, {})
    words = made.words(place / "whole")
    assert command("--help", cwd=place).code == 0
    begun = time.monotonic()
    assert command(*words, cwd=place).code == 0
    seconds = time.monotonic() - begun
    rows = content(place / "whole" / "library.sqlite")
    assert len(rows["decisions"]) > SESSIONS // 2
    return Undisturbed(place, seconds, rows, files(place / "whole" / "run"))


def assert_only_whole_decisions(library: Path, whole: dict[str, set[tuple[object, ...]]]) -> int:
    """Check that a killed run left only what the whole run has too, and whole decisions."""
    left = content(library)
    for name in left.keys() - {"runs"}:
        assert left[name] <= whole[name], name
    present = {row[1] for row in left["decisions"]}
    for name in PARTS:
        assert {r for r in whole[name] if r[1] in present} <= left[name], name
    return len(present)


def assert_as_undisturbed(where: Path, undisturbed: Undisturbed) -> None:
    assert content(where / "library.sqlite") == undisturbed.rows
    assert files(where / "run") == undisturbed.files
    assert {p.name for p in where.iterdir() if not p.name.startswith("library")} == {"run"}


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_and_run_again_has_each_row_once(
    kills, undisturbed, command, tmp_path
):
    rng = random.Random(kills)
    library = tmp_path / "library.sqlite"
    words = undisturbed.words(tmp_path)
    seen = []
    killed, longest = 0, 0.9 * undisturbed.seconds
    while killed < kills:
        child = command.start(*words, cwd=undisturbed.place)
        moment = rng.uniform(0.1 * longest, longest)
        time.sleep(moment)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        code = command.end().code
        if code == 0:  # it was faster than the undisturbed run: aim earlier
            longest = moment
            continue
        killed += 1
        assert code == 128 + signal.SIGKILL
        if library.exists() and library.stat().st_size:
            seen.append(assert_only_whole_decisions(library, undisturbed.rows))
    assert max(seen, default=0) > 0
    assert command(*words, cwd=undisturbed.place).code == 0
    assert_as_undisturbed(tmp_path, undisturbed)


def test_a_run_killed_while_its_folder_is_written_keeps_the_earlier_one(
    undisturbed, command, tmp_path, wait_until
):
    words = undisturbed.words(tmp_path)
    (tmp_path / "run").mkdir()
    for name, data in undisturbed.files.items():
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(data)
    child = command.start(*words, cwd=undisturbed.place)
    wait_until(lambda: list(tmp_path.glob(".run.*.part")))
    os.kill(child, signal.SIGKILL)
    assert command.end().code == 128 + signal.SIGKILL
    assert files(tmp_path / "run") == undisturbed.files
    assert command(*words, cwd=undisturbed.place).code == 0
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_program_of_its_own_killed_three_times_is_mended_by_a_run_of_its_own(
    undisturbed, child_environ, tmp_path, wait_until
):
    library = tmp_path / "library.sqlite"
    argv = [sys.executable, "-m", "ops.cli", *map(str, undisturbed.words(tmp_path))]

    def start() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            argv, cwd=undisturbed.place, env=child_environ, stdout=quiet, stderr=quiet
        )

    rng = random.Random(3)
    for _ in range(3):
        process = start()
        changed = library.stat().st_mtime_ns if library.exists() else 0
        wait_until(lambda before=changed: grown(library, before))
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert_only_whole_decisions(library, undisturbed.rows)
    assert start().wait() == 0
    assert_as_undisturbed(tmp_path, undisturbed)


def grown(library: Path, before: int) -> bool:
    """Tell whether a run has begun to write: its log of writes is newer than the last one."""
    log = library.with_name(library.name + "-wal")
    return log.exists() and log.stat().st_size > 100_000 and log.stat().st_mtime_ns > before
