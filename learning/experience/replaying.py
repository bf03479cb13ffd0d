"""
Reads back what a decision was made with: the panel of returns, and the feedback learned from.

Both are as they were at the decision's stamp: the panel to the bit, so that its hash is the
case's `panel_digest`, and the feedback in the order in which the mind had it. Functions over
`Library.reading()`. They know no mind.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
from sqlalchemy import select

from agents.arrays import Panel
from agents.messages import Decision, Opinion, Outcome
from agents.protocols import Feedback
from config.errors import DataError
from learning.experience import models as m
from learning.experience.library import Library
from learning.experience.rows import read_decision, read_outcome, read_returns

LEARNER = "supervisor"


def read_panel(
    library: Library, run_id: str, until_ts: int, symbols: Sequence[str], sessions: int
) -> Panel:
    """
    Return the panel of a case of `symbols` at `until_ts`: at most the newest `sessions` rows.

    Shapes: returns (T, N). Raises DataError where a session does not hold a symbol.
    """
    c = m.session_returns.c
    query = (
        select(c.body)
        .where(c.run_id == run_id, c.ts_event <= until_ts)
        .order_by(c.ts_event.desc())
        .limit(sessions)
    )
    with library.reading() as connection:
        bodies = connection.execute(query).scalars().all()
    returns = np.full((len(bodies), len(symbols)), np.nan)
    for row, body in zip(returns[::-1], bodies, strict=True):
        try:
            session = read_returns(body)
        except msgspec.DecodeError as e:
            raise DataError(f"expected a session's returns of run {run_id}, was: {e}") from e
        known = dict(zip(session.symbols, session.returns, strict=True))
        missing = [symbol for symbol in symbols if symbol not in known]
        if missing:
            raise DataError(f"expected returns of {missing[0]} at {session.ts_event}, was none")
        row[:] = [np.nan if known[s] is None else known[s] for s in symbols]
    return Panel(symbols=tuple(symbols), returns=returns)


def read_feedback(library: Library, run_id: str, until_ts: int) -> list[Feedback]:
    """
    Return the feedback that the mind had by `until_ts`, in its order.

    Sessions in their order; within one, decisions as they were delivered, and a decision's
    instruments as they were routed. Raises DataError where an outcome has no reward or route.
    """
    o, r, d = m.outcomes.c, m.rewards.c, m.decisions.c
    ended = select(m.outcomes).where(o.run_id == run_id, o.ts_event <= until_ts)
    paid = select(r.decision_id, r.symbol, r.value).where(
        r.run_id == run_id, r.learner == LEARNER, r.ts_event <= until_ts
    )
    bodies = (
        select(d.decision_id, d.body)
        .where(d.run_id == run_id, d.decision_id.in_(ended.with_only_columns(o.decision_id)))
        .order_by(d.ts_init, d.ts_event, d.decision_id)
    )
    with library.reading() as connection:
        outcomes: defaultdict[str, dict[str, Outcome]] = defaultdict(dict)
        for row in connection.execute(ended):
            outcome = read_outcome(tuple(row))
            outcomes[outcome.decision_id][outcome.symbol] = outcome
        rewards = {(key, symbol): value for key, symbol, value in connection.execute(paid)}
        decisions = [read_decision(body) for _, body in connection.execute(bodies)]
    feedback = [
        item
        for decision in decisions
        for item in _feedback(decision, outcomes.pop(decision.decision_id), rewards)
    ]
    if outcomes:
        raise DataError(f"expected a decision of every outcome, was none of {min(outcomes)}")
    return sorted(feedback, key=lambda item: item.outcome.ts_event)  # stable: the rest stays


def _feedback(
    decision: Decision, outcomes: dict[str, Outcome], rewards: dict[tuple[str, str], float]
) -> list[Feedback]:
    opinions: defaultdict[str, list[Opinion]] = defaultdict(list)
    for opinion in decision.opinions:
        opinions[opinion.symbol].append(opinion)
    feedback = []
    for route in decision.routes:
        outcome = outcomes.get(route.symbol)
        if outcome is None:
            continue  # it had no price before its horizon's end
        reward = rewards.get((decision.decision_id, route.symbol))
        if reward is None:
            raise DataError(
                f"expected a reward of {decision.decision_id} {route.symbol}, was none"
            )
        feedback.append(Feedback(route, tuple(opinions[route.symbol]), outcome, reward))
    return feedback
