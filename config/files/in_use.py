"""
Keeps a place for one process: a run's folder, a training, a catalog, a file to be exported.

The lock is a hidden file beside the place, `.NAME.lock`, that its process holds (flock) and that
says its id. It is gone when the process lets go; after a kill the file stays, but nobody holds it,
and the next process takes it over.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.errors import ConfigError
from config.files.paths import writing_to
from config.files.whole import sweep_beside

_held: dict[Path, int] = {}  # this process's own, by their files


@contextmanager
def in_use(out: Path | None, *, wait: bool = False) -> Iterator[None]:
    """
    Keep a file's or a folder's place for this process, and sweep what a kill left beside it.

    The process that holds a place may take it again. `wait` waits for another one to let go. None
    is a place that is not known yet: nothing is held. Folders that are made for the lock are
    taken away again where nothing else came into them.
    Raises ConfigError where another process holds the place, or it cannot be locked.
    """
    if out is None:
        yield
        return
    with writing_to(out):
        place = out.resolve()
        lock = place.parent / f".{place.name}.lock"
        missing = [p for p in (lock.parent, *lock.parent.parents) if not p.exists()]
    if lock in _held:
        yield
        return
    try:
        with writing_to(out):
            handle = _held[lock] = _take(lock, out, wait=wait)
        try:
            sweep_beside(place)
            yield
        finally:
            if _held.pop(lock, None) == handle:  # else this is a forked child, and it is not ours
                with suppress(OSError):
                    lock.unlink()
                os.close(handle)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def left_by(lock: Path) -> int | None:
    """
    Return the id of the process that was killed while it held a lock's file.

    None where a process holds it still, or where that cannot be told; 0 where it was killed
    before it could say its id.
    """
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    else:
        return _process(handle)
    finally:
        os.close(handle)


def _take(lock: Path, out: Path, *, wait: bool) -> int:
    """Return the open and held file of a lock, which says this process's id."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another process has just taken its empty folders away
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(handle), lock.stat()):
                os.truncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
        except FileNotFoundError:
            pass  # its last holder has let go: what we hold has no name any more
        except BlockingIOError:
            who = f"process {_process(handle) or 'unknown'}"
            os.close(handle)
            raise ConfigError(f"expected {out} to be free, was in use by {who}") from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _process(handle: int) -> int:
    text = os.pread(handle, 32, 0)
    return int(text) if text.isdigit() else 0


def _forget() -> None:
    """Let go, in a forked child, of what its parent holds: a lock ends with its holder."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
