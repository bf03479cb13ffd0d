"""
The table that a backtest prints: every book a row, a figure a column, in 100 columns.

It shows what `summarise` returned and measures nothing. What the gate costs and what the minds
add stand under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtest.report.formats import MISSING, interval, number, percent, strategy
from backtest.report.headlines import headlines
from backtest.statistics.book_figures import BookFigures
from backtest.statistics.differences import ScaledFigures
from backtest.statistics.measures import Undefined
from backtest.statistics.summary import BaselineRow, BookRow, Summary

if TYPE_CHECKING:
    from rich.console import Console

LABELS: tuple[str, ...] = (
    "return",
    "Sharpe",
    "95% interval",
    "DSR",
    "Sortino",
    "max DD",
)
LABELS += ("mo wins", "mo PF", "turn", "costs", "VaR cov")
GATES = {"full": "", "no_stop": "stop off", "gross_only": "limits off"}


def luck(figures: BookFigures) -> str:
    """Return the deflated Sharpe ratio, or the probabilistic one marked "p" in its place."""
    if not isinstance(figures.deflated_sharpe, Undefined):
        return number(figures.deflated_sharpe)
    fallback = figures.probabilistic_sharpe
    return MISSING if isinstance(fallback, Undefined) else f"{fallback:.2f}p"


def label(row: BookRow) -> str:
    """Return what is said of a book in one cell: "hierarchy, stop off", "buy and hold, gated"."""
    name = strategy(row.name)
    return f"{name}, {kind}" if (kind := kind_of(row)) else name


def kind_of(row: BookRow) -> str:
    """Return under what a book was run, where that is not its usual: "stop off", "2% stop"."""
    if row.stress:
        return row.stress
    if isinstance(row, BaselineRow):  # a baseline's usual is no limit but gross
        return {"gross_only": "", "no_stop": "gated, no stop"}.get(row.gate, "gated")
    return GATES[row.gate]


def cells(figures: BookFigures) -> tuple[str, ...]:
    """Return the cells of LABELS for one book."""
    return (
        percent(figures.total_return, sign=True),
        number(figures.sharpe),
        interval(figures.sharpe_interval),
        luck(figures),
        number(figures.sortino),
        percent(figures.max_drawdown),
        percent(figures.month_win_rate, 0),
        number(figures.month_profit_factor),
        number(figures.turnover, 1),
        percent(figures.costs_frac),
        percent(figures.var_coverage),
    )


def scaled_cells(scaled: ScaledFigures) -> tuple[str, ...]:
    """Return the cells of LABELS for a baseline at the hierarchy's volatility: most are empty."""
    shown = {
        "return": percent(scaled.total_return, sign=True),
        "Sharpe": number(scaled.sharpe),
        "max DD": percent(scaled.max_drawdown),
    }
    return tuple(shown.get(name, "") for name in LABELS)


def print_table(summary: Summary, console: Console) -> None:
    """Print the run's notes, its figures with a book a row, and what the columns mean."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    for note in summary.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", no_wrap=True)
    for name in LABELS:
        table.add_column(name, justify="right", no_wrap=True)
    ends = _last_of_hierarchy(summary.books)
    for place, row in enumerate(summary.books):
        kind = kind_of(row)
        name = f"  {kind}" if kind else strategy(row.name)
        style = "bold" if place == 0 else None
        table.add_row(name, *cells(row.figures), style=style, end_section=place == ends)
        if isinstance(row, BaselineRow):
            indent = "    " if kind else "  "
            table.add_row(f"{indent}same vol.", *scaled_cells(row.matched_volatility), style="dim")
    # a narrow console may wrap the lines, but no figure is ever cut short
    table.width = Measurement.get(console, console.options.update(width=400), table).maximum
    console.print(table, crop=False, no_wrap=True, overflow="ignore")
    for line in headlines(summary):
        console.print(Text(line))
    console.print(Text(legend(summary), style="dim"))


def _last_of_hierarchy(rows: Sequence[BookRow]) -> int:
    """Return the place of the last row before the baselines."""
    return sum(not isinstance(row, BaselineRow) for row in rows) - 1


def legend(summary: Summary) -> str:
    """Return the lines under the table: what its columns are and what was counted."""
    trials = summary.trials
    return (
        f"{summary.sessions} sessions, {summary.sessions_per_year} a year. Sharpe: annual, "
        "over the risk-free rate, with its 95% bootstrap interval. DSR: deflated by "
        f"{trials.effective} kinds of {trials.counted} trials "
        f"({trials.from_the_library} from earlier runs); p: probabilistic Sharpe ratio, "
        "nothing to deflate. same vol.: scaled to the hierarchy's volatility with cash at the "
        "risk-free rate; nobody traded it. mo: of months; PF: profit factor. turn: times a year. "
        "costs: of starting equity. VaR cov: invested sessions within that day's 99% VaR. "
        f"{MISSING}: undefined."
    )
