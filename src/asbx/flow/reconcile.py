"""One reconcile pass: look at EC2, Slurm and the ledger, and undo what must not last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import SWEEP_TAGS
from asbx.decide import bind as naming
from asbx.decide.reconcile import Action, ActionKind, Sightings, Snapshot, due, findings, registered
from asbx.decide.shortage import reclaimed
from asbx.decide.shortage_key import capacity_key
from asbx.errors import AsbxError
from asbx.flow import bind
from asbx.flow.adopt import adopt
from asbx.flow.doors import Doors
from asbx.flow.rows import names
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.record import Binding

# EC2's reason for an instance it took back (EC2 user guide, "Spot Instance interruptions", state reason codes).
_RECLAIM = "Server.SpotInstanceTermination"


@dataclass
class Sweep:
    """Remembers between passes what was seen, because nothing is done on one sighting."""

    doors: Doors
    sightings: Sightings = field(default_factory=dict)

    def look(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> Snapshot:
        """Take a snapshot. EC2 is asked before Slurm; a side that does not answer raises, and the pass is skipped.

        Instances the ledger holds for live and the cluster's listing leaves out are asked for by id: a changed cluster
        name must not make running nodes look gone.
        """
        doors = self.doors
        owned = {i.instance_id: i for i in doors.cloud.owned(doors.config.cluster.name)}
        rows = doors.ledger.instances(live_only=True)
        elsewhere = {r.instance_id for r in rows if r.zone and not r.zone.startswith(doors.config.aws.region)}
        missing = [r.instance_id for r in rows if r.instance_id not in owned and r.instance_id not in elsewhere]
        seen = doors.cloud.describe(missing) if missing else ()
        owned |= {i.instance_id: i for i in seen if not i.state.is_ended}
        intents = {instance.tags.get("asbx:intent", "") for instance in owned.values()}
        return Snapshot(
            nodes=doors.scheduler.nodes(),
            taken_at=doors.clock.now(),
            owned=tuple(owned.values()),
            rows=rows,
            bindings=doors.ledger.live_bindings(),
            known_intents=doors.ledger.known_intents(intents),
            reclaimed=frozenset(i.instance_id for i in seen if i.state_reason == _RECLAIM),
            elsewhere=elsewhere,
            busy_nodes=frozenset(busy_nodes),
            busy_intents=frozenset(busy_intents),
        )

    def run(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> tuple[Action, ...]:
        """Do what is due and return it. Raises AsbxError when a side does not answer; nothing was done then."""
        grace = timedelta(seconds=self.doors.config.reconcile.orphan_grace_seconds)
        look = self.look(busy_nodes, busy_intents)
        actions, self.sightings = due(look, self.sightings, grace)
        ends = [action for action in actions if action.kind is ActionKind.TERMINATE]
        gone = [action for action in actions if action.kind is ActionKind.FORGET]
        done: set[str] = set()
        if ends:
            targets = {action.target for action in ends}
            self._try("ledger", lambda: adopt(self.doors, [i for i in look.owned if i.instance_id in targets]))
            self._try("terminate", lambda: done.update(self.doors.cloud.terminate([a.target for a in ends])))
        closed = [a for a in ends if a.target in done] + gone
        for reason in dict.fromkeys(action.reason for action in closed):
            ids = [action.target for action in closed if action.reason == reason]
            self._try("ledger", lambda ids=ids, reason=reason: self._end(ids, reason, look))  # type: ignore[misc]
        nodes = [a.node for a in closed if a.node] + [a.node for a in actions if a.kind is ActionKind.RELEASE]
        if nodes:
            self._try("ledger", lambda: self.doors.ledger.release(nodes, look.taken_at))
            self._addresses(nodes, look)
        rows = {row.instance_id: row for row in look.rows}
        for action in actions:
            self.doors.about(**names(rows.get(action.target))).say(_event(action))
        self._try("ledger", lambda: self._learn(gone, look))
        self._try("ledger", lambda: self._watch(look))
        self._name(look)
        return actions

    def _learn(self, gone: Sequence[Action], look: Snapshot) -> None:
        """Remember the pools EC2 took spot instances back from as short."""
        rows = {row.instance_id: row for row in look.rows}
        taken = [rows[action.target] for action in gone if action.target in look.reclaimed and action.target in rows]
        for row in taken:
            key = capacity_key(row.market, row.instance_type, row.zone, placed=False)
            self.doors.ledger.change_shortage(key, lambda old, key=key: reclaimed(old, key, look.taken_at))  # type: ignore[misc]

    def _watch(self, look: Snapshot) -> None:
        """Note which nodes have registered, and say how long the slowest of them took."""
        nodes = set(registered(look))
        if not nodes:
            return
        self.doors.ledger.register(sorted(nodes), look.taken_at)
        rows = {row.instance_id: row for row in look.rows}
        launches: dict[str, list[Binding]] = {}
        for binding in look.bindings:
            if binding.node in nodes:
                row = rows.get(binding.instance_id)
                launches.setdefault(row.intent_id if row else "", []).append(binding)
        for bindings in launches.values():
            self.doors.about(**names(rows.get(bindings[0].instance_id))).say(_registered(bindings, look.taken_at))

    def _name(self, look: Snapshot) -> None:
        """Set the tags for people's eyes where a crash came between the launch and them."""
        bound = {binding.instance_id: binding.node for binding in look.bindings}
        pairs = [
            (bound[i.instance_id], i)
            for i in look.owned
            if i.instance_id in bound and bound[i.instance_id] not in look.busy_nodes and "Name" not in i.tags
        ]
        bind.courtesy(self.doors, naming.courtesy(pairs[:SWEEP_TAGS], {}))

    def _end(self, ids: Sequence[str], reason: str, look: Snapshot) -> None:
        self.doors.ledger.end_instances(ids, reason, look.taken_at)

    def _addresses(self, nodes: Sequence[str], look: Snapshot) -> None:
        """Reset powered-down nodes to their names; park the others, whose names slurmctld may still want to reach."""
        views = {view.name: view for view in look.nodes}
        off = [node for node in nodes if node in views and views[node].is_powered_down]
        on = [node for node in nodes if node in views and not views[node].is_powered_down]
        if off:
            self._try("release", lambda: self.doors.scheduler.release(off))
        if on:
            self._try("park", lambda: self.doors.scheduler.park(on))

    def _try(self, what: str, action: Callable[[], None]) -> None:
        """Do one step; what fails is found again by the next pass."""
        try:
            action()
        except AsbxError as error:
            self.doors.say(Event(EventKind.PASS_FAILED, f"{what}: {error}", level="error"))


def preview(look: Snapshot) -> tuple[Action, ...]:
    """Return what one look finds, without the grace."""
    return findings(look)


def _registered(bindings: Sequence[Binding], now: datetime) -> Event:
    """Return what is said of the nodes of one launch."""
    since = {binding.node: now - binding.bound_at for binding in bindings}
    slowest = max(since, key=lambda node: since[node])
    text = f"{fold(sorted(since))} registered, the last ({slowest}) within {since[slowest].total_seconds():.0f} s"
    data: dict[str, object] = {node: round(took.total_seconds(), 1) for node, took in since.items()}
    return Event(EventKind.NODE_REGISTERED, text, data=data)


def _event(action: Action) -> Event:
    text = f"{action.kind} {action.target}: {action.reason}"
    instance = "" if action.kind is ActionKind.RELEASE else action.target
    return Event(EventKind.INSTANCE_ORPHANED, text, node=action.node, instance_id=instance, level="warning")
