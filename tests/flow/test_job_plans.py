"""Which plan each job goes by, and which jobs their plans stop, over the fakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.ledger import FakeLedger
from tests.fakes.site import Site, config

from asbx.config.limits import SCONTROL_AT_ONCE, SCRIPT_AT_LAUNCH
from asbx.config.policy import Policy, Rule
from asbx.errors import ExitCode, LedgerError, SlurmError
from asbx.flow.outcome import Outcome
from asbx.flow.resume import Resume
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts
from asbx.model.job_plan import NO_PLAN, JobPlan
from asbx.model.market import Market

MPI = "#!/bin/bash\n#SBATCH -n 8\nmodule load openmpi\nmpirun ./ocean\n"
FARM = "#!/bin/bash\nfor f in *; do srun -n1 ./one $f & done; wait\n"
NO_BURST = '{"should_burst": false, "job_metadata": {}}'


def plan(**specification: Any) -> str:
    """Return a plan that says this of its instances."""
    return json.dumps({"should_burst": True, "instance_specification": specification})


@pytest.fixture
def site() -> Site:
    """Return a site whose group launches node by node, in both markets."""
    return Site(config(strategy="best-effort", purchasing_option="mixed"))


def policy(site: Site, *rules: dict[str, Any], **settings: Any) -> None:
    """Give the site a policy."""
    made = Policy(rules=tuple(Rule(name=f"r{n}", **rule) for n, rule in enumerate(rules)), **settings)
    site.config = site.config.model_copy(update={"policy": made})


def job(site: Site, number: int, nodes: str, user: str = "ada", **facts: Any) -> None:
    """Add a job to the queue."""
    site.scheduler.add_job(JobFacts(number, user, "physics", **facts), expand(nodes))


def ladders(site: Site) -> list[Event]:
    """Return what was said of planned launches."""
    return [event for event in site.recorder.events if event.kind is EventKind.LADDER_PLANNED]


def source(event: Event, field: str) -> str:
    """Return who said a value of a launch."""
    filled: Any = event.data["filled"]
    return next(str(row["source"]) for row in filled["aws-cpu"] if row["field"] == field)


def test_the_file_under_the_jobs_id_counts_for_this_job_only(site: Site) -> None:
    """Two jobs of one request, one plan: each is launched by its own."""
    job(site, 7, "aws-cpu-[000-001]")
    job(site, 8, "aws-cpu-[002-003]")
    site.plans.leave("7", plan(instance_types=["m7i.large"], purchasing_option="on-demand"))
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-001]"), (8, "aws-cpu-[002-003]"))
    assert outcome.exit_code == ExitCode.DONE
    first = next(event for event in ladders(site) if event.job_id == 7)
    other = next(event for event in ladders(site) if event.job_id == 8)
    assert source(first, "instance_types") == "plan: instance_specification.instance_types"
    assert source(other, "instance_types") == "node group: launch_template_overrides"
    kinds = {dict(o.tags)["asbx:job"]: {p.instance_type for p in o.pools} for o in site.cloud.orders}
    assert kinds["7"] == {"m7i.large"}
    assert kinds["8"] == {"c7i.large", "m7i.large"}


def test_single_node_jobs_with_different_plans_are_launched_apart(site: Site) -> None:
    """Jobs that ask the same share a call, whatever else their plans say; one that asks for more does not."""
    for number in range(3):
        job(site, 10 + number, f"aws-cpu-00{number}")
    same = {"instance_types": ["m7i.large"]}
    site.plans.leave("10", json.dumps({"should_burst": True, "instance_specification": same, "generated_at": "1"}))
    site.plans.leave("11", json.dumps({"should_burst": True, "instance_specification": same, "generated_at": "2"}))
    site.resume("aws-cpu-[000-002]", *[(10 + n, f"aws-cpu-00{n}") for n in range(3)])
    assert sorted(order.count for order in site.cloud.orders) == [1, 2]


def test_a_job_names_a_plan(site: Site) -> None:
    """`asbx:plan=ID` in the comment is the file of that name; the file under the job's id comes before it."""
    job(site, 7, "aws-cpu-000", comment="asbx:plan=night,market=spot")
    site.plans.leave("night", plan(instance_types=["m7i.large"]))
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert {p.instance_type for p in site.cloud.orders[-1].pools} == {"m7i.large"}
    job(site, 8, "aws-cpu-001", comment="asbx:plan=night")
    site.plans.leave("8", plan(instance_types=["c7i.large"]))
    site.resume("aws-cpu-001", (8, "aws-cpu-001"), request_id="r-2")
    assert {p.instance_type for p in site.cloud.orders[-1].pools} == {"c7i.large"}


