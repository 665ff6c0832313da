"""What is done about unwell instances, whatever EC2 shows look after look."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON

from asbx.decide.health import UNWELL, Sightings, due
from asbx.model.health import InstanceHealth, ScheduledEvent
from asbx.model.node import NodeView
from asbx.model.record import Binding

GRACE = timedelta(seconds=180)
UP = frozenset({"CLOUD"})
ILL = InstanceHealth("i-1", system_impaired=True)
RETIRED = InstanceHealth("i-1", events=(ScheduledEvent("e-1", "instance-retirement", "soon", NOON),))
OVER = InstanceHealth("i-1", events=(ScheduledEvent("e-1", "instance-stop", "[Completed] soon", NOON, is_over=True),))
WELL = InstanceHealth("i-1")
_STATES = st.sampled_from(["IDLE", "ALLOCATED", "MIXED", "DOWN"])
_FLAGS = st.sets(
    st.sampled_from(
        [
            "DRAIN",
            "COMPLETING",
            "POWERED_DOWN",
            "POWERING_DOWN",
            "POWERING_UP",
            "REBOOT_ISSUED",
            "REBOOT_REQUESTED",
            "NOT_RESPONDING",
        ]
    )
)
_LOOKS = st.lists(st.tuples(st.integers(1, 200), st.sampled_from([None, ILL, OVER, WELL])), min_size=1, max_size=12)


def bound(registered_ago: int | None = 3600) -> list[Binding]:
    """Return the node's binding; registered_ago: seconds before noon."""
    at = None if registered_ago is None else NOON - timedelta(seconds=registered_ago)
    return [Binding("aws-cpu-000", "i-1", NOON - timedelta(hours=2), registered_at=at)]


def view(state: str = "IDLE", flags: frozenset[str] = UP, reason: str = "") -> NodeView:
    """Return the node."""
    return NodeView("aws-cpu-000", state, flags, "10.0.0.1", "node", reason)


@given(_LOOKS, _STATES, _FLAGS, st.integers(0, 400))
def test_no_drain_before_the_grace_on_two_looks(
    looks: list[tuple[int, InstanceHealth | None]], state: str, flags: set[str], registered_ago: int
) -> None:
    """An impairment drains only when every look of at least the grace has shown it, and one more than one did."""
    now, since, count = NOON, None, 0
    sightings: Sightings = {}
    for seconds, health in looks:
        now += timedelta(seconds=seconds)
        is_ill = health is ILL
        since, count = (since or now, count + 1) if is_ill else (None, 0)
        found = due(
            [health] if health else [], bound(registered_ago), [view(state, frozenset(flags))], sightings, now, GRACE
        )
        sightings = found.sightings
        if found.drain:
            assert since is not None
            assert count >= 2
            assert now - since >= GRACE
            assert now - (NOON - timedelta(seconds=registered_ago)) >= GRACE
            assert not flags & {"DRAIN", "REBOOT_ISSUED", "REBOOT_REQUESTED"}
        if not is_ill:
            assert not found.drain, "a healthy node is never drained"
            assert not found.replace


@given(_STATES, _FLAGS, st.sampled_from([None, ILL, RETIRED, OVER, WELL]), st.text(max_size=5))
def test_somebody_elses_drain_is_left_alone(
    state: str, flags: set[str], health: InstanceHealth | None, reason: str
) -> None:
    """Neither undrained nor powered down."""
    node = view(state, frozenset(flags | {"DRAIN"}), reason)
    found = due([health] if health else [], bound(), [node], {}, NOON, timedelta(0))
    assert (found.drain, found.replace, found.undrain) == ({}, (), ())


@given(_STATES, _FLAGS, st.sampled_from([ILL, RETIRED]))
def test_a_job_is_never_killed(state: str, flags: set[str], health: InstanceHealth) -> None:
    """A node is powered down only while no job is on it and none is ending there."""
    node = view(state, frozenset(flags | {"DRAIN"}), f"{UNWELL} x")
    sightings: Sightings = {}
    for number in range(4):
        found = due([health], bound(), [node], sightings, NOON + number * GRACE, GRACE)
        sightings = found.sightings
        if found.replace:
            assert state in ("IDLE", "DOWN")
            assert not flags & {"COMPLETING", "POWERED_DOWN", "POWERING_DOWN"} or "POWERING_UP" in flags


def test_an_event_drains_at_once_and_the_idle_node_is_replaced() -> None:
    """On the first look the node is drained, on the next it goes off, and then it may be used again."""
    found = due([RETIRED], bound(), [view("ALLOCATED")], {}, NOON, GRACE)
    assert list(found.drain) == ["aws-cpu-000"]
    assert found.drain["aws-cpu-000"].startswith(f"{UNWELL} AWS has scheduled instance-retirement")
    drained = view("IDLE", UP | {"DRAIN"}, f"{UNWELL} x")
    assert due([RETIRED], bound(), [drained], {}, NOON, GRACE).replace == ("aws-cpu-000",)
    off = view("IDLE", frozenset({"CLOUD", "DRAIN", "POWERED_DOWN"}), f"{UNWELL} x")
    assert due([], [], [off], {}, NOON, GRACE).undrain == ("aws-cpu-000",)


def test_a_node_that_recovers_is_used_again_after_two_looks() -> None:
    """Once without news may be a lag of EC2."""
    drained = view("ALLOCATED", UP | {"DRAIN"}, f"{UNWELL} x")
    first = due([OVER], bound(), [drained], {}, NOON, GRACE)
    assert not first.undrain
    second = due([], bound(), [drained], first.sightings, NOON + timedelta(seconds=60), GRACE)
    assert second.undrain == ("aws-cpu-000",)


def test_a_node_that_has_not_registered_is_a_matter_of_its_boot() -> None:
    """It is not drained: ResumeTimeout judges it."""
    for health in (ILL, RETIRED):
        assert not due([health], bound(None), [view("ALLOCATED")], {}, NOON, timedelta(0)).drain
