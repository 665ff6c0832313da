"""From a notice to steps: marks that survive, and jobs that move once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.samples import NOON

from asbx.config.interruptions import Interruptions
from asbx.decide.interrupt import (
    Case,
    Response,
    look,
    marked,
    next_steps,
    open_case,
    reason,
    response_to,
    stronger,
)
from asbx.model.job import Tenant
from asbx.model.node import NodeView
from asbx.model.notice import Notice, NoticeKind
from asbx.model.record import Binding

ID, OTHER = "i-0123456789abcdef0", "i-00000000000000001"
AT = NOON.replace(microsecond=0)
POLICY = Interruptions()
SIGNALS = Interruptions(signal="USR1", checkpoint_seconds=60)


def case(node: str = "aws-cpu-000", kind: NoticeKind = NoticeKind.SPOT_INTERRUPTION) -> Case:
    """Return a case just opened."""
    return open_case(Notice(kind, (ID,), "terminate", AT), Binding(node, ID, AT), POLICY, AT)


def view(reason: str, *flags: str, name: str = "aws-cpu-000", drained: bool = True) -> NodeView:
    """Return a node with a reason."""
    return NodeView(name, "IDLE", frozenset({"CLOUD", *flags, *(["DRAIN"] if drained else [])}), name, name, reason)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("ignore", Response.IGNORE), ("no-new-jobs", Response.DRAIN), ("drain", Response.EVACUATE)],
)
def test_the_site_says_what_a_recommendation_means(policy: str, expected: Response) -> None:
    """A warning is a warning whatever the policy; a recommendation is what the site makes of it."""
    settings = Interruptions.model_validate({"rebalance": policy})
    assert response_to(NoticeKind.REBALANCE, settings) is expected
    assert response_to(NoticeKind.SPOT_INTERRUPTION, settings) is Response.EVACUATE
    assert response_to(NoticeKind.HEALTH, settings) is Response.DRAIN
    assert response_to(NoticeKind.UNKNOWN, settings) is Response.IGNORE


@pytest.mark.parametrize("kind", [k for k in NoticeKind if response_to(k, POLICY) is not Response.IGNORE])
def test_a_drain_reason_is_read_back(kind: NoticeKind) -> None:
    """What is written into Slurm tells a later daemon which instance will go, why, and when."""
    one = case(kind=kind)
    assert marked(view(reason(one, "AWS_EC2_RETIREMENT")), POLICY, AT) == one
    assert marked(view(reason(one), drained=False), POLICY, AT) is None


@pytest.mark.parametrize(
    "text", ["", "asbx:block-ends cr-1 ends", "asbx:spot-interruption", "asbx:state-change i-00000000", "my own drain"]
)
def test_other_reasons_are_no_marks(text: str) -> None:
    """Nodes drained by somebody else, or for something else, are not touched."""
    assert marked(view(text), POLICY, AT) is None


def test_a_spot_instance_goes_two_minutes_after_its_message_was_sent() -> None:
    """However late it reaches us."""
    late = open_case(
        Notice(NoticeKind.SPOT_INTERRUPTION, (ID,), "", AT), Binding("n", ID, AT), POLICY, AT + timedelta(seconds=50)
    )
    assert late.ends_at == AT + timedelta(minutes=2)


def test_a_weaker_notice_changes_nothing() -> None:
    """A recommendation after the warning; but a warning after a recommendation counts, and so does another instance."""
    warned, advised = case(), case(kind=NoticeKind.REBALANCE)
    assert stronger(warned, advised)
    assert not stronger(advised, warned)
    assert not stronger(warned, warned)
    assert stronger(advised, replace(warned, instance_id=OTHER))


def test_a_look_takes_up_what_nobody_works_on() -> None:
    """The mark names the node's instance: go on. It names an earlier one, or the node is off: use it again."""
    text = reason(case())
    one, off = view(text), view(text, "POWERED_DOWN")
    assert [c.node for c in look([one], {"aws-cpu-000": ID}, (), POLICY, AT).found] == ["aws-cpu-000"]
    assert look([one], {"aws-cpu-000": ID}, {"aws-cpu-000"}, POLICY, AT).found == ()
    assert look([one], {"aws-cpu-000": OTHER}, (), POLICY, AT).undrain == ("aws-cpu-000",)
    assert look([off], {}, (), POLICY, AT).undrain == ("aws-cpu-000",)
    assert look([off], {"aws-cpu-000": ID}, (), POLICY, AT) == look([one], {}, (), POLICY, AT)


