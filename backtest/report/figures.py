"""
The report's table of figures, a row a book, with the reasons of those that are missing.

It shows what `summarise` returned and measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from backtest.report.formats import number, percent
from backtest.report.printed_table import LABELS, cells, kind_of, label, scaled_cells
from backtest.report.views import Row, Table
from backtest.statistics.book_figures import BookFigures
from backtest.statistics.summary import BaselineRow, Summary

# after LABELS: what the printed table has no room for
MORE: tuple[str, ...] = ("Calmar", "trades", "trade wins", "trade PF", "stops")
MORE += ("VaR in limit", "Kupiec p", "indep. p", "joint p", "loss in limit")


@dataclass(frozen=True)
class FiguresView:
    """The section: the table, what its columns are, and why figures are missing."""

    table: Table
    key: str
    missing: tuple[str, ...]


def figures_view(summary: Summary) -> FiguresView:
    """Return the table of figures, a book a row, with the reasons of those that are missing."""
    rows = []
    for place, row in enumerate(summary.books):
        css = "hero" if place == 0 else "nested" if kind_of(row) else ""
        name = label(row) if css != "nested" else kind_of(row)
        rows.append(Row(name, (*cells(row.figures), *_more(row.figures)), css))
        if isinstance(row, BaselineRow):
            css = "scaled nested" if kind_of(row) else "scaled"
            blank = ("",) * len(MORE)
            rows.append(
                Row("same volatility", (*scaled_cells(row.matched_volatility), *blank), css)
            )
    return FiguresView(
        table=Table("", (*LABELS, *MORE), tuple(rows)),
        key=_key(summary),
        missing=_missing(summary),
    )


def _more(figures: BookFigures) -> tuple[str, ...]:
    return (
        number(figures.calmar),
        f"{figures.closed_trades:,}",
        percent(figures.trade_win_rate, 0),
        number(figures.trade_profit_factor),
        percent(figures.stop_exit_share, 0),
        percent(figures.var_within_limit),
        number(figures.kupiec_p),
        number(figures.christoffersen_independence_p),
        number(figures.christoffersen_coverage_p),
        percent(figures.loss_within_limit),
    )


def _key(summary: Summary) -> str:
    """Return what the columns are, and the rows at the same volatility."""
    trials = summary.trials
    counted = ", ".join(t.name.replace("_", " ") for t in trials.from_this_run) or "none"
    limit = percent(summary.max_var)
    return (
        "Same volatility is the book above scaled to the hierarchy's volatility, the rest in cash "
        "at the risk-free rate: a yardstick that nobody traded. DSR is the "
        "probability that the Sharpe ratio is truly above what luck gives the best of "
        f"{trials.effective} kinds of {trials.counted} trials (this run's: {counted}; "
        f"{trials.from_the_library} from earlier runs); p marks the probabilistic Sharpe "
        "ratio, where there is nothing to deflate. mo wins and mo PF are of months, trade wins "
        "and trade PF of closed round trips; stops is the share of exits that were stops. VaR cov "
        "is the share of invested sessions whose loss stayed within that day's own 99% VaR, with "
        "the p-values of Kupiec's test (how many) and Christoffersen's (whether they follow each "
        f"other, and both jointly); VaR in limit the share of invested closes whose VaR is within "
        f"{limit}; loss in limit the share of invested sessions that lost no more than {limit}."
    )


def _missing(summary: Summary) -> tuple[str, ...]:
    """Return why figures are missing, a line for each reason of a book."""
    lines = []
    for row in summary.books:
        reasons: dict[str, list[str]] = {}
        for key, why in row.figures.undefined.items():
            reasons.setdefault(why, []).append(key.replace("_", " "))
        lines += [f"{label(row)}: {', '.join(keys)}: {why}" for why, keys in reasons.items()]
    return tuple(lines)
