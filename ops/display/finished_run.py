"""Prints a backtest or a paper session that came to its end."""

import msgspec
from rich.console import Console

from backtest.report.masking import verdict
from backtest.report.printed_table import print_table
from backtest.statistics.summary import results_json
from ops.composition.recorded_run import FinishedRun
from ops.printing import print_json


def print_run(run: FinishedRun, console: Console, as_json: bool) -> None:
    """Print a run's summary, and where its report lies; as JSON, the summary alone."""
    if as_json:
        print_json(results_json(run.summary))
        return
    print_table(run.summary, console)
    if run.summary.masking is not msgspec.UNSET:
        console.print(verdict(run.summary.masking))
    console.print(f"report: {run.folder / 'report.html'}", soft_wrap=True)
