"""
One series of excess returns against another on the same sessions: paired, and at one volatility.

Both are resampled in the same blocks, so what moves both cancels. It knows no run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from agents.arrays import FloatArray
from backtest.statistics import intervals, measures
from backtest.statistics.book_figures import RUINED, Series, yearly
from backtest.statistics.measures import Figure, Undefined
from backtest.statistics.sharpe import sharpe


def paired_difference(first: Series, second: Series, *, year: int, seed: int) -> dict[str, Any]:
    """
    Return the annual mean of the first's excess return less the second's, with its 95% interval.

    So is the difference of their Sharpe ratios, where both have one.
    """
    own, other = first.excess, second.excess
    keys = ("mean", "mean_interval", "sharpe", "sharpe_interval", "block_sessions")
    if own is None or other is None:
        return split(dict.fromkeys(keys, RUINED))
    gap = own - other
    mean = intervals.mean_interval(gap, seed=seed)
    if isinstance(mean, Undefined):
        return split(dict.fromkeys(keys, mean))
    without = first.without or second.without
    ratio: Figure | None = without
    interval: Any = without
    if without is None:
        ratio = _less(sharpe(own), sharpe(other), year)
        interval = intervals.difference_interval(own, other, seed=seed)
        if not isinstance(interval, Undefined):
            interval = interval.times(math.sqrt(year)).bounds
    return split(
        {
            "mean": float(gap.mean()) * year,
            "mean_interval": mean.times(year).bounds,
            "sharpe": ratio,
            "sharpe_interval": interval,
            "block_sessions": mean.block_sessions,
        }
    )


def _less(own: Figure, other: Figure, year: int) -> Figure:
    if isinstance(own, Undefined) or isinstance(other, Undefined):
        return measures.NO_VARIANCE
    return (own - other) * math.sqrt(year)


def at_matched_volatility(
    series: Series, reference: Series, risk_free: FloatArray, year: int
) -> dict[str, Any]:
    """
    Return the figures of a baseline scaled to the hierarchy's volatility of excess return.

    The scaled series holds `scale` of the baseline and the rest in cash at the risk-free rate
    (T,), rebalanced each session without cost: a yardstick that nobody traded.
    """
    keys = ("scale", "total_return", "annual_return", "sharpe", "max_drawdown")
    excess, target = series.judged, reference.judged
    if isinstance(excess, Undefined) or isinstance(target, Undefined):
        why = excess if isinstance(excess, Undefined) else target
        return split(dict.fromkeys(keys, why))
    own, wanted = measures.deviation(excess), measures.deviation(target)
    if isinstance(own, Undefined) or own < measures.FLAT:
        return split(dict.fromkeys(keys, Undefined("the baseline has no variance")))
    if isinstance(wanted, Undefined) or wanted < measures.FLAT:
        return split(dict.fromkeys(keys, Undefined("the hierarchy has no variance")))
    scale = wanted / own
    equity = np.cumprod(np.concatenate([[1.0], 1.0 + risk_free[1:] + scale * excess]))
    if (equity <= 0.0).any():
        return split(dict.fromkeys(keys, Undefined("the scaled series falls to zero")))
    total = float(equity[-1] - 1.0)
    annual = measures.annual_return(total, len(excess), year)
    drawdown = float(measures.drawdowns(equity).max())
    values = (scale, total, annual, yearly(sharpe(scale * excess), year), drawdown)
    return split(dict(zip(keys, values, strict=True)))


def split(figures: dict[str, Any]) -> dict[str, Any]:
    """Return `figures` with None for the undefined ones, and their reasons under `undefined`."""
    return {
        "figures": {k: None if isinstance(v, Undefined) else v for k, v in figures.items()},
        "undefined": {k: v.reason for k, v in figures.items() if isinstance(v, Undefined)},
    }
