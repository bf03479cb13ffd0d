"""
A policy's metrics on held-out windows, with confidence intervals, next to the baselines.

Metrics are those of `backtest.statistics`, over all sessions of all windows in a row; intervals
are percentiles of stationary-block bootstraps of that row, which has thousands of sessions. The
Sharpe ratio of W windows is that of trading them one after the other. A policy that was trained
from several seeds has a path a seed: its metrics are means over seeds, and its intervals resample
seeds as well as sessions, each seed in the same blocks. The module knows no network: policies and
baselines are acts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.allocator.hrp import risk_parity_shares
from agents.arrays import FloatArray, IntArray
from backtest.statistics import measures
from backtest.statistics import sharpe as ratios
from backtest.statistics.bootstrap import RESAMPLES, block_length, percentile_interval, resampled
from backtest.statistics.var import Breaches
from config.simulator import REGIMES
from learning.allocator.evaluation.policy_paths import Act, PolicyPath
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Window
from learning.twin.twin import Twin

REBALANCE = 21  # sessions between the rebalancings of a baseline
HRP_SESSIONS = 252
STOCKS = 0.6  # of the 60/40 book
TOLERANCE = 1e-9  # of a limit, for rounding


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """
    One policy's metrics, means over its seeds; None where a metric is undefined.

    `sharpe` is annual, over risk-free, with its 95% interval; `seeds` are the seeds' own,
    `sharpes` the windows'; `win_rate` is of sessions; `turnover` is a year's, in units of equity;
    `limited` the share of sessions that a limit cut; `use` each group's mean share of equity;
    `by_regime` the Sharpe ratio in each causally estimated regime.

    Of the VaR: `var_within_limit` is the share of invested closes whose VaR is within the limit,
    `var_coverage` that of invested sessions whose loss stayed within that day's own VaR, with the
    p-values of Kupiec's and Christoffersen's tests for a single seed alone, for seeds share their
    sessions; `loss_within_limit` that of invested sessions that lost no more than the limit.
    """

    name: str
    sessions: int
    sharpe: float | None
    sharpe_interval: tuple[float, float] | None
    seeds: tuple[float | None, ...]
    sharpes: tuple[float, ...]
    annual_return: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    win_rate: float
    turnover: float
    var_within_limit: float | None
    var_coverage: float | None
    loss_within_limit: float | None
    kupiec_p: float | None
    christoffersen_independence_p: float | None
    christoffersen_coverage_p: float | None
    limited: float
    use: dict[str, float]
    by_regime: dict[str, float | None]


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's mean Sharpe ratio as a share of an oracle's, with its 95% interval."""

    value: float | None
    interval: tuple[float, float] | None


def evaluate(
    name: str, dataset: Dataset, windows: Sequence[Window], paths: Sequence[PolicyPath], seed: int
) -> Evaluation:
    """Return a policy's figures, a path a seed; `windows` are those that all went through."""
    every = [_figures(dataset, windows, path) for path in paths]
    excess = _excess(paths)
    means: dict[str, Any] = {
        key: _mean([figures[key] for figures in every])
        if len(every) == 1 or not key.endswith("_p")
        else None
        for key in every[0]
    }
    return Evaluation(
        name=name,
        sessions=excess.shape[1],
        sharpe_interval=_sharpe_interval(excess, dataset.sessions_per_year, seed),
        seeds=tuple(figures["sharpe"] for figures in every),
        sharpes=tuple(np.mean([path.sharpes for path in paths], axis=0).tolist()),
        **means,
    )


