"""A ledger in memory that keeps every promise of the real one but durability.

What the flows ask for over and over - live rows, the rows of an intent, the bindings of some nodes - is kept by key,
so that an answer costs what it holds and not what there ever was.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from threading import Lock

from asbx.decide.interrupt import ENDS
from asbx.model.boot import BootFailure, Breaker, Console, Service
from asbx.model.event import Event, EventKind, Wanted
from asbx.model.job import Request
from asbx.model.job_instance import JobInstance
from asbx.model.market import Instance
from asbx.model.names import GroupName
from asbx.model.notice import NoticeKind
from asbx.model.record import Attempt, Binding, InstanceRow, Intent, Resource, ResourceKind, Setback, Shortage
from asbx.sim.charge_book import MemoryChargeBook
from asbx.sim.job_plans import MemoryJobPlans
from asbx.sim.limits import MemoryLimits
from asbx.sim.moments import aware as _aware
from asbx.sim.moments import refuse as _refuse
from asbx.sim.price_book import MemoryPriceBook
from asbx.sim.run_book import MemoryRunBook
from asbx.sim.spot_memory import MemorySpot


def _launch_order(row: InstanceRow) -> tuple[datetime, str]:
    return row.launched_at, row.instance_id


@dataclass
class MemoryLedger(MemoryJobPlans, MemoryLimits, MemoryPriceBook, MemoryChargeBook, MemoryRunBook, MemorySpot):
    """The doors to the record. events_kept: how many events are remembered, the last ones; None: all."""

    events_kept: int | None = None
    _requests: dict[str, Request] = field(default_factory=dict)
    _open: dict[str, Request] = field(default_factory=dict)
    _outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    _intents: dict[str, Intent] = field(default_factory=dict)
    _intents_of: dict[str, list[str]] = field(default_factory=dict)  # request -> intents
    _attempts: dict[str, dict[int, Attempt]] = field(default_factory=dict)  # intent -> number -> call
    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _instances_of: dict[str, list[str]] = field(default_factory=dict)  # intent -> instances
    _alive: dict[str, None] = field(default_factory=dict)  # instances without an end
    _ends: list[tuple[datetime, str]] = field(default_factory=list)  # the others, by their end
    _bound: dict[str, Binding] = field(default_factory=dict)  # node -> live binding
    _node_of: dict[str, str] = field(default_factory=dict)  # instance -> node, live
    _once_bound: set[str] = field(default_factory=set)
    _shortages: dict[str, Shortage] = field(default_factory=dict)
    _past: dict[str, list[Binding]] = field(default_factory=dict)  # node -> bindings that are over
    _registered: dict[str, None] = field(default_factory=dict)  # instances whose node has registered
    _finished: dict[str, datetime] = field(default_factory=dict)
    _boot_failures: dict[str, BootFailure] = field(default_factory=dict)
    _breakers: dict[GroupName, Breaker] = field(default_factory=dict)
    _consoles: dict[str, Console] = field(default_factory=dict)
    _resources: dict[tuple[ResourceKind, str], Resource] = field(default_factory=dict)
    _setbacks: dict[int, Setback] = field(default_factory=dict)
    _turn: Lock = field(default_factory=Lock)
    _events: deque[tuple[datetime, Event]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._events = deque(maxlen=self.events_kept)

    # -- requests

    def add_request(self, request: Request) -> bool:
        """Keep a request as new; False when its id is already there."""
        if request.request_id in self._requests:
            return False
        kept = replace(request, received_at=_aware(request.received_at))
        self._requests[request.request_id] = self._open[request.request_id] = kept
        self._outcomes[request.request_id] = ("new", "")
        return True

    def open_requests(self) -> tuple[Request, ...]:
        """Return requests not finished, oldest first."""
        return tuple(sorted(self._open.values(), key=lambda request: (request.received_at, request.request_id)))

    def finish_request(self, request_id: str, *, failed: bool, note: str, at: datetime) -> None:
        """Close a request; the first word stands."""
        _aware(at)
        if self._open.pop(request_id, None) is not None:
            self._finished[request_id] = _aware(at)
            self._outcomes[request_id] = ("failed" if failed else "done", note)

    def request_outcome(self, request_id: str) -> tuple[str, str] | None:
        """Return (status, note), None for an unknown id."""
        return self._outcomes.get(request_id)

    # -- launches

    def add_intent(self, intent: Intent) -> None:
        """Keep an intent; refuse another launch under the same id."""
        if intent.intent_id not in self._intents:
            self._intents[intent.intent_id] = replace(intent, created_at=_aware(intent.created_at))
            self._intents_of.setdefault(intent.request_id, []).append(intent.intent_id)
        kept = self._intents[intent.intent_id]
        if replace(kept, created_at=intent.created_at, considered=intent.considered) != intent:
            raise _refuse("ledger-differs", f"intent {intent.intent_id}")

    def intents(self, request_id: str) -> tuple[Intent, ...]:
        """Return the intents of a request, oldest first."""
        mine = [self._intents[one] for one in self._intents_of.get(request_id, ())]
        return tuple(sorted(mine, key=lambda intent: (intent.created_at, intent.intent_id)))

    def known_intents(self, intent_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these ids are ours."""
        return frozenset(one for one in intent_ids if one in self._intents)

    def add_attempt(self, attempt: Attempt, intent: Intent | None = None) -> None:
        """Keep a call before it is made; refuse another order under the same number."""
        if intent is not None:
            self.add_intent(intent)
        kept = self._calls(attempt).setdefault(attempt.number, attempt)
        if kept.answered_at is None:
            self._unanswered[attempt.intent_id, attempt.number] = None
        if kept.order != attempt.order:
            raise _refuse("ledger-differs", f"attempt {attempt.number} of {attempt.intent_id}")

    def answer_attempt(self, attempt: Attempt, instances: Sequence[InstanceRow]) -> None:
        """Keep what EC2 said and the instances it launched."""
        calls = self._calls(attempt)
        if any(row.intent_id not in self._intents for row in instances):
            raise _refuse("ledger-no-intent", f"an instance of {attempt.intent_id}")
        kept = calls.get(attempt.number, attempt)
        self._unanswered.pop((attempt.intent_id, attempt.number), None)
        calls[attempt.number] = replace(
            kept, answered_at=attempt.answered_at, answer=attempt.answer, error=attempt.error
        )
        for row in instances:
            if row.instance_id not in self._instances:
                self._instances[row.instance_id] = row
                self._instances_of.setdefault(row.intent_id, []).append(row.instance_id)
                if row.ended_at is None:
                    self._alive[row.instance_id] = None
                else:
                    bisect.insort(self._ends, (row.ended_at, row.instance_id))

    def attempts(self, intent_id: str) -> tuple[Attempt, ...]:
        """Return the attempts of an intent by number."""
        calls = self._attempts.get(intent_id, {})
        return tuple(calls[number] for number in sorted(calls))

    def attempts_of(self, intent_ids: Iterable[str]) -> tuple[Attempt, ...]:
        """Return the attempts of all these intents, those of one by their number."""
        return tuple(attempt for intent_id in sorted(set(intent_ids)) for attempt in self.attempts(intent_id))

    def _calls(self, attempt: Attempt) -> dict[int, Attempt]:
        _aware(attempt.asked_at)
        if attempt.intent_id not in self._intents:
            raise _refuse("ledger-no-intent", f"attempt {attempt.number} of {attempt.intent_id}")
        return self._attempts.setdefault(attempt.intent_id, {})

    # -- instances and bindings

    def instances(
        self, *, live_only: bool = False, intent_id: str | None = None, ended_since: datetime | None = None
    ) -> tuple[InstanceRow, ...]:
        """Return instances, first launched first."""
        ids: Iterable[str] = self._alive if live_only else self._instances
        if ended_since is not None:
            late = self._ends[bisect.bisect_left(self._ends, (ended_since, "")) :]
            ids = [one for _, one in late if not live_only]
        if intent_id is not None:
            mine = self._instances_of.get(intent_id, ())
            ids = mine if ids is self._instances else set(ids).intersection(mine)
        return tuple(sorted((self._instances[one] for one in ids), key=_launch_order))

    def bind(
        self, rows: Sequence[tuple[str, Instance]], at: datetime, jobs: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        """Bind all or none; refuse a second partner of either side."""
        fresh: dict[str, Instance] = {}
        taken: set[str] = set()
        for node, instance in rows:
            one = instance.instance_id
            live = fresh[node].instance_id if node in fresh else self._partner(node)
            if live == one:
                continue
            if live or one in taken or one in self._node_of:
                raise _refuse("already-bound", f"{node} or {one}")
            fresh[node] = instance
            taken.add(one)
        for node, instance in fresh.items():
            self._bound[node] = Binding(node, instance.instance_id, _aware(at))
            self._node_of[instance.instance_id] = node
            self._once_bound.add(node)
            self._mark(node, instance, _aware(at), (jobs or {}).get(node))

    def _partner(self, node: str) -> str:
        return self._bound[node].instance_id if node in self._bound else ""

    def _mark(self, node: str, instance: Instance, at: datetime, jobs: tuple[int, ...] | None) -> None:
        row = self._instances.get(instance.instance_id)
        if row is not None:
            self._instances[row.instance_id] = replace(
                row,
                node=node,
                bound_at=at,
                private_ip=instance.private_ip,
                reservation_id=instance.reservation_id,
                launch_index=instance.launch_index,
                launched_at=_aware(instance.launched_at),
                jobs=row.jobs if jobs is None else jobs,
            )

    def live_bindings(self, nodes: Sequence[str] | None = None) -> tuple[Binding, ...]:
        """Return the live bindings (of these nodes), by node name."""
        names = self._bound if nodes is None else {node for node in nodes if node in self._bound}
        return tuple(self._bound[node] for node in sorted(names))

    def has_history(self, nodes: Sequence[str]) -> bool:
        """Return whether every one of these nodes was bound at some time."""
        return self._once_bound.issuperset(nodes)

    def register(self, nodes: Sequence[str], at: datetime) -> None:
        """Note that slurmd of these nodes has registered, on the live bindings that do not say so yet."""
        for node in nodes:
            binding = self._bound.get(node)
            if binding is not None and not binding.registered_at:
                self._bound[node] = replace(binding, registered_at=_aware(at))
                self._registered[binding.instance_id] = None

    def release(self, nodes: Sequence[str], at: datetime) -> None:
        """Close the live bindings of these nodes."""
        for node in nodes:
            binding = self._bound.pop(node, None)
            if binding is not None:
                del self._node_of[binding.instance_id]
                self._past.setdefault(node, []).append(replace(binding, released_at=_aware(at)))

    def end_instances(self, instance_ids: Sequence[str], reason: str, at: datetime) -> None:
        """Set the end of instances that have none yet."""
        for instance_id in instance_ids:
            if instance_id in self._alive:
                del self._alive[instance_id]
                row = self._instances[instance_id]
                self._instances[instance_id] = replace(row, ended_at=_aware(at), end_reason=reason)
                bisect.insort(self._ends, (_aware(at), instance_id))

    def date_instances(self, seen: Sequence[Instance]) -> None:
        """Set when instances began, and those that are over ended, where EC2 says so."""
        for one in seen:
            row = self._instances.get(one.instance_id)
            if row is None:
                continue
            ended = row.ended_at
            if ended is not None and one.ended_at is not None and one.ended_at != ended:
                del self._ends[bisect.bisect_left(self._ends, (ended, one.instance_id))]
                ended = _aware(one.ended_at)
                bisect.insort(self._ends, (ended, one.instance_id))
            self._instances[row.instance_id] = replace(row, launched_at=_aware(one.launched_at), ended_at=ended)

    def set_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Set what instances cost an hour."""
        for instance_id, price in prices.items():
            if instance_id in self._instances:
                self._instances[instance_id] = replace(self._instances[instance_id], price=price)

    # -- what is remembered between requests

    def shortages(self) -> tuple[Shortage, ...]:
        """Return every shortage remembered, by key."""
        return tuple(self._shortages[key] for key in sorted(self._shortages))

    def change_shortage(self, key: str, change: Callable[[Shortage | None], Shortage | None]) -> Shortage | None:
        """Read one, change it and write it, while no other thread does."""
        with self._turn:
            new = change(self._shortages.get(key))
            if new is None:
                self._shortages.pop(key, None)
            else:
                _aware(new.since)
                _aware(new.closed_until)
                self._shortages[key] = replace(new, key=key)
            return new

    def add_resource(self, resource: Resource) -> None:
        """Keep that something is made in EC2; again: its `used_at` moves on; after its removal it is new."""
        key = (resource.kind, resource.name)
        kept = self._resources.get(key)
        if kept is not None:
            resource = replace(kept, used_at=max(kept.used_at, _aware(resource.used_at)))
        self._resources[key] = replace(
            resource, created_at=_aware(resource.created_at), used_at=_aware(resource.used_at), removed_at=None
        )

    def resources(self, kind: ResourceKind) -> tuple[Resource, ...]:
        """Return what is not removed, oldest first."""
        mine = [each for each in self._resources.values() if each.kind == kind]
        return tuple(sorted(mine, key=lambda each: (each.created_at, each.name)))

    def end_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Note that something is removed from EC2."""
        _aware(at)
        self._resources.pop((kind, name), None)

    def setbacks(self, job_ids: Iterable[int]) -> dict[int, Setback]:
        """Return how these jobs' launches have failed so far, for those that have."""
        return {job_id: self._setbacks[job_id] for job_id in job_ids if job_id in self._setbacks}

    def set_setback(self, setback: Setback) -> None:
        """Keep a job's setback, in the place of an earlier one."""
        self._setbacks[setback.job_id] = replace(setback, at=_aware(setback.at))

    def clear_setbacks(self, job_ids: Iterable[int]) -> None:
        """Forget the setbacks of jobs whose nodes came."""
        for job_id in job_ids:
            self._setbacks.pop(job_id, None)

    # -- boots

    def add_boot_failures(self, failures: Sequence[BootFailure]) -> frozenset[str]:
        """Keep failures; return the ids of the instances of which none was kept."""
        fresh = {one.instance_id for one in failures} - self._boot_failures.keys()
        for one in failures:
            self._boot_failures.setdefault(one.instance_id, replace(one, failed_at=_aware(one.failed_at)))
        return frozenset(fresh)

    def boot_failures(
        self, *, group: GroupName | None = None, node: str | None = None, limit: int
    ) -> tuple[BootFailure, ...]:
        """Return the last so many failures (of a group, of a node), oldest first."""
        mine = [one for one in self._boot_failures.values() if group in (None, one.group) and node in (None, one.node)]
        return tuple(sorted(mine, key=lambda one: (one.failed_at, one.instance_id))[-limit:])

    def last_boot(self, group: GroupName) -> datetime | None:
        """Return the launch of the youngest instance of a group whose node has registered."""
        rows = (self._instances[one] for one in self._registered if one in self._instances)
        return max((row.launched_at for row in rows if row.group == group), default=None)

    def breakers(self) -> tuple[Breaker, ...]:
        """Return every breaker there is, by group."""
        return tuple(self._breakers[key] for key in sorted(self._breakers))

    def change_breaker(self, group: GroupName, change: Callable[[Breaker | None], Breaker | None]) -> Breaker | None:
        """Read one, change it and write it, while no other thread does."""
        with self._turn:
            new = change(self._breakers.get(group))
            if new is None:
                self._breakers.pop(group, None)
            else:
                self._breakers[group] = replace(new, group=group)
            return new

    def add_console(self, console: Console) -> None:
        """Keep a console."""
        self._consoles[console.instance_id] = replace(console, taken_at=_aware(console.taken_at))

    def console(self, instance_id: str) -> Console | None:
        """Return the console of an instance, where one is kept."""
        return self._consoles.get(instance_id)

    def drop_consoles(self, before: datetime, most: int) -> None:
        """Forget old consoles, and of the others all but the newest."""
        young = [one for one in self._consoles.values() if one.taken_at >= before]
        kept = sorted(young, key=lambda one: one.taken_at, reverse=True)[:most]
        self._consoles = {one.instance_id: one for one in kept}

    def services(self, node: str, limit: int) -> tuple[Service, ...]:
        """Return the last so many instances of a node, oldest first."""
        mine = [*self._past.get(node, ()), *([self._bound[node]] if node in self._bound else [])]
        return tuple(self._service(one) for one in sorted(mine, key=lambda one: one.bound_at)[-limit:])

    def _service(self, one: Binding) -> Service:
        row = self._instances.get(one.instance_id)
        return Service(
            node=one.node,
            instance_id=one.instance_id,
            instance_type=row.instance_type if row else "",
            zone=row.zone if row else "",
            market=row.market.value if row else "",
            launched_at=row.launched_at if row else None,
            bound_at=one.bound_at,
            registered_at=one.registered_at,
            released_at=one.released_at,
            ended_at=row.ended_at if row else None,
            end_reason=row.end_reason if row else "",
        )

    def job_launches(self, job_id: int) -> tuple[JobInstance, ...]:
        """Return every instance that was launched for a job, first launched first."""
        mine = sorted((row for row in self._instances.values() if job_id in row.jobs), key=_launch_order)
        return tuple(self._launched(row) for row in mine)

    def live_jobs(self) -> frozenset[int]:
        """Return the jobs whose instances have not ended."""
        return frozenset(job for one in self._alive for job in self._instances[one].jobs)

    def _launched(self, row: InstanceRow) -> JobInstance:
        intent = self._intents[row.intent_id]
        request = self._requests.get(intent.request_id)
        bindings = (*itertools.chain(*self._past.values()), *self._bound.values())
        seen = [one.registered_at for one in bindings if one.instance_id == row.instance_id and one.registered_at]
        warned = {event.instance_id for _, event in self._events if event.kind is EventKind.SPOT_INTERRUPTED}
        return JobInstance(
            row,
            request.received_at if request else intent.created_at,
            min(seen, default=None),
            was_reclaimed=row.instance_id in warned or row.end_reason == ENDS[NoticeKind.SPOT_INTERRUPTION],
        )

    # -- events

    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event; its data goes through JSON, as in a database."""
        data = json.loads(json.dumps(event.data, default=str))
        self._events.append((_aware(at), replace(event, data=data)))

    def events(
        self, *, job_id: int | None = None, node: str | None = None, request_id: str | None = None, limit: int = 200
    ) -> tuple[tuple[datetime, Event], ...]:
        """Return the last `limit` events, oldest first."""
        wanted = Wanted(job_id, node, request_id)
        mine = [(at, event) for at, event in self._events if wanted.takes(at, event)]
        return tuple(mine[-limit:] if limit else ())

    def prune(self, before: datetime, most: int) -> int:
        """Forget up to `most` events, and as many finished requests; what belongs to a living instance stays."""
        self._forget_plans(before)
        self._forget_limits(before)
        self._forget_spot(before)
        self._setbacks = {job: one for job, one in self._setbacks.items() if one.at >= before}
        oldest = [at for at, _ in itertools.islice(self._events, most) if at < before]
        kept = (row for number, row in enumerate(self._events) if number >= most or row[0] >= before)
        self._events = deque(kept, maxlen=self.events_kept)
        living = {self._intents[self._instances[one].intent_id].request_id for one in self._alive}
        over = [one for one, at in self._finished.items() if at < before and one not in living][:most]
        for request_id in over:
            self._forget(request_id)
        return len(oldest) + len(over)

    def _forget(self, request_id: str) -> None:
        """Forget a request with its calls; an intent that has launched something is part of the bill."""
        del self._requests[request_id], self._outcomes[request_id], self._finished[request_id]
        for intent_id in self._intents_of.get(request_id, ()):
            for number in self._attempts.pop(intent_id, {}):
                self._unanswered.pop((intent_id, number), None)
            if intent_id not in self._instances_of:
                del self._intents[intent_id]
        mine = [one for one in self._intents_of.pop(request_id, ()) if one in self._intents]
        if mine:
            self._intents_of[request_id] = mine

    def check(self) -> None:
        """Memory can always be read and written."""
