"""The section `ledger` of the configuration."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from asbx.config.section import Section


class LedgerSection(Section):
    """Where the ledger is, and how long it remembers."""

    url: str = Field(default="", repr=False)
    """SQLAlchemy URL of the database; empty means SQLite at `paths.state`/ledger.db. Two controllers share one on
    PostgreSQL: postgresql://USER:PASSWORD@HOST/NAME (needs the extra `postgres`)."""
    keep_days: int = Field(default=90, ge=1, le=36_500)
    """How long events, finished requests and the calls made for them are kept. Instances and what they cost stay."""

    @property
    def keep(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(days=self.keep_days)
