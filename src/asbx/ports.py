"""The doors to everything outside, as small Protocols. Flows speak to these, never to a library behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from asbx.errors import AsbxError
from asbx.model.event import Event
from asbx.model.gang import Gang
from asbx.model.job import JobFacts, Request
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Market, Verdict
from asbx.model.node import NodeView
from asbx.model.record import Attempt, Binding, InstanceRow, Intent


class CloudError(AsbxError):
    """EC2 refused a call as a whole. `verdict` says what that means; `code` is EC2's own code."""

    def __init__(self, code: str, what: str, why: str, hint: str, verdict: Verdict) -> None:
        super().__init__(code, what, why, hint)
        self.verdict = verdict


class Clock(Protocol):
    """Time, from one place. now() is aware and UTC."""

    def now(self) -> datetime:
        """Return the time."""

    def sleep(self, duration: timedelta) -> None:
        """Pause."""


class Recorder(Protocol):
    """Where events go. Never raises: a full disk must not stop a launch."""

    def record(self, event: Event) -> None:
        """Keep an event."""


class Cloud(Protocol):
    """EC2. Every method raises CloudError when a call is refused as a whole or cannot be made."""

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Ask once. The same order with the same token launches nothing new."""

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Return what EC2 knows of these; ids it does not know (yet) are left out."""

    def owned(self, cluster: str) -> tuple[Instance, ...]:
        """Return every instance tagged for the cluster that is not terminated."""

    def launched_for(self, intent_id: str) -> tuple[Instance, ...]:
        """Return what EC2 launched for an intent and has not terminated, by its tag."""

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """End instances; return the ids that are ending or ended. Idempotent.

        Ids EC2 does not know are left out: gone for an hour, or too new to be seen; the caller must tell.
        """

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put the same tags on all of these, in as few calls as EC2 allows."""


class Prices(Protocol):
    """What an instance costs an hour, in USD; None when it cannot be learned. Never raises."""

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price last learned, without asking anybody."""

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price now."""


class Scheduler(Protocol):
    """Slurm. Every method raises SlurmError when slurmctld cannot be reached or refuses."""

    def park(self, nodes: Sequence[str]) -> None:
        """Give nodes an address that fails at once, until they have a real one.

        slurmctld resolves the name of a node it has a message for, under its locks, ten times a second apart.
        """

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Tell Slurm the address and host name of each node, in one call however many there are."""

    def release(self, nodes: Sequence[str]) -> None:
        """Set address and host name back to the node name, in one call."""

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Set nodes DOWN with the reason (their jobs are requeued), then power them down."""

    def tell_job(self, job_id: int, text: str) -> None:
        """Put a sentence where the job's owner sees it (AdminComment)."""

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""

    def power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold nodes for powered up; it calls ResumeProgram for those that were not."""

    def ping(self) -> None:
        """Raise SlurmError unless slurmctld answers."""

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs; unknown ones are left out."""


class Ledger(Protocol):
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

    # -- instances and bindings
    def instances(self, *, live_only: bool = False, intent_id: str | None = None) -> tuple[InstanceRow, ...]:
        """Return instances, by launch."""

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

    def release(self, nodes: Sequence[str], at: datetime) -> None:
        """Close the live bindings of these nodes."""

    def end_instances(self, instance_ids: Sequence[str], reason: str, at: datetime) -> None:
        """Set the end of instances that have none yet."""

    def set_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Set what instances cost: id -> USD an hour."""

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

    def check(self) -> None:
        """Raise LedgerError when the database cannot be read and written."""


__all__ = ["Clock", "Cloud", "CloudError", "Gang", "Ledger", "Prices", "Recorder", "Scheduler"]
