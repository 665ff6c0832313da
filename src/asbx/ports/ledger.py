"""The record, and who of a pair may write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from asbx.model.boot import BootFailure, Breaker, Console, Service
from asbx.model.control import Control
from asbx.model.event import Event
from asbx.model.job import Request
from asbx.model.job_plan import JobPlan
from asbx.model.market import Instance
from asbx.model.names import GroupName
from asbx.model.record import (
    Attempt,
    Binding,
    InstanceRow,
    Intent,
    Resource,
    ResourceKind,
    Setback,
    Shortage,
)
from asbx.ports.limits import LimitRecord
from asbx.ports.spot import SpotRecord


class JobPlanRecord(Protocol):
    """By which plan each job was launched. Raises LedgerError."""

    def add_job_plans(self, plans: Sequence[JobPlan]) -> None:
        """Keep them, in one go; the newest of a job and request stands. Only the last JOB_PLANS_KEPT of a job stay."""

    def job_plans(self, job_id: int) -> tuple[JobPlan, ...]:
        """Return how a job was decided, newest first."""

    def labelled_job(self, label: str) -> int | None:
        """Return the job that Slurm called this last, a task `12_3` or a component `12+1`; None for none."""

    def named_job_plans(self, user: str, name: str, limit: int) -> tuple[JobPlan, ...]:
        """Return how the last so many jobs of this user and name were decided, newest first, one for each job."""


class Ledger(JobPlanRecord, LimitRecord, SpotRecord, Protocol):
    """The memory. Short transactions; every method raises LedgerError when the database cannot serve.

    All times are aware UTC. Writing the same row twice is not an error: flows repeat themselves after a crash.
    """

    # -- requests
    def add_request(self, request: Request) -> bool:
        """Keep a request as new; False when its id is already there."""

    def open_requests(self) -> tuple[Request, ...]:
        """Return requests not finished, oldest first."""

    def finish_request(self, request_id: str, *, failed: bool, note: str, at: datetime) -> None:
        """Close a request."""

    def request_outcome(self, request_id: str) -> tuple[str, str] | None:
        """Return (status, note); status is new, done or failed; None for an unknown id."""

    # -- launches
    def add_intent(self, intent: Intent) -> None:
        """Keep an intent."""

    def intents(self, request_id: str) -> tuple[Intent, ...]:
        """Return the intents of a request."""

    def known_intents(self, intent_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these ids are ours."""

    def add_attempt(self, attempt: Attempt, intent: Intent | None = None) -> None:
        """Keep a call before it is made (answer None), with its intent where that is not kept yet: both or neither."""

    def answer_attempt(self, attempt: Attempt, instances: Sequence[InstanceRow]) -> None:
        """Keep what EC2 said and the instances it launched, in one transaction."""

    def attempts(self, intent_id: str) -> tuple[Attempt, ...]:
        """Return the calls of an intent, oldest first."""

    def attempts_of(self, intent_ids: Iterable[str]) -> tuple[Attempt, ...]:
        """Return the calls of all these intents, those of one by their number."""

    # -- instances and bindings
    def instances(
        self, *, live_only: bool = False, intent_id: str | None = None, ended_since: datetime | None = None
    ) -> tuple[InstanceRow, ...]:
        """Return instances, by launch; ended_since: those that ended then or later."""

    def bind(
        self,
        rows: Sequence[tuple[str, Instance]],
        at: datetime,
        jobs: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        """Bind nodes to instances, and note each node's own jobs where `jobs` (node -> job ids) names them.

        Raises LedgerError (`already-bound`) if either side has another live partner.
        """

    def live_bindings(self, nodes: Sequence[str] | None = None) -> tuple[Binding, ...]:
        """Return the live bindings (of these nodes)."""

    def has_history(self, nodes: Sequence[str]) -> bool:
        """Return whether every one of these nodes was bound at some time: then nothing of them is unknown."""

    def register(self, nodes: Sequence[str], at: datetime) -> None:
        """Note that slurmd of these nodes has registered, on the live bindings that do not say so yet."""

    def release(self, nodes: Sequence[str], at: datetime) -> None:
        """Close the live bindings of these nodes."""

    def end_instances(self, instance_ids: Sequence[str], reason: str, at: datetime) -> None:
        """Set the end of instances that have none yet."""

    def date_instances(self, seen: Sequence[Instance]) -> None:
        """Set when instances began, and those that are over ended, where EC2 says so: its word counts, not ours."""

    def set_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Set what instances cost: id -> USD an hour."""

    # -- what is remembered between requests
    def shortages(self) -> tuple[Shortage, ...]:
        """Return every shortage remembered, by key."""

    def change_shortage(self, key: str, change: Callable[[Shortage | None], Shortage | None]) -> Shortage | None:
        """Read one, let `change` say what becomes of it (None: forget it), write and return that: one transaction.

        `change` must not use the ledger: it runs while nobody else may write.
        """

    def add_resource(self, resource: Resource) -> None:
        """Keep that something is made in EC2; again: its `used_at` moves on, and it is not removed any more."""

    def resources(self, kind: ResourceKind) -> tuple[Resource, ...]:
        """Return what is not removed, oldest first."""

    def end_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Note that something is removed from EC2."""

    def setbacks(self, job_ids: Iterable[int]) -> dict[int, Setback]:
        """Return how these jobs' launches have failed so far, for those that have."""

    def set_setback(self, setback: Setback) -> None:
        """Keep a job's setback, in the place of an earlier one."""

    def clear_setbacks(self, job_ids: Iterable[int]) -> None:
        """Forget the setbacks of jobs whose nodes came."""

    # -- boots
    def add_boot_failures(self, failures: Sequence[BootFailure]) -> frozenset[str]:
        """Keep that instances never became nodes; return the ids of those of which that is news."""

    def boot_failures(
        self, *, group: GroupName | None = None, node: str | None = None, limit: int
    ) -> tuple[BootFailure, ...]:
        """Return the last so many failures (of a group, of a node), oldest first."""

    def last_boot(self, group: GroupName) -> datetime | None:
        """Return the launch of the youngest instance of a group whose node has registered."""

    def breakers(self) -> tuple[Breaker, ...]:
        """Return every breaker there is, by group."""

    def change_breaker(self, group: GroupName, change: Callable[[Breaker | None], Breaker | None]) -> Breaker | None:
        """Read one, let `change` say what becomes of it (None: forget it), write and return that: one transaction.

        `change` must not use the ledger: it runs while nobody else may write.
        """

    def add_console(self, console: Console) -> None:
        """Keep the console of an instance, in the place of an earlier one."""

    def console(self, instance_id: str) -> Console | None:
        """Return the console of an instance, where one is kept."""

    def drop_consoles(self, before: datetime, most: int) -> None:
        """Forget consoles taken before a moment, and of the others all but so many of the newest."""

    def services(self, node: str, limit: int) -> tuple[Service, ...]:
        """Return the last so many instances of a node, oldest first."""

    # -- events
    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event."""

    def events(
        self,
        *,
        job_id: int | None = None,
        node: str | None = None,
        request_id: str | None = None,
        limit: int = 200,
    ) -> tuple[tuple[datetime, Event], ...]:
        """Return events, oldest first."""

    def prune(self, before: datetime, most: int) -> int:
        """Forget up to `most` events, and as many finished requests with their calls; return how many. Never money.

        What belongs to an instance that lives is not old.
        """

    def check(self) -> None:
        """Raise LedgerError when the database cannot be read and written."""


class Tenure(Protocol):
    """Who of a pair of controllers works, as their common ledger has it. Raises LedgerError."""

    def control(self) -> Control:
        """Return who works, whoever asks."""

    def take_control(self, seen: Control, holder: str, at: datetime) -> bool:
        """Take over from what was seen, unless somebody else did meanwhile.

        From then on this ledger refuses everything (`ledger-relieved`) as soon as somebody takes over from us.
        """

    def beat(self) -> None:
        """Show that the holder lives. Raises LedgerError (`ledger-relieved`) when it is the holder no more."""

    def leave_control(self) -> None:
        """Let the other controller take over at once. What still runs here can write no more."""
