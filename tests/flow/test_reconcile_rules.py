"""Every rule of the decision table, over behaving fakes: what is seen, what is done, and what it is like afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.samples import order
from tests.fakes.site import NODES, Site, config

from asbx.config.limits import UNSEEN_GRACE, UNSEEN_MANY_GRACE
from asbx.decide.node_state import Condition
from asbx.decide.reconcile import findings
from asbx.decide.reconcile_rules import RULES, ActionKind, Book, Claim, Cloud, rule_for
from asbx.flow.leftovers import Leftovers
from asbx.flow.reconcile import Sweep
from asbx.model.job import JobFacts
from asbx.model.names import GroupName

N0, N1, N2, N3 = NODES[:4]
OFF, SPARE = NODES[10], NODES[11]


def site_up(**cpu: Any) -> Site:
    """Return a site with four nodes of a running job."""
    site = Site(config(**cpu))
    site.scheduler.add_job(JobFacts(7, state="RUNNING"), NODES[:4])
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    site.scheduler.power_up(NODES[:4])
    site.scheduler.register(NODES[:4])
    Sweep(site.doors).run()
    return site


def with_drift(site: Site, drift: str) -> None:
    """Set what is to become of drift."""
    section = site.config.reconcile.model_copy(update={"drift": drift})
    site.config = site.config.model_copy(update={"reconcile": section})


def without_type(site: Site, drift: str) -> None:
    """Take the type that runs out of the configuration."""
    kinds = {instance.instance_type for instance in site.cloud.alive()}
    left = [{"instance_type": kind} for kind in {"c7i.large", "m7i.large"} - kinds]
    site.config = config(launch_template_overrides=left)
    with_drift(site, drift)


def unregistered(site: Site) -> None:
    """Launch a node that has not registered when ResumeTimeout is long over."""
    site.resume(OFF, (9, OFF), request_id="r-9")
    site.scheduler.power_up([OFF])
    site.clock.advance(seconds=site.config.slurm.resume_timeout + 200)


def second(site: Site) -> None:
    """Have a second instance named for a node that has one."""
    (first,) = [i for i in site.cloud.alive() if i.instance_id == site.bound()[N0]]
    site.cloud.add(replace(first, instance_id="i-second", private_ip="127.9.9.9", tags=first.tags | {"asbx:node": N0}))


def unbound(site: Site, *, still_serves: bool) -> None:
    """Take a binding out of the ledger."""
    site.ledger.release([N0], site.clock.now())
    if not still_serves:
        site.scheduler.power_down([N0])
        site.scheduler.settle()
        site.scheduler.release([N0])


def gone(site: Site, *nodes: str) -> None:
    """Let EC2 know nothing of the instances of nodes, and their slurmds be silent."""
    for node in nodes:
        site.cloud.forget(site.bound()[node])
        site.scheduler.show(node, "ALLOCATED", "NOT_RESPONDING")


def closed(site: Site) -> None:
    """End an instance, and its row but not its binding."""
    site.cloud.kill(site.bound()[N0])
    site.ledger.end_instances([site.bound()[N0]], "test", site.clock.now())


def foreign(site: Site) -> None:
    """Have a configured node that Slurm does not hold for a cloud node."""
    site.scheduler._change(OFF, flags=frozenset())


def unknown(site: Site) -> None:
    """Have the instance of a node that neither Slurm nor the configuration knows."""
    (instance,) = [i for i in site.cloud.alive() if i.instance_id == site.bound()[N0]]
    site.ledger.release([N0], site.clock.now())
    site.ledger.bind([("aws-old-7", instance)], site.clock.now())
    site.scheduler.power_down([N0])
    site.scheduler.settle()
    site.scheduler.release([N0])


def elsewhere(site: Site) -> None:
    """Have an instance of another region."""
    row = site.ledger._instances[site.bound()[N0]]
    site.ledger._instances[row.instance_id] = replace(row, zone="eu-west-1a")
    site.cloud.forget(row.instance_id)


@dataclass(frozen=True)
class Story:
    """How a rule comes to fit, which action it takes, and whether the node must end up going down."""

    rule: str
    kind: ActionKind
    make: Callable[[Site], object]
    target: str = N0
    fails: bool | None = None
    more: timedelta = timedelta(0)


def shown(node: str, state: str, *flags: str, reason: str = "", address: str | None = None) -> Callable[[Site], object]:
    """Return what puts a node into a state."""
    return lambda site: site.scheduler.show(node, state, *flags, reason=reason, address=address)


TERMINATE, FORGET, FAIL, REPORT = ActionKind.TERMINATE, ActionKind.FORGET, ActionKind.FAIL, ActionKind.REPORT
TIMEOUT = "ResumeTimeout reached"
STORIES = [
    Story(
        "stranger", REPORT, lambda s: s.cloud.launch(replace(order("t"), tags=(("asbx:cluster", "lab"),))), "strangers"
    ),
    Story("instance-ended", FORGET, lambda s: s.cloud.kill(s.bound()[N0]), fails=True),
    Story("unseen-answers", REPORT, lambda s: s.cloud.forget(s.bound()[N0]), fails=False),
    Story("unseen", FORGET, lambda s: gone(s, N0), fails=True, more=UNSEEN_GRACE),
    Story("unseen-many", FORGET, lambda s: gone(s, N0, N1, N2, N3), fails=True, more=UNSEEN_MANY_GRACE),
    Story("binding-of-ended", ActionKind.RELEASE, closed, fails=True),
    Story("instance-stopped", TERMINATE, lambda s: s.cloud.stop(s.bound()[N0]), fails=True),
    Story("serves-unbound", ActionKind.ADOPT, lambda s: unbound(s, still_serves=True), fails=False),
    Story("second-instance", TERMINATE, second, "i-second", fails=False),
    Story("unbound", TERMINATE, lambda s: unbound(s, still_serves=False), fails=False),
    Story("node-unknown", REPORT, unknown),
    Story("not-cloud", REPORT, foreign, OFF),
    Story("node-off", TERMINATE, shown(N0, "IDLE", "POWERED_DOWN"), fails=False),
    Story("node-off", TERMINATE, shown(N0, "IDLE", "POWERING_DOWN"), fails=None),
    Story("node-off", TERMINATE, shown(N0, "DOWN", "POWERED_DOWN", reason="bad rack"), fails=False),
    Story("boot-timed-out", TERMINATE, shown(N0, "DOWN", "POWERED_DOWN", reason=TIMEOUT), fails=True),
    Story("boot-overdue", TERMINATE, unregistered, OFF, fails=True),
    Story("lost", TERMINATE, shown(N0, "DOWN", "NOT_RESPONDING", reason="Not responding"), fails=True),
    Story("lost", TERMINATE, shown(N0, "DOWN", reason="Node unexpectedly rebooted"), fails=True),
    Story(
        "bad-registration", TERMINATE, shown(N0, "IDLE", "DRAIN", "INVALID_REG", reason="Low RealMemory"), fails=True
    ),
    Story("stuck-completing", TERMINATE, shown(N0, "IDLE", "COMPLETING"), fails=True, more=timedelta(minutes=16)),
    Story("held-down", REPORT, shown(N0, "DOWN", reason="panic"), fails=False),
    Story("drift", REPORT, lambda s: without_type(s, "report"), fails=False),
    Story("off-silent", FAIL, shown(OFF, "IDLE", "POWERED_DOWN", "NOT_RESPONDING"), OFF, fails=True),
    Story("timed-out-unbound", FAIL, shown(OFF, "DOWN", "POWERED_DOWN", reason=TIMEOUT), OFF, fails=True),
    Story("drain-left", ActionKind.UNDRAIN, shown(OFF, "IDLE", "DRAIN", "POWERED_DOWN", reason="asbx:drift x"), OFF),
    Story("address-left", ActionKind.RESET, shown(OFF, "IDLE", "POWERED_DOWN", address="10.0.0.9"), OFF, fails=False),
    Story("coming-without-instance", FAIL, shown(OFF, "ALLOCATED", "NOT_RESPONDING", "POWERING_UP"), OFF, fails=True),
    Story("on-without-instance", FAIL, shown(OFF, "DOWN", "NOT_RESPONDING", reason="Not responding"), OFF, fails=True),
    Story("on-without-instance", FAIL, shown(OFF, "ALLOCATED", "NOT_RESPONDING"), OFF, fails=True),
    Story("answers-without-instance", REPORT, shown(OFF, "IDLE", address="10.0.0.9"), OFF, fails=False),
]


def passes(site: Site, sweep: Sweep, lasting: timedelta) -> list[Any]:
    """Look every minute for so long and return what was done."""
    done = list(sweep.run())
    step = timedelta(seconds=61)
    for _ in range(int(lasting / step) + 1):
        site.clock.advance(seconds=step.total_seconds())
        done += sweep.run()
    return done


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.rule)
def test_every_rule(story: Story) -> None:
    """One look does nothing; after the grace the rule's action is taken, once, and the node is where it should be."""
    site = site_up()
    target = site.bound().get(story.target, story.target) if story.target == N0 else story.target
    nodes = {ActionKind.RELEASE}
    story.make(site)
    if story.rule == "boot-overdue":
        target = site.bound()[OFF]
    sweep = Sweep(site.doors)
    assert sweep.run() == ()
    grace = timedelta(seconds=site.config.reconcile.orphan_grace_seconds)
    done = [action for action in passes(site, sweep, max(grace, story.more)) if action.rule == story.rule]
    wanted = N0 if story.kind in nodes else target
    assert wanted in {action.target for action in done}
    assert {action.kind for action in done} == {story.kind}
    assert len({action.key for action in done}) == len(done), "each was done once"
    node = N0 if story.target == N0 else story.target
    if story.fails is not None and node in NODES:
        view = site.scheduler.node(node)
        assert (view.reason.startswith(f"asbx:{story.rule} ")) is story.fails
        assert ("POWERING_DOWN" in view.flags) is story.fails
    if story.kind in (TERMINATE, FORGET):
        assert target not in {instance.instance_id for instance in site.cloud.alive()}
        assert target not in site.bound().values()
        assert all(row.ended_at for row in site.ledger.instances() if row.instance_id == target)
    assert all(site.scheduler.node(other).state == "ALLOCATED" for other in (N1, N2)) or story.rule == "unseen-many"


