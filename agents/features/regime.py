"""
The market's regime: a causal estimate for features, a look-ahead label for targets only.

Both measure how many standard deviations the index drifted over 60 sessions, one looking back,
one around the session. They know index returns and nothing else.
"""

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from agents.messages import Regime

DRIFT_SESSIONS = 60
VOLATILITY_SESSIONS = 120
MIN_SESSIONS = 20
BOUND = 1.0 / 3.0  # of the score: a drift of 0.69 standard deviations
REGIMES: tuple[Regime, ...] = ("bear", "sideways", "bull")  # label + 1 indexes it


def regime_estimate(index_returns: FloatArray) -> tuple[Regime, float]:
    """
    Return the regime at the newest session and its score, -1 bear to 1 bull.

    The score is tanh(z / 2), z the log drift of the last 60 sessions over its standard
    deviation, which the last 120 sessions' daily returns give. Above 1/3 is bull, below -1/3
    bear. Unknown returns (NaN) are left out; with fewer than 20 the answer is sideways, NaN.

    Shapes: index_returns (T,), simple, oldest first; only the newest 120 are read.
    Source: time-series momentum scaled by volatility, Moskowitz, Ooi and Pedersen 2012.
    """
    window = index_returns[-VOLATILITY_SESSIONS:]
    logs = np.log1p(window[window == window])
    if len(logs) < MIN_SESSIONS:
        return "sideways", np.nan
    recent = logs[-DRIFT_SESSIONS:]
    centred = logs - np.add.reduce(logs) / len(logs)
    deviation = np.sqrt(np.add.reduce(centred * centred) / (len(logs) - 1) * len(recent))
    drift = float(np.add.reduce(recent))
    score = np.sign(drift) if deviation == 0.0 else np.tanh(0.5 * drift / deviation)
    return _name(float(score)), float(score)


def regime_score(estimate: tuple[Regime, float]) -> float:
    """
    Score of the causal regime estimate, -1 bear to 1 bull; masked before 20 sessions.

    Source: regime_estimate, after Moskowitz, Ooi and Pedersen 2012.
    """
    return estimate[1]


def regime_label(index_closes: FloatArray) -> NDArray[np.int8]:
    """
    Return each session's regime with hindsight: -1 bear, 0 sideways, 1 bull.

    Looks ahead: it may only ever be a training target or a yardstick, never a feature. The
    estimate's rule on the 60 sessions centred on each (30 before, 30 after), with the daily
    volatility of the 120 around it; windows are cut at the ends.

    Shapes: index_closes (T,), positive -> (T,).
    """
    logs = np.log(index_closes)
    moves = np.diff(logs)
    labels = np.zeros(len(logs), dtype=np.int8)
    half = DRIFT_SESSIONS // 2
    for t in range(len(logs)):
        first, last = max(t - half, 0), min(t + half, len(logs) - 1)
        around = moves[max(t - DRIFT_SESSIONS, 0) : t + DRIFT_SESSIONS]
        if last - first < MIN_SESSIONS:
            continue
        deviation = np.std(around, ddof=1) * np.sqrt(last - first)
        drift = logs[last] - logs[first]
        score = np.sign(drift) if deviation == 0.0 else np.tanh(0.5 * drift / deviation)
        labels[t] = REGIMES.index(_name(float(score))) - 1
    return labels


def _name(score: float) -> Regime:
    if score > BOUND:
        return "bull"
    return "bear" if score < -BOUND else "sideways"
