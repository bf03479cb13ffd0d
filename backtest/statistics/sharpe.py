"""
The Sharpe ratio of one session, and the probability that the true one is above a benchmark.

Everything but the score is per session: a caller that shows a ratio scales it by the root of its
calendar's sessions a year. The probabilities are functions of moments, so that published cases
can be repeated.

Sources: Sharpe 1994; Bailey & López de Prado 2012, "The Sharpe Ratio Efficient Frontier" (eq. 11);
the same 2014, "The Deflated Sharpe Ratio" (eq. 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from agents.arrays import FloatArray
from backtest.statistics.measures import (
    FLAT,
    MIN_SESSIONS,
    NO_VARIANCE,
    Figure,
    Undefined,
    deviation,
)

EULER_GAMMA = 0.5772156649015329
NO_ERROR = Undefined("the returns' skewness leaves the Sharpe ratio no standard error")


@dataclass(frozen=True)
class Moments:
    """A Sharpe ratio per session with what its error depends on; kurtosis 3 is the normal's."""

    sharpe: float
    sessions: int
    skew: float = 0.0
    kurtosis: float = 3.0


def sharpe(excess: FloatArray, *, ddof: int = 1) -> Figure:
    """
    Return the Sharpe ratio of one session: mean over standard deviation of excess (T,).

    The deviation divides by T - ddof.
    """
    sigma = deviation(excess, ddof=ddof)
    if isinstance(sigma, Undefined):
        return sigma
    return NO_VARIANCE if sigma < FLAT else float(excess.mean()) / sigma


def sharpe_score(excess: FloatArray, year: float) -> float:
    """
    Return the annual Sharpe ratio that policies and oracles are ranked by; 0 for cash.

    Sessions that are not finite are left out, `year` are the calendar's. The deviation divides
    by T: ranks among paths of one length are the same, and stored scores were made this way.
    """
    ratio = sharpe(excess[np.isfinite(excess)], ddof=0)
    return 0.0 if isinstance(ratio, Undefined) else ratio * math.sqrt(year)


def row_sharpe(excess: FloatArray) -> FloatArray:
    """Return the Sharpe ratio of each row, shape (R, T) -> (R,); NaN where it has no variance."""
    mean = excess.mean(axis=1)
    centred = excess - mean[:, None]
    sigma = np.sqrt(np.einsum("rt,rt->r", centred, centred) / (excess.shape[1] - 1))
    ratio: FloatArray = np.divide(mean, sigma, out=np.full_like(mean, np.nan), where=sigma >= FLAT)
    return ratio


def moments(excess: FloatArray) -> Moments | Undefined:
    """Return the moments of a series (T,); skewness and kurtosis from central moments over T."""
    ratio = sharpe(excess)
    if isinstance(ratio, Undefined):
        return ratio
    if len(excess) < MIN_SESSIONS:
        return Undefined(f"fewer than {MIN_SESSIONS} sessions")
    centred = excess - excess.mean()
    second = float(np.mean(centred**2))
    return Moments(
        sharpe=ratio,
        sessions=len(excess),
        skew=float(np.mean(centred**3)) / second**1.5,
        kurtosis=float(np.mean(centred**4)) / second**2,
    )


def standard_error(of: Moments) -> Figure:
    """Return the standard error of a Sharpe ratio per session of independent returns."""
    spread = 1.0 - of.skew * of.sharpe + (of.kurtosis - 1.0) / 4.0 * of.sharpe**2
    return NO_ERROR if spread <= 0.0 else math.sqrt(spread / (of.sessions - 1))


def error_of(excess: FloatArray) -> Figure:
    """Return the standard error of the Sharpe ratio of a series (T,)."""
    found = moments(excess)
    return found if isinstance(found, Undefined) else standard_error(found)


def probability_above(of: Moments, benchmark: float = 0.0) -> Figure:
    """Return the probability that the true Sharpe ratio of a session exceeds `benchmark`."""
    error = standard_error(of)
    if isinstance(error, Undefined):
        return error
    return float(ndtr((of.sharpe - benchmark) / error))


def probabilistic_sharpe(excess: FloatArray) -> Figure:
    """Return the probability that the true Sharpe ratio of a series (T,) is above 0."""
    found = moments(excess)
    return found if isinstance(found, Undefined) else probability_above(found)


def expected_max(trials: int, variance: float) -> float:
    """
    Return the best Sharpe ratio that luck alone yields over independent trials.

    `variance` is that of the trials' Sharpe ratios, per session. One trial has nothing to be
    the best of, and gives 0.
    """
    if trials < 2:
        return 0.0
    quantile = (1.0 - EULER_GAMMA) * ndtri(1.0 - 1.0 / trials)
    quantile += EULER_GAMMA * ndtri(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * float(quantile)
