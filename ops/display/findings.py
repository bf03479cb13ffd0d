"""Prints what `data check` found."""

from rich.console import Console
from rich.table import Table

from backtest.check import CheckReport

COLUMNS = {
    "bars": "bars",
    "gaps": "gaps",
    "jumps": "jumps",
    "zero_volume": "no vol",
    "splits": "splits",
    "dividends": "divs",
    "news": "news",
    "fundamentals": "reports",
}


def print_check(report: CheckReport, console: Console) -> None:
    """Print a row a symbol, then notes, then problems; the last line says whether it is usable."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("symbol", "first", "last", *COLUMNS.values()):
        table.add_column(name, justify="left" if name == "symbol" else "right", no_wrap=True)
    for row in report.rows:
        found = [getattr(row, name) for name in COLUMNS]
        counts = [str(len(c) if isinstance(c, tuple) else c) for c in found]
        table.add_row(row.symbol, row.first, row.last, *counts)
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red", markup=False)
    usable = "usable" if report.ok else f"{len(report.problems)} problems"
    console.print(f"{report.name}: {usable}", markup=False)
