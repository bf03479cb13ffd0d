"""
The reward of all reinforcement learning of the allocator, in units of one risk.

With x the session's log growth over risk-free, costs inside, divided by a reference volatility
(that of the same budget held evenly, in the training windows), S the Sharpe target a session and
c in 0..1 how concentrated the book is:

    utility = w_return x  -  w_risk S (downside min(x, 0)^2 + deeper)  +  w_div S (1 - c) x^2 / 4
    reward = utility of the book  -  half the utility of the budget held evenly, without costs

The first two terms are the differential Sharpe ratio with its running moments replaced by the
reference and the target: E[min(x, 0)^2] is half the variance, so an unlimited book has the most
utility at the size where its Sharpe ratio and its risk balance, and gains by more Sharpe and not
by more exposure; an empty book's utility is exactly 0. `deeper` counts what this session added to
a drawdown beyond the target. The diversification bonus gives an evenly spread book a quarter of
its risk charge back at the default weights, in proportion to the risk it takes, so that spreading
pays and mere exposure does not. The market decides what the even budget earns, and no action
changes it: taking it off changes no preference, and most of the market's noise goes with it. Half
of it is taken off, because a book holds anything between nothing and all.

Sources: Moody and Saffell 2001, "Learning to Trade via Direct Reinforcement", the differential
Sharpe ratio and its downside form; Mao et al. 2019, "Variance Reduction for Reinforcement
Learning in Input-Driven Environments", for the last term. Departures as said. It knows no
environment.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from config.allocator import RewardSettings
from config.errors import DataError
from learning.datasets.windows import Window

SESSIONS_PER_YEAR = 252
EVEN_SHARE = 0.5  # of the even budget's utility that is taken off
LOWEST_GROWTH = -0.99  # log growth is taken from here up: a worse session ends any episode


class Reward:
    """
    Rewards of one session, for B books of N instruments.

    `reference` is the volatility a session of a whole unit of equity held evenly.
    """

    def __init__(self, settings: RewardSettings, reference: float) -> None:
        self.settings, self.reference = settings, reference
        self._target = settings.sharpe_target / SESSIONS_PER_YEAR**0.5
        self._risk_free = settings.risk_free / SESSIONS_PER_YEAR

    def __call__(
        self,
        growth: FloatArray,
        risk_free: FloatArray,
        weights: FloatArray,
        budget: FloatArray,
        drawdown: FloatArray,
        before: FloatArray,
        even: FloatArray,
    ) -> FloatArray:
        """
        Return the rewards (B,).

        Shapes: growth and risk-free (B,), fractions of the session, risk-free NaN where no rate is
        known; weights (B, N) after it; budget (B,) the equity that could be placed; drawdown
        and `before` (B,), after and before it; even (B,) the instruments' mean return.
        """
        risk_free = np.where(np.isnan(risk_free), self._risk_free, risk_free)
        excess = np.log1p(np.maximum(growth, LOWEST_GROWTH)) - np.log1p(risk_free)
        scale = self.reference * budget
        deepest = np.maximum(before, self.settings.drawdown_target)
        deeper = np.maximum(drawdown - deepest, 0.0) / scale
        utility = self._utility(excess / scale, concentration(weights), deeper)
        none = np.zeros_like(utility)
        return utility - EVEN_SHARE * self._utility(even / self.reference, none, none)

    def _utility(self, x: FloatArray, concentrated: FloatArray, deeper: FloatArray) -> FloatArray:
        """Return the utility of results in units of the reference risk."""
        s = self.settings
        risk = s.downside_weight * np.minimum(x, 0.0) ** 2 + deeper
        spread = (1.0 - concentrated) * x**2
        value = s.return_weight * x - s.risk_weight * self._target * risk
        return np.asarray(value + s.diversification_weight * self._target / 4.0 * spread)


def concentration(weights: FloatArray) -> FloatArray:
    """
    Return 0 for a book spread evenly over its N instruments to 1 for a single one; 1 for none.

    It is the Herfindahl index of |weights|, scaled. Shapes: weights (B, N) -> (B,).
    """
    size = np.abs(weights)
    n = size.shape[-1]
    gross = size.sum(axis=-1, keepdims=True)
    shares = np.divide(size, gross, out=np.zeros_like(size), where=gross > 0)
    index = np.where(gross[..., 0] > 0, (shares**2).sum(axis=-1), 1.0)
    return np.asarray((index - 1.0 / n) / (1.0 - 1.0 / n)) if n > 1 else np.ones_like(index)


def reference_volatility(returns: NDArray[np.floating], windows: Sequence[Window]) -> float:
    """
    Return the deviation a session of equity held evenly in all instruments, in the windows.

    Shapes: returns (M, T, N), NaN where not traded, which counts as no return. Raises DataError
    where nothing moves.
    """
    rows = [np.nan_to_num(returns[w.market, w.start : w.stop]).mean(axis=-1) for w in windows]
    deviation = float(np.concatenate(rows).std()) if rows else 0.0
    if not deviation > 0.0:
        raise DataError(f"expected returns that move in the training windows, was {deviation}")
    return deviation
