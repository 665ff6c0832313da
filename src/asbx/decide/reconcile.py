"""What is wrong between Slurm, EC2 and the ledger: one look becomes cases, and the decision table says what they are.

Only instances whose intent is in our own ledger are ever ended; everything else in the account is none of our business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.decide.bind import name_of
from asbx.decide.node_state import OFF, Condition, answers, condition
from asbx.decide.reconcile_rules import ActionKind, Book, Claim, Cloud, Grace, Rule, rule, rule_for
from asbx.decide.territory import Territory
from asbx.model.hostlist import fold
from asbx.model.market import Instance, InstanceState
from asbx.model.names import GroupName
from asbx.model.node import NodeView
from asbx.model.record import Binding, InstanceRow

# What the reasons of nodes begin with that were drained because the configuration has changed.
DRIFT = "asbx:drift"
# So many instances EC2 does not know make the answer suspect, where they are half of all.
_MANY = 3
_STRANGERS_NAMED = 5
# Node names in a doubt.
_SHOWN = 10


@dataclass(frozen=True)
class Action:
    """Something to do, to which instance or node, and why. node: whose instance it is, "" for none.

    is_now: what the node is, which says what becomes of it.
    """

    kind: ActionKind
    target: str
    reason: str
    node: str = ""
    rule: str = ""
    grace: Grace = Grace.NONE
    is_now: Condition = Condition.NOBODY
    group: GroupName | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells it from others between looks."""
        return self.rule, self.target

    @property
    def fails_node(self) -> bool:
        """Whether its node must be set DOWN and powered down: it loses its instance, and Slurm waits for it or uses it.

        A node that is off by Slurm's own word needs that only where it could not be used again; what an administrator
        holds, or Slurm does not show as ours, is left as it is.
        """
        if self.kind is ActionKind.FAIL:
            return True
        loses = self.kind in (ActionKind.TERMINATE, ActionKind.FORGET, ActionKind.RELEASE)
        return loses and bool(self.node) and self.is_now not in _LEFT_AS_IT_IS


_LEFT_AS_IT_IS = frozenset(
    {
        Condition.OFF,
        Condition.GOING,
        Condition.HELD_OFF,
        Condition.HELD_DOWN,
        Condition.WANTED,
        Condition.FOREIGN,
        Condition.ABSENT,
        Condition.NOBODY,
        Condition.UNKNOWN,
    }
)


@dataclass(frozen=True)
class Snapshot:
    """One look at the three sides. owned was taken before nodes, so that a fresh launch is no orphan.

    ended: ids EC2 says are terminated; reclaimed: those of them it took back for Spot. elsewhere: instances of another
    region than the configured one, about which nothing was asked. busy_*: what a running request is working on; it is
    left alone. drifted: instance id -> what the configuration says otherwise now. overdue_after: how long a bound node
    may take until it registers. may_drain: whether nodes that have drifted may be drained.
    """

    taken_at: datetime
    owned: Sequence[Instance]
    nodes: Sequence[NodeView]
    rows: Sequence[InstanceRow]
    bindings: Sequence[Binding]
    known_intents: Collection[str]
    ended: Collection[str] = ()
    reclaimed: Collection[str] = ()
    elsewhere: Collection[str] = ()
    busy_nodes: Collection[str] = ()
    busy_intents: Collection[str] = ()
    drifted: Mapping[str, str] = field(default_factory=dict)
    overdue_after: timedelta = timedelta.max
    may_drain: bool = False


def registered(look: Snapshot) -> tuple[str, ...]:
    """Return the bound nodes whose slurmd has registered since they were last looked at.

    One that came with less than slurm.conf promises does not serve: that is a failed boot.
    """
    nodes = {view.name: view for view in look.nodes}
    return tuple(
        binding.node
        for binding in look.bindings
        if binding.registered_at is None
        and (view := nodes.get(binding.node)) is not None
        and answers(view)
        and "INVALID_REG" not in view.flags
    )


def findings(look: Snapshot, land: Territory) -> tuple[Action, ...]:
    """Return everything that looks wrong on this look alone, with the rule that says so."""
    judge = _Judge(look, land)
    found = [*judge.instances(), *judge.nodes()]
    strangers = [action.target for action in found if action.rule == "stranger"]
    found = [action for action in found if action.rule != "stranger"]
    return (*found, _strangers(strangers)) if strangers else tuple(found)


