"""A run's own returns, source and sessions a year: what counts it as a trial of later runs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table and the columns; runs from before keep their Sharpe ratio alone."""
    op.add_column("runs", sa.Column("source_digest", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("sessions_per_year", sa.BigInteger(), nullable=True))
    op.create_table(
        "run_returns",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_returns_runs"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_returns"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("run_returns")
    op.drop_column("runs", "sessions_per_year")
    op.drop_column("runs", "source_digest")
