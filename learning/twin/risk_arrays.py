"""
The gate's risk model at each session's close, made once for all books of a market.

Residuals, volatilities and correlations are those that `strategies.risk.Gate` comes to, session
by session; a model is gathered from them for a batch of books, and its scenarios only for those
books whose VaR cannot be bounded without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.risk_model import (
    Ceiling,
    RiskModel,
    RunningVolatility,
    history_risk,
    scenario_ceiling,
    tail_rank,
)

NO_LOSS = 1e300  # what a scenario that a short history lacks makes: finite, to be scaled


@dataclass(frozen=True)
class RiskArrays:
    """
    The gate's risk model of each session's close.

    Shapes: residual, volatility, known (M, T, N); correlation (M, T, N, N); var, mean (M, T, 2, N)
    and crowd (M, T) as `agents.gate.risk_model.Ceiling`; `window` is the most scenarios.
    """

    residual: FloatArray
    volatility: FloatArray
    known: BoolArray
    correlation: FloatArray
    var: FloatArray
    mean: FloatArray
    crowd: FloatArray
    window: int


def make_risk_arrays(returns: FloatArray, window: int, min_history: int) -> RiskArrays:
    """
    Return the risk of every session from returns (M, T, N).

    The first session has no return: the model of session t is that of the last `window` of the
    returns 1 to t.
    """
    markets, sessions, n = returns.shape
    running = RunningVolatility((markets, n))
    residual, volatility = np.zeros(returns.shape), np.zeros(returns.shape)
    known = np.zeros(returns.shape, bool)
    correlation = np.zeros((markets, sessions, n, n))
    var, mean = np.zeros((2, markets, sessions, 2, n))
    crowd = np.zeros((markets, sessions))
    for t in range(sessions):
        residual[:, t] = running.add(returns[:, t])
        volatility[:, t] = running.volatility
        past = slice(max(1, t + 1 - window), t + 1)
        for m in range(markets):
            known[m, t], correlation[m, t] = history_risk(returns[m, past], min_history)
            if t:
                ceiling = scenario_ceiling(residual[m, past] * volatility[m, t])
                var[m, t], mean[m, t], crowd[m, t] = ceiling.var, ceiling.mean, ceiling.crowd
    return RiskArrays(residual, volatility, known, correlation, var, mean, crowd, window)


class RiskReader:
    """Gathers risk models for a batch of books."""

    def __init__(self, market_arrays: RiskArrays, groups: IntArray, shortable: BoolArray) -> None:
        markets, sessions, n = market_arrays.volatility.shape
        self._groups, self._shortable, self._window = groups, shortable, market_arrays.window
        self._sessions = sessions
        rows = markets * sessions
        self._known = market_arrays.known.reshape(rows, n)
        self._correlation = market_arrays.correlation.reshape(rows, n, n)
        self._volatility = market_arrays.volatility.reshape(rows, n)
        self._var = market_arrays.var.reshape(rows, 2, n)
        self._mean = market_arrays.mean.reshape(rows, 2, n)
        self._crowd = market_arrays.crowd.reshape(rows)
        # a window of nothing before each market, so that every session ends a window
        padded = np.pad(market_arrays.residual, ((0, 0), (market_arrays.window - 1, 0), (0, 0)))
        self._windows = sliding_window_view(
            np.ascontiguousarray(padded.transpose(0, 2, 1)), market_arrays.window, axis=2
        )  # (M, N, T, window)

    def at(self, market: IntArray, session: IntArray) -> RiskModel:
        """Return the models at the close of `session`; shapes (B,)."""
        row = market * self._sessions + session
        scenarios = ArrayWindows(
            self._windows,
            market,
            session,
            self._volatility[row],
            np.clip(session, 1, self._window),
        )
        return RiskModel(
            groups=self._groups,
            scenarios=scenarios,
            correlation=self._correlation[row],
            known=self._known[row],
            shortable=self._shortable,
            ceiling=Ceiling(self._var[row], self._mean[row], self._crowd[row]),
        )


@dataclass(frozen=True)
class ArrayWindows:
    """
    The scenarios of a batch of books, read from the arrays when they are asked for.

    Shapes: windows (M, N, T, S); market, session, count (R,), `count` of them are history;
    volatility (R, N).
    """

    windows: FloatArray
    market: IntArray
    session: IntArray
    volatility: FloatArray
    count: IntArray

    def take(self, rows: IntArray) -> ArrayWindows:
        """Return those of some of the books."""
        return ArrayWindows(
            self.windows,
            self.market[rows],
            self.session[rows],
            self.volatility[rows],
            self.count[rows],
        )

    def pnl(self, weights: FloatArray) -> FloatArray:
        """Return what books make in each scenario; (R, N) -> (R, S), (R, P, N) -> (R, P, S)."""
        residual = self.windows[self.market, :, self.session]  # (R, N, S)
        if weights.ndim == 3:
            pnl = (weights * self.volatility[:, None]) @ residual
        else:
            pnl = ((weights * self.volatility)[:, None] @ residual)[:, 0]
        size = residual.shape[-1]
        if (self.count < size).any():
            missing = np.arange(size) < size - self.count[:, None]
            pnl = np.where(missing if pnl.ndim == 2 else missing[:, None], NO_LOSS, pnl)
        return pnl

    def deviation(self, weights: FloatArray) -> FloatArray:
        """Return the standard deviation of books over their scenarios; (R, N) -> (R,)."""
        pnl = self.pnl(weights)
        history = pnl < NO_LOSS
        count = history.sum(axis=1)
        filled = np.where(history, pnl, 0.0)
        mean = filled.sum(axis=1) / count
        squares = np.where(history, (filled - mean[:, None]) ** 2, 0.0).sum(axis=1)
        return np.sqrt(squares / count)

    @property
    def rank(self) -> IntArray:
        """The rank of the 99% loss among each book's scenarios."""
        return tail_rank(self.count)