def _strangers(ids: Sequence[str]) -> Action:
    """Make one report of all."""
    shown = ", ".join(sorted(ids)[:_STRANGERS_NAMED]) + (" .." if len(ids) > _STRANGERS_NAMED else "")
    said = rule("stranger")
    reason = f"{len(ids)} instance(s) ({shown}): {said.reason}"
    return Action(said.kind, "strangers", reason, rule=said.name, grace=said.grace)


class _Judge:
    """Makes cases of a look and asks the table."""

    def __init__(self, look: Snapshot, land: Territory) -> None:
        self._look, self._land = look, land
        self._views = {view.name: view for view in look.nodes}
        self._rows = {row.instance_id: row for row in look.rows}
        self._owned = {instance.instance_id: instance for instance in look.owned}
        self._node_of = {binding.instance_id: binding for binding in look.bindings}
        self._instance_of = {binding.node: binding.instance_id for binding in look.bindings}
        self._at = {view.address: view.name for view in look.nodes if view.address != view.name}
        unseen = [one for one in self._rows if self._cloud(one) is Cloud.UNSEEN]
        self._is_many = len(unseen) >= _MANY and 2 * len(unseen) >= len(self._rows)

    # -- cases

    def instances(self) -> Iterator[Action]:
        """Judge every instance one of the sides knows."""
        for one in dict.fromkeys([*self._owned, *self._rows, *self._node_of]):
            intent = self._intent(one)
            binding = self._node_of.get(one)
            if intent in self._look.busy_intents or (binding is not None and binding.node in self._look.busy_nodes):
                continue
            yield from self._about(one, intent, binding)

    def nodes(self) -> Iterator[Action]:
        """Judge every node of ours that has no binding, nor the address of an instance of ours."""
        addresses = {i.private_ip for i in self._owned.values() if i.instance_id not in self._node_of and i.private_ip}
        for view in self._look.nodes:
            if view.name in self._instance_of or view.name in self._look.busy_nodes or view.address in addresses:
                continue
            is_now, group = condition(view), self._land.group_of(view.name)
            has_own_name = view.address == view.name == view.hostname
            if group is None or (is_now is Condition.OFF and has_own_name):
                continue  # the usual case of thousands
            claims = self._node_claims(view)
            yield from self._act(rule_for(is_now, Cloud.NONE, Book.NOTHING, claims), view.name, view.name, is_now)

    def _about(self, one: str, intent: str, binding: Binding | None) -> Iterator[Action]:
        cloud = self._cloud(one)
        book, node = self._book(one, intent, binding, cloud)
        view = self._views.get(node)
        is_now = Condition.NOBODY if not node else Condition.ABSENT if view is None else condition(view)
        claims = self._node_claims(view) if view is not None else set()
        claims |= self._instance_claims(one, binding)
        found = rule_for(is_now, cloud, book, claims)
        if found.kind is not ActionKind.NOTHING:
            on_node = found.kind in (ActionKind.RELEASE, ActionKind.RETIRE)
            detail = self._detail(found, one, view)
            # Of a node that has another instance nothing must be undone.
            mine = "" if book is Book.SECOND else node
            yield from self._act(found, node if on_node else one, mine, is_now, detail, node)

    def _act(
        self, found: Rule, target: str, node: str, is_now: Condition, more: str = "", said: str = ""
    ) -> Iterator[Action]:
        if found.kind is ActionKind.NOTHING:
            return
        view = self._views.get(node)
        reason = found.reason.format(node=said or node, more=more or (view.address if view is not None else ""))
        group = self._land.group_of(said or node)
        yield Action(found.kind, target, reason, node, found.name, found.grace, is_now, group)

    def _detail(self, found: Rule, one: str, view: NodeView | None) -> str:
        if Claim.DRIFTED in found.claims:
            return self._look.drifted[one]
        return one if found.kind is ActionKind.RELEASE else (view.reason if view is not None else "") or "no reason"

    # -- the sides

    def _intent(self, one: str) -> str:
        if one in self._rows:
            return self._rows[one].intent_id
        return self._owned[one].tags.get("asbx:intent", "") if one in self._owned else ""

    def _cloud(self, one: str) -> Cloud:
        if one in self._owned:
            stopped = self._owned[one].state in (InstanceState.STOPPED, InstanceState.STOPPING)
            return Cloud.STOPPED if stopped else Cloud.ALIVE
        if one in self._look.ended:
            return Cloud.ENDED
        if one in self._look.elsewhere:
            return Cloud.ELSEWHERE
        return Cloud.UNSEEN if one in self._rows else Cloud.NONE

    def _book(self, one: str, intent: str, binding: Binding | None, cloud: Cloud) -> tuple[Book, str]:
        """Return what the ledger says of an instance, and the node that is concerned."""
        if binding is not None and cloud is Cloud.NONE:
            return Book.CLOSED, binding.node
        if one not in self._rows and intent not in self._look.known_intents:
            return Book.STRANGER, ""
        if binding is not None:
            return Book.BOUND, binding.node
        return self._loose(self._owned[one]) if one in self._owned else (Book.LOOSE, "")

    def _loose(self, instance: Instance) -> tuple[Book, str]:
        """Return what an instance without a binding is: a node's second one, one Slurm has the address of, or lost."""
        if (named := name_of(instance)) in self._instance_of:
            return Book.SECOND, named
        if (served := self._at.get(instance.private_ip, "")) and served not in self._instance_of:
            return Book.SERVES, served
        return Book.LOOSE, ""

    def _node_claims(self, view: NodeView) -> set[Claim]:
        said = {
            Claim.ANSWERS: answers(view),
            Claim.ADDRESSED: view.address != view.name or view.hostname != view.name,
            Claim.OUR_DRAIN: view.reason.startswith(DRIFT),
        }
        return {claim for claim, is_true in said.items() if is_true}

    def _instance_claims(self, one: str, binding: Binding | None) -> set[Claim]:
        look = self._look
        is_new = binding is not None and binding.registered_at is None
        said = {
            Claim.OVERDUE: is_new and binding is not None and look.taken_at - binding.bound_at > look.overdue_after,
            Claim.MANY: self._is_many,
            Claim.DRIFTED: one in look.drifted,
            Claim.MAY_DRAIN: look.may_drain,
        }
        return {claim for claim, is_true in said.items() if is_true}


