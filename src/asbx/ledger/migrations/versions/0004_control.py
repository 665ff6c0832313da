"""Which controller of a pair works; on PostgreSQL, numbers of events and jobs that do not end at 2**31."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table with its one row. Job ids of a federation fill 32 bits (federation guide, "Job IDs")."""
    made = op.create_table(
        "control",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_control"),
    )
    op.bulk_insert(made, [{"id": 1, "epoch": 0, "holder": "", "beat": 0}])
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("events", "id", type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE events_id_seq AS bigint")
        op.alter_column("events", "job_id", type_=sa.BigInteger)
