"""Who used which node is learned from looks at Slurm's jobs; what no look could see is asked of the accounting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes.samples import NOON, price_change
from tests.fakes.site import Site, config
from tests.fakes.usage import FakeJobs, FakeVolumes

from asbx.daemon.engine import Engine
from asbx.decide.cost import bill_of
from asbx.decide.meter.spans import Kind
from asbx.errors import LedgerError, SlurmError
from asbx.flow.dating import Dating
from asbx.flow.doors import Doors, UsageSources
from asbx.flow.giving import give_back
from asbx.flow.lives import Lives, settling
from asbx.flow.usage import Usage
from asbx.hooks import spool
from asbx.model.job import Request, RequestKind
from asbx.model.market import Market, Verdict
from asbx.model.usage import Allocation, JobRun, JobSighting, Watch
from asbx.ports import CloudError

MINUTE = timedelta(minutes=1)
N1, N2 = "aws-cpu-001", "aws-cpu-002"
DENIED = CloudError("UnauthorizedOperation", "DescribeVolumes was refused", "no", "", Verdict.PERMISSION)


def job(number: int = 7, state: str = "RUNNING", *nodes: str, cpus: int = 2, **more: object) -> JobSighting:
    """Return a job that began at noon on a node."""
    parts = tuple(Allocation(node, cpus, 1000, 0) for node in nodes or (N1,))
    seen = JobSighting(number, 0, state, NOON, NOON, None, parts, "ana", "lab", "aws", "train")
    return replace(seen, **more)  # type: ignore[arg-type]


@dataclass
class World:
    """A site, its jobs, and the part of the daemon that watches them."""

    site: Site = field(default_factory=Site)

    def __post_init__(self) -> None:
        """Put it together."""
        self.jobs, self.volumes = FakeJobs(self.site.clock), FakeVolumes()
        self.start()

    @property
    def doors(self) -> Doors:
        """Return the doors."""
        return replace(self.site.doors, usage=UsageSources(self.site.ledger, self.jobs, self.volumes))

    def start(self) -> None:
        """Start the program anew."""
        self.usage = Usage(self.doors)

    def look(self, *jobs: JobSighting, after: timedelta = MINUTE) -> tuple[JobRun, ...]:
        """Let time pass, look, and return the runs that are known then."""
        self.site.clock.sleep(after)
        self.jobs.jobs = list(jobs) or self.jobs.jobs
        self.usage.look()
        return self.site.ledger.runs()

    def ends(self) -> list[tuple[str, int, datetime | None]]:
        """Return node, restart and end of all runs."""
        return [(run.node, run.restarts, run.ended_at) for run in self.site.ledger.runs()]


@pytest.fixture
def world() -> World:
    """Return a world in which it has just struck noon."""
    made = World()
    made.site.clock.sleep(NOON - made.site.clock.now())
    return made


def test_a_run_is_learned_and_gets_its_end(world: World) -> None:
    """One process a look; what was told is not written again."""
    (run,) = world.look(job())
    assert run == JobRun(7, 0, N1, NOON, None, "ana", "lab", "aws", "train", None, None, 0, 2, 1000, 0, "RUNNING")
    (run,) = world.look(job(state="COMPLETED", ended_at=NOON + 90 * timedelta(seconds=1)))
    assert (run.ended_at, run.state) == (NOON + timedelta(seconds=90), "COMPLETED")
    world.look()
    assert world.jobs.calls == {"squeue": 3, "sacct": 1}, "the accounting once, for what was before the first look"


def test_a_job_that_begins_and_ends_between_two_looks_is_not_lost(world: World) -> None:
    """Slurmctld shows it for MinJobAge after its end."""
    world.look()
    began, ended = NOON + timedelta(seconds=70), NOON + timedelta(seconds=80)
    (run,) = world.look(job(state="FAILED", started_at=began, ended_at=ended))
    assert (run.started_at, run.ended_at) == (began, ended)


def test_jobs_on_other_nodes_and_jobs_that_wait_are_no_runs(world: World) -> None:
    """Nodes that are not ours, a pending job with an expected start, a job whose node boots for it."""
    jobs = [
        job(1, "RUNNING", "login-1", "aws-cpu-9999"),
        job(2, "PENDING", allocations=(), started_at=NOON + MINUTE),
        job(3, "CONFIGURING"),
        job(4, "RUNNING", started_at=None),
    ]
    assert world.look(*jobs) == ()


def test_the_end_a_time_limit_will_bring_is_no_end(world: World) -> None:
    """Slurm shows it for jobs that run, and for those it takes back into the queue."""
    limit = NOON + timedelta(hours=1)
    (run,) = world.look(job(ended_at=limit))
    assert run.ended_at is None


def test_a_requeued_job_keeps_its_earlier_run(world: World) -> None:
    """As seen on 22.05.8: while it leaves it counts the restart and shows when it was requeued as its start."""
    world.look(job(7, "RUNNING", N1, N2))
    requeued = NOON + timedelta(seconds=90)
    world.look(job(7, "COMPLETING", N2, restarts=1, started_at=requeued))
    assert world.ends() == [(N1, 0, requeued), (N2, 0, requeued)]
    back = job(7, "PENDING", restarts=1, allocations=(), submitted_at=requeued + timedelta(seconds=2))
    world.look(replace(back, started_at=requeued + 2 * MINUTE))
    again = NOON + 5 * MINUTE
    world.look(job(7, "RUNNING", N1, restarts=1, started_at=again, submitted_at=requeued), after=4 * MINUTE)
    assert world.ends() == [(N1, 0, requeued), (N2, 0, requeued), (N1, 1, None)]


def test_a_requeue_seen_only_afterwards_ends_the_run_when_it_came_back(world: World) -> None:
    """The time of its submission is then that of the requeue."""
    world.look(job())
    back = NOON + timedelta(seconds=75)
    world.look(job(7, "PENDING", restarts=1, allocations=(), submitted_at=back, started_at=back + 2 * MINUTE))
    assert world.ends() == [(N1, 0, back)]


def test_a_job_that_is_leaving_ends_on_every_node(world: World) -> None:
    """It shows only the nodes it has still."""
    world.look(job(7, "RUNNING", N1, N2))
    ended = NOON + timedelta(seconds=100)
    runs = world.look(job(7, "COMPLETING", N2, cpus=0, ended_at=ended))
    assert [(run.node, run.ended_at, run.cpus) for run in runs] == [(N1, ended, 2), (N2, ended, 2)]


def test_a_node_that_serves_while_the_others_boot_is_used(world: World) -> None:
    """From the time the job got it: Slurm moves the start when all are there, the record does not."""
    world.site.resume("aws-cpu-001", (1, N1))
    world.site.ledger.register([N1], NOON - MINUTE)
    (run,) = world.look(job(7, "CONFIGURING", N1, N2))
    assert (run.node, run.started_at) == (N1, NOON)
    runs = world.look(job(7, "RUNNING", N1, N2, started_at=NOON + 2 * MINUTE))
    assert [(run.node, run.started_at) for run in runs] == [(N1, NOON), (N2, NOON + 2 * MINUTE)]


def test_a_job_that_vanished_ends_where_it_was_last_seen(world: World) -> None:
    """Nobody can tell any more: MinJobAge is over, and there is no accounting."""
    world.look(job())
    world.jobs.jobs = []
    world.look()
    assert world.ends() == [(N1, 0, NOON + MINUTE)]
    assert world.site.ledger.runs()[0].state == "UNKNOWN"


def test_a_pause_without_accounting_is_a_gap(world: World) -> None:
    """Of what lived in it nobody says that it was idle."""
    world.look(job())
    world.start()
    world.look(job(state="COMPLETED", ended_at=NOON + 59 * MINUTE), after=timedelta(hours=1))
    now = world.site.clock.now()
    assert world.ends() == [(N1, 0, NOON + 59 * MINUTE)]
    first, second = world.site.ledger.watches()
    assert first.end == NOON + MINUTE
    assert second == Watch(now - timedelta(seconds=285), now), "MinJobAge, less a margin"


def test_the_accounting_fills_a_pause(world: World) -> None:
    """What began and ended in it, each run of a requeued job, and the end of what was under way before."""
    world.jobs.accounting = True
    world.look(job(7, "RUNNING", N1, cpus=3))
    world.start()
    hour = timedelta(hours=1)
    world.look(
        job(7, "COMPLETED", N1, ended_at=NOON + 5 * MINUTE, cpus=1),
        job(8, "NODE_FAIL", N2, started_at=NOON + 6 * MINUTE, ended_at=NOON + 8 * MINUTE),
        job(8, "COMPLETED", N2, restarts=1, started_at=NOON + 9 * MINUTE, ended_at=NOON + 10 * MINUTE),
        after=hour,
    )
    assert world.ends() == [
        (N1, 0, NOON + 5 * MINUTE),
        (N2, 0, NOON + 8 * MINUTE),
        (N2, 1, NOON + 10 * MINUTE),
    ]
    assert world.site.ledger.runs()[0].cpus == 3, "what was seen of its spread stands"
    (watch,) = world.site.ledger.watches()
    assert (watch.end, watch.begin < NOON) == (world.site.clock.now(), True)


def test_accounting_that_is_not_there_is_not_asked_in_every_pass(world: World) -> None:
    """A pass costs one process. It is asked again now and then: somebody may have set it up."""
    world.jobs.memory = timedelta(seconds=10)  # shorter than the pauses between looks
    for _ in range(10):
        world.look()
    assert world.jobs.calls == {"squeue": 10, "sacct": 1}
    world.look(after=timedelta(minutes=31))
    assert world.jobs.calls["sacct"] == 2


def test_what_fails_is_learned_by_the_next_look(world: World) -> None:
    """Slurm away, the ledger away: nothing is half written, and nothing is lost."""
    world.look()
    done = job(state="COMPLETED", ended_at=NOON + 2 * MINUTE)
    world.jobs.fail_next("sightings", SlurmError("slurm-silent", "no answer", "", ""))
    world.site.ledger.fail_next("record_runs", LedgerError("ledger-busy", "busy", "", ""))
    for trouble in (SlurmError, LedgerError):
        with pytest.raises(trouble):
            world.look(done)
    world.look()
    assert world.ends() == [(N1, 0, NOON + 2 * MINUTE)]
    assert len(world.site.ledger.watches()) == 1


def test_many_suspends_at_once_look_once(world: World) -> None:
    """A look that is seconds old is not repeated, unless a pass asks for it."""
    world.look()
    for _ in range(5):
        world.usage.look(unless_fresh=True)
    assert world.jobs.calls["squeue"] == 1
    world.site.clock.sleep(timedelta(seconds=6))
    world.usage.look(unless_fresh=True)
    assert world.jobs.calls["squeue"] == 2


# -- volumes


def test_volumes_are_asked_for_once_and_together(world: World) -> None:
    """One question for all that is new; who has none is asked about a few times."""
    world.site.resume("aws-cpu-[001-003]", (1, "aws-cpu-[001-003]"))
    ids = sorted(world.site.bound().values())
    world.volumes.bare = {ids[0]}
    for _ in range(6):
        world.usage.run()
    assert world.volumes.asked[0] == tuple(row.instance_id for row in world.site.ledger.instances())
    assert world.volumes.asked[1:] == [(ids[0],)] * 2
    assert [one.instance_id for one in world.site.ledger.volumes()] == ids[1:]


def test_a_missing_permission_is_said_once_and_tried_again_later(world: World) -> None:
    """Everything else goes on; the page of the status shows it as long as it lasts."""
    world.site.resume("aws-cpu-001", (1, N1))
    for _ in range(2):
        world.volumes.fail_next(DENIED)
        world.usage.run()
        world.site.clock.sleep(timedelta(minutes=31))
    warned = [event.text for event in world.site.recorder.events if "EBS" in event.text]
    assert (len(warned), list(world.usage.troubles)) == (1, ["DescribeVolumes"])
    world.usage.run()
    assert (world.usage.troubles, len(world.site.ledger.volumes())) == ({}, 1)


def test_volumes_of_what_is_given_back_are_noted_at_once(world: World) -> None:
    """No pass finds them any more; EC2 not telling is no reason not to give back."""
    world.site.resume("aws-cpu-[001-002]", (1, "aws-cpu-[001-002]"))
    first, second = (row.instance_id for row in world.site.ledger.instances())
    give_back(world.doors, [first], "not needed")
    assert [one.instance_id for one in world.site.ledger.volumes()] == [first]
    world.volumes.fail_next(DENIED)
    give_back(world.doors, [second], "not needed")
    assert world.site.cloud.alive() == ()


def test_what_ec2_took_back_is_known_for_the_bill(world: World) -> None:
    """It may be free; what we ended is not."""
    world.site.resume("aws-cpu-[001-002]", (1, "aws-cpu-[001-002]"))
    taken, ended = (row.instance_id for row in world.site.ledger.instances())
    world.site.cloud.kill(taken, "Server.SpotInstanceTermination")
    world.site.cloud.terminate([ended])
    world.site.ledger.end_instances([taken, ended], "gone", world.site.clock.now())
    world.site.clock.sleep(MINUTE)
    Dating(world.doors).run()
    lives = Lives(world.site.ledger, world.site.config, world.site.clock.now())(world.site.ledger.instances())
    assert {life.row.instance_id: life.is_interrupted for life in lives} == {taken: True, ended: False}


def test_a_suspend_is_followed_by_a_look_and_never_held_up_by_one(tmp_path: Path) -> None:
    """MinJobAge may be over before the next pass. Instances end first, whether Slurm answers or not."""
    world = World(Site(config(tmp_path)))
    body = {"received_at": world.site.clock.now().timestamp()}
    for number, (kind, trouble) in enumerate((("resume", False), ("suspend", True), ("suspend", False))):
        if trouble:
            world.jobs.fail_next("sightings", SlurmError("slurm-silent", "no answer", "", ""))
        nodes = [f"aws-cpu-00{max(number, 1)}"] if number else [N1, N2]
        spool.write(str(world.site.config.paths.requests), spool.request(kind, nodes, {}) | body)
        Engine(world.doors).drain(timedelta(minutes=10))
    assert world.site.cloud.alive() == ()
    assert world.jobs.calls["squeue"] == 2
    assert len(world.site.ledger.watches()) == 1


# -- lives


def test_lives_know_runs_prices_volumes_and_registrations(world: World) -> None:
    """Two jobs share a node one after the other; what nobody used is idle; the sum is that of the instance."""
    site = world.site
    site.resume("aws-cpu-001", (7, N1))
    world.usage.run()
    site.clock.sleep(MINUTE)
    site.ledger.register([N1], site.clock.now())
    began = site.clock.now()
    world.look(job(7, "RUNNING", started_at=began))
    done = job(7, "COMPLETED", started_at=began, ended_at=began + 2 * MINUTE)
    site.clock.sleep(2 * MINUTE)
    other = job(8, "COMPLETED", started_at=began + 3 * MINUTE, ended_at=began + 4 * MINUTE, user="bob")
    world.look(done, other, after=2 * MINUTE)
    (row,) = site.ledger.instances()
    site.ledger.add_price_changes(
        [
            price_change("3.60", NOON - MINUTE, instance_type=row.instance_type, market=row.market),
            price_change("0.08", NOON - MINUTE, instance_type="ebs:gp3:gb-month"),
        ]
    )
    now = site.clock.now()
    (life,) = Lives(site.ledger, site.config, now)(site.ledger.instances())
    assert (life.registered_at, life.is_tracked, life.volumes_month) == (began, True, Decimal("1.60"))
    assert [run.job_id for run in life.runs] == [7, 8]
    found = bill_of([life], now)
    assert {job.job_id for job in found.jobs} == {7, 8}
    assert found.kinds[Kind.RUN] > found.kinds[Kind.IDLE] > 0
    assert found.total_usd == sum((one.usd for one in found.instances if one.usd is not None), Decimal(0))


def test_a_pair_of_instances_behind_one_node_do_not_share_runs(world: World) -> None:
    """A run belongs to the instance that was there when it began."""
    site = world.site
    site.resume("aws-cpu-001", (7, N1))
    world.look(job(7, "RUNNING", started_at=site.clock.now()))
    world.look(job(7, "COMPLETED", started_at=world.site.ledger.runs()[0].started_at, ended_at=site.clock.now()))
    request = Request("s-1", RequestKind.SUSPEND, (N1,), site.clock.now())
    site.ledger.add_request(request)
    (first,) = site.ledger.instances()
    site.ledger.end_instances([first.instance_id], "gone", site.clock.now())
    site.ledger.release([N1], site.clock.now())
    site.clock.sleep(MINUTE)
    site.resume("aws-cpu-001", (9, N1), request_id="r-2")
    world.look(job(9, "RUNNING", started_at=site.clock.now()))
    lives = Lives(site.ledger, site.config, site.clock.now())(site.ledger.instances())
    assert [[run.job_id for run in life.runs] for life in lives] == [[7], [9]]


def test_one_that_was_given_back_before_anybody_looked_has_its_siblings_volumes(world: World) -> None:
    """They were launched from the same template."""
    site = world.site
    site.resume("aws-cpu-[001-002]", (7, "aws-cpu-[001-002]"))
    first, second = site.ledger.instances()
    world.volumes.bare = {second.instance_id}
    world.usage.run()
    site.ledger.add_price_changes([price_change("0.08", NOON - MINUTE, instance_type="ebs:gp3:gb-month")])
    lives = Lives(site.ledger, site.config, site.clock.now())([first, second])
    assert {life.volumes_month for life in lives} == {Decimal("1.60")}
    assert {life.row.market for life in lives} == {Market.ON_DEMAND}


def test_nothing_is_settled_before_somebody_has_looked(world: World) -> None:
    """While Slurm is away its last word on a job is still to come: a bill written down now would stay wrong."""
    site = world.site
    site.resume("aws-cpu-001", (7, N1))
    (row,) = site.ledger.instances()
    site.clock.sleep(MINUTE)
    site.ledger.end_instances([row.instance_id], "done", site.clock.now())
    site.clock.sleep(30 * MINUTE)
    (part,) = settling(world.doors)
    part.run()
    assert site.ledger.settled([row.instance_id]) == frozenset()
    world.look()
    part.run()
    assert site.ledger.settled([row.instance_id]) == {row.instance_id}
    assert settling(site.doors) == ()
