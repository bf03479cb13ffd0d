"""
Confidence intervals of means, Sharpe ratios and their differences: the studentised bootstrap.

A resample's figure is compared with the sample's in units of its own standard error; the 95%
quantile of that distance, times the sample's standard error, is the half-width. The percentile
bootstrap, which reads its bounds off the resampled figures, holds 0.86 to 0.92 of its 0.95 on 60
sessions, since a short series shows too little of its own variance.

A figure is a smooth function of the means of features, so its influence on each session (the
gradient times the feature's deviation) gives both standard errors: of a resample from the sums of
its blocks, of the sample from the influence prewhitened by an AR(1). docs/statistics.md has the
table of what the intervals hold.

Sources: Ledoit & Wolf 2008, "Robust performance hypothesis testing with the Sharpe ratio"; Götze &
Künsch 1996; Andrews & Monahan 1992 (prewhitening); Kendall 1954 (the bias of an AR(1)).
Departures: blocks are the stationary bootstrap's; after prewhitening no kernel is applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.arrays import FloatArray
from backtest.statistics.bootstrap import CONFIDENCE, block_length, chunks, stationary_blocks
from backtest.statistics.measures import FLAT, MIN_SESSIONS, NO_VARIANCE, Undefined
from backtest.statistics.sharpe import sharpe

type Value = Callable[[FloatArray], FloatArray]  # means of features (F, R) -> figure (R,)
type Gradient = Callable[[FloatArray], FloatArray]  # means of features (F, R) -> (F, R)

FEW = Undefined(f"fewer than {MIN_SESSIONS} sessions")
ALIKE = Undefined("too few sessions with a return of their own to resample")
LARGEST_RHO = 0.97
FEWEST_BLOCKS = 8  # on average in a resample: fewer give its standard error no ground
NO_SPREAD = 1e-9  # of a standardised series in a resample
NO_ERROR = 1e-12  # a standard error below it is rounding


class Interval(NamedTuple):
    """A central 95% interval, and the mean length of the blocks that were resampled."""

    low: float
    high: float
    block_sessions: float

    def times(self, scale: float) -> Interval:
        """Return the interval of the figure times `scale`, at least 0."""
        return Interval(self.low * scale, self.high * scale, self.block_sessions)

    @property
    def bounds(self) -> tuple[float, float]:
        """The two bounds."""
        return self.low, self.high


def mean_interval(series: FloatArray, *, seed: int) -> Interval | Undefined:
    """Return the interval of the mean of one session's value; series (T,)."""
    if len(series) < MIN_SESSIONS:
        return FEW
    return studentised(series[None], lambda m: m[0], np.ones_like, seed=seed)


def ratio_interval(over: FloatArray, under: FloatArray, *, seed: int) -> Interval | Undefined:
    """Return the interval of the sum of `over` over that of `under`, both (T,)."""
    if len(over) < MIN_SESSIONS:
        return FEW
    return studentised(
        np.stack([over, under]),
        lambda m: m[0] / m[1],
        lambda m: np.stack([1.0 / m[1], -m[0] / m[1] ** 2]),
        seed=seed,
    )


def sharpe_interval(excess: FloatArray, *, seed: int) -> Interval | Undefined:
    """Return the interval of the Sharpe ratio of one session; excess (T,)."""
    if len(excess) < MIN_SESSIONS:
        return FEW
    if isinstance(sharpe(excess), Undefined):
        return NO_VARIANCE
    features, value, gradient = _ratio(excess)
    return studentised(features, value, gradient, seed=seed)


def difference_interval(
    first: FloatArray, second: FloatArray, *, seed: int
) -> Interval | Undefined:
    """
    Return the interval of one Sharpe ratio less another, both of one session.

    Both series (T,) are resampled in the same blocks, so what moves both cancels.
    """
    if len(first) < MIN_SESSIONS:
        return FEW
    if isinstance(sharpe(first), Undefined) or isinstance(sharpe(second), Undefined):
        return NO_VARIANCE
    (one, value_1, slope_1), (two, value_2, slope_2) = _ratio(first), _ratio(second)
    return studentised(
        np.concatenate([one, two]),
        lambda m: value_1(m[:2]) - value_2(m[2:]),
        lambda m: np.concatenate([slope_1(m[:2]), -slope_2(m[2:])]),
        seed=seed,
    )


