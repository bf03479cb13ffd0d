"""
Reads for explanations: one decision's records, and one run in numbers.

Functions over `Library.reading()`, beside the lists that learners read. It knows no words.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Select, case, func, select

from agents.explain.facts import Tally
from agents.messages import FillRecord, OrderRecord, Reward, Verdict
from config.errors import ConfigError
from learning.experience import models as m
from learning.experience.library import Library, RunRow

MIN_PREFIX = 6  # hex digits that name a decision or a run
MOST_NAMED = 4  # candidates that an error names

_VERDICT = msgspec.json.Decoder(Verdict)


@dataclass(frozen=True)
class DecisionKey:
    """Where a decision is kept and when it was made."""

    run_id: str
    decision_id: str
    ts_event: int


OLD_YEAR = 252  # sessions a year of runs from before a run kept its own


def find_run(library: Library, prefix: str | None = None) -> RunRow:
    """
    Return the run of an id or its beginning; without one, the newest that holds decisions.

    Raises ConfigError on none, on several, and on fewer than six characters.
    """
    runs = library.runs()
    if prefix is None:
        d, r = m.decisions.c, m.runs.c
        query = select(r.run_id).where(select(d.run_id).where(d.run_id == r.run_id).exists())
        with library.reading() as connection:
            holding = set(connection.execute(query).scalars())
        found = [run for run in runs if run.run_id in holding][:1]
        if not found:
            raise ConfigError("expected a library with a run that decided, was one without")
        return found[0]
    _check_prefix(prefix, "a run")
    found = [run for run in runs if run.run_id.startswith(prefix)]
    return _one(found, [run.run_id for run in found], "a run", prefix)


def find_decision(library: Library, prefix: str, run_id: str | None = None) -> DecisionKey:
    """
    Return the decision of an id or its beginning; of one in several runs, the newest run's.

    Raises ConfigError on none, on several, and on fewer than six characters.
    """
    _check_prefix(prefix, "a decision")
    d, r = m.decisions.c, m.runs.c
    query = (
        select(d.run_id, d.decision_id, d.ts_event)
        .join(m.runs, r.run_id == d.run_id)
        .where(d.decision_id.startswith(prefix, autoescape=True))
        .order_by(func.coalesce(r.created_at, 0).desc(), d.run_id.desc(), d.decision_id)
    )
    if run_id is not None:
        query = query.where(d.run_id == run_id)
    found: dict[str, DecisionKey] = {}
    for key in (DecisionKey(*row) for row in _rows(library, query)):
        found.setdefault(key.decision_id, key)
    return _one(list(found.values()), list(found), "a decision", prefix)


def decision_keys(library: Library, run_id: str) -> list[DecisionKey]:
    """Return all decisions of a run, oldest first."""
    d = m.decisions.c
    query = (
        select(d.run_id, d.decision_id, d.ts_event)
        .where(d.run_id == run_id)
        .order_by(d.ts_event, d.decision_id)
    )
    return [DecisionKey(*row) for row in _rows(library, query)]


def verdicts(library: Library, run_id: str, decision_id: str) -> tuple[Verdict, ...]:
    """Return what the gate said of a decision, oldest first."""
    v = m.verdicts.c
    query = select(v.body).where(v.run_id == run_id, v.decision_id == decision_id)
    rows = _rows(library, query.order_by(v.ts_event, v.digest))
    return tuple(_VERDICT.decode(row[0]) for row in rows)


def orders(library: Library, run_id: str, decision_id: str) -> tuple[OrderRecord, ...]:
    """Return the orders under a decision, oldest first."""
    o = m.orders.c
    return _records(library, OrderRecord, run_id, decision_id, m.orders, (o.ts_event, o.order_id))


def fills(library: Library, run_id: str, decision_id: str) -> tuple[FillRecord, ...]:
    """Return the fills under a decision, oldest first."""
    f = m.fills.c
    return _records(library, FillRecord, run_id, decision_id, m.fills, (f.ts_event, f.fill_id))


def rewards(library: Library, run_id: str, decision_id: str) -> tuple[Reward, ...]:
    """Return the rewards that learners had for a decision."""
    r = m.rewards.c
    return _records(library, Reward, run_id, decision_id, m.rewards, (r.learner, r.symbol))


def tally(library: Library, run_id: str) -> Tally:
    """Return a run in numbers."""
    counts = library.counts(run_id)
    o, r, p, w, f = m.outcomes.c, m.routes.c, m.opinions.c, m.rewards.c, m.fills.c
    acted = select(
        func.count(), func.sum(case((o.realised > 0.0, 1), else_=0)), func.avg(o.realised)
    ).where(o.run_id == run_id, o.conviction != 0.0)
    routes = select(r.arm, func.count()).where(r.run_id == run_id).group_by(r.arm)
    arm_rewards = (
        select(r.arm, func.avg(w.value))
        .join(
            m.rewards,
            (w.run_id == r.run_id) & (w.decision_id == r.decision_id) & (w.symbol == r.symbol),
        )
        .where(r.run_id == run_id, w.learner == "supervisor")
        .group_by(r.arm)
    )
    spoken = (
        select(p.junior, p.abstained.is_(None), func.count())
        .where(p.run_id == run_id)
        .group_by(p.junior, p.abstained.is_(None))
    )
    paid = select(func.coalesce(func.sum(f.commission), 0.0)).where(f.run_id == run_id)
    reward = select(func.avg(w.value)).where(w.run_id == run_id, m.of_decisions)
    of = m.runs.c
    ratio = select(of.sharpe, of.sessions_per_year).where(of.run_id == run_id)
    with library.reading() as connection:
        count, hits, realised = connection.execute(acted).one()
        said = connection.execute(spoken).all()
        sharpe, year = connection.execute(ratio).one()
        return Tally(
            decisions=counts["decisions"],
            orders=counts["orders"],
            fills=counts["fills"],
            commission=connection.execute(paid).scalar_one(),
            sharpe=sharpe,
            sessions_per_year=year or OLD_YEAR,
            acted=count,
            hits=hits or 0,
            realised=realised,
            reward=connection.execute(reward).scalar_one_or_none(),
            routes=_pairs(connection.execute(routes)),
            arm_rewards=_pairs(connection.execute(arm_rewards)),
            spoke={junior: n for junior, spoke, n in said if spoke},
            silent={junior: n for junior, spoke, n in said if not spoke},
        )


def _records[T: msgspec.Struct](
    library: Library,
    kind: type[T],
    run_id: str,
    decision_id: str,
    table: Any,
    order: tuple[Any, ...],
) -> tuple[T, ...]:
    """Return the rows of a table whose columns are a message's fields."""
    names = kind.__struct_fields__
    query = (
        select(*(table.c[name] for name in names))
        .where(table.c.run_id == run_id, table.c.decision_id == decision_id)
        .order_by(*order)
    )
    return tuple(kind(**dict(zip(names, row, strict=True))) for row in _rows(library, query))


def _pairs(rows: Iterable[Any]) -> dict[Any, Any]:
    return {row[0]: row[1] for row in rows}


def _rows(library: Library, query: Select[Any]) -> list[Any]:
    with library.reading() as connection:
        return list(connection.execute(query))


def _check_prefix(prefix: str, what: str) -> None:
    if len(prefix) < MIN_PREFIX:
        raise ConfigError(
            f"expected at least {MIN_PREFIX} characters of {what}'s id, was {prefix!r}"
        )


def _one[T](found: list[T], ids: list[str], what: str, prefix: str) -> T:
    if not found:
        raise ConfigError(f"expected {what} in the library, was {prefix!r}")
    if len(found) > 1:
        named = ", ".join(ids[:MOST_NAMED])
        raise ConfigError(f"expected one of {len(found)} ids ({named}), was {prefix!r}")
    return found[0]
