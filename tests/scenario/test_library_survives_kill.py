"""kill -9 at ten random moments, then the same run again: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from learning.experience.library import open_library
from learning.experience.models import metadata
from ops.bench.library import sample_records, sample_run

DECISIONS, INSTRUMENTS = 200, 3
# Imports once, then runs the same run in a fresh process for every path that it is told.
SPAWNER = f"""
import os, sys
import alembic.command
from agents.messages import Case
from ops.bench.library import sample_records, sample_run
from learning.experience.library import open_library

def run(path):
    print("pid", os.getpid(), flush=True)
    with open_library(path) as library:
        writer = library.writer(sample_run())
        for record in sample_records({DECISIONS}, {INSTRUMENTS}):
            if isinstance(record, Case):
                writer.flush()
                os.write(1, b"decided\\n")  # one write: a kill cannot cut the line in two
            writer.add(record)
        writer.flush()
        library.finish_run("sample", "completed")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(line.strip())
        os._exit(0)
    print("ended", os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def spawner():
    process = subprocess.Popen(
        [sys.executable, "-c", SPAWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    yield process
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0


def start(spawner, path: Path) -> int:
    """Begin the run on this path in a process of its own; return its pid."""
    spawner.stdin.write(f"{path}\n")
    spawner.stdin.flush()
    word, pid = spawner.stdout.readline().split()
    assert word == "pid"
    return int(pid)


def ending(spawner) -> tuple[int, int]:
    """Wait for the run to end; return its wait status and how many lines it still printed."""
    lines = 0
    while not (line := spawner.stdout.readline()).startswith("ended"):
        assert line == "decided\n"
        lines += 1
    return int(line.split()[1]), lines


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in metadata.tables
        }
    finally:
        connection.close()


def assert_whole_decisions(rows: dict[str, list[tuple[object, ...]]], whole: dict) -> int:
    """Every decision that is there has all that belongs to it, equal to an undisturbed run's."""
    present = {row[1] for row in rows["decisions"]}
    for name in ("cases", "decisions", "routes", "opinions", "proposals", "allocations"):
        assert rows[name] == [row for row in whole[name] if row[1] in present]
    return len(present)


def test_a_run_killed_at_ten_random_moments_and_run_again_has_each_row_once(tmp_path, spawner):
    clean = tmp_path / "clean.db"
    with open_library(clean) as library:
        writer = library.writer(sample_run())
        for record in sample_records(DECISIONS, INSTRUMENTS):
            writer.add(record)
        writer.flush()
        library.finish_run("sample", "completed")
    whole = content(clean)

    rng = random.Random(7)
    path = tmp_path / "killed.db"
    seen = []
    for moment in range(10):
        pid = start(spawner, path)
        if moment < 3:
            time.sleep(rng.uniform(0.0, 0.1))
        else:
            for _ in range(rng.randrange(1, DECISIONS // 2)):
                assert spawner.stdout.readline() == "decided\n"
            time.sleep(rng.uniform(0.0, 0.005))
        os.kill(pid, signal.SIGKILL)
        assert ending(spawner)[0] == signal.SIGKILL
        if path.exists() and path.stat().st_size:
            with open_library(path) as library:
                assert all(run.status == "running" for run in library.runs())
            seen.append(assert_whole_decisions(content(path), whole))
    assert 0 < max(seen) < DECISIONS

    start(spawner, path)
    assert ending(spawner) == (0, DECISIONS)
    assert content(path) == whole
    assert len(whole["decisions"]) == DECISIONS
