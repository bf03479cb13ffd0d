"""
One book's figures: what it earned, risked, traded and paid, in the order of the report.

A book that was ruined, or never invested, has no ratios: they are Undefined with that reason. It
compares no books.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.arrays import FloatArray
from backtest.results import PositionHistory, RunResult
from backtest.statistics import intervals, measures, sharpe, tallies
from backtest.statistics.measures import Figure, Undefined
from backtest.statistics.trials import Luck, deflated_sharpe

# benchmarks that nobody picks for their record: they are no trials of the deflated Sharpe ratio
PASSIVE = ("buy-and-hold", "equal-weight")
RUINED = Undefined("equity fell to zero or below")
NEVER_INVESTED = Undefined("never invested")
NO_SESSION = Undefined("the run has no session after its first row")
NO_TRADE = Undefined("no trade was closed")
TOLERANCE = 1e-9  # of a limit, for rounding


@dataclass(frozen=True)
class Series:
    """
    A book's simple returns and excess returns of sessions 1..T-1, or why it has no ratios.

    `returns` and `excess` are None for a ruined book; one that never invested has both.
    """

    book: PositionHistory
    returns: FloatArray | None
    excess: FloatArray | None
    without: Undefined | None

    @property
    def judged(self) -> FloatArray | Undefined:
        """The excess returns, where ratios can be made of them."""
        if self.without is not None or self.excess is None:
            return self.without or RUINED
        return self.excess

    @property
    def passive(self) -> bool:
        """Whether it is a benchmark that nobody picks for its record."""
        return self.book.name in PASSIVE


def series_of(book: PositionHistory, risk_free: FloatArray) -> Series:
    """Return the returns of a book; risk_free (T,)."""
    if (book.equity <= 0.0).any():
        return Series(book, None, None, RUINED)
    returns = book.equity[1:] / book.equity[:-1] - 1.0
    idle = not (book.gross.any() or book.turnover.any())
    return Series(book, returns, returns - risk_free[1:], NEVER_INVESTED if idle else None)


def figures(series: Series, run: RunResult, luck: Luck, seed: int) -> dict[str, Any]:
    """Return a book's figures by the names of results.json; Undefined where they are that."""
    book, year = series.book, run.sessions_per_year
    sessions = len(book.ts) - 1
    total = float(book.equity[-1] / book.equity[0] - 1.0)
    annual = measures.annual_return(total, sessions, year)
    max_drawdown = float(measures.drawdowns(book.equity).max())
    underwater, still = measures.drawdown_sessions(book.equity)
    return {
        "total_return": total,
        "annual_return": annual,
        "volatility": yearly(measures.deviation(series.returns), year)
        if series.returns is not None
        else RUINED,
        **_ratios(series, year, luck, seed),
        "calmar": measures.calmar(annual, max_drawdown),
        "max_drawdown": max_drawdown,
        "drawdown_sessions": underwater,
        "drawdown_open": still,
        **_months(series, year),
        **_trades(book),
        "turnover": float(book.turnover[1:].mean()) * year if sessions else NO_SESSION,
        "costs": float(book.costs.sum()),
        "costs_frac": float(book.costs.sum() / book.equity[0]),
        "gross": float(book.gross[1:].mean()) if sessions else NO_SESSION,
        **_risk(series, run.max_var),
    }


def yearly(per_session: Figure, year: int) -> Figure:
    """Return a ratio or deviation of one session as that of a year."""
    return per_session if isinstance(per_session, Undefined) else per_session * math.sqrt(year)


def _ratios(series: Series, year: int, luck: Luck, seed: int) -> dict[str, Any]:
    excess = series.judged
    names: tuple[str, ...] = ("sharpe", "sharpe_interval", "sharpe_block_sessions")
    names += ("probabilistic_sharpe", "deflated_sharpe", "sortino")
    if isinstance(excess, Undefined):
        return dict.fromkeys(names, excess)
    interval = intervals.sharpe_interval(excess, seed=seed)
    passive = Undefined("a passive benchmark is not picked from trials")
    values = (
        yearly(sharpe.sharpe(excess), year),
        interval if isinstance(interval, Undefined) else interval.times(math.sqrt(year)).bounds,
        interval if isinstance(interval, Undefined) else interval.block_sessions,
        sharpe.probabilistic_sharpe(excess),
        passive if series.passive else deflated_sharpe(sharpe.moments(excess), luck),
        measures.sortino(excess, year),
    )
    return dict(zip(names, values, strict=True))


def _months(series: Series, year: int) -> dict[str, Any]:
    """Return how a book's months went: whole twelfths of a year's sessions."""
    if series.returns is None:
        return {"months": 0, "month_win_rate": RUINED, "month_profit_factor": RUINED}
    months = measures.monthly(series.returns, year)
    short = Undefined("the run is shorter than a month")
    return {
        "months": len(months),
        "month_win_rate": measures.win_rate(months, short),
        "month_profit_factor": measures.profit_factor(months, short),
    }


def _trades(book: PositionHistory) -> dict[str, Any]:
    """Return how a book's closed round trips ended."""
    profits = np.array([t.profit for t in book.trades], dtype=np.float64)
    stops = sum(t.exit == "stop" for t in book.trades)
    return {
        "closed_trades": len(profits),
        "trade_win_rate": measures.win_rate(profits, NO_TRADE),
        "trade_profit_factor": measures.profit_factor(profits, NO_TRADE),
        "stop_exit_share": stops / len(profits) if len(profits) else NO_TRADE,
    }


def _risk(series: Series, max_var: float) -> dict[str, Any]:
    """Return the three figures of the VaR: against the limit, against losses, and losses alone."""
    book = series.book
    breaches = tallies.breaches(book)
    held = (book.gross > 0.0) & np.isfinite(book.var_frac)
    within = book.var_frac[held] <= max_var + TOLERANCE
    lived = series.returns[book.gross[:-1] > 0.0] if series.returns is not None else None
    quiet = Undefined("no session was invested")
    loss: Figure = RUINED
    if lived is not None:
        loss = float((-lived <= max_var + TOLERANCE).mean()) if len(lived) else quiet
    return {
        "var_within_limit": float(within.mean())
        if held.any()
        else Undefined("no close was invested under a known VaR"),
        "var_coverage": breaches.coverage,
        "var_sessions": breaches.sessions,
        "var_breaches": breaches.count,
        **breaches.p_values(),
        "loss_within_limit": loss,
    }
