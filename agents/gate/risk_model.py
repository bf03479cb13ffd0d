"""
The risk model of the limits: scenarios, correlations, and whose history is long enough.

Filtered historical simulation, Barone-Adesi, Giannopoulos and Vosper (1999), with an EWMA
variance (RiskMetrics 1996) in place of GARCH. The variance runs from an instrument's first return
on and is never started anew, so that a residual is computed once, from what was known then, and
the scenarios of a session are the last residuals times its volatility. All arrays have leading
batch axes: a desk has one book, the training twin many. It knows no limit and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray

VAR_TAIL = 0.01
EWMA_DECAY = 0.94  # RiskMetrics (1996), daily


class Windows(Protocol):
    """The scenarios of a flat batch of R books, fetched only for those that need them."""

    def take(self, rows: IntArray) -> Windows:
        """Return those of some of the books."""

    def pnl(self, weights: FloatArray) -> FloatArray:
        """Return what books make in each scenario, a vast gain in one that a history lacks.

        Shapes: (R, N) -> (R, S), or (R, P, N) -> (R, P, S).
        """

    def deviation(self, weights: FloatArray) -> FloatArray:
        """Return the standard deviation of books over their scenarios; (R, N) -> (R,)."""

    @property
    def rank(self) -> IntArray:
        """The rank of the 99% loss among each book's scenarios, 0 the worst; (R,)."""


@dataclass(frozen=True)
class Ceiling:
    """
    Numbers that bound a book's VaR from above without its scenarios.

    Shapes: var, mean (..., 2, N) of one unit held long or short: the loss at the tail's rank, and
    the mean of the losses up to it; crowd (...) the loss at that rank of one unit of every
    instrument, each held against its move: times a book's largest weight, another bound, for no
    scenario costs the book more.
    """

    var: FloatArray
    mean: FloatArray
    crowd: FloatArray

    def alone(self, weights: FloatArray) -> FloatArray:
        """
        Return a bound: what `weights` lose if all instruments are at their worst at once.

        The mean of the worst losses is subadditive (Acerbi and Tasche 2002) and not below the
        mildest of them, which is the VaR; a single instrument's is its VaR itself.
        Shapes: (..., N) -> (...).
        """
        if weights.shape[-1] == 1:
            w = weights[..., 0]
            return np.where(w > 0, w * self.var[..., 0, 0], -w * self.var[..., 1, 0])
        side = np.where(weights > 0, self.mean[..., 0, :], self.mean[..., 1, :])
        result: FloatArray = np.einsum("...n,...n->...", np.abs(weights), side)
        return result


@dataclass(frozen=True)
class RiskModel:
    """
    What the limits are measured with, estimated from past returns alone.

    Shapes: groups (N,) group index; scenarios (S, N), or (..., S, N) one a book, one-day returns,
    or `Windows`; correlation (..., N, N); known (..., N) where the history is long enough;
    shortable (N,). `ceiling` spares the scenarios where it can.
    """

    groups: IntArray
    scenarios: FloatArray | Windows
    correlation: FloatArray
    known: BoolArray
    shortable: BoolArray
    ceiling: Ceiling | None = None

    @cached_property
    def members(self) -> FloatArray:
        """One column a group; shapes: (N, G)."""
        return np.eye(int(self.groups.max(initial=0)) + 1)[self.groups]

    @cached_property
    def links(self) -> FloatArray:
        """The correlations without their signs; shapes: (..., N, N)."""
        return np.abs(self.correlation)

    def take(self, rows: IntArray) -> RiskModel:
        """Return the model of some books of a batch, which is taken as flat; rows (R,)."""
        n = len(self.groups)
        ceiling = self.ceiling
        if ceiling is not None and ceiling.crowd.ndim:
            ceiling = Ceiling(
                ceiling.var.reshape(-1, 2, n)[rows],
                ceiling.mean.reshape(-1, 2, n)[rows],
                ceiling.crowd.reshape(-1)[rows],
            )
        correlation, known = self.correlation, self.known
        if correlation.ndim > 2:
            correlation = correlation.reshape(-1, n, n)[rows]
        if known.ndim > 1:
            known = known.reshape(-1, n)[rows]
        return replace(
            self,
            scenarios=self._scenarios_of(rows),
            correlation=correlation,
            known=known,
            ceiling=ceiling,
        )

    def var_of(self, weights: FloatArray, rows: IntArray) -> FloatArray:
        """Return the VaR of some books of a flat batch; shapes: weights (R, N), rows (R,)."""
        some = replace(self, scenarios=self._scenarios_of(rows))
        return some.tail(some.pnl(weights))

    def _scenarios_of(self, rows: IntArray) -> FloatArray | Windows:
        if not isinstance(self.scenarios, np.ndarray):
            return self.scenarios.take(rows)
        if self.scenarios.ndim == 2:
            return self.scenarios
        return self.scenarios.reshape(-1, *self.scenarios.shape[-2:])[rows]

    def pnl(self, weights: FloatArray) -> FloatArray:
        """Return what books make in each scenario; shapes: (..., N) -> (..., S)."""
        if isinstance(self.scenarios, np.ndarray):
            result: FloatArray = (self.scenarios @ weights[..., None])[..., 0]
            return result
        return self.scenarios.pnl(weights)

    def deviation(self, weights: FloatArray) -> FloatArray:
        """Return the standard deviation of books over the scenarios; (..., N) -> (...)."""
        if isinstance(self.scenarios, np.ndarray):
            return np.asarray(self.pnl(weights).std(axis=-1))
        return self.scenarios.deviation(weights)

    def tail(self, pnl: FloatArray) -> FloatArray:
        """Return the 99% loss of scenario results, at least 0; shapes: (..., S) -> (...)."""
        if isinstance(self.scenarios, np.ndarray):
            k = int(tail_rank(pnl.shape[-1]))
            worst = np.partition(pnl, k, axis=-1)[..., k]
        else:
            rank = self.scenarios.rank
            places = np.unique(rank)
            ordered = np.partition(pnl, places, axis=-1)
            worst = np.take_along_axis(ordered, rank.reshape(-1, *[1] * (pnl.ndim - 1)), -1)[
                ..., 0
            ]
        return np.maximum(0.0, -worst) + 0.0  # no negative zero


