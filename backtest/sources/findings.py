"""
What reading a source finds: notes that the report shows, faults that a check lists, and what
each file was taken for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from config.errors import DataError, printable

SHOWN = 3  # files named in a note that many share


class FileFact(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one file was taken for.

    `form` says as what it was read and why; `symbols` names one or counts them; `zone` is how
    its stamps were understood; `first` and `last` are stamps as read, UTC.
    """

    file: str
    kind: str
    form: str
    rows: int
    symbols: str = ""
    zone: str = ""
    first: str = ""
    last: str = ""


class Notes:
    """Notes by what they say: one that holds of many files is one line that counts them."""

    def __init__(self) -> None:
        self._of: dict[str, list[tuple[str, int, str]]] = {}

    def add(self, text: str, label: str = "", count: int = 0, first: str = "") -> None:
        """Add a note on a file; `count` things that it counts, the first of them in words."""
        self._of.setdefault(text, []).append((label, count, first))

    def lines(self) -> tuple[str, ...]:
        """Return the notes in the order in which they were first made."""
        return tuple(printable(self._line(text, found)) for text, found in self._of.items())

    @staticmethod
    def _line(text: str, found: Sequence[tuple[str, int, str]]) -> str:
        labels = list(dict.fromkeys(label for label, _, _ in found if label))
        count = sum(n for _, n, _ in found)
        counted = f"{count} {text}" if count else text
        first = found[0][2]
        if first:
            counted += f", the first {first}"
        if not labels:
            return counted
        if len(labels) == 1:
            return f"{labels[0]}: {counted}"
        more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
        return f"{len(labels)} files ({', '.join(labels[:SHOWN])}{more}): {counted}"


@dataclass
class Findings:
    """What was found so far. Without `collect` the first fault is raised, with it all are kept."""

    collect: bool = False
    notes: Notes = field(default_factory=Notes)
    faults: list[str] = field(default_factory=list)
    files: list[FileFact] = field(default_factory=list)

    def fault(self, error: DataError) -> None:
        """Raise a fault, or keep it where faults are collected."""
        if not self.collect:
            raise error
        self.faults.append(str(error))