def tenant(job: int = 7, state: str = "RUNNING", nodes: tuple[str, ...] = ("aws-cpu-000",), **more: object) -> Tenant:
    """Return a job on a node."""
    return Tenant(job, state, nodes, **more)  # type: ignore[arg-type]


def test_a_gang_on_two_nodes_that_go_is_moved_once() -> None:
    """Two cases, one job: one requeue; what was requeued is not again."""
    cases = [case(), case("aws-cpu-001")]
    gang = tenant(nodes=("aws-cpu-000", "aws-cpu-001", "aws-cpu-002"))
    assert next_steps(cases, [gang], {}, (), POLICY, AT).requeue == ((7, 0),)
    assert next_steps(cases, [gang], {}, {(7, 0)}, POLICY, AT).requeue == ()
    assert next_steps(cases, [replace(gang, restarts=1)], {}, {(7, 0)}, POLICY, AT).requeue == ((7, 1),)
    assert next_steps(cases, [replace(gang, state="COMPLETING")], {}, (), POLICY, AT).requeue == ()


def test_a_signal_comes_first_and_the_job_has_its_time() -> None:
    """Signalled, left alone for the pause, requeued; a job that does not run yet has nothing to save."""
    one = tenant()
    first = next_steps([case()], [one], {}, (), SIGNALS, AT)
    assert (first.signal, first.requeue) == (((7, 0),), ())
    told = {(7, 0): AT}
    assert next_steps([case()], [one], told, (), SIGNALS, AT + timedelta(seconds=59)).requeue == ()
    assert next_steps([case()], [one], told, (), SIGNALS, AT + timedelta(seconds=60)).requeue == ((7, 0),)
    begins = next_steps([case()], [tenant(state="CONFIGURING")], {}, (), SIGNALS, AT)
    assert (begins.signal, begins.requeue) == ((), ((7, 0),))


def test_the_pause_ends_before_the_instance_does() -> None:
    """Heard late: the job is requeued while Slurm still has the time to end it."""
    told = {(7, 0): AT + timedelta(seconds=70)}
    assert next_steps([case()], [tenant()], told, (), SIGNALS, AT + timedelta(seconds=84)).requeue == ()
    assert next_steps([case()], [tenant()], told, (), SIGNALS, AT + timedelta(seconds=85)).requeue == ((7, 0),)


def test_a_job_that_may_not_be_requeued_runs_on() -> None:
    """It is signalled and said to stay; so is every job where the site wants no requeues."""
    steps = next_steps([case()], [tenant(can_requeue=False)], {}, (), SIGNALS, AT)
    assert (steps.signal, steps.left, steps.requeue, steps.over) == (((7, 0),), ((7, 0),), (), ())
    assert next_steps([case()], [tenant()], {}, (), Interruptions(requeue=False), AT).left == ((7, 0),)


def test_a_drained_node_keeps_its_jobs_and_is_over_without() -> None:
    """A health event or a recommendation moves no job; the node goes when the last one has left."""
    health = case(kind=NoticeKind.HEALTH)
    assert next_steps([health], [tenant()], {}, (), SIGNALS, AT) == next_steps([], [], {}, (), SIGNALS, AT)
    assert next_steps([health], [], {}, (), SIGNALS, AT).over == (health,)
    leaving = tenant(state="COMPLETING")
    assert next_steps([case()], [leaving], {}, (), POLICY, AT).over == ()
