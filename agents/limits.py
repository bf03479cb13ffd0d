"""
Every limit, as pure array code with leading batch axes: the one gate.

The risk gate, the allocator and the training twin all call these functions; none has limits of
its own. Weights are signed fractions of equity. `project` maps any asked book into all limits at
once; `restrain` does so from a held book of which only a part can be traded now, and keeps the
gate's promise: no measure ends beyond its limit, and none that was beyond it gets worse.

All book measures are positively homogeneous in the weights, so that scaling down is always a way
in; groups, gross and correlation exposure are monotone in |w| as well. VaR is neither monotone
nor convex, so it comes last: as a uniform scale in `project`, and in `restrain` as the farthest
point of a path whose start is the held book.

It knows no venue, no order and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from config.settings import LimitSettings

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

LIMIT_NAMES = (
    "",
    "long_only",
    "kill_switch",
    "drawdown",
    "stop_loss",
    "history",
    "stale",
    "collar",
    "position",
    "group",
    "gross",
    "correlation",
    "var",
    "order_rate",
)
LIMIT_CODES = {name: code for code, name in enumerate(LIMIT_NAMES)}

VAR_TAIL = 0.01
EWMA_DECAY = 0.94  # RiskMetrics (1996), daily
PATH_STEPS = 32
TOLERANCE = 1e-9  # relative; the measures' own rounding


@dataclass(frozen=True)
class RiskModel:
    """
    What the limits are measured with, estimated from past returns alone.

    Shapes: groups (N,) group index; members (N, G) one-hot; scenarios (..., S, N) one-day
    returns; correlation (..., N, N); known (..., N) where the history is long enough;
    shortable (N,).
    """

    groups: IntArray
    scenarios: FloatArray
    correlation: FloatArray
    known: BoolArray
    shortable: BoolArray

    @property
    def members(self) -> FloatArray:
        """One column a group."""
        return np.eye(int(self.groups.max(initial=0)) + 1)[self.groups]


@dataclass(frozen=True)
class Measures:
    """
    What a book measures, each in units of its limit.

    Shapes: position (..., N), group (..., G), gross (...), correlation (..., N), var (...).
    """

    position: FloatArray
    group: FloatArray
    gross: FloatArray
    correlation: FloatArray
    var: FloatArray


def estimate_risk(
    returns: FloatArray, groups: IntArray, shortable: BoolArray, min_history: int
) -> RiskModel:
    """
    Return the risk model of past one-session returns.

    Shapes: returns (T, N), oldest first, NaN where an instrument did not trade.
    Source: filtered historical simulation, Barone-Adesi, Giannopoulos and Vosper (1999), with
    an EWMA variance in place of GARCH; missing returns count as zero.
    """
    known = np.isfinite(returns).sum(axis=0) >= min_history
    filled = np.nan_to_num(returns)
    if len(filled) < 2:
        n = filled.shape[1]
        return RiskModel(groups, np.zeros((1, n)), np.eye(n), known, shortable)
    start = np.mean(filled[: min(20, len(filled))] ** 2, axis=0)
    variance, _ = lfilter(
        [1 - EWMA_DECAY], [1, -EWMA_DECAY], filled**2, axis=0, zi=EWMA_DECAY * start[None]
    )
    now = np.sqrt(variance[-1])
    before = np.sqrt(np.vstack([start, variance[:-1]]))
    scenarios = np.divide(filled, before, out=np.zeros_like(filled), where=before > 0) * now
    centred = filled - filled.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    correlation = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return RiskModel(groups, scenarios, correlation, known, shortable)


def value_at_risk(weights: FloatArray, scenarios: FloatArray) -> FloatArray:
    """
    Return the one-day 99% VaR as a fraction of equity, at least 0.

    Shapes: weights (..., N), scenarios (..., S, N) -> (...).
    """
    return _tail((scenarios @ weights[..., None])[..., 0])


def correlation_exposure(weights: FloatArray, correlation: FloatArray) -> FloatArray:
    """
    Return sum_j max(0, s_i s_j rho_ij) |w_j| for each i; 0 where nothing is held.

    Shapes: weights (..., N), correlation (..., N, N) -> (..., N).
    """
    return (_links(np.sign(weights), correlation) @ np.abs(weights)[..., None])[..., 0]


def measure(weights: FloatArray, model: RiskModel) -> Measures:
    """Return all book measures. Shapes: weights (..., N)."""
    size = np.abs(weights)
    return Measures(
        position=size,
        group=size @ model.members,
        gross=size.sum(axis=-1),
        correlation=correlation_exposure(weights, model.correlation),
        var=value_at_risk(weights, model.scenarios),
    )


def project(
    asked: FloatArray, model: RiskModel, limits: LimitSettings
) -> tuple[FloatArray, IntArray]:
    """
    Return the asked book cut into every limit, and the code of the first limit that cut each.

    Shapes: asked (..., N) -> (..., N), (..., N). A book inside all limits comes back unchanged.
    """
    w = np.where(~model.shortable & (asked < 0), 0.0, asked)
    cause = np.where(w != asked, LIMIT_CODES["long_only"], 0).astype(np.int64)
    clipped = np.clip(w, -limits.max_position, limits.max_position)
    w, cause = _cut(w, clipped, cause, "position")
    members = model.members
    group = np.abs(w) @ members
    w, cause = _cut(w, w * (_fit(limits.max_group, group) @ members.T), cause, "group")
    gross = np.abs(w).sum(axis=-1, keepdims=True)
    w, cause = _cut(w, w * _fit(limits.max_gross, gross), cause, "gross")
    links = _links(np.sign(w), model.correlation)
    row = _fit(limits.max_correlation, (links @ np.abs(w)[..., None])[..., 0])
    factor = np.where(links > 0, row[..., :, None], 1.0).min(axis=-2, initial=1.0)
    w, cause = _cut(w, w * factor, cause, "correlation")
    var = value_at_risk(w, model.scenarios)[..., None]
    return _cut(w, w * _fit(limits.max_var, var), cause, "var")


def restrain(
    asked: FloatArray,
    held: FloatArray,
    model: RiskModel,
    limits: LimitSettings,
    *,
    movable: BoolArray | None = None,
    blocked: IntArray | None = None,
    forced: BoolArray | None = None,
) -> tuple[FloatArray, IntArray]:
    """
    Return the book to hold, coming from `held`, and the code of the limit that cut each.

    Only `movable` instruments change; one with a `blocked` code may shrink but not grow; a
    `forced` one is exited. Each measure of the result is at most the larger of its limit and
    its value in `held`. Where everything is movable, a forced exit that would raise VaR beyond
    its limit shrinks the rest of the book with it.

    Shapes: all (..., N) -> (..., N), (..., N).
    """
    movable = np.ones(held.shape, bool) if movable is None else movable
    blocked = np.zeros(held.shape, np.int64) if blocked is None else blocked
    forced = np.zeros(held.shape, bool) if forced is None else forced
    blocked = np.where(~model.known & (blocked == 0), LIMIT_CODES["history"], blocked)
    want = np.where(forced, 0.0, asked)
    cause = np.where(want != asked, LIMIT_CODES["stop_loss"], 0).astype(np.int64)
    want, cause = _cut(want, np.where(blocked > 0, _shrunk(want, held), want), cause, blocked)
    want, cut = project(want, model, limits)
    cause = np.where(cause == 0, cut, cause)
    want = np.where(movable, want, held)

    base = np.where(movable, _shrunk(want, held), held)
    grow = want - base
    before = measure(held, model)
    members = model.members
    room = np.maximum(limits.max_group, before.group) - np.abs(base) @ members
    need = np.abs(grow) @ members
    grow, cause = _cut(grow, grow * (_share(room, need) @ members.T), cause, "group")
    gross_room = np.maximum(limits.max_gross, before.gross) - np.abs(base).sum(axis=-1)
    grow, cause = _cut(
        grow,
        grow * _share(gross_room, np.abs(grow).sum(axis=-1))[..., None],
        cause,
        "gross",
    )
    grow, cause = _fit_correlation(base, grow, before.correlation, model, limits, cause)

    keep = np.where(forced & movable, 0.0, held)
    knots = (np.where(movable, 0.0, held), keep, base, base + grow)
    cap = np.maximum(limits.max_var, before.var) * (1 + TOLERANCE)
    result = _farthest(knots, model.scenarios, cap)
    cut_by_var = np.abs(result - knots[-1]) > 0
    return result, np.where(cut_by_var & (cause == 0), LIMIT_CODES["var"], cause)


def _fit_correlation(
    base: FloatArray,
    grow: FloatArray,
    before: FloatArray,
    model: RiskModel,
    limits: LimitSettings,
    cause: IntArray,
) -> tuple[FloatArray, IntArray]:
    """Scale growth so that each row's exposure ends within its cap; new rows may be refused."""
    cap = np.maximum(limits.max_correlation, before)
    sign = np.where(base != 0, np.sign(base), np.sign(grow))
    links = _links(sign, model.correlation)
    room = cap - (links @ np.abs(base)[..., None])[..., 0]
    refused = (base == 0) & (room <= 0)
    grow, cause = _cut(grow, np.where(refused, 0.0, grow), cause, "correlation")
    links = _links(np.where(refused, 0.0, sign), model.correlation)
    need = (links @ np.abs(grow)[..., None])[..., 0]
    factor = np.where(links > 0, _share(room, need)[..., :, None], 1.0).min(axis=-2, initial=1.0)
    return _cut(grow, grow * factor, cause, "correlation")


