"""
The plain shapes that the report's templates draw: tables, facts, cards and sentences.

Everything is text that is ready to be read, and nothing is markup: the templates escape it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A table's row: its name at the head, its cells, and the CSS classes that it is drawn in."""

    name: str
    cells: tuple[str, ...]
    css: str = ""


@dataclass(frozen=True)
class Table:
    """A table: the name of its first column, the heads of the others, and its rows."""

    corner: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Fact:
    """A name and what stands under it."""

    name: str
    value: str


@dataclass(frozen=True)
class Card:
    """One of the figures that the first screen shows large."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Headline:
    """A sentence of the first screen; its subject, "" for none, is drawn in bold."""

    subject: str
    text: str


def count_facts(counts: Mapping[str, int]) -> tuple[Fact, ...]:
    """Return counts as facts, their names as people write them."""
    return tuple(Fact(name.replace("_", " "), f"{count:,}") for name, count in counts.items())