def _figures(dataset: Dataset, windows: Sequence[Window], path: PolicyPath) -> dict[str, Any]:
    """Return one path's figures, by the names that `Verdict` gives them."""
    known = np.isfinite(path.growth)
    growth, excess = path.growth[known], (path.growth - path.risk_free)[known]
    equity = np.concatenate([[1.0], np.cumprod(1.0 + growth)])
    deepest = max(
        float(measures.drawdowns(np.concatenate([[1.0], np.cumprod(1.0 + row[mask])])).max())
        for row, mask in zip(path.growth, known, strict=True)
    )
    year = dataset.sessions_per_year
    annual = measures.annual_return(float(equity[-1]) - 1.0, len(growth), year)
    regime = np.concatenate(
        [dataset.estimate[w.market, w.start : w.stop] for w in windows]
    )  # the rows of `known` are the windows in their order
    size = np.abs(path.weights[known])
    return {
        "sharpe": _yearly(ratios.sharpe(excess), year),
        "annual_return": _plain(annual),
        "sortino": _plain(measures.sortino(excess, year)),
        "calmar": _plain(measures.calmar(annual, deepest)),
        "max_drawdown": deepest,
        "win_rate": float((growth > 0).mean()),
        "turnover": float(path.turnover[known].mean()) * year,
        **_risk(path, known),
        "limited": float(path.limited[known].mean()),
        "use": {
            group: float(size[:, dataset.group == g].sum(axis=1).mean())
            for g, group in enumerate(dataset.groups)
        },
        "by_regime": {
            regime_name: _yearly(ratios.sharpe(excess[regime == z]), year)
            for z, regime_name in enumerate(REGIMES)
        },
    }


