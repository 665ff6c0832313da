"""Find a transaction of the budget service among those of an account that were had for years."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One index in the place of another."""
    op.drop_index("ix_budget_entries_account", "budget_entries")
    op.create_index("ix_budget_entries_taken", "budget_entries", ["account", "transaction"])