def test_a_plan_not_to_burst_stops_its_job_and_no_other(site: Site) -> None:
    """Its nodes are given back at once, it is held and told; the other job of the request runs."""
    job(site, 7, "aws-cpu-[000-001]")
    job(site, 8, "aws-cpu-[002-003]")
    site.plans.leave("7", NO_BURST)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-001]"), (8, "aws-cpu-[002-003]"))
    assert outcome.bound == ["aws-cpu-002", "aws-cpu-003"]
    assert outcome.codes == ["plan-no-burst"]
    assert site.scheduler.node("aws-cpu-000").state == "DOWN"
    assert "should_burst=false" in site.scheduler.told[7][0]
    site.scheduler.settle()
    assert 8 not in site.scheduler.told


def test_a_stopped_job_that_shares_its_nodes_is_told_too(site: Site) -> None:
    """The nodes come up for the other job that has them; nobody is left without a word."""
    for number in (7, 8):
        job(site, number, "aws-cpu-000")
    site.plans.leave("7", NO_BURST)
    outcome = site.resume("aws-cpu-000", (7, "aws-cpu-000"), (8, "aws-cpu-000"))
    assert outcome.bound == ["aws-cpu-000"]
    assert "plan-no-burst" in site.scheduler.told[7][0]


def test_components_of_one_job_stop_together(site: Site) -> None:
    """A plan that stops one component of a heterogeneous job stops all: they start together or not at all."""
    job(site, 7, "aws-cpu-000", leader=7)
    job(site, 8, "aws-cpu-001", leader=7)
    site.plans.leave("8", NO_BURST)
    outcome = site.resume("aws-cpu-[000-001]", (7, "aws-cpu-000"), (8, "aws-cpu-001"))
    assert outcome.bound == []
    assert site.cloud.calls["CreateFleet"] == 0


@pytest.mark.parametrize(
    ("text", "trouble", "code", "said"),
    [
        ("{", "", "plan-invalid", "not JSON"),
        (plan(subnet_ids=["subnet-x"]), "", "plan-refused", "subnet_ids 'subnet-x' is not allowed by node group"),
        ("", "it is a symbolic link", "plan-refused", "symbolic link"),
        (plan(user_data="#!/bin/sh"), "", "plan-refused", "user_data"),
    ],
)
def test_a_wrong_plan_holds_its_job_with_the_reason(site: Site, text: str, trouble: str, code: str, said: str) -> None:
    """Neither silence nor another try: the job is held, told what is wrong, and the other job runs."""
    job(site, 7, "aws-cpu-[000-001]")
    job(site, 8, "aws-cpu-002")
    site.plans.leave("7", text, trouble=trouble)
    outcome = site.resume("aws-cpu-[000-002]", (7, "aws-cpu-[000-001]"), (8, "aws-cpu-002"))
    assert outcome.bound == ["aws-cpu-002"]
    assert outcome.codes == [code]
    assert said in site.scheduler.told[7][0]
    assert 7 in site.scheduler.held


def test_slurms_number_of_nodes_counts(site: Site) -> None:
    """A plan for sixteen nodes launches the four Slurm wants, and the difference is said."""
    job(site, 7, "aws-cpu-[000-003]")
    site.plans.leave("7", plan(instance_count=16))
    assert len(site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]")).bound) == 4
    notes = [event.text for event in site.recorder.events if event.kind is EventKind.PLAN_NOTE]
    assert any("for 16 node(s), Slurm wants 4" in note for note in notes)


# -- whose plans