def _risk(path: PolicyPath, known: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the figures of the VaR over the sessions that `known` (W, T) marks."""
    held = known & np.isfinite(path.var_frac)
    follows = held.copy()
    follows[:, 1:] &= held[:, :-1]
    follows[:, 0] = False  # a window starts anew
    broken = -path.growth[held] > path.var_frac[held]
    breaches = Breaches(broken=broken, follows=follows[held])
    return {
        "var_within_limit": _share(path.var_frac[held] <= path.max_var + TOLERANCE),
        "var_coverage": _plain(breaches.coverage),
        "loss_within_limit": _share(~path.loss_beyond_limit[held]),
        **{name: _plain(value) for name, value in breaches.p_values()._asdict().items()},
    }


def _share(marked: NDArray[np.bool_]) -> float | None:
    return float(marked.mean()) if marked.size else None


def _mean(values: list[Any]) -> Any:
    """Return the mean of a figure over seeds, None where one has none; of dicts, key by key."""
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return None if None in values else float(np.mean(values))


def _excess(paths: Sequence[PolicyPath]) -> FloatArray:
    """Return each seed's excess returns over all windows in a row: (K, T)."""
    known = np.isfinite(paths[0].growth)
    return np.stack([(path.growth - path.risk_free)[known] for path in paths])


def _sharpe_interval(excess: FloatArray, year: int, seed: int) -> tuple[float, float] | None:
    """Return the 95% interval of the mean over seeds of the Sharpe ratio; excess (K, T)."""
    if any(isinstance(ratios.sharpe(row), measures.Undefined) for row in excess):
        return None
    return _interval(excess, lambda at: _row_sharpes(excess, at, year), seed)


def _row_sharpes(excess: FloatArray, at: IntArray, year: int) -> FloatArray:
    """Return each seed's annual Sharpe ratio in each resample: (K, T), (R, T) -> (R, K)."""
    return np.column_stack([ratios.row_sharpe(row[at]) for row in excess]) * math.sqrt(year)


def _interval(
    series: FloatArray, figure: Callable[[IntArray], FloatArray], seed: int
) -> tuple[float, float] | None:
    """
    Return the 95% interval of the mean over seeds of a figure of resampled sessions.

    `figure` maps positions (R, T) to each seed's figure (R, K); seeds are drawn with
    replacement in each resample. `series` (K, T) sizes the blocks, by its mean over seeds. None
    for too few sessions, or where a resample has no figure.
    """
    count, sessions = series.shape
    if sessions < measures.MIN_SESSIONS:
        return None
    chance = np.random.default_rng([seed, count])  # apart from the blocks' own

    def over_seeds(at: IntArray) -> FloatArray:
        drawn = chance.integers(count, size=(len(at), count))
        return np.take_along_axis(figure(at), drawn, axis=1).mean(axis=1)

    mean_block = block_length(series.mean(axis=0))
    values = resampled(sessions, over_seeds, mean_block=mean_block, seed=seed)
    return percentile_interval(values) if np.isfinite(values).all() else None


def sharpe_difference(
    first: Sequence[PolicyPath], second: Sequence[PolicyPath], year: int, seed: int
) -> dict[str, Any]:
    """
    Return by how much one policy's Sharpe ratio exceeds another's on the same windows.

    `year` is the book's sessions a year. Paths are paired by seed and session; a single one stands
    beside every seed of the other. `sharpe` and `sharpe_interval` (95%, the same blocks for
    both), beside the annual mean.
    """
    own, other = np.broadcast_arrays(_excess(first), _excess(second))
    gap = own - other
    every = [_yearly(ratios.sharpe(row), year) for row in (*own, *other)]
    known = None not in every and gap.shape[1] >= measures.MIN_SESSIONS
    return {
        "mean": float(gap.mean()) * year,
        "mean_interval": _interval(
            gap, lambda at: np.column_stack([row[at].mean(axis=1) for row in gap]) * year, seed
        ),
        "sharpe": _mean(every[: len(own)]) - _mean(every[len(own) :]) if known else None,
        "sharpe_interval": _interval(
            gap, lambda at: _row_sharpes(own, at, year) - _row_sharpes(other, at, year), seed
        )
        if known
        else None,
        "block_sessions": block_length(gap.mean(axis=0)),
    }


def share_of(policy: FloatArray, oracle: FloatArray, seed: int) -> Share:
    """
    Return a policy's share of an oracle: the ratio of their means over windows, (W,) each.

    Whole windows are resampled, the same for both. None where an oracle's mean is not above 0.
    """

    def ratio(at: IntArray) -> FloatArray:
        above = oracle[at].mean(axis=-1)
        return np.where(
            above > 0, policy[at].mean(axis=-1) / np.where(above > 0, above, 1), np.nan
        )

    drawn = np.random.default_rng(seed).integers(len(oracle), size=(RESAMPLES, len(oracle)))
    value, values = float(ratio(np.arange(len(oracle)))), ratio(drawn)
    sound = len(oracle) > 1 and bool(np.isfinite(values).all())
    return Share(
        value=value if math.isfinite(value) else None,
        interval=percentile_interval(values) if sound else None,
    )


class Rebalanced:
    """
    An act that trades back to a rule's shares every REBALANCE sessions and holds in between.

    `shares` takes the past returns of one market (T, N), NaN as 0, and returns shares (N,).
    """

    def __init__(
        self, dataset: Dataset, shares: Callable[[FloatArray], FloatArray], gross: float
    ) -> None:
        self._dataset, self._shares, self._gross = dataset, shares, gross
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
            past = self._dataset.returns[market, max(0, t + 1 - HRP_SESSIONS) : t + 1]
            shares = self._shares(np.nan_to_num(past))
            targets[b] = self._gross * shares / shares.sum()
        return targets


def baselines(dataset: Dataset, gross: float) -> dict[str, Act]:
    """
    Return the rules that learn nothing: each long, `gross` invested but for the 60/40 book.

    60/40 needs bonds or cash beside stocks: 60% in evenly held stocks and 40% in cash at the
    risk-free rate, of the equity book alone.
    """
    even = np.ones(len(dataset.symbols))

    def buy_and_hold(twin: Twin) -> FloatArray:
        held = np.abs(twin.weights).sum(axis=1, keepdims=True) > 0
        return np.where(held, twin.weights, gross * even / len(even))

    acts: dict[str, Act] = {
        "buy-and-hold": buy_and_hold,
        "equal weight": Rebalanced(dataset, lambda past: even, gross),
        "hierarchical risk parity": Rebalanced(dataset, risk_parity_shares, gross),
    }
    if dataset.name == "equity":
        acts["60/40"] = Rebalanced(dataset, lambda past: even, STOCKS * gross)
    return acts


def _yearly(ratio: measures.Figure, year: int) -> float | None:
    plain = _plain(ratio)
    return None if plain is None else plain * math.sqrt(year)


def _plain(figure: measures.Figure) -> float | None:
    return None if isinstance(figure, measures.Undefined) else float(figure)
