"""The doors to everything outside, as small Protocols. Flows speak to these, never to a library behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from asbx.errors import AsbxError, ExitCode
from asbx.model.boot import BootFailure, Breaker, Console, Service
from asbx.model.catalogue import ReservationFacts, SubnetFacts, TemplateChange, TemplateFacts, TypeFacts
from asbx.model.control import Control, Controller
from asbx.model.event import Event
from asbx.model.fence import Fence
from asbx.model.gang import Gang
from asbx.model.health import InstanceHealth
from asbx.model.job import JobFacts, Request, Tenant
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Market, Template, Verdict
from asbx.model.names import GroupName
from asbx.model.node import NodeView
from asbx.model.notice import Message
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


class CloudError(AsbxError):
    """EC2 refused a call as a whole. `verdict` says what that means; `code` is EC2's own code."""

    def __init__(self, code: str, what: str, why: str, hint: str, verdict: Verdict) -> None:
        super().__init__(code, what, why, hint)
        self.verdict = verdict
        if verdict is Verdict.PERMISSION:
            self.exit_code = ExitCode.AWS_ACCESS


class Clock(Protocol):
    """Time, from one place. now() is aware and UTC; people and NTP set it. What lasts is measured by elapsed()."""

    def now(self) -> datetime:
        """Return the time."""

    def elapsed(self) -> timedelta:
        """Return the time since some moment of the past; it goes on evenly whatever is done to now()."""

    def sleep(self, duration: timedelta) -> None:
        """Pause."""


_Thing = TypeVar("_Thing")


class Line(Protocol[_Thing]):
    """Things handed from one worker to another, first come first served."""

    def put(self, item: _Thing) -> None:
        """Add one."""

    def get(self) -> _Thing:
        """Take the first, or wait until there is one."""

    def empty(self) -> bool:
        """Whether nothing waits."""


