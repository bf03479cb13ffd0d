"""
Counts what a run decided: routes, hits, cuts, costs, breaches and the decisions that mattered.

Everything is joined from the run's records by decision id and symbol. Nothing here knows the
report or measures returns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.messages import JUNIORS, ROUTES, Decision, JuniorName, Outcome
from backtest.results import PositionHistory, RunResult
from backtest.statistics.var import Breaches
from config.costs import COST_FRAC


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many of everything the hierarchy made; `routes_by_arm` by "news+technical"."""

    decisions: int
    expired_decisions: int
    verdicts: int
    orders: int
    fills: int
    outcomes: int
    opinions: int
    views: int
    abstentions_by_junior: dict[str, int]
    routes_by_arm: dict[str, int]
    cuts_by_limit: dict[str, int]


def counts(result: RunResult) -> Counts:
    """Return how many of everything the hierarchy made."""
    silent = Counter(a.junior for d in result.decisions for a in d.abstentions)
    arms = Counter(r.arm for d in result.decisions for r in d.routes)
    return Counts(
        decisions=len(result.decisions),
        expired_decisions=result.expired_decisions,
        verdicts=len(result.verdicts),
        orders=len(result.orders),
        fills=len(result.fills),
        outcomes=len(result.outcomes),
        opinions=sum(len(d.opinions) for d in result.decisions),
        views=sum(len(d.allocation.views) for d in result.decisions),
        abstentions_by_junior={j: silent[j] for j in JUNIORS},
        routes_by_arm={"+".join(names): arms[k] for k, names in enumerate(ROUTES)},
        cuts_by_limit={limit: sum(by.values()) for limit, by in cuts_by_limit(result).items()},
    )


def cuts_by_limit(result: RunResult) -> dict[str, Counter[str]]:
    """Return, for each limit that cut a weight, how often it did at each stage of the gate."""
    found: dict[str, Counter[str]] = {}
    for verdict in result.verdicts:
        for line in verdict.lines:
            if line.limit:
                found.setdefault(line.limit, Counter())[verdict.stage] += 1
    return dict(sorted(found.items(), key=lambda kv: (-sum(kv[1].values()), kv[0])))


def var_series(book: PositionHistory) -> tuple[IntArray, FloatArray, FloatArray]:
    """
    Return (stamps, VaR at the close before, return) of each session held under a known VaR.

    Sessions after an unknown VaR, or after a close at which nothing was held, are left out.
    """
    known, before, returns = _held(book)
    return book.ts[1:][known], before[known], returns[known]


def breaches(book: PositionHistory) -> Breaches:
    """Return which of the sessions held under a known VaR lost more than it."""
    known, before, returns = _held(book)
    follows = np.concatenate([[False], known[:-1]])
    return Breaches(broken=(-returns > before)[known], follows=follows[known])


def _held(book: PositionHistory) -> tuple[BoolArray, FloatArray, FloatArray]:
    """Return, of sessions 1..T-1, which are held under a known VaR, that VaR, and the return."""
    above = book.equity[:-1] > 0.0
    growth = np.full(len(above), np.nan)
    np.divide(book.equity[1:], book.equity[:-1], out=growth, where=above)
    before = book.var_frac[:-1]
    return np.isfinite(before) & (before > 0.0) & above, before, growth - 1.0


def hits_by_junior(result: RunResult) -> dict[JuniorName, tuple[IntArray, FloatArray, FloatArray]]:
    """
    Return, for each junior, (stamps, hits, calls) by the stamp at which outcomes closed.

    A call is an opinion with a score and an outcome that are not 0; it hits when both have the
    same sign.
    """
    outcomes = {(o.decision_id, o.symbol): o for o in result.outcomes}
    tally: dict[JuniorName, dict[int, list[int]]] = {j: {} for j in JUNIORS}
    for decision in result.decisions:
        for opinion in decision.opinions:
            outcome = outcomes.get((decision.decision_id, opinion.symbol))
            if outcome is None or opinion.score * outcome.instrument_return == 0.0:
                continue
            cell = tally[opinion.junior].setdefault(outcome.ts_event, [0, 0])
            cell[0] += opinion.score * outcome.instrument_return > 0.0
            cell[1] += 1
    table = {}
    for junior, cells in tally.items():
        stamps = sorted(cells)
        pairs = np.array([cells[t] for t in stamps], dtype=np.float64).reshape(-1, 2)
        table[junior] = (np.array(stamps, dtype=np.int64), pairs[:, 0], pairs[:, 1])
    return table


