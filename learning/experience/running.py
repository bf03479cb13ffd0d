"""
Tells runs that are under way from runs that a kill left under way.

Who records a run into a library in a file holds a lock beside it, `.LIBRARY.RUN.PROCESS.lock`,
for as long as that takes. A run that the library calls running, and of which nobody holds a
lock, was left so. Of a library on a database server nothing is known: its runs are named by
no one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from sqlalchemy import func, select

from config.errors import ConfigError
from config.files.in_use import in_use, left_by
from learning.experience import models as m
from learning.experience.library import Library


@dataclass(frozen=True)
class LeftRun:
    """A run that was left running; `process` is the id of who left it, 0 where that is unknown."""

    run_id: str
    process: int

    def __str__(self) -> str:
        """Say what was left, on one line."""
        who = f"process {self.process}" if self.process else "a process that is gone"
        return f"run {self.run_id} was left running by {who}"


@contextmanager
def under_way(library: Library, run_id: str) -> Iterator[None]:
    """Hold the lock of a run that this process records. Raises ConfigError where it cannot."""
    if not library.files:
        yield
        return
    with in_use(_place(library.files[0], run_id)):
        yield


def left_running(library: Library) -> list[LeftRun]:
    """Return the runs that were left running, newest first."""
    if not library.files:
        return []
    found = []
    for run_id in _running(library):
        users = [left_by(lock) for lock in _locks(library.files[0], escape(run_id))]
        if None not in users:
            found.append(LeftRun(run_id, max((who for who in users if who), default=0)))
    still = _running(library)  # one may have come to its end since
    return [left for left in found if left.run_id in still]


def interrupt_left(library: Library) -> list[LeftRun]:
    """Mark the runs that were left running as interrupted, and return them, newest first."""
    found = left_running(library)
    for left in found:
        library.finish_run(left.run_id, "interrupted")
    for file in library.files[:1]:
        for lock in _locks(file, "*"):
            with suppress(ConfigError), in_use(lock.with_name(lock.name[1 : -len(".lock")])):
                pass  # who takes a lock that nobody holds takes it away in the end
    return found


def _running(library: Library) -> list[str]:
    c = m.runs.c
    query = select(c.run_id).where(c.status == "running")
    query = query.order_by(func.coalesce(c.created_at, 0).desc(), c.run_id.desc())
    with library.reading() as connection:
        return list(connection.execute(query).scalars())


def _place(file: Path, run_id: str) -> Path:
    return file.with_name(f"{file.name}.{run_id}.{os.getpid()}")


def _locks(file: Path, run_ids: str) -> list[Path]:
    return sorted(file.parent.glob(f".{escape(file.name)}.{run_ids}.*.lock"))
