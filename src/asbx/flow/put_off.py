"""A batch of jobs whose nodes will not come, on their way to PENDING and then to a later time.

Whole batches go together: 250 gangs that found no capacity are 250 jobs to tell, but one look at the queue at a time
and few updates of nodes. Slurm's errors are recorded, never raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from asbx.config.limits import (
    FREE_TEXT_MAX,
    REQUEUE_FIRST_PAUSE,
    REQUEUE_LONGEST_PAUSE,
    REQUEUE_PATIENCE,
    SCONTROL_AT_ONCE,
)
from asbx.decide.backoff import Next
from asbx.errors import SlurmError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.job import JobFacts, Request
from asbx.model.record import Setback

# A job in one of these has its end behind it or before it: there is nothing to put off.
_OVER = frozenset(
    {"CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"}
)
# Whoever waits at a terminal loses the job: Slurm requeues batch jobs only (seen on 22.05.8).
_TO_A_TERMINAL = "Slurm ends this job, ask for it again later"
# scontrol's StartTime=now+0 would be in the past when it arrives.
_LEAST = timedelta(seconds=1)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Fate:
    """What becomes of one job. waits: its nodes are ours to set DOWN, so that it will be PENDING."""

    job: int
    said: str
    next: Next
    setback: Setback
    waits: bool

    @property
    def text(self) -> str:
        """Return why it does not run and what comes next, the end always in full."""
        if not self.waits:
            return self.said
        ending = f"; {self.next.text}"
        return self.said[: FREE_TEXT_MAX - len(ending)] + ending


class PutOff:
    """The jobs of one batch; call tell, fail and settle in this order."""

    def __init__(self, doors: Doors, request: Request, fates: Sequence[Fate]) -> None:
        self._doors, self._request = doors, request
        self._fates = {fate.job: fate for fate in fates}
        self._waiting = [fate.job for fate in fates if fate.waits]
        self._stubborn: tuple[int, ...] = ()
        self._is_silent = False
        self._delayed: list[Setback] = []

    # -- one step each

    def tell(self) -> None:
        """Make sure that none of the jobs is lost with its nodes, and tell their owners."""
        scheduler = self._doors.scheduler
        if self._waiting:
            self._stubborn = self._try(lambda: scheduler.make_requeueable(self._waiting)) or ()
        self._each(list(self._fates.values()), self._tell_one)

    def _tell_one(self, fate: Fate) -> None:
        self._doors.scheduler.tell_job(fate.job, fate.text)
        self._doors.scheduler.notify(fate.job, f"{fate.said}; {_TO_A_TERMINAL}")

    def fail(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Take nodes DOWN and off, which requeues the jobs. Tried even if nothing else was heard."""
        if reasons:
            self._is_silent = False
            self._try(lambda: self._doors.scheduler.fail_each(reasons))

    def settle(self) -> list[Setback]:
        """Wait for the jobs to be PENDING, put them off or hold them; return what is to be remembered.

        Those that had forbidden requeues forbid them again, but for jobs that were not requeued yet.
        """
        pending, left = self._pending()
        stubborn = sorted(set(self._stubborn).intersection(pending))
        if stubborn:
            self._try(lambda: self._doors.scheduler.undo_requeueable(stubborn))
        self._each([self._fates[job] for job in pending], self._put_off)
        if left:
            names = f"{len(left)} job(s) from {min(left)} on" if len(left) > 1 else f"job {min(left)}"
            text = (
                f"{names}: still {', '.join(sorted(set(left.values())))}, so not put off; Slurm tries again by itself"
            )
            self._say(Event(EventKind.REQUEST_ODD, text, job_id=min(left), level="warning"))
        return [*self._delayed, *(self._fates[job].setback for job in left)]

    def _put_off(self, fate: Fate) -> None:
        """Make one job wait, and say so."""
        at = fate.setback.next_at
        if at is None:
            self._doors.scheduler.hold(fate.job)
        else:
            self._doors.scheduler.postpone(fate.job, max(at - self._doors.clock.now(), _LEAST))
        self._delayed.append(fate.setback)
        data: dict[str, object] = {"code": fate.setback.code, "count": fate.setback.count}
        text = f"job {fate.job}: {fate.next.text}"
        self._say(Event(EventKind.JOB_POSTPONED, text, job_id=fate.job, data=data))

    def _pending(self) -> tuple[list[int], dict[int, str]]:
        """Return the jobs that are PENDING, and job -> state of those that are neither that nor over in time."""
        pending: list[int] = []
        left = dict.fromkeys(self._waiting, "where it was")
        ends, rest = self._doors.clock.now() + REQUEUE_PATIENCE, REQUEUE_FIRST_PAUSE
        while left and not self._is_silent:
            facts = self._look(list(left))
            if facts is not None:
                pending += [job for job in left if job in facts and facts[job].state == "PENDING"]
                left = {job: facts[job].state for job in left if _is_under_way(facts.get(job))}
            if not left or self._doors.clock.now() >= ends:
                break
            self._doors.clock.sleep(rest)
            rest = min(rest * 2, REQUEUE_LONGEST_PAUSE)
        return pending, left

    def _look(self, jobs: Sequence[int]) -> dict[int, JobFacts] | None:
        found = self._try(lambda: self._doors.scheduler.jobs(jobs))
        return None if found is None else {fact.job_id: fact for fact in found}

    # -- how Slurm is spoken to

    def _each(self, fates: Sequence[Fate], act: Callable[[Fate], None]) -> None:
        """Do something for each job, a few at a time; once Slurm is silent, for no further one."""
        if not fates:
            return
        with self._doors.workers.pool(min(SCONTROL_AT_ONCE, len(fates)), "job") as pool:
            for _ in pool.map(lambda fate: self._one(fate, act), fates):
                pass

    def _one(self, fate: Fate, act: Callable[[Fate], None]) -> None:
        if not self._is_silent:
            self._try(lambda: act(fate), fate.job)

    def _try(self, act: Callable[[], _Answer], job: int | None = None) -> _Answer | None:
        """Speak to Slurm; what it refuses is recorded (a job may have left the queue)."""
        try:
            return act()
        except SlurmError as error:
            self._say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", job_id=job, level="warning"))
            self._is_silent = self._is_silent or not self._answers()
            return None

    def _answers(self) -> bool:
        """Tell a refusal from silence: a job that is gone, and a slurmctld that is."""
        try:
            self._doors.scheduler.ping()
        except SlurmError:
            return False
        return True

    def _say(self, event: Event) -> None:
        self._doors.say(replace(event, request_id=self._request.request_id))


def _is_under_way(fact: JobFacts | None) -> bool:
    """Whether a job is neither PENDING nor over; one that left the queue is over."""
    return fact is not None and fact.state != "PENDING" and fact.state not in _OVER