def test_every_rule_has_a_story() -> None:
    """No rule of the table is left untested."""
    elsewhere_tested = {"elsewhere", "drift-drain", "as-it-should-be", "at-rest"}
    assert {story.rule for story in STORIES} | elsewhere_tested == {rule.name for rule in RULES}


def test_every_case_fits_a_rule() -> None:
    """The table is total: whatever the three sides say, a rule says what it is; what it ends is ours to end."""
    for slurm, cloud, book in product(Condition, Cloud, Book):
        for claims in ((), (Claim.ANSWERS,), tuple(Claim)):
            found = rule_for(slurm, cloud, book, claims)
            if found.kind in (TERMINATE, FORGET):
                assert book not in (Book.STRANGER, Book.NOTHING)
            if found.kind is TERMINATE:
                assert cloud in (Cloud.ALIVE, Cloud.STOPPED)
                assert (
                    cloud is Cloud.STOPPED or slurm not in (Condition.UP, Condition.DRAINING) or book is not Book.BOUND
                )


def test_an_adopted_instance_is_bound_again() -> None:
    """A binding the ledger lost is written again, and the job never notices."""
    site = site_up()
    before = site.bound()
    unbound(site, still_serves=True)
    passes(site, Sweep(site.doors), timedelta(minutes=3))
    assert site.bound() == before


