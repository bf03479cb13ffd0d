"""
The rules that every trader must beat: buy and hold, equal weight, a moving average.

Each is a rule over arrays, for the twin of the desk, and a `Mind`, for the desk itself: it trades
under the same gate and at the same costs as the hierarchy, and asks no junior. A rule holds by
asking for the weights that are held. Its docstring says what it remembers between closes. Rules
know no limit; the gate does.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from agents.arrays import BoolArray, FloatArray, Panel
from agents.messages import Allocation, Case, Decision, InstrumentState
from agents.protocols import Mind

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


@dataclass(frozen=True)
class View:
    """
    What a baseline sees at a close, over N instruments.

    Shapes: priced, shortable, weights (N,), the weights being those held; returns (T, N), simple,
    oldest first, NaN where there was none.
    """

    ts: int
    priced: BoolArray
    shortable: BoolArray
    weights: FloatArray
    returns: FloatArray


class Baseline(Mind, ABC):
    """A rule over arrays, and the `Mind` that it makes: a plain decision, nothing to learn."""

    needs_features = False

    @abstractmethod
    def targets(self, view: View) -> FloatArray:
        """Return the weights to ask for (N,); the held weight asks for no trade."""

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the rule's target weights; acted on from `latency_ns` to `expires`."""
        states = case.instruments
        columns = dict(zip(panel.symbols, panel.returns.T, strict=True))
        unknown = np.full(len(panel.returns), np.nan)
        view = View(
            ts=case.ts_event,
            priced=np.array([_priced(state) for state in states], dtype=bool),
            shortable=np.array([state.shortable for state in states], dtype=bool),
            weights=np.array([state.weight for state in states], dtype=np.float64),
            returns=np.array([columns.get(state.symbol, unknown) for state in states]).T,
        )
        weights = zip((s.symbol for s in states), self.targets(view).tolist(), strict=True)
        policy = f"baseline:{self.name}"
        return plain_decision(case, dict(weights), policy, latency_ns=latency_ns, expires=expires)


class BuyAndHold(Baseline):
    """
    Equal weights in all that has a price, asked for until something is held; then never a trade.

    Remembers nothing: whether it has bought is read from the weights. What is listed later is not
    bought; a book that was stopped out whole buys again.
    """

    name = "buy-and-hold"

    def targets(self, view: View) -> FloatArray:
        """Return what is held, or equal weights where nothing is."""
        return view.weights if view.weights.any() else _equal(view)


class EqualWeight(Baseline):
    """
    Equal weights in all that has a price, restored at the first case of each calendar month.

    Remembers the month (UTC) of the newest case and that month's first stamp, so that the same
    case asked twice has the same answer. Between months it holds.
    """

    name = "equal-weight"

    def __init__(self) -> None:
        self._month: np.datetime64 | None = None
        self._first_ts = 0

    def targets(self, view: View) -> FloatArray:
        """Return equal weights in a month's first case, else what is held."""
        month = np.datetime64(view.ts, "ns").astype("datetime64[M]")
        if month != self._month:
            self._month, self._first_ts = month, view.ts
        if view.ts == self._first_ts or not view.weights.any():
            return _equal(view)
        return view.weights


class MovingAverage(Baseline):
    """
    1/N of equity in each of the N instruments that have a price, while its fast mean is above.

    The price is total return, cumulated over the sessions in which the instrument traded; the
    means are over FAST_SESSIONS and SLOW_SESSIONS. Below, it is short what can be shorted and in
    cash otherwise; with less history than the slow mean it is in cash. Remembers nothing.
    """

    name = "moving-average"

    def targets(self, view: View) -> FloatArray:
        """Return 1/N in the direction of each trend."""
        trend = np.where(view.priced, trend_signs(view.returns), 0.0)
        trend = np.where((trend < 0) & ~view.shortable, 0.0, trend)
        return trend * _unit(int(view.priced.sum()))


def trend_signs(returns: FloatArray) -> FloatArray:
    """
    Return 1 where the fast mean of the price is above the slow mean, -1 where below, else 0.

    Shapes: returns (T, N), simple, NaN where there was none; fewer than SLOW_SESSIONS give 0.
    """
    last = returns[-SLOW_SESSIONS:]
    if len(last) == SLOW_SESSIONS and np.isfinite(last).all():
        price = np.cumprod(1.0 + last, axis=0)
        return np.sign(price[-FAST_SESSIONS:].mean(axis=0) - price.mean(axis=0))
    signs = np.zeros(returns.shape[1])
    for i, column in enumerate(returns.T):
        traded = column[np.isfinite(column)][-SLOW_SESSIONS:]
        if len(traded) == SLOW_SESSIONS:
            price = np.cumprod(1.0 + traded)
            signs[i] = np.sign(price[-FAST_SESSIONS:].mean() - price.mean())
    return signs


def _priced(state: InstrumentState) -> bool:
    return math.isfinite(state.price) and state.price > 0.0


def _unit(count: int) -> float:
    return math.floor(GRID / count) / GRID if count else 0.0


def _equal(view: View) -> FloatArray:
    return np.where(view.priced, _unit(int(view.priced.sum())), 0.0)


BASELINES: tuple[Callable[[], Baseline], ...] = (BuyAndHold, EqualWeight, MovingAverage)
