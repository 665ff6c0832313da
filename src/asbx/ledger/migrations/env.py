"""What Alembic runs: the migrations, inside the transaction the caller began."""

from __future__ import annotations

from alembic import context

from asbx.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column in place; Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
