"""The decision table of the sweep: what Slurm, EC2 and the ledger say together, what is done about it, and why.

Rules are data; the first that fits counts, and one fits always. docs/reference/reconcile.md is printed from here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from asbx.decide.node_state import Condition as Is


class Cloud(StrEnum):
    """What EC2 says of an instance."""

    ALIVE = "pending or running"
    STOPPED = "stopped"
    ENDED = "terminated"  # or about to be; asked for by its id
    UNSEEN = "not known"  # asked for by its id, and not in the answer
    ELSEWHERE = "not asked"  # it is in another region than the configured one
    NONE = "no instance"


class Book(StrEnum):
    """What the ledger says of an instance, or of a node that has none."""

    BOUND = "node and instance are bound"
    CLOSED = "bound to an instance that has ended"
    SERVES = "bound to no node, but Slurm has its address"
    SECOND = "bound to no node; its node has another"
    LOOSE = "bound to no node"
    STRANGER = "no launch of ours"
    NOTHING = "no binding"


class Claim(StrEnum):
    """What else can be true of a case."""

    ANSWERS = "its slurmd answers"
    ADDRESSED = "its address is not its own name"
    OVERDUE = "it has never registered, and ResumeTimeout is over"
    MANY = "half of all instances are like this"
    DRIFTED = "the configuration says something else now"
    MAY_DRAIN = "`reconcile.drift` is `drain`"
    OUR_DRAIN = "it was drained for drift"


class ActionKind(StrEnum):
    """What a pass may do."""

    NOTHING = "nothing"  # all is well, or somebody else's to decide
    TERMINATE = "terminate"  # end an instance nobody needs, or that cannot serve
    FORGET = "forget"  # the instance is gone from EC2: close its row and its binding
    RELEASE = "release"  # a node is bound to an instance that has ended: unbind it
    ADOPT = "adopt"  # bind an instance that serves to its node again
    FAIL = "fail"  # set a node DOWN, which requeues its jobs, and power it down, which makes it usable again
    RESET = "reset"  # give a node its own name as address again
    RETIRE = "retire"  # let the jobs end, take no new ones, then power down
    UNDRAIN = "undrain"  # take a drain of ours back
    REMOVE = "remove"  # remove something of ours that nobody uses any more
    REPORT = "report"  # nothing is done; somebody should know


class Grace(StrEnum):
    """How long a finding must last, and on two looks at least, until something is done about it."""

    NONE = "-"
    CONFIRM = "confirm"  # EC2 itself says what is wrong; a second look is enough
    ORPHAN = "orphan"  # `reconcile.orphan_grace_seconds`
    UNSEEN = "unseen"  # EC2 may not show a fresh id yet
    UNSEEN_MANY = "unseen-many"  # rather the listing is wrong than all of them gone
    COMPLETING = "completing"  # epilogs take their time


@dataclass(frozen=True)
class Rule:
    """One row. Empty sets fit anything. reason: completes "NODE/INSTANCE: .."; {more} is the case's own detail."""

    name: str
    slurm: frozenset[Is]
    cloud: frozenset[Cloud]
    book: frozenset[Book]
    kind: ActionKind
    grace: Grace
    reason: str
    why: str
    claims: frozenset[Claim] = frozenset()
    lacks: frozenset[Claim] = frozenset()

    def fits(self, slurm: Is, cloud: Cloud, book: Book, claims: Collection[Claim]) -> bool:
        """Whether a case is like this."""
        return (
            (not self.slurm or slurm in self.slurm)
            and (not self.cloud or cloud in self.cloud)
            and (not self.book or book in self.book)
            and self.claims.issubset(claims)
            and self.lacks.isdisjoint(claims)
        )


_ANY: frozenset[Is] = frozenset()
_ALIVE, _NONE = frozenset({Cloud.ALIVE}), frozenset({Cloud.NONE})
_BOUND, _NOTHING = frozenset({Book.BOUND}), frozenset({Book.NOTHING})
OURS = frozenset({Book.BOUND, Book.SERVES, Book.SECOND, Book.LOOSE})


_Sides = tuple[Collection[Is], Collection[Cloud], Collection[Book]]


def _rule(
    name: str,
    sides: _Sides,
    do: tuple[ActionKind, Grace],
    reason: str,
    why: str,
    claims: Collection[Claim] = (),
    lacks: Collection[Claim] = (),
) -> Rule:
    slurm, cloud, book = sides
    every = (frozenset(slurm), frozenset(cloud), frozenset(book))
    return Rule(name, *every, *do, reason, why, frozenset(claims), frozenset(lacks))


