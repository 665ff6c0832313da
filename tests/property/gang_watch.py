"""What must hold at every call of a door, whatever has gone wrong before: the promises 1 to 6 of the architecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.fragile import Happening
from tests.fakes.site import Site

from asbx.config.limits import GIVE_BACK_PAUSES, LAUNCH_SHARE_OF_RESUME_TIMEOUT, SPREAD_MOST
from asbx.decide.bind import name_of
from asbx.decide.intake import LOOSE
from asbx.decide.shortage import Phase, phase
from asbx.decide.shortage_key import amount, pool_keys
from asbx.flow.outcome import Outcome
from asbx.model.hostlist import fold
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.model.market import FleetAnswer, FleetOrder, Instance, InstanceState, Pool, Refusal, Verdict
from asbx.model.names import parse_node_name
from asbx.model.node import NodeView
from asbx.model.record import Attempt, Intent

_AGAIN = (Verdict.THROTTLED, Verdict.TRANSIENT)
_MENDED = "gone when its node was resumed again"
_UNSEEN = "EC2 does not show its instance yet"


def is_up(view: NodeView) -> bool:
    """Whether a node's slurmd has registered and serves."""
    return view.state != "DOWN" and view.flags == {"CLOUD"}


@dataclass
class Watch:
    """Looks at every call of the doors.

    actors: who calls now, the innermost last; None for the sweep. killed: instances that died by themselves.
    rough: requests in whose time something went wrong. fresh: tokens of calls written and not made yet.
    happens: lets the world move on.
    """

    site: Site
    happens: Callable[[Happening], None]
    actors: list[Request | None] = field(default_factory=list)
    jobs: dict[int, JobAsk] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    rough: set[str] = field(default_factory=set)
    slack: timedelta = timedelta(0)
    fresh: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    _turn: int = 0
    _changed: dict[str, tuple[int, str]] = field(default_factory=dict)
    _read: Counter[str] = field(default_factory=Counter)
    _useless: dict[str, datetime] = field(default_factory=dict)

    # -- the witness

    def before(self, call: str, args: Sequence[Any]) -> None:
        """Look at a call that is about to be made."""
        match call:
            case "cloud.launch":
                self._launch(args[0])
            case "cloud.terminate":
                self._terminate(args[0])
            case "scheduler.bind":
                self._bind(args[0])
            case "ledger.change_shortage":  # also where its answer is lost
                self._turn += 1
                self._changed[args[0]] = (self._turn, self._name)
            case "ledger.finish_request":
                self._finish(args[0], args[2])

    def after(self, call: str, args: Sequence[Any], answer: Any) -> None:
        """Look at a call that was made."""
        match call:
            case "cloud.launch":
                self._launched(args[0], answer)
            case "scheduler.nodes":
                self._looked()
            case "ledger.add_attempt":
                self.fresh.add(args[0].order.token)
            case "ledger.shortages":
                self._read[self._name] = self._turn

    def happen(self, happening: Happening) -> None:
        """Let the world move on."""
        self.happens(happening)

    # -- who is who

    @property
    def _name(self) -> str:
        actor = self.actors[-1] if self.actors else None
        return actor.request_id if actor else "sweep"

    @property
    def _is_prompt(self) -> bool:
        """Whether EC2 knows its instances before we stop to try to end them; otherwise they are the sweep's."""
        return self.site.cloud.show_after < sum(GIVE_BACK_PAUSES, timedelta(0))

    def intent_of(self, instance: Instance) -> Intent | None:
        """Return the intent an instance was launched for, None for a stranger."""
        return self.site.ledger._intents.get(instance.tags.get("asbx:intent", ""))

    def ours(self) -> list[Instance]:
        """Return every instance we ever launched."""
        return [one for one in self.site.cloud.all() if one.tags.get("ManagedBy") == "aws-slurm-burst"]

    def bound(self) -> dict[str, str]:
        """Return node -> instance."""
        return {node: binding.instance_id for node, binding in self.site.ledger._bound.items()}

    def alive(self) -> dict[str, Instance]:
        """Return those that still cost money, by id."""
        return {one.instance_id: one for one in self.site.cloud.alive()}

    def _attempts(self, request_id: str, gang_id: str) -> list[Attempt]:
        mine = [i.intent_id for i in self.intents(request_id) if i.gang_id == gang_id]
        return [one for intent in mine for one in self.site.ledger._attempts.get(intent, {}).values()]

    def intents(self, request_id: str) -> list[Intent]:
        """Return a request's intents."""
        return [i for i in self.site.ledger._intents.values() if i.request_id == request_id]

    # -- a launch

    def _launch(self, order: FleetOrder) -> None:
        now, actor = self.site.clock.now(), self.actors[-1]
        tags = dict(order.tags)
        intent = self.site.ledger._intents[tags["asbx:intent"]]
        (attempt,) = [a for a in self._attempts(intent.request_id, intent.gang_id) if a.order.token == order.token]
        assert attempt.order == order, "what is asked is what was written"
        assert attempt.answered_at is None, "an answered call is never made again"
        assert tags["asbx:cluster"] == "lab"
        assert (tags["asbx:nodegroup"], tags["asbx:gang"]) == (intent.group.group, intent.gang_id)
        assert actor is not None
        assert actor.request_id == intent.request_id
        assert set(intent.nodes) <= set(actor.nodes)
        deadline = actor.received_at + self.site.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
        assert now <= deadline + self.slack, "nothing is asked after the deadline"
        alive, bound = self.alive(), self.bound()
        assert not [n for n in intent.nodes if bound.get(n) in alive], "a node that has an instance gets no other"
        self._allowed(order, intent)
        self.seen["launch"] += 1
        # A call whose answer never came is asked again as it stands, whatever has become known meanwhile.
        if order.token in self.fresh:
            self.fresh.discard(order.token)
            self._not_refused(order, intent)
            self._not_closed(order, f"{intent.gang_id} of {intent.request_id}")

    def _allowed(self, order: FleetOrder, intent: Intent) -> None:
        group = self.site.config.group(intent.group)
        assert group is not None
        for pool in order.pools:
            assert pool.instance_type in {one.instance_type for one in group.launch_template_overrides}
            assert pool.subnet_id in group.subnet_ids
        assert group.purchasing_option in (order.market, "mixed") or order.reservation in group.capacity_reservations

    def _not_refused(self, order: FleetOrder, intent: Intent) -> None:
        # What an earlier run has tried for some of these nodes together with others, bound since, was another gang.
        beside = [i for i in self.intents(intent.request_id) if i.gang_id == intent.gang_id]
        taken = {*intent.nodes, *self.bound()}
        same = {i.intent_id for i in beside if i == intent or taken.isdisjoint(i.nodes)}
        for attempt in self._attempts(intent.request_id, intent.gang_id):
            if attempt.intent_id not in same:
                continue
            for refusal in attempt.answer.refusals if attempt.answer else ():
                if refusal.verdict in _AGAIN or _kind(attempt.order) != _kind(order):
                    continue
                for pool in _named(refusal, attempt.order.pools):
                    assert (pool.instance_type, pool.subnet_id) not in {
                        (one.instance_type, one.subnet_id) for one in order.pools
                    }, f"{refusal.code} was said of {pool}"

    def _not_closed(self, order: FleetOrder, name: str) -> None:
        """Check that closed pools are left alone, but for half of what was refused, and half-open ones asked by one."""
        now, types = self.site.clock.now(), self.site.catalogue.types([p.instance_type for p in order.pools])
        for pool in order.pools:
            placed, reserved = bool(order.placement_group), bool(order.reservation)
            for key in pool_keys(order.market, pool, placed=placed, reserved=reserved):
                row = self.site.ledger._shortages.get(key)
                if row is None:
                    continue
                turn, who = self._changed[key]
                vcpus = types[pool.instance_type].vcpus
                half = 2 * amount(key, max(order.minimum, 1), vcpus) <= row.least
                stale = who != self._name and turn > self._read[self._name]
                if half or stale or phase(row, now) is Phase.FORGOTTEN:
                    continue
                assert phase(row, now) is not Phase.CLOSED, f"{key} is closed"
                assert row.probe_by == name, f"{key} is tried by {row.probe_by!r}, not by {name!r}"

    def _launched(self, order: FleetOrder, answer: FleetAnswer) -> None:
        intent = self.site.ledger._intents[dict(order.tags)["asbx:intent"]]
        if answer.launched and order.minimum:
            assert len(answer.launched) >= order.minimum
        if intent.request_id not in self.rough and self._is_prompt:
            nodes = {n for i in self.intents(intent.request_id) if i.gang_id == intent.gang_id for n in i.nodes}
            mine = [
                one
                for one in self.alive().values()
                if (found := self.intent_of(one)) is not None
                and (found.request_id, found.gang_id) == (intent.request_id, intent.gang_id)
            ]
            extra = 2 if any(job.extra for job in self.jobs.values()) else 0
            assert len(mine) <= len(nodes) + extra, "never more than one instance a node"

    # -- an end

    def _terminate(self, ids: Sequence[str]) -> None:
        actor, alive = self.actors[-1], self.alive()
        node_of = {one: node for node, one in self.bound().items()}
        for one in ids:
            if one not in alive:
                continue
            intent = self.intent_of(alive[one])
            assert intent is not None, "strangers are never ended"
            node = node_of.get(one)
            if actor is None:
                self._swept(one, intent, node)
            elif actor.kind is RequestKind.RESUME:
                assert intent.request_id == actor.request_id or node in actor.nodes
                assert node is None or not is_up(self.site.scheduler.node(node)), "a node that serves is not ended"
            else:
                assert (node or name_of(alive[one])) in actor.nodes

    def _swept(self, one: str, intent: Intent, node: str | None) -> None:
        now, grace = self.site.clock.now(), timedelta(seconds=self.site.config.reconcile.orphan_grace_seconds)
        assert one in self._useless, "it was of use at the last look"
        assert now - self._useless[one] >= grace, "nothing is ended on one sighting"
        status = self.site.ledger._outcomes[intent.request_id][0]
        assert status != "new", "an open request looks after its own"
        assert node is None or not is_up(self.site.scheduler.node(node))

    def _looked(self) -> None:
        """Note what the sweep sees: since when each instance has been of no use."""
        if not self.actors or self.actors[-1] is not None:
            return
        now, node_of = self.site.clock.now(), {one: node for node, one in self.bound().items()}
        for one in self.alive():
            node = node_of.get(one)
            if node is None or self.site.scheduler.node(node).is_powered_down:
                self._useless.setdefault(one, now)
            else:
                self._useless.pop(one, None)

    # -- a gang is in one place

    def strategy(self, gang_id: str) -> str:
        """Return how a gang is launched: gang, greedy or best-effort."""
        if gang_id.startswith(LOOSE):
            return "best-effort"
        job = self.jobs[int(gang_id.removeprefix("job-"))]
        asked = job.features if job.features in ("gang", "greedy", "best-effort") else ""
        return asked or self.site.config.slurm.partitions[0].node_groups[0].strategy

    def _is_together(self, gang_id: str, size: int) -> bool:
        job = None if gang_id.startswith(LOOSE) else self.jobs[int(gang_id.removeprefix("job-"))]
        if job is None or self.strategy(gang_id) != "gang":
            return False
        placement = {"pg-spread": "spread", "pg-none": "none", "pg-cluster": "cluster"}.get(job.features or "")
        placement = placement or self.site.config.slurm.partitions[0].node_groups[0].placement
        return not (placement == "spread" and size > SPREAD_MOST)

    def _bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        by_gang: dict[tuple[str, str, tuple[int, ...]], list[tuple[str, Instance]]] = {}
        assert len({node for node, _ in rows}) == len({i.instance_id for _, i in rows}) == len(rows)
        for node, instance in rows:
            intent = self.intent_of(instance)
            name = parse_node_name(node)
            assert intent is not None
            assert name is not None
            assert intent.group == name.group
            by_gang.setdefault((intent.request_id, intent.gang_id, intent.jobs), []).append((node, instance))
        for (_, gang_id, jobs), members in by_gang.items():
            self._in_one_place(gang_id, jobs, members)

    def _in_one_place(self, gang_id: str, jobs: Sequence[int], members: Sequence[tuple[str, Instance]]) -> None:
        size = len({node for job in jobs if job in self.jobs for node in self.jobs[job].nodes_alloc})
        if size < 2 or not self._is_together(gang_id, size):
            return
        self.seen["together"] += 1
        where = {(i.subnet_id, i.zone, i.placement_group) for _, i in members}
        assert len(where) <= 1, f"{gang_id} is in {where}"
        if not self.site.config.slurm.partitions[0].node_groups[0].mixed_types:
            kinds = {(node.split("-")[1], i.instance_type) for node, i in members}
            assert len(kinds) == len({group for group, _ in kinds}), f"{gang_id} is of {kinds}"

    # -- a request is over

    def _finish(self, request_id: str, note: str) -> None:
        actor = self.actors[-1]
        assert actor is not None
        assert actor.request_id == request_id
        if actor.kind is not RequestKind.RESUME:
            return
        outcome, alive = Outcome.from_note(note), self.alive()
        assert "internal" not in outcome.codes, note
        live = {node: one for node, one in self.bound().items() if node in actor.nodes}
        assert {*outcome.bound, *outcome.failed} >= set(actor.nodes), "every node has an answer"
        assert set(outcome.bound) <= set(live), "what is said to serve is bound"
        # Where EC2 could not be asked about them, nodes may be reported as not served that keep an instance.
        assert request_id in self.rough or set(live) <= {
            *outcome.bound,
            *(n for n, w in outcome.failed.items() if w == _UNSEEN),
        }
        for node in outcome.bound:
            if live[node] in alive:
                assert name_of(alive[live[node]]) == node, "the instance reads its own node's name"
                assert self.site.scheduler.node(node).address == alive[live[node]].private_ip
        for gang_id in {intent.gang_id for intent in self.intents(request_id)}:
            self._whole(request_id, gang_id, live)
        if request_id not in self.rough:
            self._calm(actor, live)

    def _whole(self, request_id: str, gang_id: str, live: dict[str, str]) -> None:
        if self.strategy(gang_id) == "best-effort":
            return
        nodes = {n for i in self.intents(request_id) if i.gang_id == gang_id for n in i.nodes}
        mine = [one.instance_id for one in self.ours() if one.tags.get("asbx:gang") == gang_id]
        # A gang that was bound before a crash and lost some of its instances since is mended, not ended.
        mended = [row for row in self.site.ledger._instances.values() if row.end_reason == _MENDED]
        if self.killed.isdisjoint(mine) and not any(row.gang_id == gang_id for row in mended):
            self.seen["whole"] += bool(nodes & set(live))
            assert nodes <= set(live) or nodes.isdisjoint(live), f"{gang_id}: only {fold(live)} of {fold(nodes)}"

    def _calm(self, request: Request, live: dict[str, str]) -> None:
        """Where nothing went wrong, nothing is left over even for a moment, and Slurm has heard of every loss."""
        alive = self.alive()
        mine = {one for one, i in alive.items() if i.tags.get("asbx:intent") in self._ids(request.request_id)}
        assert not self._is_prompt or mine <= set(live.values()), (
            "a request that is over leaves nothing running that serves nobody"
        )
        for node in set(request.nodes) - set(live):
            assert "POWERING_UP" not in self.site.scheduler.node(node).flags, f"Slurm still waits for {node}"

    def _ids(self, request_id: str) -> set[str]:
        return {intent.intent_id for intent in self.intents(request_id)}

    # -- when all is quiet

    def quiet(self) -> None:
        """Check what must hold once every request is over and the sweep has had its graces."""
        alive, bound = self.alive(), self.bound()
        mine = {one.instance_id: one for one in self.ours()}
        ended = {one for one, i in mine.items() if i.state in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)}
        assert set(alive) & set(mine) <= set(bound.values()), "what lives has a node"
        assert set(bound.values()) <= set(alive), "what has a node lives"
        assert len(set(bound.values())) == len(bound)
        rows = self.site.ledger._instances
        assert {one for one in ended if one in rows and rows[one].ended_at is None} == set(), "what ended is closed"
        lost = set(mine) - set(rows) - self.killed
        assert not lost, f"what was launched is in the books: {sorted(mine[one].tags.items() for one in lost)}"
        members = {alive[one].placement_group for one in alive}
        assert {name for name in self.site.cloud.groups if name.startswith("asbx-")} <= members


def _kind(order: FleetOrder) -> tuple[str, bool, str]:
    return order.market, bool(order.placement_group), order.reservation


def _named(refusal: Refusal, pools: Sequence[Pool]) -> Sequence[Pool]:
    if not refusal.instance_type:
        return pools
    return [p for p in pools if (p.instance_type, p.subnet_id) == (refusal.instance_type, refusal.subnet_id)]
