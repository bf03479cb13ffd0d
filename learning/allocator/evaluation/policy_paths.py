"""
Runs a policy through the twin on windows of a dataset: one path a window, without chance.

An `Act` looks at the twin's books at a close and returns target weights; trained policies and
baselines are both acts. The module knows no learner, and no statistic but the Sharpe ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import Normaliser, assemble, group_means, top_budgets
from agents.arrays import BoolArray, Float32Array, FloatArray
from backtest.statistics.sharpe import sharpe_score
from config.errors import DataError
from config.settings import LimitSettings, Settings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Window
from learning.envs.bottom_policies import BottomPolicies
from learning.rewards.policy_reward import SESSIONS_PER_YEAR
from learning.twin.twin import Twin

type Act = Callable[[Twin], FloatArray]  # to target weights (B, N)


@dataclass(frozen=True)
class PolicyPath:
    """
    What W windows came to, session by session; shorter windows end in NaN (False).

    Shapes: growth, risk_free, turnover (W, T), limited (W, T), weights (W, T, N) held at each
    session's close. `var_frac` (W, T) is the VaR of the book held at the close before, NaN where
    it is unknown or nothing was held; `loss_beyond_limit` (W, T) where the session lost more
    than the limit `max_var` of the VaR.
    """

    growth: FloatArray
    risk_free: FloatArray
    turnover: FloatArray
    limited: BoolArray
    var_frac: FloatArray
    loss_beyond_limit: BoolArray
    weights: FloatArray
    max_var: float

    @property
    def sharpe(self) -> float:
        """The annualised Sharpe ratio over risk-free of all sessions together."""
        return sharpe_score(self.growth - self.risk_free, SESSIONS_PER_YEAR)

    @property
    def sharpes(self) -> FloatArray:
        """Each window's own. Shape: (W,)."""
        excess = self.growth - self.risk_free
        return np.array([sharpe_score(row, SESSIONS_PER_YEAR) for row in excess])


def largest_budget(instruments: int, limits: LimitSettings) -> float:
    """Return what the group and position limits let a group of instruments hold, with headroom."""
    return limits.headroom * min(limits.max_group, instruments * limits.max_position)


def run_policy(
    dataset: Dataset, windows: Sequence[Window], settings: Settings, act: Act
) -> PolicyPath:
    """
    Return what an act earns on each window from a fresh account.

    Windows of one length go in lockstep. Raises DataError without a window.
    """
    if not windows:
        raise DataError("expected a window to evaluate on, was none")
    longest = max(w.sessions for w in windows)
    shape = (len(windows), longest)
    growth, risk_free, turnover, var_frac = (np.full(shape, np.nan) for _ in range(4))
    limited, beyond = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    weights = np.full((*shape, len(dataset.symbols)), np.nan)
    for sessions in sorted({w.sessions for w in windows}):
        rows = [i for i, w in enumerate(windows) if w.sessions == sessions]
        twin = Twin(dataset.market_arrays, settings, len(rows))
        twin.reset(
            np.array([windows[i].market for i in rows]),
            np.array([windows[i].start for i in rows]),
            seed=0,
        )
        for t in range(sessions):
            var = np.where(twin.weights.any(axis=1), twin.var_frac, np.nan)
            lived = twin.step(act(twin))
            growth[rows, t], risk_free[rows, t] = lived.growth, lived.risk_free
            turnover[rows, t] = lived.turnover
            limited[rows, t], beyond[rows, t] = lived.limited, lived.loss_beyond_limit
            var_frac[rows, t] = var
            weights[rows, t] = twin.weights
    return PolicyPath(
        growth, risk_free, turnover, limited, var_frac, beyond, weights, settings.limits.max_var
    )


def specialist_act(dataset: Dataset, norm: Normaliser, net: BottomNet, budget: float) -> Act:
    """Return the act of one group's policy, on the group's own dataset, with a constant budget."""
    bottom_policies = BottomPolicies(dataset, {dataset.groups[0]: net})
    features, macro = norm.features(dataset.features), norm.macro(dataset.macro)

    def act(twin: Twin) -> FloatArray:
        now, listed = (twin.market, twin.t), twin.listed
        weights, budgets = np.where(listed, twin.weights, 0.0), np.full((twin.batch, 1), budget)
        return bottom_policies.place(
            features[now], macro[now], weights, twin.drawdown, budgets, listed
        )

    return act


def tiered_act(
    dataset: Dataset,
    norm: Normaliser,
    share: TopNet | Callable[[Twin], FloatArray],
    bottom_policies: BottomPolicies,
    gross: float,
    embeddings: Float32Array | None = None,
) -> Act:
    """
    Return the act of a top policy over bottom policies.

    `share` is the top's network, or any rule that answers with budgets (B, G).
    """
    features, macro = norm.features(dataset.features), norm.macro(dataset.macro)
    group = dataset.group.tolist()

    def act(twin: Twin) -> FloatArray:
        now, listed = (twin.market, twin.t), twin.listed
        weights = np.where(listed, twin.weights, 0.0)
        if isinstance(share, TopNet):
            none = np.zeros_like(weights)
            seen = assemble(
                features[now], macro[now], weights, dataset.shortable, none, twin.drawdown
            )
            rows = group_means(seen.instruments, group, len(dataset.groups), listed)
            if embeddings is not None:
                rows = np.concatenate([rows, embeddings[now]], axis=-1)
            with torch.no_grad():
                means, _ = share(torch.from_numpy(rows), torch.from_numpy(seen.market))
            budgets = top_budgets(means.numpy(), gross)
        else:
            budgets = share(twin)
        return bottom_policies.place(
            features[now], macro[now], weights, twin.drawdown, budgets, listed
        )

    return act
