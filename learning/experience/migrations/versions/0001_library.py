"""The first library: runs and models, cases to rewards, judges' scores."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

OF_DECISIONS = sa.text("learner = 'decision' AND symbol = ''")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("data_digest", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("start_state", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("sharpe", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_table(
        "cases",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("horizon", sa.Text(), nullable=False),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_cases_runs"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", name="pk_cases"),
    )
    op.create_table(
        "decisions",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("ts_init", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("minds", sa.Text(), nullable=False),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_decisions_runs"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_regime_ts_event", "decisions", ["regime", "ts_event"])
    op.create_index("ix_decisions_ts_event", "decisions", ["ts_event"])
    op.create_table(
        "fills",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("fill_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("ts_price", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("commission", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_fills_runs"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", "fill_id", name="pk_fills"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "models",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=True),
        sa.Column("window_end", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_models_runs"),
        sa.PrimaryKeyConstraint("run_id", "role", "name", name="pk_models"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "orders",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ts_decided", sa.BigInteger(), nullable=False),
        sa.Column("ts_held", sa.BigInteger(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_orders_runs"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", "order_id", name="pk_orders"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "verdicts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("cut", sa.BigInteger(), nullable=False),
        sa.Column("var_frac", sa.Double(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_verdicts_runs"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", "digest", name="pk_verdicts"),
    )
    _of_decision(
        "allocations",
        (),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("top_policy", sa.Text(), nullable=False),
        sa.Column("bottom_policy", sa.Text(), nullable=False),
        sa.Column("positions", sa.BigInteger(), nullable=False),
        sa.Column("gross", sa.Double(), nullable=False),
        sa.Column("net", sa.Double(), nullable=False),
    )
    _of_decision(
        "judge_scores",
        ("judge", "symbol"),
        sa.Column("judge", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("rationale", sa.Text(), nullable=False),
    )
    _of_decision(
        "opinions",
        ("junior", "symbol"),
        sa.Column("junior", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("opinion_id", sa.Text(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("abstained", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_revision", sa.Text(), nullable=False),
        sa.Column("latency_ns", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
    )
    _of_decision(
        "outcomes",
        ("symbol",),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("ts_init", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.Text(), nullable=False),
        sa.Column("arm", sa.BigInteger(), nullable=False),
        sa.Column("conviction", sa.Double(), nullable=False),
        sa.Column("instrument_return", sa.Double(), nullable=False),
        sa.Column("realised", sa.Double(), nullable=False),
        sa.Column("volatility", sa.Double(), nullable=False),
        sa.Column("max_drawdown", sa.Double(), nullable=False),
        sa.Column("benchmark_return", sa.Double(), nullable=False),
        sa.Column("group_return", sa.Double(), nullable=False),
        sa.Column("leave_one_out", sa.Text(), nullable=False),
    )
    _of_decision(
        "proposals",
        ("symbol",),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("conviction", sa.Double(), nullable=False),
        sa.Column("horizon", sa.Text(), nullable=False),
        sa.Column("cites", sa.BigInteger(), nullable=False),
    )
    _of_decision(
        "rewards",
        ("learner", "symbol"),
        sa.Column("learner", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
    )
    op.create_index(
        "ix_rewards_best",
        "rewards",
        [sa.literal_column("value DESC"), "run_id", "decision_id"],
        sqlite_where=OF_DECISIONS,
        postgresql_where=OF_DECISIONS,
    )
    _of_decision(
        "routes",
        ("symbol",),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("arm", sa.BigInteger(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    """Drop all tables, what refers first."""
    for table in (
        *("routes", "rewards", "proposals", "outcomes", "opinions", "judge_scores", "allocations"),
        *("verdicts", "orders", "models", "fills", "decisions", "cases", "runs"),
    ):
        op.drop_table(table)


def _of_decision(name: str, key: tuple[str, ...], *columns: sa.Column[Any]) -> None:
    """Make a table of what cannot stand without its decision; `key` is what follows that in it."""
    op.create_table(
        name,
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["run_id", "decision_id"],
            ["decisions.run_id", "decisions.decision_id"],
            name=f"fk_{name}_decisions",
        ),
        sa.PrimaryKeyConstraint("run_id", "decision_id", *key, name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )
