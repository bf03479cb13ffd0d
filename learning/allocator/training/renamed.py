"""
What trainings of before call things: one table, by which their files are read as those of now.

Whoever reads a stored file passes it through here; nothing is written back. The module knows no
phase and no learner.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

type Stored = Literal["training", "result", "checkpoint", "checkpoint meta"]

RENAMED: Mapping[Stored, Mapping[str, str]] = {  # dotted paths, taken in turn: the last name's new
    "training": {"book_digest": "dataset_digest", "settings.book": "dataset"},
    "result": {
        "seconds.first lesson": "warm-up",
        "measures.first_lesson_sharpe": "warm_up_sharpe",
        "measures.former_sharpe": "earlier_sharpe",
    },
    "checkpoint": {
        "form": "environment",
        "environment.twin.slips": "slippage",
        "market.twin.slips": "slippage",
        "former_sharpe": "earlier_sharpe",
    },
    "checkpoint meta": {"book": "dataset", "former": "earlier"},
}
FOLDERS: Mapping[str, str] = {"warm-up": "first-lesson"}  # by their names of now


def as_now(kind: Stored, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file holds, under the names of now; its order stays."""
    now = dict(tree)
    for path, name in RENAMED[kind].items():
        now = _renamed(now, path.split("."), name)
    return now


def folder_as_now(folder: Path) -> Path:
    """Return a folder, or the one of its name of before where that alone is there."""
    before = folder.with_name(FOLDERS.get(folder.name, folder.name))
    return before if before.is_dir() and not folder.is_dir() else folder


def _renamed(tree: Any, path: Sequence[str], name: str) -> Any:
    first, *rest = path
    if not isinstance(tree, dict) or first not in tree:
        return tree
    if rest:
        return tree | {first: _renamed(tree[first], rest, name)}
    return {name if key == first else key: value for key, value in tree.items()}