def test_a_users_plan_counts_for_their_own_job(site: Site) -> None:
    """The owner of the file is the user of the job, as Slurm tells it."""
    job(site, 7, "aws-cpu-000")
    site.plans.leave("7", plan(instance_types=["m7i.large"]), "ada")
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert {p.instance_type for p in site.cloud.orders[-1].pools} == {"m7i.large"}


@pytest.mark.parametrize(("owner", "user", "allowed"), [("eve", "ada", True), ("ada", "ada", False), ("eve", "", True)])
def test_somebody_elses_plan_is_passed_over(site: Site, owner: str, user: str, allowed: bool) -> None:
    """It changes nothing about the job, not even whether it runs; that it lies there is said."""
    policy(site, users_plans=allowed)
    job(site, 7, "aws-cpu-000", user)
    site.plans.leave("7", NO_BURST, owner)
    assert site.resume("aws-cpu-000", (7, "aws-cpu-000")).bound == ["aws-cpu-000"]
    notes = [event.text for event in site.recorder.events if event.kind is EventKind.PLAN_NOTE]
    assert any("7.json belongs to" in note and "passed over" in note for note in notes)


@pytest.mark.parametrize("owner", ["", "eve"])
def test_a_job_that_names_a_plan_it_may_not_have_is_held(site: Site, owner: str) -> None:
    """One that is not there, or somebody else's: the job asked for it, so it is told."""
    job(site, 7, "aws-cpu-000", comment="asbx:plan=night")
    if owner:
        site.plans.leave("night", plan(), owner)
    assert site.resume("aws-cpu-000", (7, "aws-cpu-000")).codes == ["plan-refused"]
    assert 7 in site.scheduler.held


def test_a_granted_template_is_used_for_an_administrators_plan_only(site: Site) -> None:
    """The same words launch another template in root's file, and hold the job in its user's."""
    policy(site, {"users": ("ada",), "launch_templates": ("big-disk",)})
    for number, owner in ((7, "root"), (8, "ada")):
        node = f"aws-cpu-00{number}"
        job(site, number, node)
        site.plans.leave(str(number), plan(launch_template_name="big-disk"), owner)
        outcome = site.resume(node, (number, node), request_id=f"r-{number}")
        assert outcome.codes == ([] if owner == "root" else ["plan-refused"])
    assert {order.template.name for order in site.cloud.orders} == {"big-disk"}
    assert "counts for plans of administrators" in site.scheduler.told[8][0]


def test_a_granted_tag_is_on_the_launch(site: Site) -> None:
    """A rule lets a plan set a tag; ours cannot be replaced by it."""
    policy(site, {"tags": ("Project*",)})
    job(site, 7, "aws-cpu-000")
    text = json.dumps({"should_burst": True, "execution_metadata": {"tags": {"ProjectCode": "x1"}}})
    site.plans.leave("7", text)
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    tags = dict(site.cloud.orders[-1].tags)
    assert (tags["ProjectCode"], tags["asbx:job"]) == ("x1", "7")


def test_rules_hold_for_jobs_without_a_plan(site: Site) -> None:
    """Types, markets and sizes of a rule count whatever a job says: leaving the plan away wins nothing."""
    policy(site, {"users": ("ada",), "instance_types": ("m7i.*",), "purchasing_options": ("spot",), "max_nodes": 2})
    job(site, 7, "aws-cpu-000", comment="asbx:market=on-demand")
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    order = site.cloud.orders[-1]
    assert ({p.instance_type for p in order.pools}, order.market) == ({"m7i.large"}, Market.SPOT)
    job(site, 8, "aws-cpu-[001-003]")
    outcome = site.resume("aws-cpu-[001-003]", (8, "aws-cpu-[001-003]"), request_id="r-2")
    assert outcome.codes == ["policy-refused"]
    assert "max_nodes 2" in site.scheduler.told[8][0]
    assert 8 in site.scheduler.held


def test_a_rule_about_somebody_counts_where_slurm_does_not_say_who(site: Site) -> None:
    """Without an answer from the queue every job is treated as one of the restricted."""
    policy(site, {"users": ("student*",), "instance_types": ("m7i.*",)})
    site.scheduler.fail_next("jobs", SlurmError("slurm-silent", "no answer"), times=9)
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert {p.instance_type for p in site.cloud.orders[-1].pools} == {"m7i.large"}


