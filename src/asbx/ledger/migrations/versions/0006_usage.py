"""Who used which node when, and what volumes instances have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables. Of what ran before, no runs are known: its cost stays with the jobs it was launched for."""
    op.create_table(
        "job_runs",
        sa.Column("node", sa.String, nullable=False),
        sa.Column("job_id", _BIG, nullable=False, autoincrement=False),
        sa.Column("restarts", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        *(sa.Column(name, sa.String, nullable=False) for name in ("user", "account", "partition", "name")),
        sa.Column("array_job_id", _BIG),
        sa.Column("array_task_id", _BIG),
        sa.Column("leader", _BIG, nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("memory_mib", _BIG, nullable=False),
        sa.Column("gpus", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("node", "job_id", "restarts", "started_at", name="pk_job_runs"),
    )
    op.create_index("ix_job_runs_job_id", "job_runs", ["job_id"])
    op.create_index("ix_job_runs_started_at", "job_runs", ["started_at"])
    op.create_index("ix_job_runs_ended_at", "job_runs", ["ended_at"])
    op.create_table(
        "watches",
        sa.Column("begin", _MOMENT, nullable=False),
        sa.Column("end", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("begin", name="pk_watches"),
    )
    op.create_table(
        "volumes",
        sa.Column("volume_id", sa.String, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("gib", sa.Integer, nullable=False),
        sa.Column("iops", sa.Integer, nullable=False),
        sa.Column("throughput_mibs", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("volume_id", name="pk_volumes"),
    )
    op.create_index("ix_volumes_instance_id", "volumes", ["instance_id"])
    op.create_table(
        "reclaims",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_reclaims"),
    )
