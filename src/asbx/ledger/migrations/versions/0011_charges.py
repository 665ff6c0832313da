"""What closed instances have cost whom, day by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables. Instances that ended before are settled by the next passes."""
    op.create_table(
        "settlements",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", _BIG, nullable=False),
        sa.Column("nanos", _BIG, nullable=False),
        sa.Column("has_price", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_settlements"),
    )
    where = sa.column("has_price", sa.Boolean).is_(False)
    op.create_index("unpriced", "settlements", ["instance_id"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "charges",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("day", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("job_id", _BIG, nullable=False, autoincrement=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("node_group", sa.String, nullable=False),
        sa.Column("instance_type", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("market", sa.String, nullable=False),
        sa.Column("seconds", _BIG, nullable=False),
        sa.Column("compute", _BIG, nullable=False),
        sa.Column("volumes", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "day", "kind", "job_id", name="pk_charges"),
    )
    op.create_index("ix_charges_day", "charges", ["day"])
