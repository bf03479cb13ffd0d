"""
The library's tables, as SQLAlchemy Core metadata for SQLite and PostgreSQL alike.

Every row belongs to a run and, but for runs, their models and their returns, to one decision:
(run_id, decision_id) leads each primary key, and whatever else makes a row unique follows. A
primary key is also what makes adding twice add once. A decision is kept whole, as its JSON, in
`decisions.body`; the rows beside it (routes, opinions, proposals, allocations) hold only what is
asked of them in SQL. `cases.body` is zlib over JSON. Stamps are UTC nanoseconds.

It knows no messages. A change here needs a migration and a new `SCHEMA`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

# The migration that makes these tables, and every one that this code can start from.
SCHEMA = "0003"
KNOWN_SCHEMAS = ("0001", "0002", "0003")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _real(name: str, *, null: bool = False) -> Column[float]:
    return Column(name, Double, nullable=null)


def _run() -> Column[str]:
    return Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True)


def _of_decision(name: str, *columns: Column[Any]) -> Table:
    """A table of what cannot stand without its decision, clustered by it."""
    return Table(
        name,
        metadata,
        _key("run_id"),
        _key("decision_id"),
        *columns,
        ForeignKeyConstraint(
            ["run_id", "decision_id"], ["decisions.run_id", "decisions.decision_id"]
        ),
        sqlite_with_rowid=False,
    )


def _of_run(name: str, *columns: Column[Any], wide: bool = False) -> Table:
    """
    A table of what happened in a run, with a decision or (the gate on its own) without one.

    `wide` keeps long bodies out of the key's tree.
    """
    return Table(name, metadata, _run(), _key("decision_id"), *columns, sqlite_with_rowid=wide)


runs = Table(
    "runs",
    metadata,
    _key("run_id"),
    _text("name"),
    _text("status"),
    _int("created_at", null=True),
    _int("seed"),
    _text("data_digest"),
    _text("code_version"),
    _text("start_state"),
    _text("config"),
    _text("manifest"),
    _real("sharpe", null=True),
    _text("source_digest", null=True),
    _int("sessions_per_year", null=True),
)

models = Table(
    "models",
    metadata,
    _run(),
    _key("role"),
    _key("name"),
    _text("sha256"),
    _int("window_start", null=True),
    _int("window_end", null=True),
    sqlite_with_rowid=False,
)

session_returns = Table(
    "session_returns",
    metadata,
    _run(),
    Column("ts_event", BigInteger, primary_key=True, autoincrement=False),
    _text("body"),
)

# What a completed run earned: stamps and excess returns of its sessions, zlib over JSON.
run_returns = Table(
    "run_returns",
    metadata,
    _run(),
    _int("first_ns"),
    _int("last_ns"),
    Column("body", LargeBinary, nullable=False),
)

cases = _of_run(
    "cases",
    _int("ts_event"),
    _text("trigger"),
    _text("horizon"),
    _text("regime"),
    Column("body", LargeBinary, nullable=False),
    wide=True,
)

decisions = _of_run(
    "decisions",
    _int("ts_event"),
    _int("ts_init"),
    _int("expires"),
    _text("trigger"),
    _text("minds"),
    _text("regime"),
    _int("tokens"),
    _text("body"),
    wide=True,
)
Index(None, decisions.c.regime, decisions.c.ts_event)
Index(None, decisions.c.ts_event)

routes = _of_decision("routes", _key("symbol"), _int("arm"), _real("propensity"))

opinions = _of_decision(
    "opinions",
    _key("junior"),
    _key("symbol"),
    _text("opinion_id", null=True),
    _real("score", null=True),
    _real("confidence", null=True),
    _text("abstained", null=True),
    _text("model"),
    _text("prompt_revision"),
    _int("latency_ns"),
    _int("tokens"),
)

proposals = _of_decision(
    "proposals",
    _key("symbol"),
    _text("action"),
    _real("conviction"),
    _text("horizon"),
    _int("cites"),
)

allocations = _of_decision(
    "allocations",
    _text("regime"),
    _text("top_policy"),
    _text("bottom_policy"),
    _int("positions"),
    _real("gross"),
    _real("net"),
)

verdicts = _of_run(
    "verdicts",
    _key("digest"),
    _int("ts_event"),
    _text("stage"),
    _int("lines"),
    _int("cut"),
    _real("var_frac", null=True),
    _text("body"),
    wide=True,
)

orders = _of_run(
    "orders",
    _key("order_id"),
    _text("symbol"),
    _int("ts_decided"),
    _int("ts_held"),
    _int("ts_event"),
    _real("quantity"),
    _text("reason"),
)

fills = _of_run(
    "fills",
    _key("fill_id"),
    _text("order_id"),
    _text("symbol"),
    _int("ts_event"),
    _int("ts_price"),
    _real("quantity"),
    _real("price"),
    _real("commission"),
)

outcomes = _of_decision(
    "outcomes",
    _key("symbol"),
    _int("ts_event"),
    _int("ts_init"),
    _text("horizon"),
    _int("arm"),
    _real("conviction"),
    _real("instrument_return"),
    _real("realised"),
    _real("volatility"),
    _real("max_drawdown"),
    _real("benchmark_return"),
    _real("group_return"),
    _text("leave_one_out"),
)

rewards = _of_decision(
    "rewards", _key("learner"), _key("symbol"), _int("ts_event"), _real("value"), _int("tokens")
)

# What `top` and `failed` walk: only a decision's own reward is in it, best first.
of_decisions = text("learner = 'decision' AND symbol = ''")
Index(
    "ix_rewards_best",
    rewards.c.value.desc(),
    rewards.c.run_id,
    rewards.c.decision_id,
    sqlite_where=of_decisions,
    postgresql_where=of_decisions,
)

judge_scores = _of_decision(
    "judge_scores",
    _key("judge"),
    _key("symbol"),
    _int("ts_event"),
    _real("value"),
    _text("rationale"),
)
