"""What was charged when: prices and the times from which they hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. What instances cost that were launched before stays on their own rows."""
    op.create_table(
        "prices",
        sa.Column("instance_type", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("market", sa.String, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usd", sa.Text, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance_type", "zone", "market", "since", name="pk_prices"),
    )
