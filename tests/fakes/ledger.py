"""A ledger in memory that keeps every promise of the real one but durability."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock

from tests.fakes.faults import Faults

from asbx.errors import AsbxError, LedgerError
from asbx.model.event import Event
from asbx.model.job import Request
from asbx.model.market import Instance
from asbx.model.record import Attempt, Binding, InstanceRow, Intent, Resource, ResourceKind, Setback, Shortage


def _refuse(code: str, what: str) -> LedgerError:
    return LedgerError(code, what, "", "")


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise _refuse("ledger-value", "a time without a zone cannot be recorded")
    return moment.astimezone(UTC)


@dataclass
class FakeLedger:
    """The door `Ledger`. Errors are injected with fail_next("bind", LedgerError(...))."""

    _requests: dict[str, Request] = field(default_factory=dict)
    _outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    _intents: dict[str, Intent] = field(default_factory=dict)
    _attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _bindings: list[Binding] = field(default_factory=list)
    _shortages: dict[str, Shortage] = field(default_factory=dict)
    _resources: dict[tuple[ResourceKind, str], Resource] = field(default_factory=dict)
    _setbacks: dict[int, Setback] = field(default_factory=dict)
    _turn: Lock = field(default_factory=Lock)
    _events: list[tuple[datetime, Event]] = field(default_factory=list)
    _faults: Faults = field(default_factory=Faults)

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: behind the commit, as in a crash."""
        self._faults.add(method, error, times=times, after=after)

    # -- requests

    def add_request(self, request: Request) -> bool:
        """Keep a request as new; False when its id is already there."""
        with self._faults.call("add_request"):
            if request.request_id in self._requests:
                return False
            self._requests[request.request_id] = replace(request, received_at=_aware(request.received_at))
            self._outcomes[request.request_id] = ("new", "")
            return True

    def open_requests(self) -> tuple[Request, ...]:
        """Return requests not finished, oldest first."""
        with self._faults.call("open_requests"):
            mine = [self._requests[key] for key, (status, _) in self._outcomes.items() if status == "new"]
            return tuple(sorted(mine, key=lambda request: (request.received_at, request.request_id)))

    def finish_request(self, request_id: str, *, failed: bool, note: str, at: datetime) -> None:
        """Close a request; the first word stands."""
        with self._faults.call("finish_request"):
            _aware(at)
            if self._outcomes.get(request_id, ("", ""))[0] == "new":
                self._outcomes[request_id] = ("failed" if failed else "done", note)

    def request_outcome(self, request_id: str) -> tuple[str, str] | None:
        """Return (status, note), None for an unknown id."""
        with self._faults.call("request_outcome"):
            return self._outcomes.get(request_id)

    # -- launches

    def add_intent(self, intent: Intent) -> None:
        """Keep an intent; refuse another launch under the same id."""
        with self._faults.call("add_intent"):
            kept = self._intents.setdefault(intent.intent_id, replace(intent, created_at=_aware(intent.created_at)))
            if replace(kept, created_at=intent.created_at, considered=intent.considered) != intent:
                raise _refuse("ledger-differs", f"intent {intent.intent_id}")

    def intents(self, request_id: str) -> tuple[Intent, ...]:
        """Return the intents of a request, oldest first."""
        with self._faults.call("intents"):
            mine = [intent for intent in self._intents.values() if intent.request_id == request_id]
            return tuple(sorted(mine, key=lambda intent: (intent.created_at, intent.intent_id)))

    def known_intents(self, intent_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these ids are ours."""
        with self._faults.call("known_intents"):
            return frozenset(intent_ids) & self._intents.keys()

    def add_attempt(self, attempt: Attempt, intent: Intent | None = None) -> None:
        """Keep a call before it is made; refuse another order under the same number."""
        with self._faults.call("add_attempt"):
            if intent is not None:
                self.add_intent(intent)
            kept = self._attempts.setdefault(self._key(attempt), attempt)
            if kept.order != attempt.order:
                raise _refuse("ledger-differs", f"attempt {attempt.number} of {attempt.intent_id}")

    def answer_attempt(self, attempt: Attempt, instances: Sequence[InstanceRow]) -> None:
        """Keep what EC2 said and the instances it launched."""
        with self._faults.call("answer_attempt"):
            key = self._key(attempt)
            if any(row.intent_id not in self._intents for row in instances):
                raise _refuse("ledger-no-intent", f"an instance of {key}")
            kept = self._attempts.get(key, attempt)
            self._attempts[key] = replace(
                kept, answered_at=attempt.answered_at, answer=attempt.answer, error=attempt.error
            )
            for row in instances:
                self._instances.setdefault(row.instance_id, row)

    def attempts(self, intent_id: str) -> tuple[Attempt, ...]:
        """Return the attempts of an intent by number."""
        with self._faults.call("attempts"):
            return tuple(self._attempts[key] for key in sorted(self._attempts) if key[0] == intent_id)

    def attempts_of(self, intent_ids: Iterable[str]) -> tuple[Attempt, ...]:
        """Return the attempts of all these intents, those of one by their number."""
        with self._faults.call("attempts_of"):
            wanted = set(intent_ids)
            return tuple(self._attempts[key] for key in sorted(self._attempts) if key[0] in wanted)

    def _key(self, attempt: Attempt) -> tuple[str, int]:
        _aware(attempt.asked_at)
        if attempt.intent_id not in self._intents:
            raise _refuse("ledger-no-intent", f"attempt {attempt.number} of {attempt.intent_id}")
        return (attempt.intent_id, attempt.number)

    # -- instances and bindings

    def instances(self, *, live_only: bool = False, intent_id: str | None = None) -> tuple[InstanceRow, ...]:
        """Return instances, first launched first."""
        with self._faults.call("instances"):
            mine = [
                row
                for row in self._instances.values()
                if not (live_only and row.ended_at) and intent_id in (None, row.intent_id)
            ]
            return tuple(sorted(mine, key=lambda row: (row.launched_at, row.instance_id)))

    def bind(
        self, rows: Sequence[tuple[str, Instance]], at: datetime, jobs: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        """Bind all or none; refuse a second partner of either side."""
        with self._faults.call("bind"):
            live = {binding.node: binding.instance_id for binding in self._bindings if not binding.released_at}
            fresh: list[tuple[str, Instance]] = []
            for node, instance in rows:
                if live.get(node) == instance.instance_id:
                    continue
                if node in live or instance.instance_id in live.values():
                    raise _refuse("already-bound", f"{node} or {instance.instance_id}")
                live[node] = instance.instance_id
                fresh.append((node, instance))
            for node, instance in fresh:
                self._bindings.append(Binding(node, instance.instance_id, _aware(at)))
                self._mark(node, instance, _aware(at), (jobs or {}).get(node))

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
        with self._faults.call("live_bindings"):
            mine = [
                binding
                for binding in self._bindings
                if not binding.released_at and (nodes is None or binding.node in nodes)
            ]
            return tuple(sorted(mine, key=lambda binding: binding.node))

    def has_history(self, nodes: Sequence[str]) -> bool:
        """Return whether every one of these nodes was bound at some time."""
        with self._faults.call("has_history"):
            return set(nodes) <= {binding.node for binding in self._bindings}

    def register(self, nodes: Sequence[str], at: datetime) -> None:
        """Note that slurmd of these nodes has registered, on the live bindings that do not say so yet."""
        with self._faults.call("register"):
            self._bindings = [
                replace(binding, registered_at=_aware(at))
                if binding.node in nodes and not binding.released_at and not binding.registered_at
                else binding
                for binding in self._bindings
            ]

    def release(self, nodes: Sequence[str], at: datetime) -> None:
        """Close the live bindings of these nodes."""
        with self._faults.call("release"):
            self._bindings = [
                replace(binding, released_at=_aware(at))
                if binding.node in nodes and not binding.released_at
                else binding
                for binding in self._bindings
            ]

    def end_instances(self, instance_ids: Sequence[str], reason: str, at: datetime) -> None:
        """Set the end of instances that have none yet."""
        with self._faults.call("end_instances"):
            for instance_id in instance_ids:
                row = self._instances.get(instance_id)
                if row is not None and row.ended_at is None:
                    self._instances[instance_id] = replace(row, ended_at=_aware(at), end_reason=reason)

    def set_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Set what instances cost an hour."""
        with self._faults.call("set_prices"):
            for instance_id, price in prices.items():
                if instance_id in self._instances:
                    self._instances[instance_id] = replace(self._instances[instance_id], price=price)

    # -- what is remembered between requests

    def shortages(self) -> tuple[Shortage, ...]:
        """Return every shortage remembered, by key."""
        with self._faults.call("shortages"):
            return tuple(self._shortages[key] for key in sorted(self._shortages))

    def change_shortage(self, key: str, change: Callable[[Shortage | None], Shortage | None]) -> Shortage | None:
        """Read one, change it and write it, while no other thread does."""
        with self._faults.call("change_shortage"), self._turn:
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
        with self._faults.call("add_resource"):
            key = (resource.kind, resource.name)
            kept = self._resources.get(key)
            if kept is not None and kept.removed_at is None:
                resource = replace(kept, used_at=max(kept.used_at, _aware(resource.used_at)))
            self._resources[key] = replace(
                resource, created_at=_aware(resource.created_at), used_at=_aware(resource.used_at), removed_at=None
            )

    def resources(self, kind: ResourceKind) -> tuple[Resource, ...]:
        """Return what is not removed, oldest first."""
        with self._faults.call("resources"):
            mine = [each for each in self._resources.values() if each.kind == kind and each.removed_at is None]
            return tuple(sorted(mine, key=lambda each: (each.created_at, each.name)))

    def end_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Note that something is removed from EC2; the first removal stands."""
        with self._faults.call("end_resource"):
            kept = self._resources.get((kind, name))
            if kept is not None and kept.removed_at is None:
                self._resources[kind, name] = replace(kept, removed_at=_aware(at))

    def setbacks(self, job_ids: Iterable[int]) -> dict[int, Setback]:
        """Return how these jobs' launches have failed so far, for those that have."""
        with self._faults.call("setbacks"):
            return {job_id: self._setbacks[job_id] for job_id in job_ids if job_id in self._setbacks}

    def set_setback(self, setback: Setback) -> None:
        """Keep a job's setback, in the place of an earlier one."""
        with self._faults.call("set_setback"):
            self._setbacks[setback.job_id] = replace(setback, at=_aware(setback.at))

    def clear_setbacks(self, job_ids: Iterable[int]) -> None:
        """Forget the setbacks of jobs whose nodes came."""
        with self._faults.call("clear_setbacks"):
            for job_id in job_ids:
                self._setbacks.pop(job_id, None)

    # -- events

    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event; its data goes through JSON, as in a database."""
        with self._faults.call("add_event"):
            data = json.loads(json.dumps(event.data, default=str))
            self._events.append((_aware(at), replace(event, data=data)))

    def events(
        self,
        *,
        job_id: int | None = None,
        node: str | None = None,
        request_id: str | None = None,
        limit: int = 200,
    ) -> tuple[tuple[datetime, Event], ...]:
        """Return the last `limit` events, oldest first."""
        with self._faults.call("events"):
            mine = [
                (at, event)
                for at, event in self._events
                if job_id in (None, event.job_id)
                and node in (None, event.node)
                and request_id in (None, event.request_id)
            ]
            return tuple(mine[-limit:] if limit else ())

    def check(self) -> None:
        """Memory can always be read and written, unless a fault was injected."""
        with self._faults.call("check"):
            return
