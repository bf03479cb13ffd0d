"""Each session's returns: with them the panel that a decision was given can be made again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; runs from before have no rows in it."""
    op.create_table(
        "session_returns",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_session_returns_runs"),
        sa.PrimaryKeyConstraint("run_id", "ts_event", name="pk_session_returns"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("session_returns")