def test_an_instance_elsewhere_is_let_be() -> None:
    """What is in a region nobody asked stays in the ledger."""
    site = site_up()
    elsewhere(site)
    assert passes(site, Sweep(site.doors), timedelta(hours=2)) == []


def test_drift_is_drained_and_no_job_dies() -> None:
    """Busy nodes are drained and finish their job; an idle one goes down; the policy `ignore` does nothing at all."""
    site = site_up()
    site.scheduler.show(N3, "IDLE", address=site.scheduler.node(N3).address)
    without_type(site, "ignore")
    assert passes(site, Sweep(site.doors), timedelta(minutes=3)) == []
    without_type(site, "drain")
    done = passes(site, Sweep(site.doors), timedelta(minutes=3))
    assert {(action.kind, action.rule) for action in done[:4]} == {(ActionKind.RETIRE, "drift-drain")}
    assert {action.target for action in done[:4]} == set(NODES[:4])
    for node in (N0, N1, N2):
        view = site.scheduler.node(node)
        assert (view.state, view.flags >= {"DRAIN", "POWER_DOWN"}) == ("ALLOCATED", True)
        assert view.reason.startswith("asbx:drift")
    assert "POWERING_DOWN" in site.scheduler.node(N3).flags


@pytest.mark.parametrize(("version", "is_drift"), [("1", False), ("2", True), ("$Default", False)])
def test_another_template_is_drift(version: str, *, is_drift: bool) -> None:
    """The version that was launched is compared with the one configured now, whatever names it."""
    site = site_up(launch_template_specification={"launch_template_name": "asbx"})
    site.config = config(launch_template_specification={"launch_template_name": "asbx", "version": version})
    look = Sweep(site.doors).look()
    assert len(look.drifted) == (4 if is_drift else 0)


