"""kill -9 at ten random moments, then the same run again: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from agents.messages import Case
from learning.experience.bench import sample_records, sample_run
from learning.experience.library import open_library
from learning.experience.models import metadata

DECISIONS, INSTRUMENTS = 400, 3
CHILD = f"""
import sys
from agents.messages import Case
from learning.experience.bench import sample_records, sample_run
from learning.experience.library import open_library

with open_library(sys.argv[1]) as library:
    writer = library.writer(sample_run())
    for i, record in enumerate(sample_records({DECISIONS}, {INSTRUMENTS})):
        if isinstance(record, Case):
            writer.flush()
            print("decided", flush=True)
        writer.add(record)
    writer.flush()
    library.finish_run("sample", "completed")
"""


def start(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4, 5").fetchall()
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


def test_a_run_killed_at_ten_random_moments_and_run_again_has_each_row_once(tmp_path):
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
        child = start(path)
        if moment < 2:
            time.sleep(rng.uniform(0.2, 1.0))
        else:
            for _ in range(rng.randrange(1, 100)):
                child.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.02))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        if path.exists() and path.stat().st_size:
            with open_library(path) as library:
                assert all(run.status == "running" for run in library.runs())
            seen.append(assert_whole_decisions(content(path), whole))
    assert 0 < max(seen) < DECISIONS

    child = start(path)
    printed, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    assert printed.count(b"decided") == DECISIONS
    assert content(path) == whole
    assert len(whole["decisions"]) == DECISIONS
    assert sum(isinstance(r, Case) for r in sample_records(DECISIONS, 1)) == DECISIONS
