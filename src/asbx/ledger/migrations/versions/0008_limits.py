"""Limits that jobs set themselves, and what was done about limits that were reached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "job_limits",
        sa.Column("job_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("measure", sa.String, nullable=False),
        sa.Column("said_by", sa.String, nullable=False),
        sa.Column("most", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "measure", "said_by", name="pk_job_limits"),
    )
    op.create_table(
        "limit_marks",
        sa.Column("job_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("run", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("measure", sa.String, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("job_id", "run", "rule", "measure", name="pk_limit_marks"),
    )