class Workers(Protocol):
    """Whoever does work beside other work: threads, or in virtual time what takes their place."""

    def pool(self, most: int, name: str) -> Executor:
        """Return somebody to give work to, who does at most so much at once; `name` tells it in a stack dump."""

    def line(self) -> Line[Any]:
        """Return an empty line."""


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

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group (cluster, partition or spread); one that is there already is no error."""

    def remove_group(self, name: str) -> bool:
        """Remove a placement group; False while instances are in it, True when it is gone."""

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a launch template that is `base` with a change; one of that name is returned as it is."""

    def remove_template(self, name: str) -> None:
        """Remove a launch template of ours; one that is gone is no error."""

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Return the running instances of the region, anybody's, that are impaired or await an event AWS scheduled."""

    def console(self, instance_id: str) -> str:
        """Return what is at hand of a machine's console output, the end of it; "" where there is none (yet)."""

    def topology(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return instance id -> network nodes from the top layer down, for those EC2 tells it of."""


class Catalogue(Protocol):
    """Facts EC2 gives for the asking. Read before a launch, cached with stated lifetimes; changes nothing.

    Never raises: what cannot be learned (no permission, no answer) is left out of the answer, and whoever asks
    decides without it.
    """

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts by type; types EC2 says do not exist, or nothing, are left out."""

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the zones that offer each type; an empty set says that no zone of the region does."""

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return facts by subnet id."""

    def template(self, template: Template) -> TemplateFacts | None:
        """Return what a launch template version says."""

    def missing_template(self, template: Template) -> bool:
        """Whether EC2 said that it does not exist (not: that it could not be asked)."""

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Return the account's quota of vCPUs for a market and the family of a type."""

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Return facts by id of capacity reservation."""

    def missing_reservation(self, reservation: str) -> bool:
        """Whether EC2 said that it does not exist (not: that it could not be asked)."""

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return which security groups lack a rule that lets all their own traffic in and out, as EFA needs."""

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Return zone -> EC2's spot placement score, 1 to 10; {} where it is not permitted."""

    def forget(self) -> None:
        """Ask anew next time: something EC2 said does not fit what it does."""


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

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Do as `fail` for several sets of nodes with a reason each; what Slurm refuses of one stops no other."""

    def tell_job(self, job_id: int, text: str) -> None:
        """Put a sentence where the job's owner sees it (AdminComment)."""

    def notify(self, job_id: int, text: str) -> None:
        """Write a line to the terminal of whoever waits for the job (salloc, srun); nothing happens for others."""

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Let Slurm requeue these jobs, whatever they asked for; return those that had asked not to be.

        Batch jobs only: Slurm requeues no other.

        A job whose nodes never came has not run: losing it would serve nobody.
        """

    def undo_requeueable(self, job_ids: Sequence[int]) -> None:
        """Take that back: from now on they are lost with a node, as they asked."""

    def postpone(self, job_id: int, delay: timedelta) -> None:
        """Let Slurm start the job no sooner than so much later (StartTime)."""

    def hold(self, job_id: int) -> None:
        """Hold a job so that its user can release it (uhold)."""

    def drain(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes; those that run go on."""

    def undrain(self, nodes: Sequence[str]) -> None:
        """Take that back."""

    def power_down(self, nodes: Sequence[str]) -> None:
        """Have Slurm power nodes down now, or when their jobs are gone; it calls SuspendProgram for them."""

    def tenants(self, nodes: Sequence[str]) -> tuple[Tenant, ...]:
        """Return the jobs that have one of these nodes, those that are leaving it too."""

    def signal(self, job_ids: Sequence[int], name: str, target: str) -> None:
        """Send jobs a signal. target: `batch` (the script), `steps` or `all`. Jobs that are gone are no error."""

    def requeue(self, job_id: int) -> bool:
        """Take a job's nodes away and let it wait again; False where Slurm does not let it be requeued."""

    def retire(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes, and power each down once its last one has ended; one without jobs, at once."""

    def write_topology(self, paths: Mapping[str, Sequence[str]]) -> bool:
        """Tell where nodes are, if that is news, and return whether it was; off where the site wants no such file.

        paths: node -> its network nodes from the top layer down, () where nothing is known; all nodes of our groups.
        Raises ConfigError (`file-write`, `topology-foreign`) for a file that cannot or must not be written.
        """

    def fence(self, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
        """Keep jobs that would run into this time off these nodes; again: change the fence of that name.

        The name begins with FENCE_PREFIX. What runs already goes on, and the nodes are not touched.
        """

    def unfence(self, name: str) -> None:
        """Remove a fence; one that is gone is no error."""

    def fences(self) -> tuple[Fence, ...]:
        """Return our fences, by name."""

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""

    def power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold nodes for powered up; it calls ResumeProgram for those that were not."""

    def script(self, job_id: int) -> str | None:
        """Return a job's batch script; None for a job without one, one that is gone, or a script too long to be one."""

    def ping(self) -> None:
        """Raise SlurmError unless slurmctld answers."""

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs; unknown ones are left out."""


class Notices(Protocol):
    """What AWS announces. Both methods raise CloudError when the queue cannot be used."""

    def receive(self) -> tuple[Message, ...]:
        """Wait for messages, some seconds at the longest. Each comes at least once, in any order."""

    def done(self, handles: Sequence[str]) -> None:
        """Let messages not come again."""


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


class Controllers(Protocol):
    """Slurm's controllers. Raises SlurmError when they cannot be asked."""

    def controllers(self) -> tuple[Controller, ...]:
        """Return every slurmctld in the order of slurm.conf, and whether it answers."""

    def serves(self) -> bool:
        """Return whether one of them is in control: it answers more than a ping."""


__all__ = ["Catalogue", "Clock", "Cloud", "CloudError", "Gang", "Ledger", "Prices", "Recorder", "Scheduler"]
__all__ = [
    "Catalogue",
    "Clock",
    "Cloud",
    "CloudError",
    "Gang",
    "Ledger",
    "Line",
    "Notices",
    "Prices",
    "Recorder",
    "Scheduler",
    "Workers",
]