def _farthest(knots: tuple[FloatArray, ...], scenarios: FloatArray, cap: FloatArray) -> FloatArray:
    """Return the last point of the path through `knots` with VaR within `cap`, else its start."""
    pnl = [(scenarios @ k[..., None])[..., 0] for k in knots]
    result, found = knots[0], np.zeros(cap.shape, bool)
    for i in range(len(knots) - 1, 0, -1):
        t = np.linspace(1.0, 0.0, PATH_STEPS + 1)
        points = t[:, None] * pnl[i][..., None, :] + (1 - t[:, None]) * pnl[i - 1][..., None, :]
        fits = _tail(points) <= cap[..., None]
        best = t[np.argmax(fits, axis=-1)][..., None]
        here = (fits.any(axis=-1) & ~found)[..., None]
        point = np.where(best == 1.0, knots[i], knots[i - 1] + best * (knots[i] - knots[i - 1]))
        result = np.where(here, point, result)
        found = found | here[..., 0]
    return result


def _tail(pnl: FloatArray) -> FloatArray:
    """Return the 99% loss of scenario results (..., S), at least 0: an order statistic."""
    k = int(VAR_TAIL * pnl.shape[-1])
    return np.maximum(0.0, -np.partition(pnl, k, axis=-1)[..., k]) + 0.0  # no negative zero