def test_a_group_taken_out_of_the_configuration_is_drift() -> None:
    """Its nodes go on, and it is said."""
    site = site_up()
    partitions = site.config.slurm.partitions
    groups = tuple(group for group in partitions[0].node_groups if group.node_group_name != "cpu")
    slurm = site.config.slurm.model_copy(
        update={"partitions": (partitions[0].model_copy(update={"node_groups": groups}),)}
    )
    site.config = site.config.model_copy(update={"slurm": slurm})
    done = passes(site, Sweep(site.doors), timedelta(minutes=3))
    assert {(action.rule, action.kind) for action in done} == {("drift", REPORT)}
    assert len(site.cloud.alive()) == 4


# -- jobs


@pytest.mark.parametrize(("state", "survives"), [("RUNNING", False), ("CONFIGURING", True)])
def test_a_job_that_forbids_requeues(state: str, *, survives: bool) -> None:
    """One that has run is lost with its node, as it asked; one that still waits is requeued, and forbids it again."""
    site = site_up()
    site.scheduler.add_job(JobFacts(7, state=state), NODES[:4], requeue=False)
    site.cloud.kill(site.bound()[N0])
    sweep = Sweep(site.doors)
    passes(site, sweep, timedelta(minutes=3))
    (facts,) = site.scheduler.jobs([7])
    assert facts.state == ("PENDING" if survives else "NODE_FAIL")
    assert 7 in site.scheduler.no_requeue


# -- half a picture


def test_a_group_slurm_lacks_nodes_of_is_left_alone() -> None:
    """The other groups are swept; what is doubted is said once, and acted on when the picture is whole again."""
    site = site_up()
    site.scheduler.show(N0, "IDLE", "POWERED_DOWN")
    site.scheduler.show("aws-gpu-3", "IDLE", "POWERED_DOWN", "NOT_RESPONDING")
    lost = site.scheduler._table.pop("aws-cpu-999")
    sweep = Sweep(site.doors)
    done = passes(site, sweep, timedelta(minutes=3))
    assert [(action.rule, action.target) for action in done] == [("off-silent", "aws-gpu-3")]
    assert [doubt.group for doubt in sweep.doubted] == [GroupName("aws", "cpu")]
    said = [event for event in site.recorder.events if "half a picture" in event.text]
    assert len(said) == 1
    site.scheduler._table["aws-cpu-999"] = lost
    assert [action.rule for action in passes(site, sweep, timedelta(minutes=3))] == ["node-off"]
    assert sweep.doubted == ()


def test_zeros_in_names_are_no_disagreement() -> None:
    """slurm.conf pads numbers as it likes: the nodes are the same."""
    site = Site(config(number_width=0))
    sweep = Sweep(site.doors)
    sweep.run()
    assert sweep.doubted == ()
    assert sweep.land.group_of("aws-cpu-0007") == GroupName("aws", "cpu")
    assert sweep.land.group_of("aws-cpu-1000") is None


