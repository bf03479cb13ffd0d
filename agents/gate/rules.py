"""
The gate's rules apart from the limits, as pure array code with leading batch axes.

They say what may not grow and why, cut a decision's targets, bound how large and how many orders
are, round to whole lots at the prices that orders are sent at, and place the stops.
`strategies.risk.Gate` calls these for one book, the training twin for many at once, so that a
policy is trained under the gate that it trades under. What a gate remembers from session to
session is `agents.gate.state`'s.

The promise: at the prices when sent, no order takes a measure beyond its limit or worsens a
breached one. The exception: an exit that is forced - a stop, the end of an instrument - goes even
where what cannot trade at that stamp was its hedge, and may worsen a measure; it is then named by
its reason in the orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.limits import LIMIT_CODES, project, restrain
from agents.gate.measures import TOLERANCE, allowance, caps_of, within
from agents.gate.risk_model import RiskModel
from config.settings import LimitSettings

ROUNDING_STEPS = np.linspace(1.0, 0.0, 11)
ROUNDING = 1e-7  # relative; of a book's measures when it is rounded to lots
UNCHANGED = 1e-12  # of a weight: less is a double's rounding
QUANTITY_DECIMALS = 6  # no lot is finer; every quantity is rounded to them
STOP_SESSIONS = 20  # of the volatility that a stop's distance follows
WEEK_ROOT = 5.0**0.5  # from a session's volatility to a week's
VOLUME_SESSIONS = 20  # of the mean that an order's size is held against


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


def grows(after: FloatArray, before: FloatArray) -> BoolArray:
    """Tell which positions a change enlarges; a flip through zero opens one. Shapes: (..., N)."""
    return (np.abs(after) > np.abs(before)) | (after * before < 0)


def recent_volatility(returns: FloatArray) -> FloatArray:
    """
    Return the sample standard deviation of the last sessions' returns (S, N), a session.

    NaN where fewer than two are known.
    """
    last = returns[-STOP_SESSIONS:]
    traded = np.isfinite(last)
    count = traded.sum(axis=0)
    filled = np.where(traded, last, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    squares = np.where(traded, (filled - mean) ** 2, 0.0).sum(axis=0)
    variance = np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=count > 1)
    return np.asarray(np.sqrt(variance))


def stop_width(volatility: FloatArray, limits: LimitSettings) -> FloatArray:
    """
    Return how far a stop lies from the average entry, a fraction; NaN for no stop.

    `volatility` (..., N) is `recent_volatility`, which a `fraction` stop does not need.
    """
    if limits.stop == "none":
        return np.full(volatility.shape, np.nan)
    if limits.stop == "fraction":
        return np.full(volatility.shape, limits.stop_loss)
    return limits.stop_sigmas * WEEK_ROOT * volatility


def mean_volume(volumes: FloatArray) -> FloatArray:
    """Return the mean of the last sessions' volumes (S, N), those without a bar left out."""
    last = volumes[-VOLUME_SESSIONS:]
    traded = np.isfinite(last)
    total = np.where(traded, last, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(traded.sum(axis=0), 1))


def blocked_codes(
    price: FloatArray,
    last_close: FloatArray,
    age: IntArray,
    cooldown: IntArray,
    drawdown: FloatArray | float,
    known: BoolArray,
    limits: LimitSettings,
    *,
    halted: BoolArray,
) -> IntArray:
    """
    Return the code of what forbids an instrument to grow, 0 where nothing does.

    `age` counts the sessions since `last_close`, `cooldown` those that a stop still bars.
    Shapes: drawdown, halted (...), all others (..., N) -> (..., N).
    """
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
    codes[halted] = LIMIT_CODES["kill_switch"]
    return codes


def delivery_targets(
    asked: FloatArray,
    held: FloatArray,
    blocked: IntArray,
    model: RiskModel,
    tight: LimitSettings,
    year: int,
) -> tuple[FloatArray, IntArray]:
    """
    Return a decision's targets, cut with headroom, and which limit cut each.

    Where the limits name a volatility target, what is asked is first scaled down to it; `year` is
    how many sessions a year has.
    Shapes: all (..., N) -> (..., N), (..., N). Raises ValueError for targets that are no numbers.
    """
    if not np.isfinite(asked).all():
        raise ValueError(f"expected finite target weights, was {asked[~np.isfinite(asked)][0]}")
    grown = (np.abs(asked) > np.abs(held)) | (asked * held < 0)
    kept = np.where(asked * held > 0, held, 0.0)
    open_to = np.where((blocked > 0) & grown, kept, asked)
    cause = np.where(open_to != asked, blocked, 0)
    calm = _at_volatility(open_to, model, tight, year)
    cause = np.where((calm != open_to) & (cause == 0), LIMIT_CODES["volatility"], cause)
    allowed, cut = project(calm, model, tight)
    return allowed, np.where(cause == 0, cut, cause)


def _at_volatility(
    asked: FloatArray, model: RiskModel, limits: LimitSettings, year: int
) -> FloatArray:
    """Return books scaled down to the volatility target, where there is one; (..., N)."""
    if limits.volatility_target is None:
        return asked
    expected = model.deviation(asked) * float(year) ** 0.5
    beyond = expected > limits.volatility_target
    share = np.where(beyond, limits.volatility_target / np.where(beyond, expected, 1.0), 1.0)
    return asked * share[..., None]


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


