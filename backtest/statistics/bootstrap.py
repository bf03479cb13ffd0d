"""
The stationary block bootstrap, with its block length chosen from the data.

Resampling whole blocks of random length keeps the dependence between neighbouring sessions that
an ordinary bootstrap would destroy. Nothing here knows finance: series go in, resampled positions
and intervals come out, and chance comes from the seed alone.

Sources: Politis & Romano 1994, "The Stationary Bootstrap"; Politis & White 2004, "Automatic
Block-Length Selection for the Dependent Bootstrap", with the correction by Patton, Politis &
White 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray, IntArray

RESAMPLES = 2_000
CONFIDENCE = 0.95
POSITIONS = 40_000  # resampled sessions held in memory at once: what fits a cache


def block_length(series: FloatArray) -> float:
    """
    Return the mean block length, in sessions and at least 1, that suits a series (T,).

    It minimises the asymptotic error of the bootstrap's variance of the mean:
    (2 g^2 / d)^(1/3) T^(1/3), d = 2 f^2, with g = sum |k| R(k) and f = sum R(k) under a flat-top
    lag window whose width is twice the lag after which autocorrelations stay insignificant. At
    most ceil(min(3 sqrt(T), T / 3)). A series without variance gets 1.
    """
    n = len(series)
    centred = series - series.mean()
    # lags beyond the widest window are never looked at
    run = max(5, math.ceil(math.sqrt(math.log10(max(n, 2)))))
    widest = min(math.ceil(math.sqrt(n)) + run, n - 1)
    covariance = np.array([centred[k:] @ centred[: n - k] / n for k in range(widest + 1)])
    if n < 4 or covariance[0] <= 0.0:
        return 1.0
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    last = _last_significant(small, run)
    width = min(2 * max(last, 1), widest)
    lags = np.arange(1, width + 1)
    window = np.clip(2.0 * (1.0 - lags / width), 0.0, 1.0)
    g = 2.0 * float(window * lags @ covariance[1 : width + 1])
    f = covariance[0] + 2.0 * float(window @ covariance[1 : width + 1])
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    if f <= 0.0:
        return float(longest)
    return float(np.clip((g / f) ** 2 * n, 1.0, float(longest) ** 3) ** (1.0 / 3.0))


def _last_significant(small: NDArray[np.bool_], run: int) -> int:
    """Return the lag after which `run` autocorrelations in a row are insignificant."""
    for lag in range(len(small) - run + 1):
        if small[lag : lag + run].all():
            return lag
    significant = np.flatnonzero(~small)
    return int(significant[-1]) + 1 if len(significant) else 0


@dataclass(frozen=True)
class Blocks:
    """
    Blocks of R resamples, one after the other: start and length (K,) in sessions.

    `first` (R,) is the place of each resample's first block, `counts` (R,) how many it has. A
    block may run on round the series' end.
    """

    start: IntArray
    length: IntArray
    first: IntArray
    counts: IntArray


def stationary_blocks(
    n: int, mean_block: float, resamples: int, generator: np.random.Generator
) -> Blocks:
    """Return the blocks of resamples of n sessions, as `stationary_positions` describes them."""
    opens = generator.random((resamples, n), dtype=np.float32) < 1.0 / mean_block
    opens[:, 0] = True
    at = np.flatnonzero(opens)
    counts = np.count_nonzero(opens, axis=1)
    length = np.empty_like(at)
    np.subtract(at[1:], at[:-1], out=length[:-1])
    length[-1] = resamples * n - at[-1]
    return Blocks(
        start=generator.integers(n, size=len(at), dtype=np.int32).astype(np.int64),
        length=length,
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        counts=counts,
    )


def stationary_positions(
    n: int, mean_block: float, resamples: int, generator: np.random.Generator
) -> IntArray:
    """
    Return resampled positions into a series of n sessions, shape (resamples, n).

    Blocks start anywhere, run on round the series' end, and end with probability
    1 / mean_block at each session.
    """
    blocks = stationary_blocks(n, mean_block, resamples, generator)
    begins = np.concatenate([[0], np.cumsum(blocks.length)[:-1]])
    offset = np.arange(resamples * n) - np.repeat(begins, blocks.length)
    positions: IntArray = (np.repeat(blocks.start, blocks.length) + offset) % n
    return positions.reshape(resamples, n)


def resampled(
    n: int,
    statistic: Callable[[IntArray], FloatArray],
    *,
    mean_block: float,
    seed: int,
    resamples: int = RESAMPLES,
) -> FloatArray:
    """
    Return a statistic of every resample, shape (resamples,) or (resamples, K).

    `statistic` maps positions (R, n) to values (R,) or (R, K); series indexed by the same
    positions are resampled in the same blocks.
    """
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            statistic(stationary_positions(n, mean_block, size, generator))
            for size in chunks(n, resamples)
        ]
    )


def chunks(n: int, resamples: int = RESAMPLES) -> list[int]:
    """Return into how many resamples at a time the whole number is cut, for n sessions."""
    size = max(1, POSITIONS // n)
    return [size] * (resamples // size) + [resamples % size] * (resamples % size > 0)


def percentile_interval(values: FloatArray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the central interval that holds `confidence` of the resampled values (R,)."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)
