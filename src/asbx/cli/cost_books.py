"""What every command about costs reads: the ledger, how the site is billed, and what is asked of both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from asbx.cli import reading, site
from asbx.config.schema import Config
from asbx.decide.meter.sums import Dimension
from asbx.decide.reports.charts import Frame
from asbx.decide.reports.hours import Part, Share, shared, shares
from asbx.flow.cost_report import Days, Inquiry, Report, report, rules_of
from asbx.flow.lives import Lives
from asbx.ledger.store import SqlLedger
from asbx.model.price import currency_of
from asbx.model.record import InstanceRow

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Books:
    """An open ledger, read at one moment."""

    ledger: SqlLedger
    config: Config
    now: datetime

    @property
    def lives(self) -> Lives:
        """Return what finds out all that is known of instances."""
        return Lives(self.ledger, self.config, self.now)

    def report(
        self,
        days: Days,
        by: tuple[Dimension, ...],
        only: Mapping[Dimension, Collection[str]] | None = None,
        dearest: int = 0,
    ) -> Report:
        """Add up days. Raises LedgerError."""
        asked = Inquiry(days, by, only or {}, dearest)
        return report(self.ledger, self.lives, asked, self.now, rules_of(self.config))

    def shares(self, found: Report) -> dict[Part, Share]:
        """Return who had which seconds of the instances that several jobs had on one day. found: by all dimensions."""
        names, days = shared(found.sums), found.days
        if not names:
            return {}
        rows = [row for row in self._instances if row.instance_id in names]
        since, until, rules = days.begin or _EVER, min(self.now, days.end), rules_of(self.config)
        return {part: share for life in self.lives(rows) for part, share in shares(life, since, until, rules).items()}

    @cached_property
    def _instances(self) -> tuple[InstanceRow, ...]:
        return self.ledger.instances()

    @property
    def currency(self) -> str:
        """Return what AWS charges in."""
        return currency_of(self.config.aws.region)

    def frame(self, days: Days) -> Frame:
        """Return the days of a chart: none after today, from the first launch where there is no first."""
        today = self.now.date()
        last = max(min(days.last, today), days.first or today - timedelta(days=36500))
        first = days.first
        if first is None:
            first = min((row.launched_at.date() for row in self._instances), default=last)
        return Frame(min(first, last), last, self.currency)


@contextmanager
def books_of(config: Path | None, now: datetime) -> Iterator[Books]:
    """Open the books of a configuration. Raises ConfigError, LedgerError."""
    loaded = site.load(config).config
    with reading.ledger_of(config) as ledger:
        yield Books(ledger, loaded, now)
