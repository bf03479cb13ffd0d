"""Prints what a training of the allocator came to."""

from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from learning.allocator.phases import POLICIES
from ops.printing import make_table, print_json


def print_training(summary: dict[str, Any], folder: Path, console: Console, as_json: bool) -> None:
    """Print a row for each finished phase, its measures and notes, and where the policies are."""
    if as_json:
        print_json(summary)
        return
    title = f"{summary['book']} book on {summary['source']}, seed {summary['seed']}"
    heads = ("phase", "steps", "seconds", "steps/s", "where the time went")
    results = list(chain.from_iterable(summary["phases"].values()))
    rows = []
    for result in results:
        seconds = sum(result["seconds"].values())
        parts = (f"{name} {part / seconds:.0%}" for name, part in result["seconds"].items())
        rate = f"{result['steps'] / seconds:,.0f}" if seconds else "-"
        rows.append(
            (result["phase"], f"{result['steps']:,}", f"{seconds:.0f}", rate, ", ".join(parts))
        )
    console.print(make_table(title, heads, rows, words=(heads[0], heads[-1])))
    for result in results:
        measures = ", ".join(f"{name} {v:.4g}" for name, v in result["measures"].items())
        for line in (measures, *result["notes"]):
            console.print(f"{result['phase']}: {line}", soft_wrap=True, highlight=False)
    console.print(f"policies: {folder / POLICIES}", soft_wrap=True)
