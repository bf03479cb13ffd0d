"""
What the supervisor's routes earned and cost in one run, and the report's section on them.

Rewards are the desk's own, from the run's outcomes and the answers behind them. A run sees the
reward of the route that was taken and of no other, and the choice is an argmax, so that no
reweighting can tell what another route would have earned: regret cannot be measured here. What
can be: the learner scored each route it took at an upper bound of its worth. While the bounds
hold, no route was worth more than the bound of the one taken, so bound less reward, summed, is
the most that can have been lost. It knows no learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray, IntArray
from agents.messages import ROUTES, Abstention, Opinion
from agents.supervisor.reward import route_cost, route_earned, route_use
from backtest.report.formats import MISSING, number, percent
from backtest.results import RunResult
from backtest.statistics.intervals import ratio_interval
from backtest.statistics.measures import Undefined
from config.settings import SupervisorSettings

DIGITS = 4


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
        """What the supervisor was told."""
        return self.earned - self.cost


def route_log(result: RunResult) -> RouteLog:
    """Return a run's closed routes."""
    config = result.manifest.get("config") or {}
    prices = msgspec.convert(config.get("supervisor") or {}, SupervisorSettings)
    answers: dict[tuple[str, str], list[Opinion | Abstention]] = {}
    bounds: dict[tuple[str, str], float] = {}
    for decision in result.decisions:
        for opinion in decision.opinions:
            answers.setdefault((decision.decision_id, opinion.symbol), []).append(opinion)
        for silent in decision.abstentions:
            answers.setdefault((decision.decision_id, silent.symbol), []).append(silent)
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

    Instruments of a session share its news and its weather, so sessions are drawn, not rows.
    """
    _, at = np.unique(ts, return_inverse=True)
    total, count = np.bincount(at, values), np.bincount(at).astype(np.float64)
    found = ratio_interval(total, count, seed=0)
    return None if isinstance(found, Undefined) else (found.low, found.high)


def routes_section(result: RunResult) -> str:
    """Return the section's HTML: a row a route, and what can be said of regret."""
    log = route_log(result)
    taken = np.bincount([r.arm for d in result.decisions for r in d.routes], minlength=len(ROUTES))
    if not taken.any():
        return ""
    everything = np.ones(len(log.arm), dtype=bool)
    rows = [
        _row(" + ".join(names), log, log.arm == arm, int(taken[arm]), int(taken.sum()))
        for arm, names in enumerate(ROUTES)
    ]
    rows.append(_row("all", log, everything, int(taken.sum()), int(taken.sum()), "total"))
    heads = (
        "taken",
        "share",
        "closed",
        "mean reward [95%]",
        "tokens",
        "seconds",
        "cost",
        "cost per unit earned",
    )
    return f"""<section>
<h2>Routes</h2>
<p class="soft">Which analysts were asked, and what it came to. A reward is conviction times the
return net of the market, in units of its volatility, less the cost of asking: a price for each
analyst, for a thousand tokens and for a second. Tokens, seconds and cost are means of one route.
Cost per unit earned is all that asking cost over all that was earned before it; it is missing
where nothing was. Intervals resample blocks of sessions.</p>
<div class="scroll"><table><thead><tr><th>route</th>{"".join(f"<th>{h}</th>" for h in heads)}</tr>
</thead><tbody>{"".join(rows)}</tbody></table></div>
<p class="soft">{escape(regret_words(log))}</p>
</section>"""


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
        "`quarterdeck bench supervisor` measures regret where the best route is known, and "
        "`quarterdeck data collect-routes` with `train supervisor` where all seven were run."
    )


def _row(
    name: str,
    log: RouteLog,
    which: NDArray[np.bool_],
    taken: int,
    of: int,
    css: str = "",
) -> str:
    closed = int(which.sum())
    cells = [f"{taken:,}", percent(taken / of), f"{closed:,}", *[MISSING] * 5]
    if closed:
        reward, earned = log.reward[which], float(log.earned[which].sum())
        bounds = mean_interval(log.ts[which], reward)
        mean = number(float(reward.mean()), DIGITS)
        if bounds is not None:
            mean += f" [{number(bounds[0], DIGITS)}, {number(bounds[1], DIGITS)}]"
        cells[3] = mean
        cells[4] = number(float(log.tokens[which].mean()), 0)
        cells[5] = number(float(log.seconds[which].mean()))
        cells[6] = number(float(log.cost[which].mean()), DIGITS)
        if earned > 0.0:
            cells[7] = number(float(log.cost[which].sum()) / earned)
    tds = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{css}"><th scope="row">{escape(name)}</th>{tds}</tr>'
