"""What is in use against limits, and what was done about those that were reached, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock

from asbx.model.job import Request
from asbx.model.limit import InUse, JobLimit, LimitMark, Measure, Use
from asbx.model.record import Attempt, InstanceRow, Intent


def _limit_key(one: JobLimit) -> tuple[int, str, str]:
    return one.job_id, one.measure.value, one.said_by


@dataclass
class MemoryLimits:
    """The door `LimitRecord`, beside the books it reads."""

    _job_limits: dict[tuple[int, str, str], JobLimit] = field(default_factory=dict)
    _marks: dict[tuple[int, int, str, Measure], LimitMark] = field(default_factory=dict)
    _claims: RLock = field(default_factory=RLock)
    _open: dict[str, Request] = field(default_factory=dict)
    _intents: dict[str, Intent] = field(default_factory=dict)
    _attempts: dict[str, dict[int, Attempt]] = field(default_factory=dict)
    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _alive: dict[str, None] = field(default_factory=dict)
    _unanswered: dict[tuple[str, int], None] = field(default_factory=dict)

    def add_attempt(self, attempt: Attempt, intent: Intent | None = None) -> None:
        """Keep a call before it is made."""
        raise NotImplementedError

    def in_use(self, since: datetime) -> Use:
        """Return the instances that live, and the calls without an answer."""
        with self._claims:
            rows = (self._instances[one] for one in self._alive)
            count = Counter(
                (
                    *(row.user, row.account, row.group.partition, row.instance_type, row.zone),
                    row.market,
                    row.price,
                    bool(row.jobs),
                )
                for row in rows
            )
            live = [InUse(*key, number) for key, number in count.items()]
            calls = [self._attempts[intent][number] for intent, number in sorted(self._unanswered)]
            asked = [
                (self._intents[one.intent_id], one)
                for one in calls
                if self._intents[one.intent_id].request_id in self._open or one.asked_at >= since
            ]
            return Use(tuple(sorted(live, key=lambda row: row.order)), tuple(asked))

    def claim_attempt(
        self, intent: Intent | None, since: datetime, choose: Callable[[Use], Attempt | None]
    ) -> Attempt | None:
        """Read what is in use, let `choose` say which call is made, and keep that one."""
        with self._claims:
            attempt = choose(self.in_use(since))
            if attempt is not None:
                self.add_attempt(attempt, intent)
            return attempt

    def set_job_limits(self, job_ids: Iterable[int], limits: Sequence[JobLimit]) -> None:
        """Keep what these jobs set for themselves."""
        ids = set(job_ids)
        self._job_limits = {key: one for key, one in self._job_limits.items() if one.job_id not in ids}
        self._job_limits |= {_limit_key(one): one for one in limits}

    def job_limits(self, job_ids: Iterable[int] | None = None) -> tuple[JobLimit, ...]:
        """Return what (these) jobs have set for themselves."""
        ids = None if job_ids is None else set(job_ids)
        return tuple(one for _, one in sorted(self._job_limits.items()) if ids is None or one.job_id in ids)

    def limit_marks(self) -> tuple[LimitMark, ...]:
        """Return what was done about limits that were reached."""
        return tuple(self._marks[key] for key in sorted(self._marks))

    def set_limit_mark(self, mark: LimitMark) -> None:
        """Keep how far one is followed up."""
        self._marks[mark.key] = mark

    def drop_limit_marks(self, keys: Iterable[tuple[int, int, str, Measure]]) -> None:
        """Forget those of limits that are not reached any more."""
        for key in keys:
            self._marks.pop(key, None)

    def _forget_limits(self, before: datetime) -> None:
        """Forget what is of before a moment."""
        self._job_limits = {key: one for key, one in self._job_limits.items() if one.at >= before}
        self._marks = {key: one for key, one in self._marks.items() if one.at >= before}
