"""
What the gate does beside the limits, as pure array code with leading batch axes.

Who may not grow and why, a decision's targets, whole lots at the prices that orders are sent at,
and the order rate. `strategies.risk.Gate` calls these for one book, the training twin for many at
once, so that a policy is trained under the gate that it trades under. What a gate remembers
from session to session is its caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.book_measures import TOLERANCE, allowance, caps_of, within
from agents.limits import LIMIT_CODES, project, restrain
from agents.risk_model import RiskModel
from config.settings import LimitSettings

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

ROUNDING_STEPS = np.linspace(1.0, 0.0, 11)
ROUNDING = 1e-7  # relative; of a book's measures when it is rounded to lots
QUANTITY_DECIMALS = 6  # no lot is finer; every quantity is rounded to them


@dataclass(frozen=True)
class Holding:
    """
    A book at one instant, at one set of prices.

    Shapes: quantity, price, rate (..., N); lot (N,); equity (...). `price` in the quote currency,
    NaN where none is known; `rate` turns the quote currency into the account's.
    """

    quantity: FloatArray
    price: FloatArray
    rate: FloatArray
    lot: FloatArray
    equity: FloatArray | float

    def weights(self, quantity: FloatArray | None = None) -> FloatArray:
        """Return the weights of `quantity` (by default the held one) at these prices."""
        q = self.quantity if quantity is None else quantity
        equity = np.asarray(self.equity)[..., None]
        return np.where(q != 0, q * self.price * self.rate / equity, 0.0)

    def take(self, rows: IntArray) -> Holding:
        """Return some books of a batch, which is taken as flat; rows (R,)."""
        n = len(self.lot)
        return Holding(
            self.quantity.reshape(-1, n)[rows],
            self.price.reshape(-1, n)[rows],
            self.rate.reshape(-1, n)[rows],
            self.lot,
            np.reshape(self.equity, -1)[rows],
        )


def tightened(limits: LimitSettings) -> LimitSettings:
    """Return the limits that targets are cut to, so that drift has room."""
    share = limits.headroom
    return msgspec.structs.replace(
        limits,
        max_position=limits.max_position * share,
        max_group=limits.max_group * share,
        max_gross=limits.max_gross * share,
        max_var=limits.max_var * share,
        max_correlation=limits.max_correlation * share,
    )


def blocked_codes(
    price: FloatArray,
    last_close: FloatArray,
    age: IntArray,
    cooldown: IntArray,
    drawdown: FloatArray | float,
    known: BoolArray,
    limits: LimitSettings,
    *,
    halted: bool,
) -> IntArray:
    """
    Return the code of what forbids an instrument to grow, 0 where nothing does.

    `age` counts the sessions since `last_close`, `cooldown` those that a stop still bars.
    Shapes: drawdown (...), all others (..., N) -> (..., N).
    """
    if halted:
        return np.full(price.shape, LIMIT_CODES["kill_switch"])
    codes = np.zeros(price.shape, np.int64)
    with np.errstate(invalid="ignore"):
        far = np.abs(price / last_close - 1.0) > limits.price_collar
    stale = (age > limits.stale_sessions) | ~np.isfinite(price)
    for which, name in (
        (far, "collar"),
        (stale, "stale"),
        (~known, "history"),
        (cooldown > 0, "stop_loss"),
    ):
        codes[which] = LIMIT_CODES[name]
    codes[np.asarray(drawdown > limits.max_drawdown)] = LIMIT_CODES["drawdown"]
    return codes


def delivery_targets(
    asked: FloatArray,
    held: FloatArray,
    blocked: IntArray,
    model: RiskModel,
    tight: LimitSettings,
) -> tuple[FloatArray, IntArray]:
    """
    Return a decision's targets, cut with headroom, and which limit cut each.

    Shapes: all (..., N) -> (..., N), (..., N).
    """
    grown = (np.abs(asked) > np.abs(held)) | (asked * held < 0)
    kept = np.where(asked * held > 0, held, 0.0)
    open_to = np.where((blocked > 0) & grown, kept, asked)
    allowed, cause = project(open_to, model, tight)
    return allowed, np.where(open_to != asked, blocked, cause)


def drifted(held: FloatArray, model: RiskModel, limits: LimitSettings) -> BoolArray:
    """Return where a book that drifted beyond a limit must be reduced; shapes: (..., N)."""
    result = np.zeros(held.shape, bool)
    n = held.shape[-1]
    flat, books = result.reshape(-1, n), held.reshape(-1, n)
    beyond = np.flatnonzero(~within(held, model, caps_of(limits)))
    if beyond.size:
        inside, _ = project(books[beyond], model.take(beyond), limits)
        flat[beyond] = np.abs(inside - books[beyond]) > TOLERANCE
    return result


def judge(
    asked: FloatArray,
    holding: Holding,
    movable: BoolArray,
    forced: BoolArray,
    blocked: IntArray,
    orders: IntArray,
    model: RiskModel,
    limits: LimitSettings,
) -> tuple[FloatArray, IntArray, IntArray]:
    """
    Return the quantities that may be held, which limit cut each, and the session's order count.

    `asked` are target weights, used where `movable`; `forced` are exited; `orders` were sent in
    this session before. Shapes: orders (...), the arrays (..., N).
    """
    held = holding.weights()
    weights, cause = restrain(
        asked, held, model, limits, movable=movable, blocked=blocked, forced=forced
    )
    quantity = _whole_lots(weights, held, holding, forced & movable, model, limits)
    quantity, over, orders = _within_order_rate(quantity, holding.quantity, orders, limits)
    return quantity, np.where(over, LIMIT_CODES["order_rate"], cause), orders


def _whole_lots(
    weights: FloatArray,
    held: FloatArray,
    holding: Holding,
    exits: BoolArray,
    model: RiskModel,
    limits: LimitSettings,
) -> FloatArray:
    """
    Return whole lots, rounded toward zero, that keep the promise.

    Rounding can raise VaR where it trims a hedge: then the change is shortened until the
    measures fit, at worst to the forced exits alone.
    """
    quantity = _lots_of(ROUNDING_STEPS[0], weights, held, holding, exits)
    inside = within(holding.weights(quantity), model, caps_of(limits), ROUNDING)
    beyond = np.flatnonzero(~inside)
    if not beyond.size:
        return quantity
    n = held.shape[-1]
    result = quantity.reshape(-1, n)
    some, model = holding.take(beyond), model.take(beyond)
    weights, held = weights.reshape(-1, n)[beyond], held.reshape(-1, n)[beyond]
    exits = exits.reshape(-1, n)[beyond]
    caps = allowance(held, model, limits)
    left = np.arange(len(beyond))
    for share in ROUNDING_STEPS:
        part = some.take(left)
        lots = _lots_of(share, weights[left], held[left], part, exits[left])
        result[beyond[left]] = lots
        kept = within(part.weights(lots), model.take(left), caps.take(left), ROUNDING)
        left = left[~kept]
        if not left.size:
            break
    return result.reshape(quantity.shape)


def _lots_of(
    share: float, weights: FloatArray, held: FloatArray, holding: Holding, exits: BoolArray
) -> FloatArray:
    """Return the quantities, in whole lots, of a share of the way from `held` to `weights`."""
    unit = np.where(np.isfinite(holding.price), holding.price * holding.rate, np.inf)
    equity = np.asarray(holding.equity)[..., None]
    goal = held + share * (weights - held)
    changed = np.abs(goal - held) > 1e-12
    lots = np.trunc(goal * equity / (unit * holding.lot) + np.sign(goal) * 1e-9)
    whole = np.round(lots * holding.lot, QUANTITY_DECIMALS)
    return np.where(exits, 0.0, np.where(changed, whole, holding.quantity))


def _within_order_rate(
    quantity: FloatArray, held: FloatArray, orders: IntArray, limits: LimitSettings
) -> tuple[FloatArray, BoolArray, IntArray]:
    """Refuse growing orders beyond the session's order count; reductions always go."""
    change = quantity != held
    total = orders + change.sum(axis=-1)
    if np.all(total <= limits.max_orders_per_session):
        return quantity, np.zeros_like(change), total
    grows = change & (np.abs(quantity) > np.abs(held))
    orders = orders + np.sum(change & ~grows, axis=-1)
    room = np.maximum(0, limits.max_orders_per_session - orders)[..., None]
    over = grows & (np.cumsum(grows, axis=-1) > room)
    orders = orders + np.sum(grows & ~over, axis=-1)
    return np.where(over, held, quantity), over, orders
