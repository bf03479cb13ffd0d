"""
Follows decisions to their horizon's end and writes what each route came to: its outcome.

A route is entered at the first opening after its decision was delivered and left at the close
of its last session. Returns are total: splits drop out of the prices that come in, dividends are
added. A route whose instrument had no price before the horizon's end has no outcome; it is
counted in `unpriced`. A route that led to no conviction earns nothing and pays nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray
from agents.messages import (
    HORIZON_SESSIONS,
    Abstention,
    Decision,
    Horizon,
    Instrument,
    Opinion,
    Outcome,
    Reward,
    Route,
)
from agents.supervisor.reward import route_reward, route_use
from config.settings import SupervisorSettings


@dataclass(frozen=True)
class Closed:
    """An outcome with what led to it."""

    route: Route
    opinions: tuple[Opinion, ...]
    abstentions: tuple[Abstention, ...]
    outcome: Outcome

    def reward(self, prices: SupervisorSettings) -> Reward:
        """Return the supervisor's reward for the route, its tokens and time paid for."""
        tokens, seconds = route_use((*self.opinions, *self.abstentions))
        return Reward(
            decision_id=self.outcome.decision_id,
            symbol=self.outcome.symbol,
            ts_event=self.outcome.ts_event,
            learner="supervisor",
            value=route_reward(self.outcome, tokens, seconds, prices),
            tokens=tokens,
        )


class _OpenDecision:
    """One decision on its way: the value path of one unit of each instrument since entry."""

    def __init__(self, decision: Decision, horizon: Horizon, size: int) -> None:
        self.decision = decision
        self.horizon = horizon
        self.sessions_left = HORIZON_SESSIONS[horizon]
        self.entry = np.full(size, np.nan)
        self.cash = np.zeros(size)
        self.path = [np.ones(size)]

    def move(self, opens: FloatArray, closes: FloatArray, dividends: FloatArray) -> None:
        entered = np.isfinite(self.entry)
        self.cash = np.where(entered, self.cash + dividends, self.cash)
        self.entry = np.where(entered, self.entry, opens)
        value = (closes + self.cash) / self.entry
        self.path.append(np.where(np.isfinite(value), value, self.path[-1]))
        self.sessions_left -= 1


class OutcomeBook:
    """The open decisions of one run. `cost_frac` (N,) is one fill's cost, spread included."""

    def __init__(self, instruments: Sequence[Instrument], cost_frac: FloatArray) -> None:
        self._index = {x.symbol: i for i, x in enumerate(instruments)}
        groups = np.array([instrument.group for instrument in instruments])
        self._same_group = (groups[:, None] == groups[None, :]).astype(float)
        self._cost = cost_frac
        self._open: list[_OpenDecision] = []
        self.unpriced = 0

    @property
    def open_routes(self) -> int:
        """How many routes wait for their horizon's end."""
        return sum(len(o.decision.routes) for o in self._open)

    def add(self, decision: Decision, horizon: Horizon) -> None:
        """Follow a delivered decision's routes from the next opening on."""
        if decision.routes:
            self._open.append(_OpenDecision(decision, horizon, len(self._index)))

    def close_session(
        self, ts: int, opens: FloatArray, closes: FloatArray, dividends: FloatArray
    ) -> list[Closed]:
        """
        Move on by one session and return the outcomes that it ends.

        Shapes: opens, closes (N,) the session's prices, NaN where there was none; dividends (N,)
        cash per unit that went ex at its opening.
        """
        for item in self._open:
            item.move(opens, closes, dividends)
        due = [item for item in self._open if item.sessions_left == 0]
        self._open = [item for item in self._open if item.sessions_left > 0]
        return [closed for item in due for closed in self._close(ts, item)]

    def _close(self, ts: int, item: _OpenDecision) -> list[Closed]:
        decision = item.decision
        path = np.array(item.path)
        priced = np.isfinite(item.entry)
        total = np.where(priced, path[-1] - 1.0, 0.0)
        benchmark = float(total[priced].mean()) if priced.any() else 0.0
        weight = self._same_group * priced
        group = weight @ total / np.maximum(weight.sum(axis=1), 1.0)
        volatility = np.sqrt(((path[1:] / path[:-1] - 1.0) ** 2).sum(axis=0))
        conviction, without = np.zeros(len(total)), {}
        for proposal in decision.proposals:
            i = self._index[proposal.symbol]
            conviction[i] = proposal.conviction
            without[i] = proposal.conviction_without
        wealth = 1.0 + np.sign(conviction) * (path - 1.0)
        drawdown = (1.0 - wealth / np.maximum.accumulate(wealth)).max(axis=0)
        opinions: defaultdict[str, list[Opinion]] = defaultdict(list)
        for opinion in decision.opinions:
            opinions[opinion.symbol].append(opinion)
        abstentions: defaultdict[str, list[Abstention]] = defaultdict(list)
        for abstention in decision.abstentions:
            abstentions[abstention.symbol].append(abstention)
        closed = []
        for route in decision.routes:
            i = self._index[route.symbol]
            if not priced[i]:
                self.unpriced += 1
                continue
            c, r = float(conviction[i]), float(total[i])
            outcome = Outcome(
                decision_id=decision.decision_id,
                symbol=route.symbol,
                ts_event=ts,
                ts_init=ts,
                horizon=item.horizon,
                arm=route.arm,
                conviction=c,
                instrument_return=r,
                realised=float(np.sign(c)) * r - (2.0 * float(self._cost[i]) if c else 0.0),
                volatility=float(volatility[i]),
                max_drawdown=float(drawdown[i]),
                benchmark_return=benchmark,
                group_return=float(group[i]),
                leave_one_out={j: (c - w) * r for j, w in without.get(i, {}).items()},
            )
            answers = tuple(opinions[route.symbol]), tuple(abstentions[route.symbol])
            closed.append(Closed(route, *answers, outcome))
        return closed
