"""
What a policy is worth on windows that it never saw: figures with intervals, and who it is beside.

Figures are those of `backtest.measures`, over all sessions of all windows in a row; intervals are
stationary-block bootstraps of that row. A Sharpe ratio of W windows is that of one who traded
them one after the other. It knows no network: policies and baselines are acts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from agents.allocator.hrp import risk_parity_shares
from agents.protocols import FloatArray
from backtest import measures
from backtest.bootstrap import block_length, percentile_interval, resampled
from backtest.statistics import paired_difference
from config.simulator import REGIMES
from learning.allocator.book import Book
from learning.allocator.evaluate import Act, PolicyPath
from learning.allocator.windows import Window
from learning.envs.twin import Twin

REBALANCE = 21  # sessions between the rebalancings of a baseline
HRP_SESSIONS = 252
STOCKS = 0.6  # of the 60/40 book


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """
    One policy's figures; None where a figure is undefined.

    `sharpe` is annual, over riskless, with its 95% interval; `sharpes` are the windows' own;
    `win_rate` is of sessions; `turnover` is a year's, in units of equity; `var_compliance` the
    share of sessions whose loss stayed within the VaR limit, with Kupiec's p-value; `limited`
    the share of sessions that a limit cut; `use` each group's mean share of equity;
    `by_regime` the Sharpe ratio in each causally estimated regime.
    """

    name: str
    sessions: int
    sharpe: float | None
    sharpe_interval: tuple[float, float] | None
    sharpes: tuple[float, ...]
    annual_return: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    win_rate: float
    turnover: float
    var_compliance: float
    kupiec: float | None
    limited: float
    use: dict[str, float]
    by_regime: dict[str, float | None]


def judge(
    name: str, book: Book, windows: Sequence[Window], path: PolicyPath, seed: int
) -> Verdict:
    """Return a path's figures; `windows` are those that it went through."""
    known = np.isfinite(path.growth)
    growth, excess = path.growth[known], (path.growth - path.riskless)[known]
    equity = np.concatenate([[1.0], np.cumprod(1.0 + growth)])
    deepest = max(
        float(measures.drawdowns(np.concatenate([[1.0], np.cumprod(1.0 + row[mask])])).max())
        for row, mask in zip(path.growth, known, strict=True)
    )
    annual = measures.annual_return(float(equity[-1]) - 1.0, len(growth))
    interval = measures.sharpe_interval(excess, seed=seed)
    breaches = int(path.breached_var[known].sum())
    regime = np.concatenate(
        [book.estimate[w.market, w.start : w.stop] for w in windows]
    )  # the rows of `known` are the windows in their order
    size = np.abs(path.weights[known])
    return Verdict(
        name=name,
        sessions=len(growth),
        sharpe=_yearly(measures.sharpe(excess)),
        sharpe_interval=None if isinstance(interval, measures.Undefined) else interval[0],
        sharpes=tuple(path.sharpes.tolist()),
        annual_return=_plain(annual),
        sortino=_plain(measures.sortino(excess)),
        calmar=_plain(measures.calmar(annual, deepest)),
        max_drawdown=deepest,
        win_rate=float((growth > 0).mean()),
        turnover=float(path.turnover[known].mean()) * measures.SESSIONS_PER_YEAR,
        var_compliance=1.0 - breaches / len(growth),
        kupiec=_plain(measures.kupiec(len(growth), breaches)),
        limited=float(path.limited[known].mean()),
        use={
            group: float(size[:, book.group == g].sum(axis=1).mean())
            for g, group in enumerate(book.groups)
        },
        by_regime={
            regime_name: _yearly(measures.sharpe(excess[regime == z]))
            for z, regime_name in enumerate(REGIMES)
        },
    )


def sharpe_difference(first: PolicyPath, second: PolicyPath, seed: int) -> dict[str, Any]:
    """
    Return by how much one policy's Sharpe ratio exceeds another's on the same windows.

    `sharpe` and `sharpe_interval` (95%, the same blocks for both), beside the annual mean.
    """
    known = np.isfinite(first.growth)
    return dict(
        paired_difference(
            (first.growth - first.riskless)[known], (second.growth - second.riskless)[known], seed
        )["figures"]
    )


def mean_interval(values: FloatArray, seed: int) -> tuple[float, float, float]:
    """Return the mean of a series (T,) and its 95% block-bootstrap interval."""
    bounds = percentile_interval(
        resampled(
            len(values),
            lambda at: values[at].mean(axis=1),
            mean_block=block_length(values),
            seed=seed,
        )
    )
    return float(values.mean()), *bounds


class Rebalanced:
    """
    An act that trades back to a rule's shares every REBALANCE sessions and holds in between.

    `shares` is told the past returns of one book (T, N), NaN as 0, and answers with shares (N,).
    """

    def __init__(
        self, book: Book, shares: Callable[[FloatArray], FloatArray], gross: float
    ) -> None:
        self._book, self._shares, self._gross = book, shares, gross
        self._twin: Twin | None = None
        self._clock = 0

    def __call__(self, twin: Twin) -> FloatArray:
        """Return the targets (B, N)."""
        if twin is not self._twin:
            self._twin, self._clock = twin, 0
        self._clock += 1
        if (self._clock - 1) % REBALANCE:
            return twin.weights
        targets = np.empty_like(twin.weights)
        for b, (market, t) in enumerate(zip(twin.market.tolist(), twin.t.tolist(), strict=True)):
            past = self._book.returns[market, max(0, t + 1 - HRP_SESSIONS) : t + 1]
            shares = self._shares(np.nan_to_num(past))
            targets[b] = self._gross * shares / shares.sum()
        return targets


def baselines(book: Book, gross: float) -> dict[str, Act]:
    """
    Return those who learned nothing: each long, `gross` invested but for the 60/40 book.

    60/40 needs bonds or cash beside stocks: 60% in evenly held stocks and 40% in cash at the
    riskless rate, of the equity book alone.
    """
    even = np.ones(len(book.symbols))

    def buy_and_hold(twin: Twin) -> FloatArray:
        held = np.abs(twin.weights).sum(axis=1, keepdims=True) > 0
        return np.where(held, twin.weights, gross * even / len(even))

    acts: dict[str, Act] = {
        "buy-and-hold": buy_and_hold,
        "equal weight": Rebalanced(book, lambda past: even, gross),
        "risk parity": Rebalanced(book, risk_parity_shares, gross),
    }
    if book.name == "equity":
        acts["60/40"] = Rebalanced(book, lambda past: even, STOCKS * gross)
    return acts


def _yearly(ratio: measures.Figure) -> float | None:
    plain = _plain(ratio)
    return None if plain is None else plain * math.sqrt(measures.SESSIONS_PER_YEAR)


def _plain(figure: measures.Figure) -> float | None:
    return None if isinstance(figure, measures.Undefined) else float(figure)
