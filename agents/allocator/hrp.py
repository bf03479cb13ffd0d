"""
The top baseline: hierarchical risk parity over groups, scaled by the regime.

Source: López de Prado 2016, "Building Diversified Portfolios that Outperform Out of Sample", on a
covariance shrunk as Ledoit & Wolf 2004. The choices are those of skfolio's HierarchicalRiskParity
(Pearson distance, Ward linkage, optimal leaf order, variance), which a test holds it to; written
out here because skfolio spends 50 times the arithmetic on checks, and seconds on its import.
Departure: the leaves are groups and not instruments. Each group is its equal-weight return
series, so that a sector's share follows its risk and not how many of its stocks are listed; and
a tree over at most a dozen groups costs a fraction of a tree over all instruments. It reads no
proposal: views belong to the bottom tier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agents.allocator.estimates import MIN_VOLATILITY, Estimates
from agents.allocator.tiers import GroupBudgets
from agents.arrays import FloatArray
from agents.messages import Case, Regime

# the share of the gross limit that is put to work: chosen by hand, not fitted
EXPOSURE: Mapping[Regime, float] = {"bull": 1.0, "sideways": 0.8, "bear": 0.5}


@dataclass(frozen=True)
class HierarchicalParityTop:
    """A `TopPolicy`: budgets sum to `gross` times the regime's exposure."""

    gross: float
    name: ClassVar[str] = "hrp-baseline"

    def share(self, case: Case, estimates: Estimates) -> GroupBudgets:
        """Return a budget for every group that has an instrument with estimates."""
        members: dict[str, list[FloatArray]] = {}
        for state in sorted(case.instruments, key=lambda s: s.symbol):
            if state.symbol in estimates.returns:
                members.setdefault(state.group, []).append(estimates.returns[state.symbol])
        groups = sorted(members)
        exposure = EXPOSURE[case.macro.regime]
        series = np.empty((0, 0))
        if groups:
            series = np.column_stack([equal_weight_series(members[g]) for g in groups])
        shares = risk_parity_shares(series)
        return GroupBudgets(
            policy=self.name,
            regime=case.macro.regime,
            budgets={
                group: self.gross * exposure * share
                for group, share in zip(groups, shares.tolist(), strict=True)
            },
        )


def equal_weight_series(columns: list[FloatArray]) -> FloatArray:
    """
    Return the mean of those returns that exist, 0.0 in a session in which none does.

    Shapes: columns of (T,) each -> (T,).
    """
    stack = np.column_stack(columns)
    finite = np.isfinite(stack)
    total = np.where(finite, stack, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(finite.sum(axis=1), 1), dtype=np.float64)


def risk_parity_shares(series: FloatArray) -> FloatArray:
    """
    Return each column's share of capital; shares are at least 0 and sum to 1.

    One column has all of it. Where a series has no variance, risk parity is undefined (it would
    be given everything), and the columns share equally.
    Shapes: series (T, G) -> (G,).
    """
    count = series.shape[1]
    if count < 2:
        return np.ones(count)
    if float(series.std(axis=0).min()) < MIN_VOLATILITY:
        return np.full(count, 1.0 / count)
    shares = _bisected(shrunk_covariance(series), _leaf_order(series))
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def shrunk_covariance(series: FloatArray) -> FloatArray:
    """
    Return the covariance, shrunk towards a multiple of the identity.

    Shapes: series (T, G) -> (G, G). Source: Ledoit & Wolf 2004, Journal of Multivariate Analysis
    88, equation 14; the covariance is divided by T.
    """
    count, size = series.shape
    centred = series - series.mean(axis=0)
    sample = centred.T @ centred / count
    level = np.trace(sample) / size
    squares = centred**2
    spread = float((sample**2).sum() - size * level**2) / size  # d² of the paper
    noise = float((squares.T @ squares / count - sample**2).sum()) / (size * count)  # b²
    strength = min(noise / spread, 1.0) if spread > 0.0 else 0.0
    return np.asarray((1.0 - strength) * sample + strength * level * np.eye(size))


def _leaf_order(series: FloatArray) -> NDArray[np.int64]:
    """Return the columns in the order of their cluster tree's leaves; shapes: (T, G) -> (G,)."""
    distance = np.sqrt(np.clip((1.0 - np.corrcoef(series.T)) / 2.0, 0.0, 1.0))
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    condensed = squareform((distance + distance.T) / 2.0, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, method="ward"), condensed)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _bisected(covariance: FloatArray, order: NDArray[np.int64]) -> FloatArray:
    """
    Share 1 by halving the order again and again, each half weighed against the other's variance.

    Shapes: covariance (G, G), order (G,) -> (G,).
    """
    shares = np.ones(len(order))
    clusters = [order]
    while clusters:
        halves = [(c[: len(c) // 2], c[len(c) // 2 :]) for c in clusters if len(c) > 1]
        for left, right in halves:
            risk, other = _variance(covariance, left), _variance(covariance, right)
            shares[left] *= other / (risk + other)
            shares[right] *= risk / (risk + other)
        clusters = [half for pair in halves for half in pair]
    return shares


def _variance(covariance: FloatArray, cluster: NDArray[np.int64]) -> float:
    """Return the variance of a cluster that is weighed by inverse variance."""
    own = covariance[np.ix_(cluster, cluster)]
    weights = 1.0 / np.diag(own)
    weights /= weights.sum()
    return float(weights @ own @ weights)