class RunningVolatility:
    """
    The EWMA variance of each instrument, from its first return on.

    A missing return changes nothing. Until the decay's memory is filled, all returns so far
    count alike, and a return's residual is taken against the variance that includes it, which
    bounds it; from then on against the variance before it.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.variance: FloatArray = np.zeros(shape)
        self._count: IntArray = np.zeros(shape, np.int64)

    def add(self, returns: FloatArray) -> FloatArray:
        """Take one session's returns, NaN where not traded, and return their residuals."""
        traded = np.isfinite(returns)
        self._count += traded
        gain = np.maximum(1.0 / np.maximum(self._count, 1), 1.0 - EWMA_DECAY)
        before = self.variance
        filled = np.where(traded, returns, 0.0)
        after = np.where(traded, before + gain * (filled**2 - before), before)
        self.variance = after
        full = self._count * (1.0 - EWMA_DECAY) > 1.0
        scale = np.sqrt(np.where(full, before, after))
        return np.divide(filled, scale, out=np.zeros_like(filled), where=scale > 0)

    @property
    def volatility(self) -> FloatArray:
        """The newest standard deviation of one session."""
        return np.sqrt(self.variance)


def estimate_risk(
    returns: FloatArray,
    groups: IntArray,
    shortable: BoolArray,
    min_history: int,
    sessions: int | None = None,
) -> RiskModel:
    """
    Return the risk model of the whole history of one-session returns.

    Shapes: returns (T, N), oldest first, NaN where an instrument did not trade. Scenarios,
    correlations and the length of history are those of the last `sessions` (by default all);
    missing returns count as zero.
    """
    running = RunningVolatility(returns.shape[1:])
    residuals = np.array([running.add(row) for row in returns]).reshape(returns.shape)
    last = slice(0 if sessions is None else max(0, len(returns) - sessions), None)
    return window_risk(
        returns[last], residuals[last], running.volatility, groups, shortable, min_history
    )


def window_risk(
    returns: FloatArray,
    residuals: FloatArray,
    volatility: FloatArray,
    groups: IntArray,
    shortable: BoolArray,
    min_history: int,
) -> RiskModel:
    """
    Return the risk model of a window of returns, their residuals and the newest volatility.

    Shapes: returns, residuals (S, N); volatility (N,).
    """
    known, correlation = history_risk(returns, min_history)
    scenarios = residuals * volatility if len(residuals) else np.zeros((1, len(volatility)))
    ceiling = scenario_ceiling(scenarios) if len(volatility) == 1 else None
    return RiskModel(groups, scenarios, correlation, known, shortable, ceiling)


def history_risk(returns: FloatArray, min_history: int) -> tuple[BoolArray, FloatArray]:
    """
    Return whose history is long enough, and the correlations.

    Shapes: returns (S, N) -> (N,), (N, N); one who never moved is correlated with nothing.
    """
    known = np.isfinite(returns).sum(axis=0) >= min_history
    filled = np.nan_to_num(returns)
    centred = filled - filled.mean(axis=0) if len(filled) else filled
    scale = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    correlation = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return known, correlation


def scenario_ceiling(scenarios: FloatArray) -> Ceiling:
    """Return what bounds any book's VaR over scenarios; shapes: (S, N)."""
    k = int(tail_rank(len(scenarios)))
    both = np.stack([scenarios, -scenarios])
    worst = np.partition(both, k, axis=1)[:, : k + 1]
    return Ceiling(
        var=np.maximum(0.0, -worst[:, k]) + 0.0,
        mean=np.maximum(0.0, -worst.mean(axis=1)) + 0.0,
        crowd=-np.partition(-np.abs(scenarios).sum(axis=1), k)[k],
    )


def tail_rank(scenarios: IntArray | int) -> IntArray:
    """Return the rank of the 99% loss among so many scenarios; 0 is the worst."""
    return np.asarray(VAR_TAIL * np.asarray(scenarios)).astype(np.int64)