# fmt: off
RULES: tuple[Rule, ...] = (
    # -- not ours to judge
    _rule("stranger", (_ANY, (), (Book.STRANGER,)), (ActionKind.REPORT, Grace.ORPHAN),
          "it carries this cluster's tags, but the ledger has no launch of it; it is left alone",
          "it may be another cluster's with the same name, or the ledger was lost: nothing unknown is ever touched"),
    _rule("elsewhere", (_ANY, (Cloud.ELSEWHERE,), ()), (ActionKind.NOTHING, Grace.NONE),
          "it is in another region", "a region nobody asked says nothing about its instances"),
    # -- instances that are gone
    _rule("instance-ended", (_ANY, (Cloud.ENDED,), OURS), (ActionKind.FORGET, Grace.CONFIRM),
          "EC2 has ended the instance",
          "its jobs would wait for SlurmdTimeout; a node that is on is set DOWN, so that they are requeued at once"),
    _rule("unseen-answers", (_ANY, (Cloud.UNSEEN,), OURS), (ActionKind.REPORT, Grace.ORPHAN),
          "EC2 does not know the instance, but the slurmd of its node answers; nothing is done",
          "then EC2's answer is wrong, or is another account's", claims=(Claim.ANSWERS,)),
    _rule("unseen-many", (_ANY, (Cloud.UNSEEN,), OURS), (ActionKind.FORGET, Grace.UNSEEN_MANY),
          "EC2 does not know the instance any more, nor half of the others",
          "wrong credentials or region are likelier than that; EC2 itself forgets instances an hour after their end",
          claims=(Claim.MANY,)),
    _rule("unseen", (_ANY, (Cloud.UNSEEN,), OURS), (ActionKind.FORGET, Grace.UNSEEN),
          "EC2 does not know the instance any more", "a fresh id may be unknown for a while, an old one is not"),
    _rule("binding-of-ended", (_ANY, _NONE, (Book.CLOSED,)), (ActionKind.RELEASE, Grace.CONFIRM),
          "it is bound to {more}, which has ended", "a crash came between two rows of the ledger"),
    _rule("instance-stopped", (_ANY, (Cloud.STOPPED,), OURS), (ActionKind.TERMINATE, Grace.ORPHAN),
          "somebody stopped the instance; a stopped instance serves nobody and its disks cost on",
          "a node never comes back from a stop under the same address and boot"),
    # -- instances without a node
    _rule("serves-unbound", ((Is.UP, Is.DRAINING, Is.DRAINED, Is.COMPLETING, Is.POWER_DOWN_ASKED, Is.COMING), _ALIVE,
          (Book.SERVES,)), (ActionKind.ADOPT, Grace.ORPHAN),
          "it serves {node}, which the ledger has no binding for",
          "the ledger is older than the launch (a backup, a crash): ending it would kill a job"),
    _rule("second-instance", (_ANY, _ALIVE, (Book.SECOND,)), (ActionKind.TERMINATE, Grace.ORPHAN),
          "its node {node} has another instance", "a node is one instance; the ledger says which"),
    _rule("unbound", (_ANY, _ALIVE, (Book.LOOSE, Book.SERVES)), (ActionKind.TERMINATE, Grace.ORPHAN),
          "it is bound to no node", "its launch crashed or was given up; nobody will ever use it"),
    # -- nodes Slurm does not show, or not as ours
    _rule("node-unknown", ((Is.ABSENT,), _ALIVE, _BOUND), (ActionKind.REPORT, Grace.ORPHAN),
          "Slurm has no node {node}; its instance is kept",
          "a foreign or empty node table must end nothing: this may be a wrong SLURM_CONF"),
    _rule("not-cloud", ((Is.FOREIGN,), (), ()), (ActionKind.REPORT, Grace.ORPHAN),
          "slurm.conf has it without State=CLOUD; it is left alone", "Slurm never powers such a node up or down"),
    # -- an instance behind a node that is off or useless
    _rule("node-off", ((Is.OFF, Is.OFF_SILENT, Is.HELD_OFF, Is.GOING), _ALIVE, _BOUND),
          (ActionKind.TERMINATE, Grace.ORPHAN),
          "Slurm holds {node} for powered down", "SuspendProgram was not called, or its request was lost"),
    _rule("boot-timed-out", ((Is.BOOT_TIMED_OUT,), _ALIVE, _BOUND), (ActionKind.TERMINATE, Grace.ORPHAN),
          "{node} did not register within ResumeTimeout",
          "ResumeTimeout calls ResumeFailProgram, never SuspendProgram; where that is lost the instance leaks"),
    _rule("boot-overdue", ((Is.COMING,), _ALIVE, _BOUND), (ActionKind.TERMINATE, Grace.ORPHAN),
          "{node} has not registered, and ResumeTimeout is over",
          "slurmctld lost count in a restart, or its ResumeTimeout is not ours", claims=(Claim.OVERDUE,)),
    _rule("lost", ((Is.LOST,), _ALIVE, _BOUND), (ActionKind.TERMINATE, Grace.ORPHAN),
          "Slurm has {node} DOWN: {more}",
          "its jobs are gone already, and power saving never powers a DOWN node down: it would be billed for ever"),
    _rule("bad-registration", ((Is.BAD_REGISTRATION,), _ALIVE, _BOUND), (ActionKind.TERMINATE, Grace.ORPHAN),
          "{node} registered with less than slurm.conf promises: {more}", "no job can ever run on it"),
    _rule("stuck-completing", ((Is.COMPLETING,), _ALIVE, _BOUND), (ActionKind.TERMINATE, Grace.COMPLETING),
          "{node} does not get its last job cleaned up", "no other job is on it, and none will get onto it"),
    _rule("held-down", ((Is.HELD_DOWN,), _ALIVE, _BOUND), (ActionKind.REPORT, Grace.ORPHAN),
          "{node} is DOWN because somebody said so ({more}); its instance is kept, and costs",
          "whoever set it DOWN may want to look at it; `scontrol update nodename=.. state=power_down` ends it"),
    # -- an instance behind a node that serves, of an older configuration
    _rule("drift-drain", ((Is.UP,), _ALIVE, _BOUND), (ActionKind.RETIRE, Grace.ORPHAN),
          "{more}; it takes no new job and is powered down once idle",
          "never kills a job", claims=(Claim.DRIFTED, Claim.MAY_DRAIN)),
    _rule("drift", ((Is.UP,), _ALIVE, _BOUND), (ActionKind.REPORT, Grace.ORPHAN),
          "{more}; its jobs go on", "with `reconcile.drift: drain` such nodes are drained and replaced",
          claims=(Claim.DRIFTED,)),
    _rule("as-it-should-be", (_ANY, _ALIVE, _BOUND), (ActionKind.NOTHING, Grace.NONE),
          "it serves, comes, or goes", "Slurm moves it on by itself"),
    # -- nodes without an instance
    _rule("off-silent", ((Is.OFF_SILENT,), _NONE, _NOTHING), (ActionKind.FAIL, Grace.ORPHAN),
          "it is off and held for not responding, so Slurm may schedule nothing onto it",
          "ParallelCluster issue 7577; on 22.05.8 DOWN and power_down make it IDLE+POWERED_DOWN again"),
    _rule("timed-out-unbound", ((Is.BOOT_TIMED_OUT,), _NONE, _NOTHING), (ActionKind.FAIL, Grace.ORPHAN),
          "it is DOWN since ResumeTimeout, and nothing brings it back",
          "ResumeTimeout leaves it DOWN, with its old address"),
    _rule("drain-left", ((Is.HELD_OFF,), _NONE, _NOTHING), (ActionKind.UNDRAIN, Grace.ORPHAN),
          "it was drained for drift, and is off now",
          "without idle_on_node_suspend Slurm keeps the drain", claims=(Claim.OUR_DRAIN,)),
    _rule("address-left", ((Is.OFF,), _NONE, _NOTHING), (ActionKind.RESET, Grace.ORPHAN),
          "it is off, and Slurm still has the address {more} for it",
          "addresses are used again: a stale one has sent kill messages to another node (cyclecloud-slurm PR 30)",
          claims=(Claim.ADDRESSED,)),
    _rule("coming-without-instance", ((Is.COMING,), _NONE, _NOTHING), (ActionKind.FAIL, Grace.ORPHAN),
          "Slurm waits for it, and no launch is under way",
          "its request was lost; its jobs are requeued now and not at ResumeTimeout"),
    _rule("on-without-instance", ((Is.SILENT, Is.LOST, Is.BAD_REGISTRATION, Is.COMPLETING, Is.POWER_DOWN_ASKED, Is.UP),
          _NONE, _NOTHING), (ActionKind.FAIL, Grace.ORPHAN),
          "Slurm holds it for on, it does not answer, and it has no instance",
          "its jobs are requeued now and not at SlurmdTimeout", lacks=(Claim.ANSWERS,)),
    _rule("answers-without-instance", ((Is.UP, Is.COMPLETING, Is.POWER_DOWN_ASKED, Is.DRAINING, Is.DRAINED),
          _NONE, _NOTHING), (ActionKind.REPORT, Grace.ORPHAN),
          "its slurmd answers at {more}, and no instance of ours is known there; it is left alone",
          "somebody started it by hand, or the ledger was lost", claims=(Claim.ANSWERS,)),
    _rule("at-rest", (_ANY, (), ()), (ActionKind.NOTHING, Grace.NONE),
          "it is off, on its way, or somebody's to decide", "Slurm or an administrator moves it on"),
)
# fmt: on


def rule_for(slurm: Is, cloud: Cloud, book: Book, claims: Collection[Claim]) -> Rule:
    """Return the first rule that fits."""
    return next(rule for rule in RULES if rule.fits(slurm, cloud, book, claims))


def rule(name: str) -> Rule:
    """Return a rule by name. Raises KeyError."""
    return _BY_NAME[name]


_BY_NAME = {one.name: one for one in RULES}
