"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A migration never changes once released, so it spells its types out instead of borrowing those of tables.py.
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create everything."""
    _requests_and_intents()
    _attempts_and_instances()
    _bindings()
    _events()


def _requests_and_intents() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("nodes", sa.Text, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("plan_text", sa.Text),
        sa.Column("by_hand", sa.Boolean, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
    )
    op.create_index("ix_requests_status", "requests", ["status"])
    op.create_table(
        "intents",
        sa.Column("intent_id", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("gang_id", sa.String, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("node_group", sa.String, nullable=False),
        sa.Column("nodes", sa.Text, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("intent_id", name="pk_intents"),
    )
    op.create_index("ix_intents_request_id", "intents", ["request_id"])


def _attempts_and_instances() -> None:
    op.create_table(
        "attempts",
        sa.Column("intent_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("order", sa.Text, nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("answered_at", _MOMENT),
        sa.Column("answer", sa.Text),
        sa.Column("error", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("intent_id", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name="fk_attempts_intent_id"),
    )
    op.create_table(
        "instances",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("intent_id", sa.String, nullable=False),
        sa.Column("gang_id", sa.String, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("partition", sa.String, nullable=False),
        sa.Column("node_group", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("instance_type", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("subnet_id", sa.String, nullable=False),
        sa.Column("market", sa.String, nullable=False),
        sa.Column("launched_at", _MOMENT, nullable=False),
        sa.Column("price", sa.Text),
        sa.Column("private_ip", sa.String, nullable=False),
        sa.Column("reservation_id", sa.String, nullable=False),
        sa.Column("launch_index", sa.Integer, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("bound_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.Column("end_reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name="fk_instances_intent_id"),
    )
    op.create_index("ix_instances_intent_id", "instances", ["intent_id"])
    op.create_index("ix_instances_ended_at", "instances", ["ended_at"])


def _bindings() -> None:
    op.create_table(
        "bindings",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("bound_at", _MOMENT, nullable=False),
        sa.Column("released_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_bindings"),
    )
    live = sa.text("released_at IS NULL")
    for side, column in (("node", "node"), ("instance", "instance_id")):
        op.create_index(
            f"one_live_binding_per_{side}",
            "bindings",
            [column],
            unique=True,
            sqlite_where=live,
            postgresql_where=live,
        )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("gang_id", sa.String, nullable=False),
        sa.Column("job_id", sa.Integer),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    for column in ("request_id", "job_id", "node"):
        op.create_index(f"ix_events_{column}", "events", [column])
