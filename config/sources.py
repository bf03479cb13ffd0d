"""What a source may be called, and whether there is one of that name; nothing is read."""

import os
from pathlib import Path
from typing import Literal

from config.errors import ConfigError, shown
from config.files.paths import data_home, own_path

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
    candidates = [own_path(name), (root or catalog_root()) / name]
    return next((p for p in candidates if os.path.isfile(p / CATALOG_FACTS)), None)


def source_paths(name: str) -> list[Path]:
    """
    Return the folders and files that a source's name gives.

    Raises ConfigError if one does not exist.
    """
    whole = own_path(name)
    paths = [whole] if os.path.exists(whole) else [own_path(part) for part in name.split("+")]
    if not all(name.split("+")):
        raise ConfigError(f"expected the name of a source, was {shown(name)}")
    for path in paths:
        if not (os.path.isdir(path) or os.path.isfile(path)):  # a device has no end
            raise ConfigError(
                f"expected a source ({', '.join(PACKAGED)}, {SIMULATOR}, an imported catalog, "
                f"a folder or a file), was {shown(str(path))}"
            )
    return paths


def check_source(name: str) -> None:
    """Raise ConfigError unless there is a source of this name."""
    _, source = book_of(name)
    if source not in (*PACKAGED, SIMULATOR) and find_catalog(source) is None:
        source_paths(source)
