"""Prints a backtest or a paper session that came to its end."""

from __future__ import annotations

from rich.console import Console

from backtest.report.paired import verdict
from backtest.report.printed_table import print_table
from ops.composition.recorded_run import FinishedRun
from ops.printing import print_json


def print_run(run: FinishedRun, console: Console, as_json: bool) -> None:
    """Print a run's summary, and where its report lies; as JSON, the summary alone."""
    if as_json:
        print_json(run.summary)
        return
    print_table(run.summary, console)
    if "masking" in run.summary:
        console.print(verdict(run.summary["masking"]))
    console.print(f"report: {run.folder / 'report.html'}", soft_wrap=True)
