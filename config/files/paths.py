"""
Where Quarterdeck keeps what outlives a run, and whether a run's places can be used.

The checks import nothing, so that a place that cannot be used is refused at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.errors import ConfigError


def data_home() -> Path:
    """
    Return the data directory, made where it is missing: QUARTERDECK_HOME, or ~/.quarterdeck.

    Raises ConfigError where it cannot be made.
    """
    home = Path(os.environ.get("QUARTERDECK_HOME") or Path.home() / ".quarterdeck")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"expected to make the data directory {home}, was: {e.strerror}") from e
    return home


def own_path(text: str) -> Path:
    """Return the path that a human wrote: `~` is a home; of nobody known, a plain name."""
    return Path(os.path.expanduser(text))


SUPERVISOR_FILE, TRACK_FILE = "supervisor.npz", "track.json"  # of a snapshot of learned state


def check_state(folder: Path) -> None:
    """Raise ConfigError unless a folder holds a snapshot of learned state."""
    for name in (SUPERVISOR_FILE, TRACK_FILE):
        if not os.path.isfile(folder / name):
            raise ConfigError(f"expected a snapshot with {name} in {folder}, was none")


def check_place(out: Path) -> None:
    """
    Raise ConfigError unless a run's folder is new, empty, or an earlier run's, to be replaced.

    The folder that will hold it must be one that can be written.
    """
    try:
        free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        if not free and not (out / "manifest.json").is_file():
            raise ConfigError(
                f"expected a new folder or an earlier run's, was {out}: not replaced"
            )
        _try_to_make(out.absolute().parent)
    except OSError as e:
        raise ConfigError(f"expected to write the run into {out}, was: {e.strerror}") from e


def check_folder(out: Path) -> None:
    """Raise ConfigError unless files can be written into a folder, which may be there or not."""
    with writing_to(out):
        _try_to_make(out.absolute())


def check_file(out: Path) -> None:
    """Raise ConfigError unless a file can be written at `out`, over an earlier one or not."""
    with writing_to(out):
        if out.is_dir():
            raise ConfigError(f"expected a file to write, was the folder {out}")
        _try_to_make(out.absolute().parent)


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn an OSError into the ConfigError that says what could not be written."""
    try:
        yield
    except OSError as e:
        raise ConfigError(f"expected to write {out}, was: {e.strerror or e}") from e


def _try_to_make(folder: Path) -> None:
    """
    Make a folder and one in it, and take away what was not there. Raises OSError.

    Other processes may do the same, and may begin to write there.
    """
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    made = []
    try:
        for path in (*reversed(missing), folder / f".quarterdeck-{os.getpid()}"):
            with suppress(FileExistsError):
                path.mkdir()
                made.append(path)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise
        _try_to_make(folder)  # another process has just taken its empty folder away
    finally:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
