"""Spot instances that EC2 took back, and since when jobs wait for spot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "interruptions",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("instance_type", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_interruptions"),
    )
    op.create_index("ix_interruptions_at", "interruptions", ["at"])
    op.create_table(
        "spot_waits",
        sa.Column("job_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_spot_waits"),
    )