# -- when Slurm and the configuration disagree


@dataclass(frozen=True)
class Doubt:
    """Why a look must not be acted on: of one group, or of all (group None)."""

    reason: str
    group: GroupName | None = None


def doubts(look: Snapshot, land: Territory) -> tuple[Doubt, ...]:
    """Return what makes this look half a picture.

    Slurm lacks nodes of a group: then that group is left alone. It lacks all of them, or half of those that have an
    instance: then it is another cluster's table, or none, and nothing at all is done.
    """
    known = {view.name for view in look.nodes}
    lacking = land.lacking(known)
    if lacking and all(len(lacking.get(group, ())) == len(numbers) for group, numbers in land.numbers.items()):
        return (Doubt("Slurm has none of the configuration's nodes: it may be another cluster's node table"),)
    unknown = [b.node for b in look.bindings if b.node not in known]
    if len(unknown) >= _MANY and 2 * len(unknown) >= len(look.bindings):
        return (Doubt(f"Slurm does not know half of the nodes that have an instance ({fold(unknown[:_SHOWN])} ..)"),)
    return tuple(Doubt(_lacks(group, numbers), group) for group, numbers in lacking.items())


def _lacks(group: GroupName, numbers: Sequence[int]) -> str:
    shown = fold(f"{group}-{number}" for number in numbers[:_SHOWN]) + (" .." if len(numbers) > _SHOWN else "")
    return (
        f"Slurm lacks {len(numbers)} node(s) of {group} that the configuration has ({shown}); the group is left alone"
    )


def trusted(actions: Sequence[Action], doubted: Sequence[Doubt]) -> tuple[Action, ...]:
    """Leave out what a doubt forbids; a report does no harm."""
    scopes = {doubt.group for doubt in doubted}
    return tuple(
        action
        for action in actions
        if action.kind is ActionKind.REPORT
        or not (None in scopes or (action.group is not None and action.group in scopes))
    )


__all__ = ["OFF", "Action", "ActionKind", "Doubt", "Snapshot", "doubts", "findings", "registered", "trusted"]
