"""
The gate of one desk. No order leaves without its judgement.

A decision passes it twice. When the decision arrives, its target weights are cut to the limits
with some headroom, and what is allowed waits as quantities. At the next price the orders are
judged again, at full limits and at the prices that they are sent at. Between these the gate acts
on its own: a close beyond a stop forces an exit, a book that drifted beyond a limit is reduced,
a vanished instrument is left.

The rules are in `agents.gate`, which works on batches of books: the desk is a batch of one. Kept
here are the last close, the mean volumes and the risk model. The gate knows neither orders nor
venues; nothing in it is a learned model, and it swallows no error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.limits import LIMIT_NAMES
from agents.gate.measures import measure, value_at_risk
from agents.gate.risk_model import RiskModel, RunningVolatility, window_risk
from agents.gate.rules import (
    VOLUME_SESSIONS,
    Holding,
    Market,
    delivery_targets,
    drifted,
    judge,
    mean_volume,
    recent_volatility,
    stop_width,
    tightened,
)
from agents.gate.state import DELISTED, GateState, Pending
from agents.messages import Decision, Instrument, Verdict, VerdictLine
from config.settings import LimitSettings

EVERY = slice(None)  # of the books in the gate's state: the one


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
    """
    The risk gate of one book.

    `sized` (N,) tells of which instruments the volume bounds an order, by default the funded
    ones; `year` is how many sessions a year of the calendar has.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        limits: LimitSettings,
        *,
        sized: BoolArray | None = None,
        year: int = 252,
    ) -> None:
        self.instruments = tuple(instruments)
        self.limits = limits
        self.tight = tightened(limits)
        names = sorted({i.group for i in instruments})
        self._groups = np.array([names.index(i.group) for i in instruments], dtype=np.int64)
        self._shortable = np.array([i.shortable for i in instruments], dtype=bool)
        n = len(self.instruments)
        self.state = GateState(1, n, limits)
        self.stop_below = memoryview(self.state.stop_below[0])  # by instrument; read at each bar
        self.stop_above = memoryview(self.state.stop_above[0])
        self._sized = np.array([i.funded for i in instruments]) if sized is None else sized
        self._year = year
        self._volumes: FloatArray = np.zeros((0, n))
        self._last_close = np.full(n, np.nan)
        self._age = np.zeros(n, dtype=np.int64)
        self._returns: FloatArray = np.zeros((0, n))
        self._running = RunningVolatility((n,))
        self._has_history = False
        self._residuals: FloatArray = np.zeros((0, n))
        self._model: RiskModel | None = None
        self._width: FloatArray | None = None
        self._volume: FloatArray | None = None

    @property
    def drawdown(self) -> float:
        """How far equity stands below its peak, a fraction."""
        return float(self.state.drawdown[0])

    @property
    def waits(self) -> bool:
        """Whether any target waits for a price."""
        return self.state.waits

    def waits_since(self, i: int) -> int:
        """Return since when a target of instrument `i` waits; the end of time where none does."""
        return int(self.state.held_since[0, i])

    @property
    def knows_risk(self) -> bool:
        """Whether any instrument has history enough to be measured."""
        return bool(self.model.known.any())

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

    def close_session(
        self, closes: FloatArray, volumes: FloatArray, returns: FloatArray, equity: float
    ) -> IntArray:
        """
        Take in a session's end, and return the sessions since each one's last bar (N,).

        Shapes: closes (N,), NaN where none; volumes (N,), in units of quantity, NaN where none;
        past returns (T, N). A session without any bar ages nothing. The first returns given are
        the history; from then on each session's newest row is, as no row changes later, and the
        model is that of as many sessions as are given.
        """
        traded = np.isfinite(closes)
        self._last_close = np.where(traded, closes, self._last_close)
        self._age = np.where(traded, 0, self._age + bool(traded.any()))
        self._volumes = np.concatenate([self._volumes, volumes[None]])[-VOLUME_SESSIONS:]
        self.state.close_session(np.array([equity]))
        new = returns[-1:] if self._has_history else returns
        self._has_history = True
        residuals = [self._running.add(row)[None] for row in new]
        self._residuals = np.concatenate([self._residuals, *residuals])[-len(returns) or None :]
        self._returns, self._model = returns, None
        self._width = self._volume = None
        return self._age

    def halt(self) -> None:
        """Let nothing grow from now on, as the kill switch does."""
        self.state.halted[:] = True

    def stop_width(self) -> FloatArray:
        """Return how far a stop lies from an average entry now, a fraction; NaN for none; (N,)."""
        if self._width is None:
            self._width = stop_width(recent_volatility(self._returns), self.limits)
        return self._width

    def mean_volume(self) -> FloatArray:
        """Return the mean daily volumes in units of quantity, infinite where none is known."""
        if self._volume is None:
            self._volume = np.where(self._sized, mean_volume(self._volumes), np.inf)
        return self._volume

    def value_at_risk(self, weights: FloatArray) -> float:
        """Return the one-day 99% VaR of weights (N,), a fraction of equity."""
        return float(measure(weights, self.model).var)

    # --- a decision arrives ------------------------------------------------------------------

    def targets(self, asked: FloatArray, held: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return a decision's targets, cut with headroom, and which limit cut each."""
        blocked = self._blocked(self._last_close)
        return delivery_targets(asked, held, blocked, self.model, self.tight, self._year)

    def judge_decision(self, asked: FloatArray, holding: Holding) -> Judgement:
        """Return the weights that a decision's targets (N,) are cut to; nothing trades yet."""
        held = holding.weights()
        allowed, cause = self.targets(asked, held)
        var = self.value_at_risk(allowed)
        return Judgement(held, asked, allowed, holding.quantity, cause, var)

    def let_wait(self, decision: Decision, judged: Judgement, holding: Holding, now: int) -> None:
        """Let what a decision is allowed wait for prices, in place of any older decision's."""
        self.state.decide(
            EVERY,
            judged.held[None],
            judged.allowed[None],
            _batch(holding),
            np.array([now]),
            np.array([decision.ts_event]),
            np.array([decision.expires]),
        )

    # --- the gate acts on its own ------------------------------------------------------------

    def stop_out(self, i: int, ts: int) -> None:
        """Leave instrument `i` at the next price; its cool-down begins."""
        self.state.stop_out(EVERY, self._only(i), np.array([ts]))

    def set_stop(self, i: int, quantity: FloatArray, average: FloatArray) -> None:
        """Set the stop of a position that was filled; shapes: quantity, average entry (N,)."""
        width = self.stop_width()[None]
        self.state.set_stops(EVERY, self._only(i), quantity[None], average[None], width)

    def leave(self, gone: BoolArray, ts: int) -> None:
        """Leave vanished instruments (N,), held or not: what was to be bought is not any more."""
        self.state.force(EVERY, gone[None], DELISTED, np.array([ts]))

    def reduce_drift(self, held: FloatArray, holding: Holding, ts: int) -> bool:
        """Ask for a reduction where a book drifted beyond a limit; tell whether it did."""
        beyond = drifted(held, self.model, self.limits)
        if not beyond.any():
            return False
        targets, _ = self.targets(held, held)
        self.state.reduce(EVERY, beyond[None], targets[None], _batch(holding), np.array([ts]))
        return True

    # --- prices come -------------------------------------------------------------------------

    def take(self, ts: int, fresh: BoolArray) -> Pending:
        """Return what may be sent at a stamp where prices are fresh (N,); it waits no longer."""
        return self.state.take(EVERY, np.array([ts]), fresh[None])

    def asked(self, pending: Pending, holding: Holding, band: float) -> FloatArray:
        """Return the weights (N,) that pending targets ask for; see `Pending.weights`."""
        weights: FloatArray = pending.weights(_batch(holding), band)[0]
        return weights

    def wait_on(self, cut: BoolArray, ts: int) -> None:
        """Let the rest of targets (N,) that were cut wait for the next price."""
        self.state.wait_on(EVERY, cut[None], np.array([ts]))

    def judge(
        self, asked: FloatArray, holding: Holding, movable: BoolArray, forced: BoolArray
    ) -> Judgement:
        """
        Return the quantities that may be held, whole lots, at the holding's prices.

        `asked` (N,) are target weights, used where `movable`; `forced` are exited.
        """
        market = Market(self._blocked(holding.price), self.mean_volume())
        quantity, cause, orders = judge(
            asked,
            holding,
            movable,
            forced,
            market,
            self.state.orders[0],
            self.model,
            self.limits,
        )
        self.state.orders[0] = orders
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
                "var_frac": judged.var_frac if self.knows_risk else None,
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
        codes: IntArray = self.state.blocked(
            EVERY,
            price[None],
            self._last_close[None],
            self._age[None],
            self.model.known[None],
        )[0]
        return codes

    def _only(self, i: int) -> BoolArray:
        """Return where instrument `i` is, as a batch of one; shapes: (1, N)."""
        return np.asarray(np.arange(len(self.instruments))[None] == i, bool)


def _batch(holding: Holding) -> Holding:
    """Return a holding as a batch of one."""
    equity = np.array([holding.equity])
    one = holding.quantity[None], holding.price[None], holding.rate[None]
    return Holding(*one, holding.lot, equity)
