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

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.measures import (
    TOLERANCE,
    allowance,
    caps_of,
    correlation_exposure,
    pull,
    total,
    value_at_risk,
    within,
)
from agents.gate.risk_model import RiskModel
from config.settings import LimitSettings

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
    "volatility",
    "volume",
)
LIMIT_CODES = {name: code for code, name in enumerate(LIMIT_NAMES)}

PATH_STEPS = 32


def project(
    asked: FloatArray, model: RiskModel, limits: LimitSettings
) -> tuple[FloatArray, IntArray]:
    """
    Return the asked book cut into every limit, and the code of the first limit that cut each.

    Shapes: asked (..., N) -> (..., N), (..., N). A book inside all limits comes back unchanged.
    """
    w = np.where(~model.shortable & (asked < 0), 0.0, asked)
    cause = np.where(w != asked, LIMIT_CODES["long_only"], 0).astype(np.int64)
    clipped = np.minimum(np.maximum(w, -limits.max_position), limits.max_position)
    w, cause = _cut(w, clipped, cause, "position")
    members = model.members
    group = np.abs(w) @ members
    if np.any(group > limits.max_group):
        w, cause = _cut(w, w * (_fit(limits.max_group, group) @ members.T), cause, "group")
    gross = total(np.abs(w))
    if np.any(gross > limits.max_gross):
        w, cause = _cut(w, w * _fit(limits.max_gross, gross)[..., None], cause, "gross")
    if np.any(gross > limits.max_correlation):  # what a row adds to is at most the gross
        exposure = correlation_exposure(w, model)
        row = _fit(limits.max_correlation, exposure)
        factor = _linked_share(np.sign(w), model.correlation, row)
        w, cause = _cut(w, w * factor, cause, "correlation")
    var = value_at_risk(w, model, limits.max_var)[..., None]
    if np.any(var > limits.max_var):
        w, cause = _cut(w, w * _fit(limits.max_var, var), cause, "var")
    return w, cause


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
    its value in `held`. Where everything is movable, a forced exit that would
    raise VaR beyond its limit shrinks the rest of the book with it.

    Shapes: all (..., N) -> (..., N), (..., N).
    """
    movable = np.ones(held.shape, bool) if movable is None else movable
    blocked = np.zeros(held.shape, np.int64) if blocked is None else blocked
    forced = np.zeros(held.shape, bool) if forced is None else forced
    blocked = np.where(~model.known & (blocked == 0), LIMIT_CODES["history"], blocked)
    want = np.where(forced, 0.0, asked)
    cause = np.where(want != asked, LIMIT_CODES["stop_loss"], 0).astype(np.int64)
    if blocked.any():
        want, cause = _cut(want, np.where(blocked > 0, _shrunk(want, held), want), cause, blocked)
    want, cut = project(want, model, limits)
    cause = np.where(cause == 0, cut, cause)
    want = np.where(movable, want, held)

    base = np.where(movable, _shrunk(want, held), held)
    grow = want - base
    result = base + grow
    # what is projected fits; only what could not move may still be beyond a limit
    stuck = np.flatnonzero(~movable.all(axis=-1))
    if not stuck.size:
        return result, cause
    n = held.shape[-1]
    flat, causes = result.reshape(-1, n), cause.reshape(-1, n)
    stuck = stuck[~within(flat[stuck], model.take(stuck), caps_of(limits))]
    if stuck.size:
        flat[stuck], causes[stuck] = _fit_beside(
            held.reshape(-1, n)[stuck],
            base.reshape(-1, n)[stuck],
            grow.reshape(-1, n)[stuck],
            movable.reshape(-1, n)[stuck],
            forced.reshape(-1, n)[stuck],
            causes[stuck],
            model.take(stuck),
            limits,
        )
        result, cause = flat.reshape(held.shape), causes.reshape(held.shape)
    return result, cause


def _fit_beside(
    held: FloatArray,
    base: FloatArray,
    grow: FloatArray,
    movable: BoolArray,
    forced: BoolArray,
    cause: IntArray,
    model: RiskModel,
    limits: LimitSettings,
) -> tuple[FloatArray, IntArray]:
    """
    Fit growth beside what cannot move: no measure beyond its limit or what it is in `held`.

    `base` is what is kept of `held`; shapes: all (R, N).
    """
    caps = allowance(held, model, limits)
    members = model.members
    room = caps.group - np.abs(base) @ members
    need = np.abs(grow) @ members
    grow, cause = _cut(grow, grow * (_share(room, need) @ members.T), cause, "group")
    gross_room = caps.gross - total(np.abs(base))
    share = _share(gross_room, total(np.abs(grow)))[..., None]
    grow, cause = _cut(grow, grow * share, cause, "gross")
    grow, cause = _fit_correlation(base, grow, caps.correlation, model, cause)

    keep = np.where(forced & movable, 0.0, held)
    knots = (np.where(movable, 0.0, held), keep, base, base + grow)
    result = _farthest(knots, model, caps.var * (1 + TOLERANCE))
    cut_by_var = np.abs(result - knots[-1]) > 0
    return result, np.where(cut_by_var & (cause == 0), LIMIT_CODES["var"], cause)


def _fit_correlation(
    base: FloatArray,
    grow: FloatArray,
    cap: FloatArray,
    model: RiskModel,
    cause: IntArray,
) -> tuple[FloatArray, IntArray]:
    """Scale growth so that each row's exposure ends within its cap; new rows may be refused."""
    sign = np.where(base != 0, np.sign(base), np.sign(grow))
    room = cap - pull(sign, base, model)
    refused = (base == 0) & (room <= 0)
    grow, cause = _cut(grow, np.where(refused, 0.0, grow), cause, "correlation")
    sign = np.where(refused, 0.0, sign)
    need = pull(sign, grow, model)
    if not np.any(need > room):
        return grow, cause
    factor = _linked_share(sign, model.correlation, _share(room, need))
    return _cut(grow, grow * factor, cause, "correlation")


def _farthest(knots: tuple[FloatArray, ...], model: RiskModel, cap: FloatArray) -> FloatArray:
    """Return the last point of the path through `knots` with VaR within `cap`, else its start."""
    end = knots[-1]
    beyond = np.flatnonzero(value_at_risk(end, model, cap) > cap)
    if not beyond.size:
        return end
    n = end.shape[-1]
    result = np.array(end).reshape(-1, n)
    model, cap = model.take(beyond), np.asarray(cap).reshape(-1)[beyond]
    path = [k.reshape(-1, n)[beyond] for k in knots]
    pnl = [model.pnl(k) for k in path]
    found, left = path[0].copy(), np.arange(len(beyond))
    for i in range(len(knots) - 1, 0, -1):
        for t in np.linspace(1.0, 0.0, PATH_STEPS + 1)[1:]:
            if not left.size:
                break
            results = t * pnl[i][left] + (1 - t) * pnl[i - 1][left]
            fits = model.take(left).tail(results) <= cap[left]
            here = left[fits]
            found[here] = path[i - 1][here] + t * (path[i][here] - path[i - 1][here])
            left = left[~fits]
    result[beyond] = found
    return result.reshape(end.shape)


def _linked_share(sign: FloatArray, correlation: FloatArray, share: FloatArray) -> FloatArray:
    """Return the smallest share of all rows that each column adds to; 1 where it adds to none."""
    links = sign[..., :, None] * sign[..., None, :] * correlation > 0
    return np.where(links, share[..., :, None], 1.0).min(axis=-2, initial=1.0)


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
