"""Instances that never became nodes, their consoles, and the groups that are closed for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add three tables, and an index for the history of a node."""
    op.create_table(
        "boot_failures",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("node_group", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("trouble", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("instance_type", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("launched_at", _MOMENT, nullable=False),
        sa.Column("failed_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_boot_failures"),
    )
    op.create_index(
        "ix_boot_failures_partition_node_group_failed_at", "boot_failures", ["partition", "node_group", "failed_at"]
    )
    op.create_index("ix_boot_failures_node", "boot_failures", ["node"])
    op.create_table(
        "consoles",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("text", sa.LargeBinary, nullable=False),
        sa.Column("taken_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_consoles"),
    )
    op.create_table(
        "breakers",
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("node_group", sa.String, nullable=False),
        sa.Column("closed_at", _MOMENT),
        sa.Column("closed_until", _MOMENT),
        sa.Column("closings", sa.Integer, nullable=False),
        sa.Column("streak", sa.Integer, nullable=False),
        sa.Column("probe_until", _MOMENT),
        sa.Column("probe_by", sa.String, nullable=False),
        sa.Column("cleared_at", _MOMENT),
        sa.PrimaryKeyConstraint("partition", "node_group", name="pk_breakers"),
    )
    op.create_index("ix_bindings_node", "bindings", ["node"])
    op.create_index("ix_bindings_instance_id", "bindings", ["instance_id"])
