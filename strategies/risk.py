"""
The gate: the desk's state into `agents.limits`, a judgement out. No order leaves without it.

It holds what a limit needs to remember - the risk model of the last close, the peak of equity,
stopped instruments, this session's order count - and knows neither orders nor venues. Targets are
cut with headroom when a decision arrives; quantities are judged again, at full limits, at the
prices they are sent at. Nothing here is a model, and nothing here swallows an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.limits import (
    LIMIT_CODES,
    LIMIT_NAMES,
    TOLERANCE,
    Measures,
    RiskModel,
    estimate_risk,
    measure,
    project,
    restrain,
)
from agents.messages import Instrument, Verdict, VerdictLine
from config.settings import LimitSettings

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]

ROUNDING_STEPS = np.linspace(1.0, 0.0, 11)


@dataclass(frozen=True)
class Holding:
    """
    The book at one instant, at one set of prices.

    Shapes: quantity, price, rate, lot (N,). `price` in the quote currency, NaN where none is
    known; `rate` turns the quote currency into the account's.
    """

    quantity: FloatArray
    price: FloatArray
    rate: FloatArray
    lot: FloatArray
    equity: float

    def weights(self, quantity: FloatArray | None = None) -> FloatArray:
        """Return the weights of `quantity` (by default the held one) at these prices."""
        q = self.quantity if quantity is None else quantity
        return np.where(q != 0, q * self.price * self.rate / self.equity, 0.0)


@dataclass(frozen=True)
class Judgement:
    """What the gate allows: weights, the target quantities and the limit that cut each."""

    held: FloatArray
    asked: FloatArray
    allowed: FloatArray
    quantity: FloatArray
    cause: IntArray
    var_frac: float


class Gate:
    """The risk gate of one book."""

    def __init__(self, instruments: Sequence[Instrument], limits: LimitSettings) -> None:
        self.instruments = tuple(instruments)
        self.limits = limits
        share = limits.headroom
        self.tight = msgspec.structs.replace(
            limits,
            max_position=limits.max_position * share,
            max_group=limits.max_group * share,
            max_gross=limits.max_gross * share,
            max_var=limits.max_var * share,
            max_correlation=limits.max_correlation * share,
        )
        names = sorted({i.group for i in instruments})
        self._groups = np.array([names.index(i.group) for i in instruments], dtype=np.int64)
        self._shortable = np.array([i.shortable for i in instruments], dtype=bool)
        n = len(self.instruments)
        self._cooldown = np.zeros(n, dtype=np.int64)
        self._last_close = np.full(n, np.nan)
        self._age = np.zeros(n, dtype=np.int64)
        self._peak = 0.0
        self._orders = 0
        self._halted = limits.kill_switch
        self.drawdown = 0.0
        self._returns: FloatArray = np.zeros((0, n))
        self._model: RiskModel | None = None

    @property
    def model(self) -> RiskModel:
        """The risk model of the last close, estimated when it is first asked for."""
        if self._model is None:
            self._model = estimate_risk(
                self._returns, self._groups, self._shortable, self.limits.min_history
            )
        return self._model

    def close_session(self, closes: FloatArray, returns: FloatArray, equity: float) -> None:
        """
        Take in a session's end: closes (N,), NaN where none; past returns (T, N); equity.

        Renews what the risk model is made of and the peak, and ages stops and prices.
        """
        traded = np.isfinite(closes)
        self._last_close = np.where(traded, closes, self._last_close)
        self._age = np.where(traded, 0, self._age + 1)
        self._cooldown = np.maximum(0, self._cooldown - 1)
        self._orders = 0
        self._peak = max(self._peak, equity)
        self.drawdown = max(0.0, 1.0 - equity / self._peak)
        self._returns, self._model = returns, None

    def halt(self) -> None:
        """Let nothing grow from now on, as the kill switch does."""
        self._halted = True

    def stop(self, i: int) -> None:
        """Remember that instrument `i` was stopped out."""
        self._cooldown[i] = self.limits.stop_cooldown_sessions

    def targets(self, asked: FloatArray, held: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return a decision's targets, cut with headroom, and which limit cut each."""
        blocked = self._blocked(self._last_close)
        grown = (np.abs(asked) > np.abs(held)) | (asked * held < 0)
        kept = np.where(asked * held > 0, held, 0.0)
        open_to = np.where((blocked > 0) & grown, kept, asked)
        allowed, cause = project(open_to, self.model, self.tight)
        return allowed, np.where(open_to != asked, blocked, cause)

    def drifted(self, held: FloatArray) -> BoolArray:
        """Return where a book that drifted beyond a limit must be reduced."""
        inside, _ = project(held, self.model, self.limits)
        return np.abs(inside - held) > TOLERANCE

    def judge(
        self, asked: FloatArray, holding: Holding, movable: BoolArray, forced: BoolArray
    ) -> Judgement:
        """
        Return the quantities that may be held, whole lots, at the holding's prices.

        `asked` (N,) are target weights, used where `movable`; `forced` are exited.
        """
        held = holding.weights()
        weights, cause = restrain(
            asked,
            held,
            self.model,
            self.limits,
            movable=movable,
            blocked=self._blocked(holding.price),
            forced=forced,
        )
        quantity = self._whole_lots(weights, held, holding, forced & movable)
        quantity, over = self._within_order_rate(quantity, holding.quantity)
        cause = np.where(over, LIMIT_CODES["order_rate"], cause)
        allowed = holding.weights(quantity)
        var = float(measure(allowed, self.model).var)
        return Judgement(held, asked, allowed, quantity, cause, var)

    def verdict(self, decision_id: str, ts: int, stage: str, judged: Judgement) -> Verdict:
        """Return the judgement as a message; lines only where something is held or asked."""
        shown = (judged.held != 0) | (judged.asked != 0) | (judged.allowed != 0)
        return msgspec.convert(
            {
                "decision_id": decision_id,
                "ts_event": ts,
                "ts_init": ts,
                "stage": stage,
                "var_frac": judged.var_frac if self.model.known.any() else None,
                "lines": [
                    VerdictLine(
                        symbol=self.instruments[i].symbol,
                        held=float(judged.held[i]),
                        asked=float(judged.asked[i]),
                        allowed=float(judged.allowed[i]),
                        limit=LIMIT_NAMES[judged.cause[i]],
                    )
                    for i in np.flatnonzero(shown)
                ],
            },
            Verdict,
        )

    def _blocked(self, price: FloatArray) -> IntArray:
        """Return the code of what forbids an instrument to grow, 0 where nothing does."""
        with np.errstate(invalid="ignore"):
            far = np.abs(price / self._last_close - 1.0) > self.limits.price_collar
        codes = np.where(far, LIMIT_CODES["collar"], 0)
        codes = np.where(self._age > self.limits.stale_sessions, LIMIT_CODES["stale"], codes)
        codes = np.where(~np.isfinite(price), LIMIT_CODES["stale"], codes)
        codes = np.where(~self.model.known, LIMIT_CODES["history"], codes)
        codes = np.where(self._cooldown > 0, LIMIT_CODES["stop_loss"], codes)
        if self.drawdown > self.limits.max_drawdown:
            codes = np.full_like(codes, LIMIT_CODES["drawdown"])
        if self._halted:
            codes = np.full_like(codes, LIMIT_CODES["kill_switch"])
        return codes.astype(np.int64)

    def _whole_lots(
        self, weights: FloatArray, held: FloatArray, holding: Holding, exits: BoolArray
    ) -> FloatArray:
        """
        Return whole lots, rounded toward zero, that keep the promise.

        Rounding can raise VaR where it trims a hedge: then the change is shortened until the
        measures fit, at worst to the forced exits alone.
        """
        before = measure(held, self.model)
        unit = np.where(np.isfinite(holding.price), holding.price * holding.rate, np.inf)
        for share in ROUNDING_STEPS:
            goal = held + share * (weights - held)
            changed = np.abs(goal - held) > 1e-12
            lots = np.trunc(goal * holding.equity / (unit * holding.lot) + np.sign(goal) * 1e-9)
            quantity = np.where(changed, lots * holding.lot, holding.quantity)
            quantity = np.where(exits, 0.0, quantity)
            if self._promise_kept(measure(holding.weights(quantity), self.model), before):
                return quantity
        return quantity

    def _promise_kept(self, after: Measures, before: Measures) -> bool:
        limits = self.limits
        pairs = (
            (after.position, before.position, limits.max_position),
            (after.group, before.group, limits.max_group),
            (after.gross, before.gross, limits.max_gross),
            (after.correlation, before.correlation, limits.max_correlation),
            (after.var, before.var, limits.max_var),
        )
        return all(
            bool(np.all(a <= np.maximum(limit, b) * (1 + 1e-7) + 1e-12)) for a, b, limit in pairs
        )

    def _within_order_rate(
        self, quantity: FloatArray, held: FloatArray
    ) -> tuple[FloatArray, BoolArray]:
        """Refuse growing orders beyond the session's order count; reductions always go."""
        change = quantity != held
        grows = change & (np.abs(quantity) > np.abs(held))
        self._orders += int(np.sum(change & ~grows))
        room = max(0, self.limits.max_orders_per_session - self._orders)
        over = grows & (np.cumsum(grows) > room)
        self._orders += int(np.sum(grows & ~over))
        return np.where(over, held, quantity), over
