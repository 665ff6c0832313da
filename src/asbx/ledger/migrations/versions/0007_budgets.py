"""Budgets: books of their periods, holds of launches, and where launches stand with the budget service."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add three tables."""
    op.create_table(
        "budget_books",
        sa.Column("budget", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.Column("granted", sa.Text, nullable=False),
        sa.Column("alerted", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("budget", "period", name="pk_budget_books"),
    )
    op.create_table(
        "budget_holds",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("budget", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("job_id", _BIG, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("usd", sa.Text, nullable=False),
        sa.Column("taken_at", _MOMENT, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("spent", sa.Text),
        sa.Column("ended_at", _MOMENT),
        sa.Column("why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", "budget", name="pk_budget_holds"),
    )
    op.create_index("ix_budget_holds_job_id", "budget_holds", ["job_id"])
    op.create_index("ix_budget_holds_state", "budget_holds", ["state"])
    op.create_table(
        "budget_entries",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("job_id", _BIG, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("transaction", sa.String, nullable=False),
        sa.Column("hold", sa.Text),
        sa.Column("cost", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("next_at", _MOMENT),
        sa.Column("said", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_budget_entries"),
    )
    op.create_index("ix_budget_entries_job_id", "budget_entries", ["job_id"])
    op.create_index("ix_budget_entries_account", "budget_entries", ["account"])
    op.create_index("ix_budget_entries_state", "budget_entries", ["state"])
