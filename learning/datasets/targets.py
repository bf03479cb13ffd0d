"""
The targets of the pre-training phases: allocations made with hindsight.

The target of a session is one rule applied to the sessions *after* it: inverse volatility (equal
risk), tilted towards a high return for its risk, and for the top tier scaled down where the whole
moved more than wanted. A learner that minimises the squared error on such targets learns their
mean given what it sees; what cannot be predicted averages out. Targets are never features, and a
window's last sessions have none (`target_sessions` purges them). Regimes are `Dataset.label`. It
knows no network and no simulator.

Sources: inverse volatility is equal risk where correlations are equal (Maillard, Roncalli and
Teiletche 2010); scaling to a volatility, Moreira and Muir 2017; the exponential tilt is the
closed form of a portfolio that pays relative entropy for leaving its prior.
"""

from collections.abc import Sequence

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from config.allocator import TargetSettings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Window

SESSIONS_PER_YEAR = 252.0
LABEL_SESSIONS = 60  # how far `agents.features.regime.regime_label` looks ahead
MIN_FINITE = 0.5  # of the horizon's sessions; what trades less has no share
MIN_VOLATILITY = 1e-4  # a session; what moves less counts as moving this much
MAX_SCORE = 2.0
NORMAL = np.sqrt(np.pi / 2.0)  # a normal's deviation in units of its mean absolute value


def sector_targets(dataset: Dataset, settings: TargetSettings) -> FloatArray:
    """
    Return each group's share of equity with hindsight: at least 0, summing to at most 1.

    With σ_i the volatility and r_i the mean of group i's next h equal-weight returns,
    z_i = √h r_i / σ_i less its mean over the groups, within ±2: x_i = exp(tilt · z_i) / σ_i;
    shares are x_i / Σ x, times min(1, wanted volatility / the volatility that those shares'
    returns had). A volatility is √(π/2) times the mean absolute return: over so few returns
    with heavy tails it errs less than their standard deviation. NaN where the horizon is not
    over by the end of the market.
    Shapes: (M, T, G). Looks `settings.horizon_sessions` ahead.
    """
    returns = group_returns(dataset.returns, dataset.group, len(dataset.groups))
    future = _future(returns, settings.horizon_sessions)
    shares = _shares(future, settings.tilt)
    portfolio = np.einsum("mtgh,mtg->mth", np.nan_to_num(future), np.nan_to_num(shares))
    wanted = settings.volatility_per_year / np.sqrt(SESSIONS_PER_YEAR)
    moved = np.maximum(NORMAL * np.abs(portfolio).mean(axis=-1), MIN_VOLATILITY)
    weights = shares * np.minimum(1.0, wanted / moved)[..., None]
    return _until_end(weights, returns.shape)


def stock_targets(dataset: Dataset, settings: TargetSettings) -> FloatArray:
    """
    Return each instrument's share of its own group's budget with hindsight.

    The rule of `sector_targets` inside each group, without the scaling to a volatility, which
    is the top's business: shares are at least 0 and sum to 1 in a group that trades. An
    instrument's weight is its group's budget times its share. 0 for an instrument that hardly
    trades over the horizon; NaN where the horizon is not over by the end of the market.
    Shapes: (M, T, N). Looks `settings.horizon_sessions` ahead.
    """
    shares = np.full(dataset.returns.shape, np.nan)
    for g in range(len(dataset.groups)):
        members = np.flatnonzero(dataset.group == g)
        future = _future(dataset.returns[:, :, members], settings.horizon_sessions)
        placed = _shares(future, settings.tilt)
        shares[:, :, members] = _until_end(placed, (*shares.shape[:2], len(members)))
    return shares


def target_sessions(window: Window, horizon: int) -> IntArray:
    """Return a window's sessions whose target, `horizon` ahead, lies inside it: (sessions,)."""
    return np.arange(window.start, max(window.stop - horizon, window.start), dtype=np.int64)


def target_rows(windows: Sequence[Window], horizon: int, known: BoolArray) -> IntArray:
    """
    Return the (market, session) pairs of windows that have a target `horizon` ahead: (R, 2).

    Shapes: known (M, T), which sessions have one at all.
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for window in windows:
        sessions = target_sessions(window, horizon)
        sessions = sessions[known[window.market, sessions]]
        pairs.append(np.column_stack([np.full(len(sessions), window.market), sessions]))
    return np.concatenate(pairs)


def group_returns(returns: FloatArray, group: IntArray, count: int) -> FloatArray:
    """
    Return the mean of each group's known returns, NaN where it has none.

    Shapes: returns (..., T, N), group (N,) -> (..., T, G).
    """
    finite = np.isfinite(returns)
    member = np.eye(count)[group]
    known = finite.astype(np.float64) @ member
    total = np.where(finite, returns, 0.0) @ member
    means = np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0.0)
    return np.asarray(means)


def _future(returns: FloatArray, horizon: int) -> FloatArray:
    """Return the returns of the h sessions after each: (M, T, G) -> (M, T - h, G, h)."""
    if returns.shape[1] <= horizon:
        return np.empty((returns.shape[0], 0, returns.shape[2], horizon))
    windows = np.lib.stride_tricks.sliding_window_view(returns[:, 1:], horizon, axis=1)
    return np.asarray(windows, dtype=np.float64)


def _shares(future: FloatArray, tilt: float) -> FloatArray:
    """Return shares that sum to 1, or to 0 where nothing trades: (..., G, h) -> (..., G)."""
    finite = np.isfinite(future)
    count = finite.sum(axis=-1)
    traded = count >= MIN_FINITE * future.shape[-1]
    filled = np.where(finite, future, 0.0)
    mean = filled.sum(axis=-1) / np.maximum(count, 1)
    deviation = NORMAL * np.abs(filled).sum(axis=-1) / np.maximum(count, 1)
    deviation = np.maximum(deviation, MIN_VOLATILITY)
    score = np.sqrt(count) * mean / deviation
    middle = np.sum(score * traded, axis=-1) / np.maximum(traded.sum(axis=-1), 1)
    score = np.clip(score - middle[..., None], -MAX_SCORE, MAX_SCORE)
    raw = np.where(traded, np.exp(tilt * score) / deviation, 0.0)
    total = raw.sum(axis=-1, keepdims=True)
    return np.divide(raw, total, out=np.zeros_like(raw), where=total > 0.0)


def _until_end(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return (M, T - h, G) as (M, T, G), the sessions without a future NaN."""
    padded = np.full(shape, np.nan)
    padded[:, : values.shape[1]] = values
    return padded
