"""
What a policy is worth on windows that it never saw: figures with intervals, and who it is beside.

Figures are those of `backtest.measures`, over all sessions of all windows in a row; intervals are
stationary-block bootstraps of that row. A Sharpe ratio of W windows is that of one who traded
them one after the other. A policy that was trained from several seeds has a path a seed: its
figures are means over seeds, and its intervals resample seeds beside sessions, each seed in the
same blocks. It knows no network: policies and baselines are acts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from agents.allocator.hrp import risk_parity_shares
from agents.protocols import FloatArray
from backtest.statistics import measures
from backtest.statistics.bootstrap import (
    RESAMPLES,
    IntArray,
    block_length,
    percentile_interval,
    resampled,
)
from config.simulator import REGIMES
from learning.allocator.book import Book
from learning.allocator.evaluate import Act, PolicyPath
from learning.allocator.windows import Window
from learning.envs.twin import Twin

REBALANCE = 21  # sessions between the rebalancings of a baseline
HRP_SESSIONS = 252
STOCKS = 0.6  # of the 60/40 book
YEAR = measures.SESSIONS_PER_YEAR


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """
    One policy's figures, means over its seeds; None where a figure is undefined.

    `sharpe` is annual, over riskless, with its 95% interval; `seeds` are the seeds' own,
    `sharpes` the windows'; `win_rate` is of sessions; `turnover` is a year's, in units of equity;
    `var_compliance` the share of sessions whose loss stayed within the VaR limit, with Kupiec's
    p-value for a single seed alone, for seeds share their sessions; `limited` the share of
    sessions that a limit cut; `use` each group's mean share of equity; `by_regime` the Sharpe
    ratio in each causally estimated regime.
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
    var_compliance: float
    kupiec: float | None
    limited: float
    use: dict[str, float]
    by_regime: dict[str, float | None]


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's mean Sharpe ratio as a share of an oracle's, with its 95% interval."""

    value: float | None
    interval: tuple[float, float] | None


def judge(
    name: str, book: Book, windows: Sequence[Window], paths: Sequence[PolicyPath], seed: int
) -> Verdict:
    """Return a policy's figures, a path a seed; `windows` are those that all went through."""
    every = [_figures(book, windows, path) for path in paths]
    excess = _excess(paths)
    return Verdict(
        name=name,
        sessions=excess.shape[1],
        sharpe_interval=_sharpe_interval(excess, seed),
        seeds=tuple(figures["sharpe"] for figures in every),
        sharpes=tuple(np.mean([path.sharpes for path in paths], axis=0).tolist()),
        kupiec=every[0].pop("kupiec") if len(every) == 1 else None,
        **{key: _mean([figures[key] for figures in every]) for key in every[0] if key != "kupiec"},
    )


def _figures(book: Book, windows: Sequence[Window], path: PolicyPath) -> dict[str, Any]:
    """Return one path's figures, by the names that `Verdict` gives them."""
    known = np.isfinite(path.growth)
    growth, excess = path.growth[known], (path.growth - path.riskless)[known]
    equity = np.concatenate([[1.0], np.cumprod(1.0 + growth)])
    deepest = max(
        float(measures.drawdowns(np.concatenate([[1.0], np.cumprod(1.0 + row[mask])])).max())
        for row, mask in zip(path.growth, known, strict=True)
    )
    annual = measures.annual_return(float(equity[-1]) - 1.0, len(growth))
    breaches = int(path.breached_var[known].sum())
    regime = np.concatenate(
        [book.estimate[w.market, w.start : w.stop] for w in windows]
    )  # the rows of `known` are the windows in their order
    size = np.abs(path.weights[known])
    return {
        "sharpe": _yearly(measures.sharpe(excess)),
        "annual_return": _plain(annual),
        "sortino": _plain(measures.sortino(excess)),
        "calmar": _plain(measures.calmar(annual, deepest)),
        "max_drawdown": deepest,
        "win_rate": float((growth > 0).mean()),
        "turnover": float(path.turnover[known].mean()) * YEAR,
        "var_compliance": 1.0 - breaches / len(growth),
        "kupiec": _plain(measures.kupiec(len(growth), breaches)),
        "limited": float(path.limited[known].mean()),
        "use": {
            group: float(size[:, book.group == g].sum(axis=1).mean())
            for g, group in enumerate(book.groups)
        },
        "by_regime": {
            regime_name: _yearly(measures.sharpe(excess[regime == z]))
            for z, regime_name in enumerate(REGIMES)
        },
    }


def _mean(values: list[Any]) -> Any:
    """Return the mean of a figure over seeds, None where one has none; of dicts, key by key."""
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return None if None in values else float(np.mean(values))


def _excess(paths: Sequence[PolicyPath]) -> FloatArray:
    """Return each seed's excess returns over all windows in a row: (K, T)."""
    known = np.isfinite(paths[0].growth)
    return np.stack([(path.growth - path.riskless)[known] for path in paths])


def _sharpe_interval(excess: FloatArray, seed: int) -> tuple[float, float] | None:
    """Return the 95% interval of the mean over seeds of the Sharpe ratio; excess (K, T)."""
    if any(isinstance(measures.sharpe(row), measures.Undefined) for row in excess):
        return None
    return _interval(excess, lambda at: _row_sharpes(excess, at), seed)


def _row_sharpes(excess: FloatArray, at: IntArray) -> FloatArray:
    """Return each seed's annual Sharpe ratio in each resample: (K, T), (R, T) -> (R, K)."""
    return np.column_stack([measures.row_sharpe(row[at]) for row in excess]) * math.sqrt(YEAR)


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
    first: Sequence[PolicyPath], second: Sequence[PolicyPath], seed: int
) -> dict[str, Any]:
    """
    Return by how much one policy's Sharpe ratio exceeds another's on the same windows.

    Paths are paired by seed and session; a single one stands beside every seed of the other.
    `sharpe` and `sharpe_interval` (95%, the same blocks for both), beside the annual mean.
    """
    own, other = np.broadcast_arrays(_excess(first), _excess(second))
    gap = own - other
    ratios = [_yearly(measures.sharpe(row)) for row in (*own, *other)]
    known = None not in ratios and gap.shape[1] >= measures.MIN_SESSIONS
    return {
        "mean": float(gap.mean()) * YEAR,
        "mean_interval": _interval(
            gap, lambda at: np.column_stack([row[at].mean(axis=1) for row in gap]) * YEAR, seed
        ),
        "sharpe": _mean(ratios[: len(own)]) - _mean(ratios[len(own) :]) if known else None,
        "sharpe_interval": _interval(
            gap, lambda at: _row_sharpes(own, at) - _row_sharpes(other, at), seed
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
        "hierarchical risk parity": Rebalanced(book, risk_parity_shares, gross),
    }
    if book.name == "equity":
        acts["60/40"] = Rebalanced(book, lambda past: even, STOCKS * gross)
    return acts


def _yearly(ratio: measures.Figure) -> float | None:
    plain = _plain(ratio)
    return None if plain is None else plain * math.sqrt(YEAR)


def _plain(figure: measures.Figure) -> float | None:
    return None if isinstance(figure, measures.Undefined) else float(figure)
