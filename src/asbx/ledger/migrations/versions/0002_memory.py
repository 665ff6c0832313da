"""What is remembered between requests; which rung and leg a call was for; when nodes registered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns, with values for the rows that are there, and tables.

    Columns with a constant default are added in place: SQLite rewrites no row for them, however many there are
    (https://sqlite.org/lang_altertable.html, "ALTER TABLE ADD COLUMN").
    """
    op.add_column("intents", sa.Column("considered", sa.Text, nullable=False, server_default="[]"))
    op.add_column("attempts", sa.Column("rung", sa.String, nullable=False, server_default=""))
    op.add_column("attempts", sa.Column("leg", sa.Integer, nullable=False, server_default="0"))
    op.add_column("bindings", sa.Column("registered_at", _MOMENT))
    _shortages()
    _resources()
    _setbacks()


def _shortages() -> None:
    op.create_table(
        "shortages",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("least", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("closed_until", _MOMENT, nullable=False),
        sa.Column("probe_until", _MOMENT),
        sa.Column("probe_by", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_shortages"),
    )


def _resources() -> None:
    op.create_table(
        "resources",
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("gang_id", sa.String, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT, nullable=False),
        sa.Column("removed_at", _MOMENT),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_resources"),
    )
    op.create_index("ix_resources_removed_at", "resources", ["removed_at"])


def _setbacks() -> None:
    op.create_table(
        "setbacks",
        sa.Column("job_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("next_at", _MOMENT),
        sa.PrimaryKeyConstraint("job_id", name="pk_setbacks"),
    )