@dataclass(frozen=True)
class Market:
    """
    What the gate must know of the market beside prices.

    Shapes: blocked (..., N), the codes of what may not grow; volume (..., N), the mean daily
    volume in units of quantity, infinite where it says nothing of size.
    """

    blocked: IntArray
    volume: FloatArray

    def take(self, rows: IntArray) -> Market:
        """Return what concerns some books of a batch, which is taken as flat; rows (R,)."""
        n = self.blocked.shape[-1]
        return Market(self.blocked.reshape(-1, n)[rows], self.volume.reshape(-1, n)[rows])


def judge(
    asked: FloatArray,
    holding: Holding,
    movable: BoolArray,
    forced: BoolArray,
    market: Market,
    orders: IntArray,
    model: RiskModel,
    limits: LimitSettings,
) -> tuple[FloatArray, IntArray, IntArray]:
    """
    Return the quantities that may be held, which limit cut each, and the session's order count.

    `asked` are target weights, used where `movable`; `forced` are exited; `orders` were sent in
    this session before. Size and number of orders are cut first, so that what is measured is what
    can be sent. Of a book whose equity is at or below zero nothing moves but forced exits.
    Shapes: orders (...), the arrays (..., N). Raises ValueError for targets that are no numbers.
    """
    if not np.isfinite(np.where(movable, asked, 0.0)).all():
        raise ValueError("expected finite target weights, was one that is not")
    equity = np.asarray(holding.equity)
    solvent = np.isfinite(equity) & (equity > 0)
    if not solvent.all():
        return _judge_apart(
            asked, holding, movable, forced, market, orders, model, limits, solvent
        )
    held = holding.weights()
    asked, oversized = _within_volume(asked, held, holding, movable & ~forced, market, limits)
    weights, cause = restrain(
        asked, held, model, limits, movable=movable, blocked=market.blocked, forced=forced
    )
    movable, over = _within_order_rate(weights, held, movable, forced, orders, limits)
    if over.any():
        weights, cause = restrain(
            asked, held, model, limits, movable=movable, blocked=market.blocked, forced=forced
        )
    quantity = _whole_lots(weights, held, holding, forced & movable, model, limits)
    cause = np.where(oversized & (cause == 0), LIMIT_CODES["volume"], cause)
    cause = np.where(over, LIMIT_CODES["order_rate"], cause)
    return quantity, cause, orders + (quantity != holding.quantity).sum(axis=-1)


def _judge_apart(
    asked: FloatArray,
    holding: Holding,
    movable: BoolArray,
    forced: BoolArray,
    market: Market,
    orders: IntArray,
    model: RiskModel,
    limits: LimitSettings,
    solvent: BoolArray,
) -> tuple[FloatArray, IntArray, IntArray]:
    """Judge solvent books as ever; of ruined ones let forced exits go and nothing else."""
    n = asked.shape[-1]
    quantity = np.where(forced & movable, 0.0, holding.quantity)
    cause = np.where(movable & ~forced, LIMIT_CODES["kill_switch"], 0).astype(np.int64)
    rows = np.flatnonzero(np.atleast_1d(solvent))
    if rows.size:
        some = judge(
            asked.reshape(-1, n)[rows],
            holding.take(rows),
            movable.reshape(-1, n)[rows],
            forced.reshape(-1, n)[rows],
            market.take(rows),
            np.reshape(orders, -1)[rows],
            model.take(rows),
            limits,
        )
        quantity.reshape(-1, n)[rows], cause.reshape(-1, n)[rows] = some[0], some[1]
    return quantity, cause, orders + (quantity != holding.quantity).sum(axis=-1)


def _within_volume(
    asked: FloatArray,
    held: FloatArray,
    holding: Holding,
    which: BoolArray,
    market: Market,
    limits: LimitSettings,
) -> tuple[FloatArray, BoolArray]:
    """Return the weights that orders within their share of the mean volume reach, and the cut."""
    if np.isinf(market.volume).all():
        return asked, np.zeros(asked.shape, bool)
    equity = np.asarray(holding.equity)[..., None]
    unit = np.where(np.isfinite(holding.price), holding.price * holding.rate, 1.0)
    most = limits.max_volume_frac * market.volume * unit / equity
    reached = held + np.clip(asked - held, -most, most)
    cut = which & (np.abs(asked - held) > most * (1 + ROUNDING))
    return np.where(cut, reached, asked), cut


def _within_order_rate(
    weights: FloatArray,
    held: FloatArray,
    movable: BoolArray,
    forced: BoolArray,
    orders: IntArray,
    limits: LimitSettings,
) -> tuple[BoolArray, BoolArray]:
    """
    Return what may move within the session's order count, and what the count stops.

    Reductions and forced exits always go. Of growing orders the first go as far as there is room;
    none does in a book with both long and short positions: half a hedge is no hedge.
    """
    change = movable & (np.abs(weights - held) > UNCHANGED)
    if np.all(orders + change.sum(axis=-1) <= limits.max_orders_per_session):
        return movable, np.zeros_like(movable)
    growing = change & grows(weights, held) & ~forced
    room = limits.max_orders_per_session - orders - np.sum(change & ~growing, axis=-1)
    room = np.maximum(0, room)
    mixed = (weights > 0).any(axis=-1) & (weights < 0).any(axis=-1)
    full = growing.sum(axis=-1) > room
    room = np.where(mixed & full, 0, room)[..., None]
    over = growing & (np.cumsum(growing, axis=-1) > room)
    return movable & ~over, over


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
    changed = np.abs(goal - held) > UNCHANGED
    lots = np.trunc(goal * equity / (unit * holding.lot) + np.sign(goal) * 1e-9)
    whole = np.round(lots * holding.lot, QUANTITY_DECIMALS)
    return np.where(exits, 0.0, np.where(changed, whole, holding.quantity))
