"""Do what a reconcile pass has found due, in an order that leaves whatever fails for the next pass to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from asbx.config.limits import SWEEP_TAGS
from asbx.decide import bind as naming
from asbx.decide.node_state import Condition
from asbx.decide.reconcile import Action, Snapshot
from asbx.decide.reconcile_rules import ActionKind
from asbx.decide.shortage import reclaimed
from asbx.decide.shortage_key import capacity_key
from asbx.errors import AsbxError, SlurmError
from asbx.flow import bind
from asbx.flow.adopt import adopt
from asbx.flow.doors import Doors
from asbx.flow.markets import remember
from asbx.flow.rows import names
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold, unique_sorted
from asbx.model.record import Binding

_KINDS = {
    ActionKind.TERMINATE: EventKind.INSTANCE_ORPHANED,
    ActionKind.FORGET: EventKind.INSTANCE_ORPHANED,
    ActionKind.RELEASE: EventKind.INSTANCE_ORPHANED,
    ActionKind.ADOPT: EventKind.NODE_BOUND,
    ActionKind.FAIL: EventKind.NODE_FAILED,
    ActionKind.RESET: EventKind.NODE_RELEASED,
    ActionKind.RETIRE: EventKind.NODE_DRAINED,
    ActionKind.UNDRAIN: EventKind.NODE_UNDRAINED,
    ActionKind.REPORT: EventKind.RECONCILE_REPORT,
}
# Of these the target is the node itself.
_OF_NODES = frozenset({ActionKind.RELEASE, ActionKind.FAIL, ActionKind.RESET, ActionKind.RETIRE, ActionKind.UNDRAIN})
_Answer = TypeVar("_Answer")


@dataclass
class Repair:
    """Remembers the jobs that may be requeued for now although they asked not to be: they had not run yet."""

    doors: Doors
    _stubborn: set[int] = field(default_factory=set)

    def do(self, actions: Sequence[Action], look: Snapshot) -> None:
        """Do it. Money first: EC2, then the ledger, then Slurm. Each step that fails leaves the others their turn.

        Raises LedgerError where the ledger does not say that it is all still so, or that we may work no more.
        """
        self._settle()
        actions = self._still_so(actions, look)
        closed = self._end(actions, look)
        released = [action for action in actions if action.kind is ActionKind.RELEASE]
        # EC2 may have taken its time, and a request may have come for a node meanwhile: its new binding is not ours.
        free = self._still_so([action for action in [*closed, *released] if action.node], look)
        if free:
            self._try("ledger", lambda: self.doors.ledger.release([a.node for a in free], look.taken_at))
        alone = [action for action in actions if action.kind in _OF_NODES and action.kind is not ActionKind.RELEASE]
        self._nodes([*free, *alone], look)
        self._bind([action for action in actions if action.kind is ActionKind.ADOPT], look)
        rows = {row.instance_id: row for row in look.rows}
        for action in actions:
            self.doors.about(**names(rows.get(action.target))).say(_event(action))

    def note(self, look: Snapshot, newcomers: Sequence[str]) -> None:
        """Write down what a look shows: reclaimed pools, nodes that have registered, names for people."""
        self._try("ledger", lambda: self._watch(look, newcomers))
        self._name(look)

    def _still_so(self, actions: Sequence[Action], look: Snapshot) -> list[Action]:
        """Leave out what a request works on since the look, or has bound anew. Raises LedgerError.

        One of two controllers that wakes up in the middle of a pass learns here that the other one works: what it saw
        is old, and the nodes it would set DOWN may serve again.
        """
        if not actions:
            return []
        news = [one for one in self.doors.ledger.open_requests() if one.request_id not in look.requests]
        fresh = {node for request in news for node in request.nodes}
        then = {(binding.node, binding.instance_id) for binding in look.bindings}
        changed = then ^ {(binding.node, binding.instance_id) for binding in self.doors.ledger.live_bindings()}
        names = fresh.union(*changed)
        return [action for action in actions if names.isdisjoint((action.node, action.target))]

    # -- EC2 and the ledger

    def _end(self, actions: Sequence[Action], look: Snapshot) -> list[Action]:
        """End instances and close rows; return the actions whose instance is over now."""
        ends = [action for action in actions if action.kind is ActionKind.TERMINATE]
        gone = [action for action in actions if action.kind is ActionKind.FORGET]
        done: set[str] = set()
        if ends and not self._adopt([action.target for action in ends], look):
            # EC2 shows an ended instance for an hour: one without a row would never be paid for in the ledger.
            known = {row.instance_id for row in look.rows}
            ends = [action for action in ends if action.target in known]
        if ends:
            self._try("terminate", lambda: done.update(self.doors.cloud.terminate([a.target for a in ends])))
        closed = [action for action in ends if action.target in done] + gone
        for reason in dict.fromkeys(action.reason for action in closed):
            ids = [action.target for action in closed if action.reason == reason]
            self._try(
                "ledger",
                lambda ids=ids, reason=reason: self.doors.ledger.end_instances(ids, reason, look.taken_at),  # type: ignore[misc]
            )
        self._try("ledger", lambda: self._learn(gone, look))
        return closed

    def _adopt(self, ids: Sequence[str], look: Snapshot) -> bool:
        """Give instances their rows; False where the ledger does not take them."""
        found = [instance for instance in look.owned if instance.instance_id in ids]

        def rows() -> bool:
            adopt(self.doors, found)
            return True

        return self._try("ledger", rows) is not None

    def _bind(self, actions: Sequence[Action], look: Snapshot) -> None:
        """Bind instances that serve to their nodes again."""
        seen = {instance.instance_id: instance for instance in look.owned}
        pairs = [(action.node, seen[action.target]) for action in actions]
        if pairs:
            self._try("ledger", lambda: adopt(self.doors, [instance for _, instance in pairs]))
            self._try("ledger", lambda: self.doors.ledger.bind(pairs, look.taken_at))

    def _learn(self, gone: Sequence[Action], look: Snapshot) -> None:
        """Remember the pools EC2 took spot instances back from as short."""
        rows = {row.instance_id: row for row in look.rows}
        taken = [rows[action.target] for action in gone if action.target in look.reclaimed and action.target in rows]
        for row in taken:
            key = capacity_key(row.market, row.instance_type, row.zone, placed=False)
            self.doors.ledger.change_shortage(key, lambda old, key=key: reclaimed(old, key, look.taken_at))  # type: ignore[misc]
            remember(self.doors, row, look.taken_at)

    # -- Slurm

    def _nodes(self, actions: Sequence[Action], look: Snapshot) -> None:
        """Bring nodes to where they can be used again, or out of use."""
        known = {view.name for view in look.nodes}
        mine = [action for action in actions if action.node in known]
        failed = [action for action in mine if action.fails_node]
        left = [action for action in mine if not action.fails_node]
        if failed:
            self._try("fail", lambda: self._fail(failed))
        off = [a.node for a in left if a.kind not in (ActionKind.RETIRE, ActionKind.UNDRAIN) and _is_off(a)]
        on = [a.node for a in left if a.kind not in (ActionKind.RETIRE, ActionKind.UNDRAIN) and not _is_off(a)]
        undrained = [a.node for a in left if a.kind is ActionKind.UNDRAIN]
        if off:
            self._try("release", lambda: self.doors.scheduler.release(off))
        if on:
            # slurmctld may still want to reach them, and a name that does not resolve holds it up.
            self._try("park", lambda: self.doors.scheduler.park(on))
        if undrained:
            self._try("undrain", lambda: self.doors.scheduler.undrain(undrained))
        for why, nodes in _by_reason([a for a in left if a.kind is ActionKind.RETIRE]):
            self._try("retire", lambda nodes=nodes, why=why: self.doors.scheduler.retire(nodes, why))  # type: ignore[misc]

    def _fail(self, actions: Sequence[Action]) -> None:
        """Set nodes DOWN and power them down. Raises SlurmError.

        A job that has not run yet is requeued even if it asked not to be: losing it would serve nobody. One that has
        run is lost where it asked for that. Where Slurm refuses that for a job, its node alone is left as it is.
        """
        try:
            self.spare([action.node for action in actions])
        except SlurmError as error:
            if error.code != "slurm-refused":
                raise
            actions = [action for action in actions if self._is_spared(action.node)]
        self.doors.scheduler.fail_each([(nodes, why) for why, nodes in _by_reason(actions)])

    def _is_spared(self, node: str) -> bool:
        """Spare one node's jobs; False where Slurm refuses it, which is said. ResumeTimeout ends such a wait."""

        def one() -> bool:
            self.spare([node])
            return True

        return self._try("spare", one) is not None

    def spare(self, nodes: Sequence[str]) -> None:
        """Let no job that waits for these nodes, and has not run yet, be lost with them. Raises SlurmError."""
        tenants = self.doors.scheduler.tenants(nodes)
        waiting = [tenant.job_id for tenant in tenants if tenant.state == "CONFIGURING"]
        if waiting:
            self._stubborn.update(self.doors.scheduler.make_requeueable(waiting))

    def _settle(self) -> None:
        """Forbid requeues again of those jobs that wait again or run; those that have left the queue are forgotten."""
        known = sorted(self._stubborn)  # others may be added meanwhile, from the thread that hears of lost instances
        if not known:
            return
        facts = self._try("jobs", lambda: self.doors.scheduler.jobs(known))
        if facts is None:
            return
        state_of = {fact.job_id: fact.state for fact in facts}
        again = sorted(job for job in known if state_of.get(job) in ("PENDING", "RUNNING"))
        if again:
            self._try("jobs", lambda: self.doors.scheduler.undo_requeueable(again))
        self._stubborn.difference_update(job for job in known if job not in state_of or job in again)

    # -- what a look shows besides

    def _watch(self, look: Snapshot, nodes: Sequence[str]) -> None:
        """Note which nodes have registered, and say how long the slowest of them took."""
        if not nodes:
            return
        self.doors.ledger.register(nodes, look.taken_at)
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

    def _try(self, what: str, action: Callable[[], _Answer]) -> _Answer | None:
        """Do one step; what fails is found again by the next pass."""
        try:
            return action()
        except AsbxError as error:
            self.doors.say(Event(EventKind.PASS_FAILED, f"{what}: {error}", level="error"))
            return None


