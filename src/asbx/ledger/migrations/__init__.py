"""How the schema came to be; run by schema.py through Alembic."""
