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

from agents.book_measures import value_at_risk
from agents.gate_rules import (
    Holding,
    blocked_codes,
    delivery_targets,
    drifted,
    judge,
    tightened,
)
from agents.limits import LIMIT_NAMES
from agents.messages import Instrument, Verdict, VerdictLine
from agents.risk_model import RiskModel, RunningVolatility, window_risk
from config.settings import LimitSettings

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]


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
        self.tight = tightened(limits)
        names = sorted({i.group for i in instruments})
        self._groups = np.array([names.index(i.group) for i in instruments], dtype=np.int64)
        self._shortable = np.array([i.shortable for i in instruments], dtype=bool)
        n = len(self.instruments)
        self._cooldown = np.zeros(n, dtype=np.int64)
        self._last_close = np.full(n, np.nan)
        self._age = np.zeros(n, dtype=np.int64)
        self._peak = 0.0
        self._orders = np.zeros((), dtype=np.int64)
        self._halted = limits.kill_switch
        self.drawdown = 0.0
        self._returns: FloatArray = np.zeros((0, n))
        self._running = RunningVolatility((n,))
        self._has_history = False
        self._residuals: FloatArray = np.zeros((0, n))
        self._model: RiskModel | None = None

    @property
    def model(self) -> RiskModel:
        """The risk model of the last close, estimated when it is first asked for."""
        if self._model is None:
            self._model = window_risk(
                self._returns,
                self._residuals,
                self._running.volatility,
                self._groups,
                self._shortable,
                self.limits.min_history,
            )
        return self._model

    def close_session(self, closes: FloatArray, returns: FloatArray, equity: float) -> None:
        """
        Take in a session's end: closes (N,), NaN where none; past returns (T, N); equity.

        Renews what the risk model is made of and the peak, and ages stops and prices. The first
        returns given are the history; from then on each session's newest row is, as no row
        changes later, and the model is that of as many sessions as are given.
        """
        traded = np.isfinite(closes)
        self._last_close = np.where(traded, closes, self._last_close)
        self._age = np.where(traded, 0, self._age + 1)
        self._cooldown = np.maximum(0, self._cooldown - 1)
        self._orders = np.zeros((), dtype=np.int64)
        self._peak = max(self._peak, equity)
        self.drawdown = max(0.0, 1.0 - equity / self._peak)
        new = returns[-1:] if self._has_history else returns
        self._has_history = True
        residuals = [self._running.add(row)[None] for row in new]
        self._residuals = np.concatenate([self._residuals, *residuals])[-len(returns) or None :]
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
        return delivery_targets(asked, held, blocked, self.model, self.tight)

    def drifted(self, held: FloatArray) -> BoolArray:
        """Return where a book that drifted beyond a limit must be reduced."""
        return drifted(held, self.model, self.limits)

    def judge(
        self, asked: FloatArray, holding: Holding, movable: BoolArray, forced: BoolArray
    ) -> Judgement:
        """
        Return the quantities that may be held, whole lots, at the holding's prices.

        `asked` (N,) are target weights, used where `movable`; `forced` are exited.
        """
        quantity, cause, self._orders = judge(
            asked,
            holding,
            movable,
            forced,
            self._blocked(holding.price),
            self._orders,
            self.model,
            self.limits,
        )
        allowed = holding.weights(quantity)
        var = float(value_at_risk(allowed, self.model))
        return Judgement(holding.weights(), asked, allowed, quantity, cause, var)

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
        return blocked_codes(
            price,
            self._last_close,
            self._age,
            self._cooldown,
            self.drawdown,
            self.model.known,
            self.limits,
            halted=self._halted,
        )