def _is_off(action: Action) -> bool:
    return action.is_now in (Condition.OFF, Condition.GOING, Condition.HELD_OFF)


def _by_reason(actions: Sequence[Action]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what is said of nodes, and the nodes: those with the same reason together.

    The rule's name stands in front; by its beginning we know a reason of ours again (OURS).
    """
    nodes: dict[str, list[str]] = {}
    for action in actions:
        nodes.setdefault(f"asbx:{action.rule} {action.reason}", []).append(action.node)
    return [(why, unique_sorted(names)) for why, names in nodes.items()]


def _registered(bindings: Sequence[Binding], now: datetime) -> Event:
    """Return what is said of the nodes of one launch."""
    since = {binding.node: now - binding.bound_at for binding in bindings}
    slowest = max(since, key=lambda node: since[node])
    text = f"{fold(sorted(since))} registered, the last ({slowest}) within {since[slowest].total_seconds():.0f} s"
    data: dict[str, object] = {node: round(took.total_seconds(), 1) for node, took in since.items()}
    return Event(EventKind.NODE_REGISTERED, text, data=data)


def _event(action: Action) -> Event:
    text = f"{action.kind} {action.target}: {action.reason}"
    instance = action.target if action.target.startswith("i-") else ""
    data: dict[str, object] = {"rule": action.rule, "action": action.kind.value}
    return Event(_KINDS[action.kind], text, node=action.node, instance_id=instance, level="warning", data=data)
