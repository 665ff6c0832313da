"""By which plan each job was launched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "job_plans",
        sa.Column("job_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("refusal", sa.Text, nullable=False),
        sa.Column("filled", sa.LargeBinary, nullable=False),
        sa.Column("rungs", sa.LargeBinary, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("price", sa.Text),
        sa.Column("time_limit_s", sa.BigInteger),
        sa.PrimaryKeyConstraint("job_id", "request_id", name="pk_job_plans"),
    )
    op.create_index("ix_job_plans_user_name", "job_plans", ["user", "name"])
    op.create_index("ix_job_plans_label", "job_plans", ["label"])
    op.create_index("ix_job_plans_decided_at", "job_plans", ["decided_at"])
