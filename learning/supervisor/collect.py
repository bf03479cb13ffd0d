"""
Run every route of every case, on the desk's own cases.

A `RouteCollector` stands where the hierarchy would: it asks every junior that has evidence once,
trades on what the strategist makes of all of them, and asks the strategist again for each smaller
subset. When a case's outcome closes, what the instrument did is known, and with it the reward of
every route, costs included: the outcome book's own outcome, with that route's arm and conviction
in place of the one that traded. No route's reward is estimated. A route that asks a junior
without evidence could not have been taken: its row has no reward.

What is collected is full-information feedback, which no live supervisor has: it knows the reward
of the one route that it took. It learns nothing itself. A run that was interrupted starts again;
model-backed minds then answer from their recorded completions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from agents.arrays import Panel
from agents.features.routing_context import routing_context
from agents.hierarchy import Hierarchy
from agents.juniors.evidence_lines import has_evidence
from agents.messages import (
    HORIZON_SESSIONS,
    JUNIORS,
    ROUTES,
    Abstention,
    Case,
    Decision,
    Opinion,
    Outcome,
    TrackRecord,
)
from agents.protocols import Feedback, Mind
from agents.supervisor.plain_routers import AlwaysAll
from agents.supervisor.reward import route_reward, route_use
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, window
from backtest.plan import warmup_sessions
from config.errors import DataError
from config.settings import Settings, SupervisorSettings
from learning.supervisor.table import RouteRow


@dataclass(frozen=True)
class _Asked:
    """One instrument of one case on its way: what each route's strategist and juniors said."""

    ts: int
    context: tuple[float, ...]
    open: tuple[bool, ...]
    convictions: tuple[float, ...]
    answers: tuple[Opinion | Abstention, ...]


class RouteCollector(Mind):
    """A mind that runs every route and keeps what each came to, in `rows`."""

    def __init__(self, hierarchy: Hierarchy, settings: SupervisorSettings) -> None:
        self.name = hierarchy.name
        self.rows: list[RouteRow] = []
        self._hierarchy = hierarchy
        self._settings = settings
        self._everyone = AlwaysAll()
        self._asked: dict[tuple[str, str], _Asked] = {}

    def track(self) -> tuple[TrackRecord, ...]:
        """Return each junior's record; every junior with evidence is asked."""
        return self._hierarchy.track()

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the decision of the widest routes, and remember every route."""
        symbols = [state.symbol for state in case.instruments]
        evidence = has_evidence(case)
        routes = self._everyone.select(routing_context(case), symbols, evidence)
        decision = self._hierarchy.decide_on(
            case, panel, routes, evidence, latency_ns=latency_ns, expires=expires
        )
        by_arm = []
        for names in ROUTES:
            heard = [o for o in decision.opinions if o.junior in names]
            proposals = (
                decision.proposals
                if len(names) == len(JUNIORS)
                else self._hierarchy.strategist.propose(case, heard)
            )
            by_arm.append({p.symbol: p.conviction for p in proposals})
        answers: dict[str, list[Opinion | Abstention]] = {symbol: [] for symbol in symbols}
        for opinion in decision.opinions:
            answers[opinion.symbol].append(opinion)
        for abstention in decision.abstentions:
            answers[abstention.symbol].append(abstention)
        for route in routes:
            self._asked[decision.decision_id, route.symbol] = _Asked(
                ts=case.ts_init,
                context=route.context,
                open=tuple(score is not None for score in route.scores),
                convictions=tuple(said.get(route.symbol, 0.0) for said in by_arm),
                answers=tuple(answers[route.symbol]),
            )
        return decision

    def observe(self, feedback: Sequence[Feedback]) -> None:
        """Count closed outcomes into the juniors' records."""
        self._hierarchy.observe(feedback)

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """Keep the seven routes of every closed outcome."""
        for item in feedback:
            outcome = item.outcome
            asked = self._asked.pop((outcome.decision_id, outcome.symbol))
            self.rows += [self._row(outcome, asked, arm) for arm in range(len(ROUTES))]

    def _row(self, outcome: Outcome, asked: _Asked, arm: int) -> RouteRow:
        names, may, conviction = ROUTES[arm], asked.open[arm], asked.convictions[arm]
        answers = [a for a in asked.answers if a.junior in names] if may else []
        tokens, seconds = route_use(answers)
        routed = msgspec.structs.replace(outcome, arm=arm, conviction=conviction)
        reward = route_reward(routed, tokens, seconds, self._settings)
        return RouteRow(
            decision_id=outcome.decision_id,
            symbol=outcome.symbol,
            ts=asked.ts,
            ts_closed=outcome.ts_event,
            context=asked.context,
            arm=arm,
            reward=reward if may else None,
            conviction=conviction if may else 0.0,
            tokens=tokens,
            seconds=seconds,
            propensity=1.0 / sum(asked.open) if may else 0.0,
            hit=_hit(answers, outcome.instrument_return) if len(names) == 1 else None,
        )


def _hit(answers: Sequence[Opinion | Abstention], move: float) -> bool | None:
    """Return whether a lone junior's opinion had the right sign; None without a call."""
    for answer in answers:
        if isinstance(answer, Opinion) and answer.score != 0 and move != 0:
            return (answer.score > 0) == (move > 0)
    return None


@dataclass(frozen=True)
class CollectPlan:
    """The sessions that hold the wanted cases, and the first that decides."""

    market: MarketData
    decide_from: int


def plan_collect(
    market: MarketData, settings: Settings, num: int, start_ns: int | None
) -> CollectPlan:
    """
    Return the shortest window whose cases give `num` trajectories, whole cases only.

    An instrument of which no junior has evidence gives none, so there may be fewer.

    Raises DataError if the source has too few sessions.
    """
    kept, decide_from = window(market, start_ns, warmup_sessions(settings))
    closes = np.asarray(kept.session_closes, dtype=np.int64)
    first = int(np.searchsorted(closes, decide_from))
    horizon, every = HORIZON_SESSIONS[settings.desk.horizon], settings.desk.decide_every_sessions
    a_session = len(kept.instruments) * len(ROUTES)
    wanted = math.ceil(num / a_session)
    found = max(0, (len(closes) - 1 - horizon - first) // every + 1)
    if found < wanted:
        raise DataError(
            f"expected {wanted} deciding sessions with an outcome in {market.name} for {num} "
            f"trajectories, was {found}: at most --num {found * a_session}"
        )
    last = int(closes[first + (wanted - 1) * every + horizon])
    kept, _ = window(market, decide_from, warmup_sessions(settings), last)
    return CollectPlan(kept, decide_from)


def collect_routes(
    plan: CollectPlan,
    settings: Settings,
    hierarchy: Hierarchy,
    num: int,
    on_session: Callable[[int], None] | None = None,
) -> list[RouteRow]:
    """Return the seven routes of each case, oldest first: `num` rows, rounded up to a case."""
    collector = RouteCollector(hierarchy, settings.supervisor)
    run_book(
        BookSpec("routes", plan.market, settings, plan.decide_from),
        collector,
        on_session=on_session,
    )
    arms = len(ROUTES)
    return collector.rows[: math.ceil(num / arms) * arms]
