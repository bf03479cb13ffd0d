"""
The figures of merit, one function each, from series of simple returns.

`year` is the sessions a year of the calendar: 252 of a stock exchange, 365 where every day trades.
A figure that the data do not determine is an `Undefined` with its reason, never NaN and never 0.
Nothing here knows a book or a run; docs/statistics.md gives every definition and source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray

# a standard deviation per session below this is rounding: cents on an account of 100,000
FLAT = 1e-7
MIN_SESSIONS = 20  # fewer say nothing about their own dependence, so no interval is drawn


@dataclass(frozen=True)
class Undefined:
    """A figure that the data do not determine, and why."""

    reason: str


type Figure = float | Undefined

NO_VARIANCE = Undefined("the returns have no variance")


def annual_return(total_return: float, sessions: int, year: int) -> Figure:
    """Return the compound annual growth rate of a total return earned over `sessions`."""
    if sessions < 1:
        return Undefined("the run has no session after its first row")
    if total_return <= -1.0:
        return Undefined("equity fell to zero or below")
    exponent = year / sessions * math.log1p(total_return)
    if exponent > 700.0:
        return Undefined(f"{sessions} sessions are too few to annualise this return")
    return math.expm1(exponent)


def deviation(returns: FloatArray, *, ddof: int = 1) -> Figure:
    """Return the standard deviation (T - ddof) of one session's return; shape (T,)."""
    if len(returns) < 2:
        return Undefined("fewer than two sessions")
    return float(returns.std(ddof=ddof))


def sortino(excess: FloatArray, year: int) -> Figure:
    """Return the annual Sortino ratio: mean excess over the root mean square of its losses."""
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) if len(excess) else 0.0
    if downside < FLAT:
        return Undefined("no session lost against the risk-free rate")
    return float(excess.mean()) / downside * math.sqrt(year)


def drawdowns(equity: FloatArray) -> FloatArray:
    """Return the fall below the highest close so far, 0 or above, shape (T,) -> (T,)."""
    return 1.0 - equity / np.maximum.accumulate(equity)


def drawdown_sessions(equity: FloatArray) -> tuple[int, bool]:
    """Return the longest run of closes below a former high, and whether it still lasts."""
    below = drawdowns(equity) > 0.0
    at_high = np.flatnonzero(~below)
    runs = np.diff(np.append(at_high, len(equity))) - 1
    longest = int(runs.max())
    return longest, bool(longest and runs[-1] == longest)


def calmar(annual: Figure, max_drawdown: float) -> Figure:
    """Return the annual return over the largest drawdown."""
    if isinstance(annual, Undefined):
        return annual
    return annual / max_drawdown if max_drawdown > 0.0 else Undefined("no drawdown")


def monthly(returns: FloatArray, year: int) -> FloatArray:
    """
    Return the compound returns of whole months, a twelfth of a year's sessions each.

    Months are counted from the first session (T,); the sessions after the last whole one are
    left out.
    """
    length = max(1, round(year / 12))
    whole = len(returns) // length
    blocks = returns[: whole * length].reshape(whole, length)
    months: FloatArray = np.prod(1.0 + blocks, axis=1) - 1.0
    return months


def win_rate(profits: FloatArray, nothing: Undefined) -> Figure:
    """Return the share of profits (K,) above 0; `nothing` where there is none to count."""
    return float((profits > 0.0).mean()) if len(profits) else nothing


def profit_factor(profits: FloatArray, nothing: Undefined) -> Figure:
    """Return the summed gains over the summed losses of profits (K,); `nothing` for none."""
    if not len(profits):
        return nothing
    lost = -float(profits[profits < 0.0].sum())
    return float(profits[profits > 0.0].sum()) / lost if lost else Undefined("none of them lost")