def studentised(
    features: FloatArray, value: Value, gradient: Gradient, *, seed: int
) -> Interval | Undefined:
    """
    Return the symmetric 95% interval of a smooth function of the features' means.

    Shape: features (F, T). Undefined where resamples leave the figure undetermined.
    """
    count = features.shape[1]
    mean = features.mean(axis=1, keepdims=True)
    figure = float(value(mean)[0])
    influence = (gradient(mean) * (features - mean)).sum(axis=0)
    error = standard_error(influence)
    mean_block = min(block_length(influence), count / FEWEST_BLOCKS)
    if error < NO_ERROR:
        return Interval(figure, figure, mean_block)
    pairs = _resampled(features, value, gradient, mean_block, seed)
    values, errors = (np.concatenate(column) for column in zip(*pairs, strict=True))
    # a resample of a single block has no error of its own: it counts as far away
    distance = np.full(len(values), np.inf)
    np.divide(np.abs(values - figure), errors, out=distance, where=~(errors < NO_ERROR))
    if np.isnan(distance).any():
        return ALIKE
    width = error * float(np.quantile(distance, CONFIDENCE, method="higher"))
    if not math.isfinite(width):
        return ALIKE
    return Interval(figure - width, figure + width, mean_block)


def standard_error(influence: FloatArray) -> float:
    """
    Return the standard error of a mean from its sessions' influence (T,), which sums to 0.

    An AR(1) takes up the autocorrelation; its coefficient is corrected for its bias of
    -(1 + 3 rho) / T, and kept within 0.97.
    """
    n = len(influence)
    square = float(influence[:-1] @ influence[:-1])
    if square <= 0.0:
        return 0.0
    rho = float(influence[1:] @ influence[:-1]) / square
    rho = min(max(rho + (1.0 + 3.0 * rho) / n, -LARGEST_RHO), LARGEST_RHO)
    shocks = influence[1:] - rho * influence[:-1]
    return float(shocks.std()) / (1.0 - rho) / math.sqrt(n - 1)


def _resampled(
    features: FloatArray, value: Value, gradient: Gradient, mean_block: float, seed: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Return the figures and the standard errors of resamples, (R,) each, a chunk at a time."""
    generator = np.random.default_rng(seed)
    n = features.shape[1]
    # sums of a block are differences of sums so far; blocks run on round the series' end
    sums = np.zeros((len(features), 2 * n + 1))
    np.cumsum(np.concatenate([features, features], axis=1), axis=1, out=sums[:, 1:])
    found = []
    for size in chunks(n):
        blocks = stationary_blocks(n, mean_block, size, generator)
        ends = blocks.start + blocks.length
        # no position is outside; of the modes of `take`, "clip" is five times as fast
        inside = [
            np.take(row, ends, mode="clip") - np.take(row, blocks.start, mode="clip")
            for row in sums
        ]
        means = np.stack([np.add.reduceat(block, blocks.first) for block in inside]) / n
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = gradient(means)
            # what each block adds to the figure: slope times (block's sum - length times mean)
            excess = np.repeat(-(slope * means).sum(axis=0), blocks.counts) * blocks.length
            for k, block in enumerate(inside):
                excess += np.repeat(slope[k], blocks.counts) * block
            errors = np.sqrt(np.add.reduceat(excess * excess, blocks.first)) / n
            found.append((value(means), errors))
    return found


def _ratio(excess: FloatArray) -> tuple[FloatArray, Value, Gradient]:
    """Return the features (2, T) of a Sharpe ratio, with its value and gradient at their means."""
    n = len(excess)
    level = float(excess.mean())
    sigma = float(excess.std(ddof=1))
    assert sigma >= FLAT
    z = (excess - level) / sigma
    ratio, scale = level / sigma, n / (n - 1)

    def variance(m: FloatArray) -> FloatArray:
        found: FloatArray = (m[1] - m[0] ** 2) * scale
        return np.where(found < NO_SPREAD, np.nan, found)

    def value(m: FloatArray) -> FloatArray:
        found: FloatArray = (ratio + m[0]) / np.sqrt(variance(m))
        return found

    def gradient(m: FloatArray) -> FloatArray:
        v = variance(m)
        curve = (ratio + m[0]) * scale * v**-1.5
        return np.stack([v**-0.5 + curve * m[0], -0.5 * curve])

    return np.stack([z, z * z]), value, gradient
