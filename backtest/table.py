"""
The table that a backtest prints: every book a row, a figure a column, in 100 columns.

It reads the dict of `summarise` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

MISSING = "–"
LABELS: tuple[str, ...] = (
    "return",
    "Sharpe",
    "95% interval",
    "DSR",
    "Sortino",
    "Calmar",
    "max DD",
)
LABELS += ("wins", "PF", "turn", "costs", "VaR ok")


def percent(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """Return a fraction as a percentage, "–" for an undefined one."""
    return MISSING if value is None else f"{value:{'+' if sign else ''}.{digits}%}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with fixed digits, "–" for an undefined one."""
    return MISSING if value is None else f"{value:.{digits}f}"


def interval(bounds: list[float] | None, digits: int = 2) -> str:
    """Return bounds as "[lo, hi]", "–" for undefined ones."""
    return MISSING if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def luck(figures: dict[str, Any]) -> str:
    """Return the deflated Sharpe ratio, or the probabilistic one marked "p" in its place."""
    if figures["deflated_sharpe"] is not None:
        return number(figures["deflated_sharpe"])
    fallback = figures["probabilistic_sharpe"]
    return MISSING if fallback is None else f"{fallback:.2f}p"


def label(row: dict[str, Any]) -> str:
    """Return a book's name as people write it, "buy and hold"."""
    return str(row["strategy"]).replace("_", " ")


def cells(figures: dict[str, Any]) -> list[str]:
    """Return the cells of LABELS for one book."""
    return [
        percent(figures["total_return"], sign=True),
        number(figures["sharpe"]),
        interval(figures["sharpe_interval"]),
        luck(figures),
        number(figures["sortino"]),
        number(figures["calmar"]),
        percent(figures["max_drawdown"]),
        percent(figures["win_rate"], 0),
        number(figures["profit_factor"]),
        number(figures["turnover"], 1),
        percent(figures["costs_frac"]),
        percent(figures["var_compliance"]),
    ]


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print the run's notes, its figures with a book a row, and what the columns mean."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    for note in summary["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", no_wrap=True)
    for name in LABELS:
        table.add_column(name, justify="right", no_wrap=True)
    named: set[str] = set()
    for row in summary["books"]:
        nested = row["strategy"] in named
        named.add(row["strategy"])
        matched = row.get("matched_volatility")
        if matched is None:
            table.add_row(label(row), *cells(row["figures"]), style="bold", end_section=True)
            continue
        name = label(row)
        if row["gated"]:
            name = "  gated" if nested else f"{name}, gated"
        table.add_row(name, *cells(row["figures"]))
        scaled = matched["figures"]
        blank = [""] * len(LABELS)
        blank[0] = percent(scaled["total_return"], sign=True)
        blank[1] = number(scaled["sharpe"])
        blank[6] = percent(scaled["max_drawdown"])
        indent = "    " if nested else "  "
        table.add_row(f"{indent}same vol.", *blank, style="dim")
    # a narrow console may wrap the lines, but no figure is ever cut short
    table.width = Measurement.get(console, console.options.update(width=400), table).maximum
    console.print(table, crop=False, no_wrap=True, overflow="ignore")
    console.print(Text(legend(summary), style="dim"))


def legend(summary: dict[str, Any]) -> str:
    """Return the lines under the table: what its columns are and what was counted."""
    trials = summary["trials"]
    return (
        f"{summary['sessions']} sessions. Sharpe: annual, over the risk-free rate, with its 95% "
        f"stationary-bootstrap interval. DSR: deflated by {trials['counted']} trials "
        f"({trials['from_the_library']} from earlier runs); p: probabilistic Sharpe ratio, "
        "nothing to deflate. same vol.: scaled to the hierarchy's volatility with cash at the "
        "risk-free rate; nobody traded it. PF: profit factor. turn: times a year. costs: of "
        f"starting equity. VaR ok: sessions within the 99% VaR. {MISSING}: undefined."
    )
