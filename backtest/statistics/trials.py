"""
The deflated Sharpe ratio: how much the best of many trials owes to luck, by kinds of trials.

Trials whose session returns move together are one kind: they are clustered by the correlation of
their returns on their common sessions (average linkage over the distance sqrt((1 - rho) / 2)) and
cut at rho = 0.95. The trials of the benchmark are the clusters, and its variance is that of the
clusters' mean Sharpe ratios, no less than the squared standard error of the book that is judged.

Retrying never raises the ratio. A trial that correlates by 0.99 with an earlier one is that trial
again and counts with it; and as a further trial can also join two clusters, the benchmark is the
highest that any beginning of the list of trials, in its order, would have given.

Sources: Bailey & López de Prado 2014, "The Deflated Sharpe Ratio"; López de Prado & Lewis 2019,
"Detection of False Investment Strategies Using Unsupervised Learning Methods". Departures: average
linkage with a fixed cut, the floor, and the highest of all beginnings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray, IntArray
from backtest.statistics.measures import Figure, Undefined
from backtest.statistics.sharpe import (
    Moments,
    expected_max,
    probability_above,
    standard_error,
)
from config.errors import DataError

SAME = 0.99  # correlation from which on a trial is an earlier one again
ONE_KIND = 0.95  # mean correlation down to which clusters join
FEWEST_COMMON = 20  # sessions, for a correlation; with fewer, trials are apart
SINGLE = Undefined("a single effective trial: see the probabilistic Sharpe ratio")


@dataclass(frozen=True)
class Trial:
    """
    One strategy that could have been picked: its Sharpe ratio per session and its returns.

    `ts` and `excess` (T,) are stamps, ascending, and excess returns of sessions; empty where they
    were not kept: such a trial is a kind of its own.
    """

    name: str
    sharpe: float
    ts: IntArray
    excess: FloatArray


@dataclass(frozen=True)
class Luck:
    """
    What the best of the trials owes to luck.

    `counted` are all trials, `effective` the clusters of all of them. `beginnings` are the
    clusters' number and the variance of their mean Sharpe ratios after each distinct trial.
    """

    counted: int
    effective: int
    beginnings: tuple[tuple[int, float], ...]

    @property
    def single(self) -> bool:
        """Whether there never was more than one kind of trial, so nothing to deflate."""
        return all(clusters < 2 for clusters, _ in self.beginnings)

    def benchmark(self, floor: float) -> float:
        """Return the Sharpe ratio per session that luck gives; `floor` is the least variance."""
        return max(
            (expected_max(k, max(variance, floor)) for k, variance in self.beginnings),
            default=0.0,
        )


def luck_of(trials: Sequence[Trial]) -> Luck:
    """
    Return what luck gives the best of trials, which stand in the order in which they were made.

    Raises DataError on a Sharpe ratio or a return that is not finite.
    """
    for trial in trials:
        if not (math.isfinite(trial.sharpe) and np.isfinite(trial.excess).all()):
            raise DataError(f"expected finite returns and Sharpe ratio of trial {trial.name!r}")
    rho = correlations(trials)
    distinct: list[int] = []
    for i in range(len(trials)):
        if not (rho[i, distinct] >= SAME).any():
            distinct.append(i)
    ratios = np.array([trials[i].sharpe for i in distinct])
    rho = rho[np.ix_(distinct, distinct)]
    beginnings = []
    for n in range(1, len(distinct) + 1):
        means = _means(ratios[:n], clusters(rho[:n, :n]))
        beginnings.append((len(means), float(means.var(ddof=1)) if len(means) > 1 else 0.0))
    effective = beginnings[-1][0] if beginnings else 0
    return Luck(len(trials), effective, tuple(beginnings))


def deflated_sharpe(of: Moments | Undefined, luck: Luck) -> Figure:
    """Return the probability that the true Sharpe ratio is above what luck gives the best."""
    if isinstance(of, Undefined):
        return of
    if luck.single:
        return SINGLE
    error = standard_error(of)
    if isinstance(error, Undefined):
        return error
    return probability_above(of, luck.benchmark(error**2))


def correlations(trials: Sequence[Trial]) -> FloatArray:
    """Return the correlations of trials on their common sessions (K, K); 0 for too few."""
    if not trials:
        return np.zeros((0, 0))
    stamps = np.unique(np.concatenate([t.ts for t in trials]))
    x, known = (np.zeros((len(trials), len(stamps))) for _ in range(2))
    for row, trial in enumerate(trials):
        at = np.searchsorted(stamps, trial.ts)
        # a scale of its own, so that no product of squares is lost to rounding
        x[row, at] = trial.excess / (np.abs(trial.excess).max(initial=0.0) or 1.0)
        known[row, at] = 1.0
    common = known @ known.T
    n = np.maximum(common, 1.0)
    sums, squares = x @ known.T, (x * x) @ known.T  # of the row's trial, on common sessions
    covariance = x @ x.T / n - sums * sums.T / n**2
    variance = squares / n - (sums / n) ** 2
    spread = variance * variance.T
    sound = (common >= FEWEST_COMMON) & (spread > 1e-20)
    rho = np.divide(covariance, np.sqrt(np.maximum(spread, 1e-20)), where=sound, out=0.0 * n)
    bounded: FloatArray = np.clip(rho, -1.0, 1.0)
    return bounded


def clusters(rho: FloatArray) -> IntArray:
    """Return each trial's cluster (K,), counted from 0, by average linkage; rho (K, K)."""
    if len(rho) < 2:
        return np.zeros(len(rho), dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    rows, columns = np.triu_indices(len(rho), 1)
    tree = linkage(np.sqrt((1.0 - rho[rows, columns]) / 2.0), method="average")
    cut = math.sqrt((1.0 - ONE_KIND) / 2.0)
    found: IntArray = fcluster(tree, cut, criterion="distance").astype(np.int64)
    return found - 1


def _means(values: FloatArray, cluster: IntArray) -> FloatArray:
    """Return the mean value of each cluster."""
    means: FloatArray = np.bincount(cluster, values) / np.bincount(cluster)
    return means
