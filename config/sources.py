"""What a source may be called, and whether there is one of that name; nothing is read."""

from pathlib import Path
from typing import Literal

from config.errors import ConfigError
from config.paths import data_home

PACKAGED = ("packaged", "packaged:apple")
SIMULATOR = "simulator"
BOOKS: tuple[Literal["multi-asset", "equity"], ...] = ("multi-asset", "equity")
CATALOG_FACTS = "quarterdeck.json"  # what makes a folder a catalog


def book_of(name: str) -> tuple[Literal["multi-asset", "equity"] | None, str]:
    """
    Return the allocator's book, or None, and the source that a name gives.

    `BOOK:SOURCE` is a source as that book trades it, `BOOK` alone the book's simulator.
    """
    for book in BOOKS:
        if name == book or name.startswith(f"{book}:"):
            return book, name.removeprefix(book).removeprefix(":") or SIMULATOR
    return None, name


def is_reserved(name: str) -> bool:
    """Return whether a name gives a source that is none of one's own, whatever is there."""
    book, source = book_of(name)
    return book is not None or source in (*PACKAGED, SIMULATOR)


def catalog_root() -> Path:
    """Return the folder of the imported catalogs, in the data directory."""
    return data_home() / "catalogs"


def find_catalog(name: str, root: Path | None = None) -> Path | None:
    """Return the folder of a catalog given by its path or its name under `root`, or None."""
    candidates = [Path(name).expanduser(), (root or catalog_root()) / name]
    return next((p for p in candidates if (p / CATALOG_FACTS).is_file()), None)


def source_paths(name: str) -> list[Path]:
    """
    Return the folders and files that a source's name gives.

    Raises ConfigError if one does not exist.
    """
    whole = Path(name).expanduser()
    paths = [whole] if whole.exists() else [Path(p).expanduser() for p in name.split("+")]
    for path in paths:
        if not path.exists():
            raise ConfigError(
                f"expected a source ({', '.join(PACKAGED)}, {SIMULATOR}, an imported catalog, "
                f"a folder or a file), was {str(path)!r}"
            )
    return paths


def check_source(name: str) -> None:
    """Raise ConfigError unless there is a source of this name."""
    _, source = book_of(name)
    if source not in (*PACKAGED, SIMULATOR) and find_catalog(source) is None:
        source_paths(source)
