"""
Writes files and folders whole or not at all, whoever else writes them and whenever a kill comes.

What is written has a name of its own, hidden beside the place that it is for, until it is on the
disk; then it takes that place in one step. A reader finds the old or the new, never neither. Its
writer holds a lock on it, so that the next writer of the place knows what a kill left, and
sweeps it. A folder that is there is exchanged for the new one (Linux, renameat2); where a
filesystem cannot do that it is moved aside first, and moved back by the next writer if a kill
came between.

It keeps no two writers apart: `config.files.in_use` does.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from config.errors import ConfigError
from config.files.paths import writing_to

_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.(?P<kind>part|old)", re.DOTALL)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """
    Give an empty folder, and put it in the place of `out` when the block ends well.

    Missing parents are made. Raises ConfigError where the folder cannot be written, a full disk
    included: what was at `out` stays, and nothing half-written is left.
    """
    with writing_to(out):
        place = out.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(place)
        part, held = _begin(place, folder=True)
        try:
            yield part
            for folder, _, files in os.walk(part):
                for name in (*files, "."):
                    _sync(Path(folder) / name)
            _put(part, place)
            _sync(place.parent)
        except ConfigError as e:  # a writer inside knows the hidden name alone
            raise type(e)(str(e).replace(str(part), str(out))) from e
        finally:
            shutil.rmtree(part, ignore_errors=True)  # what failed, or what was replaced
            os.close(held)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """
    Give an empty file for bytes, and put it in the place of `path` when the block ends well.

    Missing folders are made. Raises ConfigError as `whole_folder`.
    """
    with writing_to(path):
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(place)
        part, held = _begin(place, folder=False)
        try:
            with os.fdopen(held, "wb", closefd=False) as file:
                yield file
            os.fsync(held)
            part.replace(place)
            _sync(place.parent)
        finally:
            part.unlink(missing_ok=True)
            os.close(held)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step. Raises ConfigError as `whole_folder`."""
    with whole_file(path) as file:
        file.write(data)


def sweep_beside(place: Path) -> None:
    """Take away what killed writers of a file or a folder left beside it."""
    for entry in _entries(place.parent):
        match = _HIDDEN.fullmatch(entry.name)
        if match is not None and match["name"] == place.name:
            _take_away(entry)


def sweep_inside(folder: Path) -> None:
    """Take away what killed writers left directly in a folder, which may be missing."""
    for entry in _entries(folder):
        if _HIDDEN.fullmatch(entry.name):
            _take_away(entry)


def sweep_below(folder: Path) -> None:
    """Take away what killed writers left anywhere below a folder, which may be missing."""
    for parent, _, _ in os.walk(folder):
        sweep_inside(Path(parent))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _begin(place: Path, *, folder: bool) -> tuple[Path, int]:
    """Make the hidden file or folder for a place; return it, open and locked."""
    flags = os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
    while True:
        part = place.with_name(f".{place.name}.{secrets.token_hex(8)}.part")
        if folder:
            part.mkdir()
        try:
            held = os.open(part, flags, 0o666)
        except FileNotFoundError:
            if place.parent.is_dir():  # swept before it was locked
                continue
            raise
        with suppress(OSError):  # NFS locks no folders: there what a kill leaves is not swept
            fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), part.stat()):
                return part, held
        os.close(held)


def _take_away(hidden: Path) -> None:
    """Remove what a dead writer left; what it had moved aside goes back where it is missed."""
    match = _HIDDEN.fullmatch(hidden.name)
    assert match is not None
    place = hidden.with_name(match["name"])
    with suppress(OSError):  # its writer is at work, another one sweeps too, or it is not ours
        if match["kind"] == "old" and not place.exists():
            hidden.rename(place)
            return
        held = os.open(hidden, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink()
        finally:
            os.close(held)


def _put(part: Path, place: Path) -> None:
    """Put a folder in its place; what was there is at `part` afterwards."""
    while True:
        try:
            part.rename(place)  # where there is none, or an empty one
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        try:
            _exchange(part, place)
        except FileNotFoundError:
            if not part.exists():
                raise
            continue  # it was taken away since
        return


def _exchange(part: Path, place: Path) -> None:
    """Exchange two folders in one step, or by way of a third name where that cannot be."""
    code = _renameat2(part, place)
    if code == 0:
        return
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), str(place))
    aside = part.with_suffix(".old")
    place.rename(aside)
    try:
        part.rename(place)
    except OSError:
        aside.rename(place)
        raise
    aside.rename(part)


def _renameat2(one: Path, other: Path) -> int:
    """Ask the kernel to exchange two names; return 0 or the error's number."""
    import ctypes  # here, since most commands write no folder and should start at once

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return errno.ENOSYS
    paths = (os.fsencode(one), os.fsencode(other))
    done = call(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    return 0 if done == 0 else ctypes.get_errno()


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
