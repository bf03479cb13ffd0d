"""
The rules that every trader must beat: buy and hold, equal weight, a moving average.

Each is a `Mind`: the same cases, the same gate, the same costs as the hierarchy, and nothing
asked of juniors or features. Stays put by asking for the weights that are held. What each of them
remembers between cases is said in its docstring. They know no limit; the gate does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from agents.messages import Allocation, Case, Decision, InstrumentState, TrackRecord
from agents.protocols import FloatArray, Lesson, Mind, Panel

FAST_SESSIONS = 20
SLOW_SESSIONS = 100
GRID = 1e10  # weights are whole multiples of 1 / GRID, rounded down: N of them never exceed 1


def plain_decision(
    case: Case, weights: Mapping[str, float], policy: str, *, latency_ns: int, expires: int
) -> Decision:
    """
    Return the decision that target weights make: no routes, opinions or proposals.

    `weights` holds every symbol of the case; it may be acted on from `latency_ns` after
    the case to `expires`.
    """
    budgets: dict[str, list[float]] = {}
    for state in case.instruments:
        budgets.setdefault(state.group, []).append(abs(weights[state.symbol]))
    return Decision(
        decision_id=case.decision_id,
        ts_event=case.ts_event,
        ts_init=case.ts_init + latency_ns,
        expires=expires,
        trigger=case.trigger,
        minds=policy,
        routes=(),
        opinions=(),
        abstentions=(),
        proposals=(),
        allocation=Allocation(
            regime=case.macro.regime,
            top_policy=policy,
            bottom_policy=policy,
            group_budgets={g: math.fsum(budgets[g]) for g in sorted(budgets)},
            weights={symbol: weights[symbol] for symbol in sorted(weights)},
        ),
    )


class _Baseline(ABC):
    """What the three share: a plain decision, and nothing to learn."""

    name: str
    needs_features = False

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the rule's target weights; it may be acted on after `latency_ns`."""
        weights = {s.symbol: 0.0 for s in case.instruments} | self._targets(case, panel)
        return plain_decision(
            case,
            weights,
            f"baseline:{self.name}",
            latency_ns=latency_ns,
            expires=expires,
        )

    def track(self) -> tuple[TrackRecord, ...]:
        """Return nothing: a rule asks no junior."""
        return ()

    def observe(self, lessons: Sequence[Lesson]) -> None:
        """Count nothing: a rule has no juniors."""
        return

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Learn nothing: a rule does not."""
        return

    @abstractmethod
    def _targets(self, case: Case, panel: Panel) -> dict[str, float]:
        """Return the weights to ask for; a symbol left out is asked at 0."""


class BuyAndHold(_Baseline):
    """
    Equal weights in all that has a price, asked for until something is held; then never a trade.

    Remembers nothing: whether it has bought is read from the weights of the case. What is listed
    later is not bought; a book that was stopped out whole buys again.
    """

    name = "buy-and-hold"

    def _targets(self, case: Case, panel: Panel) -> dict[str, float]:
        return _held(case) or _equal(case)


class EqualWeight(_Baseline):
    """
    Equal weights in all that has a price, restored at the first case of each calendar month.

    Remembers the month (UTC) of the newest case and that month's first stamp, so that the same
    case asked twice has the same answer. Between months it holds.
    """

    name = "equal-weight"

    def __init__(self) -> None:
        self._month: np.datetime64 | None = None
        self._first_ts = 0

    def _targets(self, case: Case, panel: Panel) -> dict[str, float]:
        month = np.datetime64(case.ts_event, "ns").astype("datetime64[M]")
        if month != self._month:
            self._month, self._first_ts = month, case.ts_event
        if case.ts_event == self._first_ts:
            return _equal(case)
        return _held(case) or _equal(case)


class MovingAverage(_Baseline):
    """
    1/N of equity in each of N instruments while its price's fast mean is above its slow mean.

    The price is total return, cumulated from the panel over the sessions in which the instrument
    traded; the means are over FAST_SESSIONS and SLOW_SESSIONS. Below, it is short what can be
    shorted and in cash otherwise; with less history than the slow mean it is in cash. Remembers
    nothing.
    """

    name = "moving-average"

    def _targets(self, case: Case, panel: Panel) -> dict[str, float]:
        columns = dict(zip(panel.symbols, panel.returns.T, strict=True))
        unit = _unit(len(case.instruments))
        targets: dict[str, float] = {}
        for state in case.instruments:
            trend = trend_sign(columns[state.symbol]) if state.symbol in columns else 0
            if not _priced(state) or (trend < 0 and not state.shortable):
                trend = 0
            targets[state.symbol] = trend * unit
        return targets


def trend_sign(returns: FloatArray) -> int:
    """
    Return 1 if the fast mean of the price is above the slow mean, -1 if below, else 0.

    Shapes: returns (T,), simple, NaN where there was none; fewer than SLOW_SESSIONS give 0.
    """
    traded = returns[np.isfinite(returns)][-SLOW_SESSIONS:]
    if len(traded) < SLOW_SESSIONS:
        return 0
    price = np.cumprod(1.0 + traded)
    return int(np.sign(price[-FAST_SESSIONS:].mean() - price.mean()))


def _priced(state: InstrumentState) -> bool:
    return math.isfinite(state.price) and state.price > 0.0


def _unit(count: int) -> float:
    return math.floor(GRID / count) / GRID if count else 0.0


def _equal(case: Case) -> dict[str, float]:
    priced = [state.symbol for state in case.instruments if _priced(state)]
    return dict.fromkeys(priced, _unit(len(priced)))


def _held(case: Case) -> dict[str, float]:
    """Return the weights that are held, empty if there are none."""
    return {state.symbol: state.weight for state in case.instruments if state.weight != 0.0}


BASELINES: tuple[Callable[[], Mind], ...] = (BuyAndHold, EqualWeight, MovingAverage)
