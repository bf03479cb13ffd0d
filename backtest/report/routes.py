"""
What the supervisor's routes earned and cost in one run, and the report's section on them.

Rewards are the desk's own, from the run's outcomes and the answers behind them. A run sees the
reward of the route that was taken and of no other, and the choice is an argmax, so that no
reweighting can tell what another route would have earned: regret cannot be measured here. It can
be bounded: the learner scored each route that it took at an upper bound of its reward. While the
bounds hold, no route pays more than the bound of the one taken, so the sum of bound less reward
is the most that can have been lost. Nothing here knows a learner.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray, IntArray
from agents.messages import ROUTES, Abstention, Opinion
from agents.supervisor.reward import route_cost, route_earned, route_use
from backtest.report.formats import MISSING, interval, number, percent
from backtest.report.views import Row, Table
from backtest.results import RunResult
from backtest.statistics.intervals import ratio_interval
from backtest.statistics.measures import Undefined
from config.settings import SupervisorSettings

DIGITS = 4
COLUMNS: tuple[str, ...] = ("taken", "share", "closed", "mean reward [95%]")
COLUMNS += ("tokens", "seconds", "cost", "cost per unit earned")


@dataclass(frozen=True)
class RoutesView:
    """The section: a row a route, and what one run can say of regret."""

    table: Table
    regret: str


@dataclass(frozen=True)
class RouteLog:
    """
    Every closed route of a run, by the stamp at which it closed.

    Shapes (M,): ts, arm; earned before and cost, in reward units; tokens, seconds; bound, the
    upper bound that the learner gave the route when it took it.
    """

    ts: IntArray
    arm: IntArray
    earned: FloatArray
    cost: FloatArray
    tokens: FloatArray
    seconds: FloatArray
    bound: FloatArray

    @property
    def reward(self) -> FloatArray:
        """The reward that the supervisor learned from."""
        return self.earned - self.cost


def route_log(result: RunResult) -> RouteLog:
    """Return a run's closed routes."""
    config = result.manifest.get("config") or {}
    prices = msgspec.convert(config.get("supervisor") or {}, SupervisorSettings)
    answers: dict[tuple[str, str], list[Opinion | Abstention]] = {}
    bounds: dict[tuple[str, str], float] = {}
    for decision in result.decisions:
        said: list[Opinion | Abstention] = [*decision.opinions, *decision.abstentions]
        for answer in said:
            answers.setdefault((decision.decision_id, answer.symbol), []).append(answer)
        for route in decision.routes:
            known = [score for score in route.scores if score is not None]
            bounds[decision.decision_id, route.symbol] = max(known)
    rows = []
    for outcome in sorted(result.outcomes, key=lambda o: (o.ts_event, o.symbol)):
        key = (outcome.decision_id, outcome.symbol)
        if key in bounds:
            tokens, seconds = route_use(answers.get(key, ()))
            cost = route_cost(outcome.arm, tokens, seconds, prices)
            earned = route_earned(outcome)
            rows.append(
                (outcome.ts_event, outcome.arm, earned, cost, tokens, seconds, bounds[key])
            )
    columns = list(zip(*rows, strict=True)) or [()] * 7
    ts, arm = (np.array(column, dtype=np.int64) for column in columns[:2])
    return RouteLog(ts, arm, *(np.array(column, dtype=np.float64) for column in columns[2:]))


def mean_interval(ts: IntArray, values: FloatArray) -> tuple[float, float] | None:
    """
    Return the 95% interval of a mean, resampling blocks of sessions; None for too few.

    Instruments of one session share its news, so sessions are drawn, not rows.
    """
    _, at = np.unique(ts, return_inverse=True)
    total, count = np.bincount(at, values), np.bincount(at).astype(np.float64)
    found = ratio_interval(total, count, seed=0)
    return None if isinstance(found, Undefined) else (found.low, found.high)


def routes_view(result: RunResult) -> RoutesView | None:
    """Return the section: a row a route, and what can be said of regret; None without routes."""
    log = route_log(result)
    taken = np.bincount([r.arm for d in result.decisions for r in d.routes], minlength=len(ROUTES))
    if not taken.any():
        return None
    everything = np.ones(len(log.arm), dtype=bool)
    total = int(taken.sum())
    rows = [
        Row(" + ".join(names), _cells(log, log.arm == arm, int(taken[arm]), total))
        for arm, names in enumerate(ROUTES)
    ]
    rows.append(Row("all", _cells(log, everything, total, total), "total"))
    return RoutesView(Table("route", COLUMNS, tuple(rows)), regret_words(log))


def regret_words(log: RouteLog) -> str:
    """Return what a single run can and cannot say of regret."""
    said = (
        "Regret cannot be measured in one run: of the seven routes only the one that was taken "
        "has a reward, and it was taken for certain, so that no reweighting stands in for the "
        "others. "
    )
    gap = float((log.bound - log.reward).sum())
    if log.bound.any() and gap < 0.0:
        said += "The learner's upper bounds lay below what it earned, so that they bound nothing. "
    elif log.bound.any():
        said += (
            f"If the learner's upper bounds held, it lost at most {gap:,.1f} reward units over "
            f"{len(log.arm):,} closed routes ({gap / len(log.arm):.4f} each), and earned "
            f"{float(log.reward.sum()):,.1f}. "
        )
    return said + (
        "quarterdeck bench supervisor measures regret where the best route is known, and "
        "quarterdeck data collect-routes with train supervisor where all seven were run."
    )


def _cells(log: RouteLog, which: NDArray[np.bool_], taken: int, of: int) -> tuple[str, ...]:
    """Return the cells of COLUMNS for some closed routes; `taken` of `of` routes were these."""
    closed = int(which.sum())
    head = (f"{taken:,}", percent(taken / of), f"{closed:,}")
    if not closed:
        return (*head, *[MISSING] * (len(COLUMNS) - len(head)))
    reward, earned = log.reward[which], float(log.earned[which].sum())
    bounds = mean_interval(log.ts[which], reward)
    mean = number(float(reward.mean()), DIGITS)
    if bounds is not None:
        mean += f" {interval(bounds, DIGITS)}"
    return (
        *head,
        mean,
        number(float(log.tokens[which].mean()), 0),
        number(float(log.seconds[which].mean())),
        number(float(log.cost[which].mean()), DIGITS),
        number(float(log.cost[which].sum()) / earned) if earned > 0.0 else MISSING,
    )
