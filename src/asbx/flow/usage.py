"""Learn who uses which node: one look at Slurm's jobs a pass, whatever their number; and once, what volumes there are.

slurmctld shows a job for MinJobAge after its end, so looks closer together than that miss none. After a longer pause,
and for a job that is gone all the same, the accounting is asked, where there is one; a time of which nobody can tell
any more stays out of the record, and the cost of what lived in it goes by what it was launched for.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import (
    REFUSED_AGAIN,
    USAGE_CATCH_UP,
    USAGE_FRESH,
    USAGE_HISTORY_AGAIN,
    USAGE_MARGIN,
    VOLUMES_ASKED,
)
from asbx.decide.territory import Territory
from asbx.decide.usage import ENDED, Look, closed, learned, past, vanished
from asbx.flow.doors import Doors, UsageSources
from asbx.model.event import Event, EventKind
from asbx.model.market import Verdict
from asbx.model.usage import JobRun, JobSighting, Watch
from asbx.ports import CloudError

_VOLUMES = "DescribeVolumes"


@dataclass
class Usage:
    """One pass after the other. troubles: what EC2 refuses to tell, by action."""

    doors: Doors
    troubles: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told: frozenset[JobSighting] = frozenset()  # jobs that are over, as they were recorded
    _keeps: timedelta | None = None  # MinJobAge
    _looked: timedelta | None = None
    _history_again: datetime | None = None
    _volumes_again: datetime | None = None
    _volumes_asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Know our nodes."""
        self._territory = Territory(self.doors.config)

    def run(self) -> None:
        """Look at jobs, then at volumes not seen yet. Raises SlurmError, LedgerError, CloudError."""
        if self.doors.usage is not None:
            self.look()
            self.learn_volumes(self.doors.usage)

    def look(self, *, unless_fresh: bool = False) -> None:
        """Look at jobs once. Raises SlurmError, LedgerError; the next look learns what this one did not."""
        if self.doors.usage is None:
            return
        with self._lock:
            elapsed = self.doors.clock.elapsed()
            if unless_fresh and self._looked is not None and elapsed - self._looked < USAGE_FRESH:
                return
            self._look(self.doors.usage)
            self._looked = elapsed

    def _look(self, sources: UsageSources) -> None:
        book, now = sources.book, self.doors.clock.now()  # before Slurm answers: what it shows is no older
        if self._keeps is None:
            self._keeps = sources.jobs.keeps()
        seen, open_runs = sources.jobs.sightings(), book.open_runs()
        bindings = self.doors.ledger.live_bindings()
        serving = {one.node: one.registered_at for one in bindings if one.registered_at is not None}
        look = Look(lambda node: self._territory.find(node) is not None, serving, now)
        fresh = [job for job in seen if job not in self._told]
        runs = learned(open_runs, fresh, look)
        begin, filled = self._fill(sources, vanished(open_runs, seen), look)
        book.record_runs((*filled, *runs), Watch(begin, now))
        self._told = frozenset(job for job in seen if job.state in ENDED)

    def _fill(self, sources: UsageSources, gone: Sequence[JobRun], look: Look) -> tuple[datetime, tuple[JobRun, ...]]:
        """Return since when all runs are known now, and what the accounting had to tell for it.

        Nobody's word on the end of a run that is gone: it was last seen at the look before.
        """
        watches = sources.book.watches()
        before = watches[-1].end if watches else None
        reach = look.at - max((self._keeps or timedelta()) - USAGE_MARGIN, timedelta())
        is_missed = before is None or before < reach
        told = self._history(sources, before, look.at) if is_missed or gone else None
        runs = past(told or (), gone, look)
        known = {(run.job_id, run.node) for run in runs}
        lost = closed([run for run in gone if (run.job_id, run.node) not in known], before or look.at)
        if not is_missed and before is not None:
            return before, (*runs, *lost)
        return (reach if told is None else self._since(before, look.at)), (*runs, *lost)

    @staticmethod
    def _since(before: datetime | None, now: datetime) -> datetime:
        earliest = now - USAGE_CATCH_UP
        return earliest if before is None else max(before, earliest)

    def _history(self, sources: UsageSources, before: datetime | None, now: datetime) -> tuple[JobSighting, ...] | None:
        if self._history_again is not None and now < self._history_again:
            return None
        found = sources.jobs.history(self._since(before, now), now)
        self._history_again = now + USAGE_HISTORY_AGAIN if found is None else None
        return found

    # -- volumes

    def learn_volumes(self, sources: UsageSources) -> None:
        """Ask for the volumes of instances that live and have none in the record, all in one go.

        Raises CloudError, LedgerError; a permission that is missing is said once, and the cost goes without EBS.
        """
        now = self.doors.clock.now()
        if self._volumes_again is not None and now < self._volumes_again:
            return
        live = [row.instance_id for row in self.doors.ledger.instances(live_only=True)]
        known = {volume.instance_id for volume in sources.book.volumes(live)} if live else set()
        missing = [one for one in live if one not in known and self._volumes_asked[one] < VOLUMES_ASKED]
        self._volumes_asked = Counter({one: self._volumes_asked[one] for one in live if one not in known})
        if not missing:
            return
        try:
            found = sources.volumes.volumes(missing)
        except CloudError as error:
            if error.verdict is not Verdict.PERMISSION:
                raise
            self._volumes_again = now + REFUSED_AGAIN
            self._say(f"{error.code}: {error.why}")
            return
        self._volumes_again = None
        self.troubles.pop(_VOLUMES, None)
        self._volumes_asked.update(missing)
        sources.book.add_volumes(found)

    def _say(self, trouble: str) -> None:
        if _VOLUMES not in self.troubles:
            text = f"EBS volumes of instances are not known, so costs go without them: {trouble}"
            self.doors.say(Event(EventKind.REQUEST_ODD, text, level="warning"))
        self.troubles[_VOLUMES] = trouble