def _links(sign: FloatArray, correlation: FloatArray) -> FloatArray:
    return np.maximum(0.0, sign[..., :, None] * sign[..., None, :] * correlation)


def _shrunk(want: FloatArray, held: FloatArray) -> FloatArray:
    """Return `want` as far as it only reduces `held`: never larger, never across zero."""
    return np.where(want * held > 0, np.sign(held) * np.minimum(np.abs(want), np.abs(held)), 0.0)


def _fit(limit: float, value: FloatArray) -> FloatArray:
    """Return the factor in 0..1 that brings `value` within `limit`."""
    return np.where(value > limit, limit / np.where(value > limit, value, 1.0), 1.0)


def _share(room: FloatArray, need: FloatArray) -> FloatArray:
    """Return which share of `need` fits into `room`."""
    return np.where(need > room, np.maximum(room, 0.0) / np.where(need > 0, need, 1.0), 1.0)


def _cut(
    before: FloatArray, after: FloatArray, cause: IntArray, limit: str | IntArray
) -> tuple[FloatArray, IntArray]:
    """Return `after`, and `limit` as the cause wherever it differs and there is none yet."""
    code = LIMIT_CODES[limit] if isinstance(limit, str) else limit
    return after, np.where((after != before) & (cause == 0), code, cause)
