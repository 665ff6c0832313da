"""What the ledger keeps about limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from asbx.model.limit import JobLimit, LimitMark, Measure, Use
from asbx.model.record import Attempt, Intent


class LimitRecord(Protocol):
    """What is in use, the limits of jobs, and what was done about them. Raises LedgerError."""

    def in_use(self, since: datetime) -> Use:
        """Return the instances that live, and the calls without an answer: of open requests, or made since then."""

    def claim_attempt(
        self, intent: Intent | None, since: datetime, choose: Callable[[Use], Attempt | None]
    ) -> Attempt | None:
        """Read what is in use, let `choose` say which call is made, and keep that one: one transaction.

        intent: to be kept with it, where it is not kept yet. `choose` must not use the ledger: it runs while nobody
        else may write. Nothing is kept where it says None.
        """

    def set_job_limits(self, job_ids: Iterable[int], limits: Sequence[JobLimit]) -> None:
        """Keep what these jobs set for themselves, in the place of what they had set before."""

    def job_limits(self, job_ids: Iterable[int] | None = None) -> tuple[JobLimit, ...]:
        """Return what (these) jobs have set for themselves."""

    def limit_marks(self) -> tuple[LimitMark, ...]:
        """Return what was done about limits that were reached."""

    def set_limit_mark(self, mark: LimitMark) -> None:
        """Keep how far one is followed up, in the place of what was kept before."""

    def drop_limit_marks(self, keys: Iterable[tuple[int, int, str, Measure]]) -> None:
        """Forget those of limits that are not reached any more."""
