"""
Estimates what both tiers need of past returns, once a decision.

It decides which instruments have history enough to be given capital. Volatility is the plain
sample one over the lookback: baselines should be dull. It knows no weights, views or groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray, Panel

MIN_SESSIONS = 60
MIN_TRADED_FRAC = 0.8  # of the sessions since an instrument's first return
MIN_VOLATILITY = 1e-6  # per session; below it a price is a constant, not a risk


@dataclass(frozen=True)
class Estimates:
    """
    The instruments that may be given capital, sorted by symbol, and their past.

    `returns[symbol]` (T,) are simple returns per session, oldest first, NaN where the instrument
    did not trade; `volatility[symbol]` is their standard deviation per session. `panel` holds the
    sessions that they were made from, of every instrument.
    """

    symbols: tuple[str, ...]
    returns: Mapping[str, FloatArray]
    volatility: Mapping[str, float]
    panel: Panel


def estimate(panel: Panel, lookback: int) -> Estimates:
    """
    Return the estimates over the panel's last `lookback` sessions.

    An instrument is left out that has fewer than MIN_SESSIONS returns, that traded in less than
    MIN_TRADED_FRAC of the sessions since its first return, or whose volatility is nought.
    Infinite returns count as missing.
    Shapes: panel.returns (T, N), one column a symbol.
    Raises ValueError if the panel's columns and symbols disagree.
    """
    if panel.returns.ndim != 2 or panel.returns.shape[1] != len(panel.symbols):
        raise ValueError(
            f"expected returns of shape (T, {len(panel.symbols)}), was {panel.returns.shape}"
        )
    window = np.asarray(panel.returns[-lookback:], dtype=np.float64)
    returns: dict[str, FloatArray] = {}
    volatility: dict[str, float] = {}
    for symbol, column in sorted(zip(panel.symbols, window.T, strict=True), key=lambda p: p[0]):
        finite = np.isfinite(column)
        count = int(finite.sum())
        if count < MIN_SESSIONS:
            continue
        if count < MIN_TRADED_FRAC * (len(column) - int(finite.argmax())):
            continue
        sigma = float(column[finite].std(ddof=1))
        if sigma < MIN_VOLATILITY:
            continue
        returns[symbol] = np.where(finite, column, np.nan)
        volatility[symbol] = sigma
    return Estimates(tuple(returns), returns, volatility, Panel(panel.symbols, window))
