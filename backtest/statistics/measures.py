"""
The figures of merit, one function each, from series of simple returns.

Ratios are per session unless `annual` stands in the name; a year has 252 sessions. A figure that
the data do not determine is an `Undefined` with its reason, never NaN and never 0. It knows no
books and no run; docs/statistics.md gives every definition and source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr, ndtri, xlogy

from backtest.statistics.bootstrap import block_length, percentile_interval, resampled

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]

SESSIONS_PER_YEAR = 252
# a standard deviation per session below this is rounding: cents on an account of 100,000
FLAT = 1e-7
MIN_SESSIONS = 20  # fewer say nothing about their own dependence, so no interval is drawn
EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True)
class Undefined:
    """A figure that the data do not determine, and why."""

    reason: str


type Figure = float | Undefined

NO_VARIANCE = Undefined("the returns have no variance")


def annual_return(total_return: float, sessions: int) -> Figure:
    """Return the compound annual growth rate of a total return earned over `sessions`."""
    if sessions < 1:
        return Undefined("the run has no session after its first row")
    if total_return <= -1.0:
        return Undefined("equity fell to zero or below")
    exponent = SESSIONS_PER_YEAR / sessions * math.log1p(total_return)
    if exponent > 700.0:
        return Undefined(f"{sessions} sessions are too few to annualise this return")
    return math.expm1(exponent)


def deviation(returns: FloatArray) -> Figure:
    """Return the sample standard deviation (T - 1) of one session's return; shape (T,)."""
    if len(returns) < 2:
        return Undefined("fewer than two sessions")
    return float(returns.std(ddof=1))


def sharpe(excess: FloatArray) -> Figure:
    """Return the Sharpe ratio of one session: mean over standard deviation of excess (T,)."""
    sigma = deviation(excess)
    if isinstance(sigma, Undefined):
        return sigma
    return NO_VARIANCE if sigma < FLAT else float(excess.mean()) / sigma


def sharpe_interval(
    excess: FloatArray, *, seed: int
) -> tuple[tuple[float, float], float] | Undefined:
    """Return the 95% bootstrap interval of the annual Sharpe ratio and its mean block length."""
    if len(excess) < MIN_SESSIONS:
        return Undefined(f"fewer than {MIN_SESSIONS} sessions")
    if isinstance(sharpe(excess), Undefined):
        return NO_VARIANCE
    mean_block = block_length(excess)

    def ratio(positions: IntArray) -> FloatArray:
        return row_sharpe(excess[positions])

    values = resampled(len(excess), ratio, mean_block=mean_block, seed=seed)
    if not np.isfinite(values).all():
        return Undefined("too few sessions with a return of their own to resample")
    return percentile_interval(values * math.sqrt(SESSIONS_PER_YEAR)), mean_block


def row_sharpe(excess: FloatArray) -> FloatArray:
    """Return the Sharpe ratio of each row, shape (R, T) -> (R,); NaN where it has no variance."""
    mean = excess.mean(axis=1)
    centred = excess - mean[:, None]
    sigma = np.sqrt(np.einsum("rt,rt->r", centred, centred) / (excess.shape[1] - 1))
    ratio: FloatArray = np.divide(mean, sigma, out=np.full_like(mean, np.nan), where=sigma >= FLAT)
    return ratio


def probabilistic_sharpe(excess: FloatArray, benchmark: float = 0.0) -> Figure:
    """
    Return the probability that the true Sharpe ratio of a session exceeds `benchmark`.

    Moments are the sample's: skewness and (non-excess) kurtosis from central moments over T.
    Source: Bailey & López de Prado 2012, "The Sharpe Ratio Efficient Frontier", eq. 11.
    """
    ratio = sharpe(excess)
    if isinstance(ratio, Undefined):
        return ratio
    if len(excess) < MIN_SESSIONS:
        return Undefined(f"fewer than {MIN_SESSIONS} sessions")
    centred = excess - excess.mean()
    second = float(np.mean(centred**2))
    skew = float(np.mean(centred**3)) / second**1.5
    kurtosis = float(np.mean(centred**4)) / second**2
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    if spread <= 0.0:
        return Undefined("the returns' skewness leaves the Sharpe ratio no standard error")
    return float(ndtr((ratio - benchmark) * math.sqrt((len(excess) - 1) / spread)))


def expected_max_sharpe(trials: Sequence[float]) -> float:
    """
    Return the best Sharpe ratio of a session that luck alone yields over the trials given.

    The trials are their Sharpe ratios per session; they count as independent, which is harsh on
    trials that resemble each other. Needs two trials; one has nothing to be best of, and gives 0.
    Source: Bailey & López de Prado 2014, "The Deflated Sharpe Ratio", eq. 1.
    """
    n = len(trials)
    if n < 2:
        return 0.0
    quantile = (1.0 - EULER_GAMMA) * ndtri(1.0 - 1.0 / n)
    quantile += EULER_GAMMA * ndtri(1.0 - 1.0 / (n * math.e))
    return float(np.std(np.asarray(trials), ddof=1) * quantile)


def sortino(excess: FloatArray) -> Figure:
    """Return the annual Sortino ratio: mean excess over the root mean square of its losses."""
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) if len(excess) else 0.0
    if downside < FLAT:
        return Undefined("no session lost against the risk-free rate")
    return float(excess.mean()) / downside * math.sqrt(SESSIONS_PER_YEAR)


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


def win_rate(profits: FloatArray) -> Figure:
    """Return the share of closed trades with a profit, net of commissions."""
    return float((profits > 0.0).mean()) if len(profits) else Undefined("no trade was closed")


def profit_factor(profits: FloatArray) -> Figure:
    """Return the closed trades' summed profits over their summed losses, both net."""
    if not len(profits):
        return Undefined("no trade was closed")
    lost = -float(profits[profits < 0.0].sum())
    return float(profits[profits > 0.0].sum()) / lost if lost else Undefined("no trade lost")


def kupiec(sessions: int, breaches: int, probability: float = 0.01) -> Figure:
    """
    Return the p-value of Kupiec's proportion-of-failures test of a VaR.

    A small one says that breaches came too often, or too seldom, for a VaR that is to be broken
    with `probability`. The likelihood ratio is compared with chi-squared, one degree of freedom.
    Source: Kupiec 1995, "Techniques for Verifying the Accuracy of Risk Measurement Models".
    """
    if sessions < 1:
        return Undefined("no session was held under a known VaR")
    kept = sessions - breaches
    seen = xlogy(breaches, breaches / sessions) + xlogy(kept, kept / sessions)
    meant = xlogy(breaches, probability) + xlogy(kept, 1.0 - probability)
    return float(chdtrc(1, max(0.0, 2.0 * float(seen - meant))))