@pytest.mark.parametrize("who", ["eve", "ada"])
def test_a_job_on_a_shared_node_does_not_speak_for_its_neighbours(site: Site, who: str) -> None:
    """Two users share a node, whose launch goes by the job before the other; the other's plan and hints are its own."""
    job(site, 5, "aws-cpu-000", who, priority=1, comment="asbx:market=spot,max-cost=0.01")
    job(site, 9, "aws-cpu-000", "bob", priority=9)
    job(site, 10, "aws-cpu-001", "bob", priority=9)
    site.plans.leave("5", plan(instance_types=["m7i.large"], launch_template_name="big-disk"), "root")
    policy(site, {"users": ("ada",), "launch_templates": ("big-disk",)})
    asked = (5, "aws-cpu-000"), (9, "aws-cpu-000"), (10, "aws-cpu-001")
    outcome = site.resume("aws-cpu-[000-001]", *asked)
    assert outcome.bound == ["aws-cpu-000", "aws-cpu-001"]
    (order,) = site.cloud.orders
    assert {pool.instance_type for pool in order.pools} == {"c7i.large", "m7i.large"}
    assert order.template.name == "asbx"
    (kept,) = site.ledger.job_plans(9)
    assert kept.origin == NO_PLAN
    tags = dict(order.tags)
    assert (tags["asbx:user"], tags["asbx:job"]) == ("bob", "9,10,5")
    assert site.scheduler.held == set() or not set(site.scheduler.held) & {9, 10}


# -- scripts


def gang(site: Site, script: str | None, number: int = 7, **facts: Any) -> Outcome:
    """Resume a job of four nodes with this script."""
    job(site, number, "aws-cpu-[000-003]", **facts)
    if script is not None:
        site.scheduler.scripts[number] = script
    return site.resume("aws-cpu-[000-003]", (number, "aws-cpu-[000-003]"))


def test_an_mpi_script_makes_a_gang(site: Site) -> None:
    """The group launches node by node; the script says that the nodes belong together, and so it is said."""
    assert gang(site, MPI).exit_code == ExitCode.DONE
    (event,) = ladders(site)
    assert (source(event, "launch"), source(event, "placement")) == ("analyzer", "analyzer")
    assert "mpirun starts the program" in event.text
    order = site.cloud.orders[-1]
    assert (order.minimum, order.single_zone, order.single_type) == (4, True, True)
    assert order.placement_group
    assert site.scheduler.calls["script"] == 1


def test_a_farm_stays_what_the_group_says(site: Site) -> None:
    """Four nodes alone make no MPI job."""
    gang(site, FARM)
    (event,) = ladders(site)
    assert source(event, "launch") == "node group: strategy"
    assert site.cloud.orders[-1].minimum == 0


@pytest.mark.parametrize("script", [None, "", "#!/bin/sh\n" + "srun " * 20_000])
def test_no_script_changes_nothing(site: Site, script: str | None) -> None:
    """Salloc's jobs have none."""
    assert gang(site, script).exit_code == ExitCode.DONE
    assert source(ladders(site)[0], "launch") == "node group: strategy"


def test_the_group_stands_above_the_analyzer() -> None:
    """Where the site says no placement group and no EFA, a script changes nothing of that."""
    site = Site(config(strategy="best-effort", placement="none", efa="disabled"))
    gang(site, MPI)
    (event,) = ladders(site)
    assert (source(event, "placement"), source(event, "efa")) == ("node group: placement", "node group: efa")
    assert not site.cloud.orders[-1].placement_group


def test_the_job_stands_above_the_analyzer(site: Site) -> None:
    """A job that says how it wants to be launched is."""
    gang(site, MPI, comment="asbx:strategy=greedy,placement=none")
    (event,) = ladders(site)
    assert (source(event, "launch"), source(event, "placement")) == ("job: strategy", "job: placement")


