"""
One series of excess returns against another on the same sessions: paired, and at one volatility.

Both series are resampled in the same blocks, so that what moves both cancels. Nothing here knows
a run.
"""

from __future__ import annotations

import math

import numpy as np

from agents.arrays import FloatArray
from backtest.statistics import intervals, measures
from backtest.statistics.book_figures import RUINED, Series, yearly
from backtest.statistics.encoding import Bounds, Figures
from backtest.statistics.measures import NO_VARIANCE, Figure, Undefined
from backtest.statistics.sharpe import sharpe


class Difference(Figures, frozen=True, kw_only=True):
    """
    One book less another: annual mean excess return and Sharpe ratio, with 95% intervals.

    `block_sessions` is the mean length of a resampled block.
    """

    mean: Figure
    mean_interval: Bounds
    sharpe: Figure
    sharpe_interval: Bounds
    block_sessions: Figure


class ScaledFigures(Figures, frozen=True, kw_only=True):
    """A baseline's figures at the hierarchy's volatility, holding `scale` of the baseline."""

    scale: Figure
    total_return: Figure
    annual_return: Figure
    sharpe: Figure
    max_drawdown: Figure


def paired_difference(first: Series, second: Series, *, year: int, seed: int) -> Difference:
    """
    Return the first less the second, paired by session.

    The Sharpe ratios' difference is undefined where one of them is.
    """
    own, other = first.excess, second.excess
    if own is None or other is None:
        return Difference.none(RUINED)
    gap = own - other
    mean = intervals.mean_interval(gap, seed=seed)
    if isinstance(mean, Undefined):
        return Difference.none(mean)
    ratio, bounds = _sharpe_difference(first, second, own, other, year, seed)
    return Difference(
        mean=float(gap.mean()) * year,
        mean_interval=mean.times(year).bounds,
        sharpe=ratio,
        sharpe_interval=bounds,
        block_sessions=mean.block_sessions,
    )


def _sharpe_difference(
    first: Series, second: Series, own: FloatArray, other: FloatArray, year: int, seed: int
) -> tuple[Figure, Bounds]:
    """Return the difference of two annual Sharpe ratios, and its interval."""
    without = first.without or second.without
    if without is not None:
        return without, without
    one, two = sharpe(own), sharpe(other)
    interval = intervals.difference_interval(own, other, seed=seed)
    return (
        NO_VARIANCE
        if isinstance(one, Undefined) or isinstance(two, Undefined)
        else (one - two) * math.sqrt(year),
        interval if isinstance(interval, Undefined) else interval.times(math.sqrt(year)).bounds,
    )


def at_matched_volatility(
    series: Series, reference: Series, risk_free: FloatArray, year: int
) -> ScaledFigures:
    """
    Return the figures of a baseline scaled to the hierarchy's volatility of excess return.

    The scaled series holds `scale` of the baseline and the rest in cash at the risk-free rate
    (T,), rebalanced each session without cost: a yardstick that nobody traded.
    """
    excess, target = series.judged, reference.judged
    if isinstance(excess, Undefined):
        return ScaledFigures.none(excess)
    if isinstance(target, Undefined):
        return ScaledFigures.none(target)
    own, wanted = measures.deviation(excess), measures.deviation(target)
    if isinstance(own, Undefined) or own < measures.FLAT:
        return ScaledFigures.none(Undefined("the baseline has no variance"))
    if isinstance(wanted, Undefined) or wanted < measures.FLAT:
        return ScaledFigures.none(Undefined("the hierarchy has no variance"))
    scale = wanted / own
    equity = np.cumprod(np.concatenate([[1.0], 1.0 + risk_free[1:] + scale * excess]))
    if (equity <= 0.0).any():
        return ScaledFigures.none(Undefined("the scaled series falls to zero"))
    total = float(equity[-1] - 1.0)
    return ScaledFigures(
        scale=scale,
        total_return=total,
        annual_return=measures.annual_return(total, len(excess), year),
        sharpe=yearly(sharpe(scale * excess), year),
        max_drawdown=float(measures.drawdowns(equity).max()),
    )