def routes_by_month(result: RunResult) -> tuple[list[str], FloatArray]:
    """Return the months, "YYYY-MM", and each arm's share of that month's routes, (M, 7)."""
    months: dict[str, FloatArray] = {}
    for decision in result.decisions:
        stamp = np.datetime64(decision.ts_event, "ns")
        row = months.setdefault(str(stamp.astype("datetime64[M]")), np.zeros(len(ROUTES)))
        for route in decision.routes:
            row[route.arm] += 1.0
    kept = {m: row / row.sum() for m, row in sorted(months.items()) if row.sum()}
    return list(kept), np.array(list(kept.values())).reshape(-1, len(ROUTES))


@dataclass(frozen=True)
class Costs:
    """One instrument's fills, in the account's currency; `at_default` is the default's charge."""

    symbol: str
    fills: int
    paid: float
    at_default: float


def costs_by_symbol(result: RunResult) -> list[Costs]:
    """
    Return what each instrument's fills cost, and would have cost at the default rate.

    The dearest comes first. Where an instrument has a cost of its own, its commissions are scaled
    by default / own; where it has none, both are the same. Rates come from the manifest
    (`config.market.cost_frac` and `instruments`, each with `symbol` and `cost_bps`); an
    instrument that the manifest does not name is charged the default on price times quantity.
    """
    config = result.manifest.get("config") or {}
    rate = float((config.get("market") or {}).get("cost_frac", COST_FRAC))
    facts = {i["symbol"]: i.get("cost_bps") for i in result.manifest.get("instruments") or ()}
    paid: defaultdict[str, float] = defaultdict(float)
    charged: defaultdict[str, float] = defaultdict(float)
    fills: Counter[str] = Counter()
    for fill in result.fills:
        fills[fill.symbol] += 1
        paid[fill.symbol] += fill.commission
        own = facts.get(fill.symbol)
        if own:
            charged[fill.symbol] += fill.commission * rate / (own / 1e4)
        elif fill.symbol in facts and own is None:
            charged[fill.symbol] += fill.commission
        else:
            charged[fill.symbol] += abs(fill.quantity) * fill.price * rate
    rows = [Costs(s, fills[s], paid[s], charged[s]) for s in fills]
    return sorted(rows, key=lambda c: (-c.paid, c.symbol))


@dataclass(frozen=True)
class Call:
    """One instrument in one decision, and how it ended: `effect` is weight times return."""

    decision: Decision
    outcome: Outcome
    weight: float

    @property
    def effect(self) -> float:
        """The asked weight times the instrument's return to the horizon's end."""
        return self.weight * self.outcome.instrument_return


def weightiest(result: RunResult, n: int) -> tuple[list[Call], list[Call]]:
    """Return the n calls that helped most and the n that hurt most, at the weights asked."""
    calls = sorted(_calls(result), key=lambda c: (-c.effect, c.decision.decision_id))
    return (
        [c for c in calls[:n] if c.effect > 0.0],
        [c for c in calls[: -n - 1 : -1] if c.effect < 0.0],
    )


def _calls(result: RunResult) -> Iterator[Call]:
    decisions = {d.decision_id: d for d in result.decisions}
    for outcome in result.outcomes:
        decision = decisions.get(outcome.decision_id)
        if decision is not None and outcome.symbol in decision.allocation.weights:
            yield Call(decision, outcome, decision.allocation.weights[outcome.symbol])