def test_scripts_are_read_only_where_they_may_matter(site: Site) -> None:
    """Not for jobs of one node, not for jobs with a plan, not where the site does not want it."""
    site.plans.leave("8", plan(instance_types=["m7i.large"]))
    for number, nodes in ((7, "aws-cpu-000"), (8, "aws-cpu-[001-002]")):
        job(site, number, nodes)
        site.resume(nodes, (number, nodes), request_id=f"r-{number}")
    assert site.scheduler.calls["script"] == 0
    site.config = site.config.model_copy(
        update={"analyzer": site.config.analyzer.model_copy(update={"enabled": False})}
    )
    job(site, 9, "aws-cpu-[003-004]")
    site.resume("aws-cpu-[003-004]", (9, "aws-cpu-[003-004]"), request_id="r-9")
    assert site.scheduler.calls["script"] == 0


def test_a_silent_slurmctld_costs_the_script_not_the_launch(site: Site) -> None:
    """The launch goes on by the group's word."""
    site.scheduler.fail_next("script", SlurmError("slurm-silent", "no answer"))
    assert gang(site, MPI).exit_code == ExitCode.DONE
    assert source(ladders(site)[0], "launch") == "node group: strategy"


def test_a_silent_slurmctld_is_waited_for_once_not_for_each_script(site: Site) -> None:
    """Sixty gangs wait for one time-out of the processes that run at once, not for sixty."""
    asked = [(n, f"aws-cpu-[{2 * n:03d}-{2 * n + 1:03d}]") for n in range(60)]
    for number, nodes in asked:
        job(site, number, nodes)
    site.scheduler.fail_next("script", SlurmError("slurm-silent", "no answer"), times=60)
    assert len(site.resume("aws-cpu-[000-119]", *asked).bound) == 120
    assert site.scheduler.calls["script"] <= SCONTROL_AT_ONCE


def test_a_giant_script_is_not_read_at_launch(site: Site) -> None:
    """It would take the daemon's processor for a minute; the launch goes by the group's word, and that is said."""
    gang(site, MPI + "'\n" * SCRIPT_AT_LAUNCH)
    (event,) = ladders(site)
    assert source(event, "launch") == "node group: strategy"
    notes = [event.text for event in site.recorder.events if event.kind is EventKind.PLAN_NOTE]
    assert any("its script is not read" in note for note in notes)


def test_long_scripts_are_read_only_up_to_a_sum(site: Site) -> None:
    """Each within its limit, different each: the rest of the request goes by the group's word. Equal ones are one."""
    asked = [(n, f"aws-cpu-[{2 * n:03d}-{2 * n + 1:03d}]") for n in range(24)]
    for number, nodes in asked:
        job(site, number, nodes)
        own = "" if number < 4 else f"# {number}\n"
        site.scheduler.scripts[number] = MPI + own + "#" * (SCRIPT_AT_LAUNCH - 1000)
    assert len(site.resume("aws-cpu-[000-047]", *asked).bound) == 48
    read = [event.job_id for event in ladders(site) if source(event, "launch") == "analyzer"]
    assert set(read) == set(range(4 + 3))


# -- what is kept of it


def test_by_which_plan_each_job_went_is_kept_in_one_write(site: Site) -> None:
    """Its own plan, the analyzer's, and the group's defaults, with what was filled in from where."""
    job(site, 7, "aws-cpu-[000-001]", name="ocean", time_limit=timedelta(hours=4))
    job(site, 8, "aws-cpu-[002-003]")
    job(site, 9, "aws-cpu-004")
    site.plans.leave("7", plan(instance_types=["m7i.large"], purchasing_option="on-demand"))
    site.scheduler.scripts[8] = MPI
    resume = (7, "aws-cpu-[000-001]"), (8, "aws-cpu-[002-003]"), (9, "aws-cpu-004")
    site.resume("aws-cpu-[000-004]", *resume)
    (own,), (seen,), (bare,) = (site.ledger.job_plans(number) for number in (7, 8, 9))
    assert own.origin == "plan file 7.json of an administrator"
    assert json.loads(own.plan)["instance_specification"]["instance_types"] == ["m7i.large"]
    assert (own.name, own.user, own.account, own.partition, own.nodes) == ("ocean", "ada", "physics", "aws", 2)
    assert own.time_limit == timedelta(hours=4)
    told = {one.field: one for one in own.filled}
    assert (told["instance_types"].group, told["instance_types"].value) == ("aws-cpu", "m7i.large")
    assert told["instance_types"].source == "plan: instance_specification.instance_types"
    assert told["subnets"].source == "node group: subnet_ids"
    assert [(one.group, one.key) for one in own.rungs] == [("aws-cpu", "on-demand")]
    assert (seen.origin, seen.plan) == ("analyzer", "")
    assert "mpirun starts the program" in seen.why
    assert (bare.origin, bare.why, bare.refusal) == (NO_PLAN, "", "")
    assert not {one.source.partition(":")[0] for one in bare.filled} & {"plan", "analyzer"}


