"""
One book's figures: what it earned, risked, traded and paid.

A book that was ruined, or never invested, has no ratios: they are Undefined with that reason.
Nothing here compares books.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray
from backtest.results import PositionHistory, RunResult
from backtest.statistics import intervals, measures, sharpe, tallies
from backtest.statistics.encoding import Bounds, Figures
from backtest.statistics.measures import Figure, Undefined
from backtest.statistics.trials import Luck, deflated_sharpe

# benchmarks that nobody picks for their record: they are no trials of the deflated Sharpe ratio
PASSIVE = ("buy-and-hold", "equal-weight")
RUINED = Undefined("equity fell to zero or below")
NEVER_INVESTED = Undefined("never invested")
NO_SESSION = Undefined("the run has no session after its first row")
NO_TRADE = Undefined("no trade was closed")
NO_MONTH = Undefined("the run is shorter than a month")
NOT_PICKED = Undefined("a passive benchmark is not picked from trials")
NOT_HELD = Undefined("no close was invested under a known VaR")
IDLE = Undefined("no session was invested")
TOLERANCE = 1e-9  # of a limit, for rounding


class BookFigures(Figures, frozen=True, kw_only=True):
    """
    One book's figures, in the order of results.json; docs/statistics.md defines each.

    Fractions are of equity, `costs_frac` of the starting equity. `sharpe`, `sortino` and
    `volatility` are annual, the interval is of 95%, `costs` are in the account's currency, and
    `turnover` counts times a year. `month_…` are of whole months, `trade_…` of closed round
    trips. `var_coverage` is the share of held sessions within that day's own VaR.
    """

    total_return: float
    annual_return: Figure
    volatility: Figure
    sharpe: Figure
    sharpe_interval: Bounds
    sharpe_block_sessions: Figure  # the mean length of a resampled block
    probabilistic_sharpe: Figure
    deflated_sharpe: Figure
    sortino: Figure
    calmar: Figure
    max_drawdown: float
    drawdown_sessions: int  # the longest time below a former high
    drawdown_open: bool  # whether the longest lasts to the end
    months: int
    month_win_rate: Figure
    month_profit_factor: Figure
    closed_trades: int
    trade_win_rate: Figure
    trade_profit_factor: Figure
    stop_exit_share: Figure  # of closed round trips
    turnover: Figure
    costs: float
    costs_frac: float
    gross: Figure  # the mean gross exposure
    var_within_limit: Figure  # of invested closes, those whose VaR is within the limit
    var_coverage: Figure
    var_sessions: int
    var_breaches: int
    kupiec_p: Figure
    christoffersen_independence_p: Figure
    christoffersen_coverage_p: Figure
    loss_within_limit: Figure  # of invested sessions, those that lost no more than the limit


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


def figures(series: Series, run: RunResult, luck: Luck, seed: int) -> BookFigures:
    """Return a book's figures."""
    book, year, excess = series.book, run.sessions_per_year, series.judged
    sessions = len(book.ts) - 1
    total = float(book.equity[-1] / book.equity[0] - 1.0)
    annual = measures.annual_return(total, sessions, year)
    max_drawdown = float(measures.drawdowns(book.equity).max())
    underwater, still = measures.drawdown_sessions(book.equity)
    interval = _of(excess, lambda x: intervals.sharpe_interval(x, seed=seed))
    months = RUINED if series.returns is None else measures.monthly(series.returns, year)
    profits = np.array([t.profit for t in book.trades], dtype=np.float64)
    breaches = tallies.breaches(book)
    p_values = breaches.p_values()
    return BookFigures(
        total_return=total,
        annual_return=annual,
        volatility=RUINED
        if series.returns is None
        else yearly(measures.deviation(series.returns), year),
        sharpe=yearly(_of(excess, sharpe.sharpe), year),
        sharpe_interval=_of(interval, lambda i: i.times(math.sqrt(year)).bounds),
        sharpe_block_sessions=_of(interval, lambda i: i.block_sessions),
        probabilistic_sharpe=_of(excess, sharpe.probabilistic_sharpe),
        deflated_sharpe=_of(
            excess,
            lambda x: NOT_PICKED if series.passive else deflated_sharpe(sharpe.moments(x), luck),
        ),
        sortino=_of(excess, lambda x: measures.sortino(x, year)),
        calmar=measures.calmar(annual, max_drawdown),
        max_drawdown=max_drawdown,
        drawdown_sessions=underwater,
        drawdown_open=still,
        months=0 if isinstance(months, Undefined) else len(months),
        month_win_rate=_of(months, lambda x: measures.win_rate(x, NO_MONTH)),
        month_profit_factor=_of(months, lambda x: measures.profit_factor(x, NO_MONTH)),
        closed_trades=len(profits),
        trade_win_rate=measures.win_rate(profits, NO_TRADE),
        trade_profit_factor=measures.profit_factor(profits, NO_TRADE),
        stop_exit_share=_stop_exit_share(book),
        turnover=float(book.turnover[1:].mean()) * year if sessions else NO_SESSION,
        costs=float(book.costs.sum()),
        costs_frac=float(book.costs.sum() / book.equity[0]),
        gross=float(book.gross[1:].mean()) if sessions else NO_SESSION,
        var_within_limit=_var_within_limit(book, run.max_var),
        var_coverage=breaches.coverage,
        var_sessions=breaches.sessions,
        var_breaches=breaches.count,
        kupiec_p=p_values.kupiec_p,
        christoffersen_independence_p=p_values.christoffersen_independence_p,
        christoffersen_coverage_p=p_values.christoffersen_coverage_p,
        loss_within_limit=_loss_within_limit(series, run.max_var),
    )


def yearly(per_session: Figure, year: int) -> Figure:
    """Return a ratio or deviation of one session as that of a year."""
    return _of(per_session, lambda x: x * math.sqrt(year))


def _of[X, Y](known: X | Undefined, measure: Callable[[X], Y | Undefined]) -> Y | Undefined:
    """Return a measure of what is known, or why that is not known."""
    return known if isinstance(known, Undefined) else measure(known)


def _stop_exit_share(book: PositionHistory) -> Figure:
    stops = sum(t.exit == "stop" for t in book.trades)
    return stops / len(book.trades) if book.trades else NO_TRADE


def _var_within_limit(book: PositionHistory, max_var: float) -> Figure:
    held = (book.gross > 0.0) & np.isfinite(book.var_frac)
    within = book.var_frac[held] <= max_var + TOLERANCE
    return float(within.mean()) if held.any() else NOT_HELD


def _loss_within_limit(series: Series, max_var: float) -> Figure:
    if series.returns is None:
        return RUINED
    invested = series.returns[series.book.gross[:-1] > 0.0]
    return float((-invested <= max_var + TOLERANCE).mean()) if len(invested) else IDLE
