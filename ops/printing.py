"""
Prints results as facts, tables and JSON, and draws progress bars.

It knows nothing of what it shows. `--json` prints to standard output and nothing else goes there:
tables and progress then go to standard error.
"""

import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.files.whole import write_whole

PALETTE = (
    *("#1f77b4", "#ff7f0e", "#2a9d6f", "#d62728", "#7f7f7f", "#9467bd", "#8c564b", "#17becf"),
    *("#bcbd22", "#e377c2", "#1a1a1a", "#98df8a"),
)

UNCUT = 1_000  # columns, where nobody looks at a screen


def open_console(as_json: bool, width: int | None = None) -> Console:
    """
    Return the console for people: standard error where standard output is for machines.

    Off a terminal no table is cut, unless COLUMNS says how wide lines may be.
    """
    console = Console(stderr=as_json, width=width)
    if width is None and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNCUT
    return console


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on standard output."""
    print(msgspec.json.encode(value).decode(), flush=True)


def write_json(path: Path, value: Any) -> None:
    """
    Write a value as indented JSON, whole, in a folder that is made where it is missing.

    Raises ConfigError where it cannot be written.
    """
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """Print facts as JSON, or one a line, without those that are None."""
    if as_json:
        print_json(facts)
        return
    known = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, known))
    for name, value in known.items():
        print(f"{name:<{width}}  {value}")


def print_notes(notes: Iterable[object]) -> None:
    """Print notes on standard error, one a line."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)


def make_table(
    title: str | None,
    heads: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    words: Collection[str] | None = None,
    **style: Any,
) -> Table:
    """
    Return a table of rows; None among them draws a line.

    Columns in `words` (by default the first) are aligned to the left, figures to the right;
    `style` goes to rich's Table.
    """
    left = heads[:1] if words is None else words
    table = Table(title=title, **style)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*row)
    return table


def progress_bar(console: Console, width: int = 16) -> Progress:
    """Return a bar that shows a task's name, share and time, and is gone at its end."""
    return Progress(
        TextColumn(f"{{task.description:<{width}}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