def test_what_a_script_does_not_tell_is_kept_too(site: Site) -> None:
    """The analyzer looked and nothing followed: the group's defaults, and why."""
    job(site, 8, "aws-cpu-[002-003]")
    site.scheduler.scripts[8] = FARM
    site.resume("aws-cpu-[002-003]", (8, "aws-cpu-[002-003]"))
    (kept,) = site.ledger.job_plans(8)
    assert kept.origin == NO_PLAN
    assert "nothing follows for the launch" in kept.why


def test_a_refusal_is_kept(site: Site) -> None:
    """Of a plan that stops its job, and of one the policy refuses."""
    job(site, 7, "aws-cpu-000")
    job(site, 8, "aws-cpu-001")
    site.plans.leave("7", NO_BURST)
    site.plans.leave("8", plan(user_data="#!/bin/sh"))
    site.resume("aws-cpu-[000-001]", (7, "aws-cpu-000"), (8, "aws-cpu-001"))
    (stopped,), (refused,) = site.ledger.job_plans(7), site.ledger.job_plans(8)
    assert stopped.refusal.startswith("plan-no-burst: the plan file 7.json")
    assert stopped.origin == "plans folder"
    assert refused.refusal.startswith("plan-refused: ")
    assert refused.origin == "plan file 8.json of an administrator"


def test_a_plan_of_the_request_that_stops_it_is_kept(site: Site) -> None:
    """For every job of it."""
    job(site, 7, "aws-cpu-000")
    ask = replace(site.ask("aws-cpu-000", (7, "aws-cpu-000")), plan_text=NO_BURST)
    Resume(site.doors, ask).run()
    (kept,) = site.ledger.job_plans(7)
    assert (kept.origin, kept.plan) == ("--execution-plan", NO_BURST)
    assert kept.refusal.startswith("plan-no-burst: the execution plan says")


class CountingLedger(FakeLedger):
    """Counts how often plans are written."""

    writes = 0

    def add_job_plans(self, plans: Sequence[JobPlan]) -> None:
        """Keep them."""
        self.writes += 1
        super().add_job_plans(plans)


def test_many_jobs_are_one_write() -> None:
    """Fifty gangs and fifty single nodes of one request."""
    ledger = CountingLedger()
    site = Site(config(strategy="best-effort"), ledger=ledger)
    gangs = [(n, f"aws-cpu-[{2 * n:03d}-{2 * n + 1:03d}]") for n in range(50)]
    loose = [(100 + n, f"aws-cpu-{100 + n:03d}") for n in range(50)]
    for number, nodes in gangs + loose:
        job(site, number, nodes)
    site.resume("aws-cpu-[000-149]", *gangs, *loose)
    assert ledger.writes == 1
    assert all(len(ledger.job_plans(number)) == 1 for number, _ in gangs + loose)


def test_a_request_repeated_after_a_crash_is_one_decision(site: Site) -> None:
    """The same request twice: one row."""
    job(site, 7, "aws-cpu-[000-001]")
    site.ledger.fail_next("add_attempt", LedgerError("ledger-busy", "", "", ""))
    with pytest.raises(LedgerError):
        site.resume("aws-cpu-[000-001]", (7, "aws-cpu-[000-001]"))
    (first,) = site.ledger.job_plans(7)
    site.clock.advance(seconds=5)
    site.resume("aws-cpu-[000-001]", (7, "aws-cpu-[000-001]"))
    (kept,) = site.ledger.job_plans(7)
    assert kept.decided_at > first.decided_at
