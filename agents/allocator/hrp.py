"""
The top baseline: hierarchical risk parity over groups, scaled by the regime.

Source: López de Prado 2016, "Building Diversified Portfolios that Outperform Out of Sample", by
skfolio's HierarchicalRiskParity (variance, Pearson distance) on a Ledoit-Wolf covariance.
Departure: the leaves are groups and not instruments. Each group is its equal-weight return
series, so that a sector's share follows its risk and not how many of its stocks are listed; and
a tree over at most a dozen groups costs a fraction of a tree over all instruments. It reads no
proposal: views belong to the bottom tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agents.allocator.estimates import MIN_VOLATILITY, Estimates
from agents.allocator.tiers import GroupBudgets
from agents.messages import Case, Regime
from agents.protocols import FloatArray

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
            conditions={"exposure": exposure},
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

    from skfolio.moments import LedoitWolf
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.prior import EmpiricalPrior

    prior = EmpiricalPrior(covariance_estimator=LedoitWolf())
    shares = np.asarray(HierarchicalRiskParity(prior_estimator=prior).fit(series).weights_)
    return np.asarray(shares / shares.sum(), dtype=np.float64)