@pytest.mark.parametrize("keep", [(), ("login-1",), ("aws-gpu-1",)])
def test_another_clusters_table_is_believed_nothing(keep: tuple[str, ...]) -> None:
    """An empty table, a strange one, or one without the nodes that have instances: nothing at all is done."""
    site = site_up()
    views = {name: site.scheduler._table.get(name) or replace(site.scheduler.node(OFF), name=name) for name in keep}
    site.scheduler._table = views
    sweep = Sweep(site.doors)
    done = passes(site, sweep, timedelta(hours=1))
    assert {action.kind for action in done} <= {REPORT}
    assert [doubt.group for doubt in sweep.doubted] == [None]
    assert len(site.cloud.alive()) == 4


def test_an_empty_listing_is_not_believed_at_once() -> None:
    """Suddenly EC2 knows none of them and no slurmd answers: for most of an hour nothing is forgotten."""
    site = site_up()
    gone(site, N0, N1, N2, N3)
    sweep = Sweep(site.doors)
    assert passes(site, sweep, timedelta(minutes=55)) == []
    assert len(site.bound()) == 4
    assert len(passes(site, sweep, timedelta(minutes=10))) == 4


# -- the clock


def test_a_step_of_the_clock_makes_nothing_old() -> None:
    """Hours between two looks, or a clock set back, begin the wait anew."""
    site = site_up()
    site.scheduler.show(N0, "IDLE", "POWERED_DOWN")
    for step in (7200, -3600, 86_400):
        sweep = Sweep(site.doors)
        assert sweep.run() == ()
        site.clock.advance(seconds=step)
        assert sweep.run() == ()
        site.clock.advance(seconds=60)
        assert sweep.run() == ()
    assert len(site.cloud.alive()) == 4
    site.clock.advance(seconds=61)
    assert len(sweep.run()) == 1


def test_what_changes_nothing_is_done_less_and_less() -> None:
    """A node that falls back again and again is not set DOWN every two minutes for ever."""
    site = site_up()
    sweep = Sweep(site.doors)
    tries = 0
    for _ in range(120):
        site.scheduler.show(OFF, "IDLE", "POWERED_DOWN", "NOT_RESPONDING")
        tries += len(sweep.run())
        site.clock.advance(seconds=60)
    assert 4 <= tries <= 7


# -- leftovers


def test_leftovers_are_listed_and_removed(tmp_path: Path) -> None:
    """Groups nobody is in, and files of killed hooks: listed by a dry run, removed by a pass; others are let be."""
    site = Site(config(tmp_path))
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    for instance in site.cloud.alive():
        site.cloud.kill(instance.instance_id)
        site.ledger.end_instances([instance.instance_id], "test", site.clock.now())
    spool, aside = site.config.paths.requests, site.config.paths.set_aside
    for folder in (spool, aside):
        folder.mkdir(parents=True)
    old, others = spool / ".00000001795000000000-17-resume", spool / ".vimrc"
    for path in (old, others, spool / "00000001795000000000-17-resume.json", aside / "x.json"):
        path.touch()
    leftovers = Leftovers(site.doors)
    assert {a.rule for a in leftovers.look()} == {"unused-placement-group"}, "the files may still be written to"
    site.clock.moment = site.clock.moment.replace(year=2100)
    found = {(action.kind, action.rule) for action in leftovers.look()}
    assert found >= {(ActionKind.REMOVE, "unused-placement-group"), (ActionKind.REMOVE, "spool-temporary")}
    assert (REPORT, "set-aside") in found
    leftovers.run()
    leftovers.run()
    assert not old.exists()
    assert others.exists()
    assert (aside / "x.json").exists()
    assert site.cloud.groups == {}
    assert sum("nobody could read" in event.text for event in site.recorder.events) == 1


def test_a_healthy_cluster_has_no_findings() -> None:
    """A table of four thousand nodes, four of them running, has none."""
    site = site_up()
    sweep = Sweep(site.doors)
    assert findings(sweep.look(), sweep.land) == ()
