"""
Measures a book - positions, groups, gross, correlation exposure, VaR - and checks the caps.

Pure array code with leading batch axes. All measures are positively homogeneous in the weights;
groups, gross and correlation exposure are monotone in |w| as well, VaR is neither monotone nor
convex. Often a bound shows that a measure is within its cap: VaR's scenarios are read only
for the books whose bound is beyond. It cuts nothing; `agents.gate.limits` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.risk_model import RiskModel
from config.settings import LimitSettings

TOLERANCE = 1e-9  # relative; the measures' own rounding


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

    def take(self, rows: IntArray) -> Measures:
        """Return those of some books of a batch, which is taken as flat; rows (R,)."""
        return Measures(
            position=self.position.reshape(-1, self.position.shape[-1])[rows],
            group=self.group.reshape(-1, self.group.shape[-1])[rows],
            gross=np.reshape(self.gross, -1)[rows],
            correlation=self.correlation.reshape(-1, self.correlation.shape[-1])[rows],
            var=np.reshape(self.var, -1)[rows],
        )


def value_at_risk(
    weights: FloatArray, model: RiskModel, enough: FloatArray | float | None = None
) -> FloatArray:
    """
    Return the one-day 99% VaR as a fraction of equity, at least 0.

    Where a cheap upper bound is within `enough`, that bound is returned in its place: who only
    asks whether a cap holds need not pay for the scenarios.

    Shapes: weights (..., N), enough (...) -> (...).
    """
    if model.ceiling is None:
        return model.tail(model.pnl(weights))
    n = weights.shape[-1]
    bound = model.ceiling.alone(weights)
    if n == 1:
        return bound  # its own VaR
    flat, books = bound.reshape(-1), weights.reshape(-1, n)
    if enough is None:
        rows = np.arange(flat.size)
    else:
        rows = np.flatnonzero(bound > enough)
        if rows.size:
            most = np.broadcast_to(enough, bound.shape).reshape(-1)[rows]
            crowd = np.broadcast_to(model.ceiling.crowd, bound.shape).reshape(-1)[rows]
            flat[rows] = np.minimum(flat[rows], np.abs(books[rows]).max(axis=-1) * crowd)
            rows = rows[flat[rows] > most]
    if rows.size:
        flat[rows] = model.var_of(books[rows], rows)
    return flat.reshape(bound.shape)


def correlation_exposure(weights: FloatArray, model: RiskModel) -> FloatArray:
    """
    Return sum_j max(0, s_i s_j rho_ij) |w_j| for each i; 0 where nothing is held.

    Shapes: weights (..., N) -> (..., N).
    """
    return pull(np.sign(weights), weights, model)


def measure(
    weights: FloatArray, model: RiskModel, enough: FloatArray | float | None = None
) -> Measures:
    """Return all book measures, the VaR as far as `enough` asks. Shapes: weights (..., N)."""
    size = np.abs(weights)
    return Measures(
        position=size,
        group=size @ model.members,
        gross=total(size),
        correlation=correlation_exposure(weights, model),
        var=value_at_risk(weights, model, enough),
    )


def caps_of(limits: LimitSettings) -> Measures:
    """Return the limits of each measure."""
    return Measures(
        position=np.asarray(limits.max_position),
        group=np.asarray(limits.max_group),
        gross=np.asarray(limits.max_gross),
        correlation=np.asarray(limits.max_correlation),
        var=np.asarray(limits.max_var),
    )


def allowance(held: FloatArray, model: RiskModel, limits: LimitSettings) -> Measures:
    """Return how far each measure may go: its limit, or its value in `held` where larger."""
    before, caps = measure(held, model, limits.max_var), caps_of(limits)
    return Measures(
        position=np.maximum(caps.position, before.position),
        group=np.maximum(caps.group, before.group),
        gross=np.maximum(caps.gross, before.gross),
        correlation=np.maximum(caps.correlation, before.correlation),
        var=np.maximum(caps.var, before.var),
    )


def within(
    weights: FloatArray, model: RiskModel, caps: Measures, slack: float = TOLERANCE
) -> BoolArray:
    """
    Tell which books have every measure within `caps`, but for a relative `slack`.

    Shapes: weights (..., N) -> (...).
    """
    more = 1.0 + slack
    size = np.abs(weights)
    gross = total(size)
    fits = (gross <= caps.gross * more) & (
        value_at_risk(weights, model, caps.var * more) <= caps.var * more
    )
    measured = [(size, caps.position), (size @ model.members, caps.group)]
    if np.any(gross[..., None] > caps.correlation):  # what a row adds to is at most the gross
        measured.append((correlation_exposure(weights, model), caps.correlation))
    for values, cap in measured:
        over = values > cap * more
        if over.any():  # seldom: a reduction of each row is dear
            fits = fits & ~over.any(axis=-1)
    return fits


def pull(sign: FloatArray, weights: FloatArray, model: RiskModel) -> FloatArray:
    """
    Return sum_j max(0, s_i s_j rho_ij) |w_j| where s_j is the sign of w_j; 0 where s_i is.

    As max(0, x) = (x + |x|) / 2, two products with the matrix do it.
    """
    along = np.einsum("...ij,...j->...i", model.correlation, weights)
    size = np.einsum("...ij,...j->...i", model.links, np.abs(weights))
    along *= sign
    along += size
    return np.where(sign != 0, 0.5 * np.maximum(0.0, along), 0.0)


def total(values: FloatArray) -> FloatArray:
    """Return the sum over instruments; a product is faster than a reduction of short rows."""
    result: FloatArray = values @ np.ones(values.shape[-1])
    return result
