"""What is said of a job at each point of its life, over the fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes.site import Site, config

from asbx.cli import explain_job, job_page, page
from asbx.cli.explain_job import Asked
from asbx.decide.estimate import course
from asbx.decide.explain_job import Known
from asbx.decide.history import expect
from asbx.decide.job_cost import limit_of, money
from asbx.decide.job_standing import standing
from asbx.errors import SlurmError
from asbx.flow.lives import Lives, job_bill
from asbx.model.hostlist import expand, fold
from asbx.model.job import JobFacts, JobView, PastRun
from asbx.model.market import Market
from asbx.model.record import Setback
from asbx.ports import JobArchive

MPI = "#!/bin/bash\n#SBATCH -n 8\nmodule load openmpi\nmpirun ./ocean\n"
NODES = "aws-cpu-[000-002]"


@dataclass
class Archive:
    """The door `JobArchive` over a list."""

    views: tuple[JobView, ...] = ()
    runs: tuple[PastRun, ...] | None = None
    silent: bool = False

    def find(self, label: str) -> tuple[JobView, ...]:
        """Return them."""
        del label
        if self.silent:
            raise SlurmError("slurm-silent", "no answer", "slurmctld is down", "")
        return self.views

    def past_runs(self, user: str, name: str) -> tuple[PastRun, ...] | None:
        """Return them."""
        del user, name
        return self.runs


@pytest.fixture
def site() -> Site:
    """Return a site where job 7 waits for three nodes, and its script is an MPI program's."""
    one = Site(config(strategy="best-effort", purchasing_option="mixed"))
    facts = JobFacts(7, "ada", "physics", "ocean", "CONFIGURING", time_limit=timedelta(hours=2))
    one.scheduler.add_job(facts, expand(NODES))
    one.scheduler.scripts[7] = MPI
    return one


def resume(site: Site, request_id: str = "r-1") -> None:
    """Ask for its nodes."""
    site.resume(NODES, (7, NODES), request_id=request_id)


def view(state: str, **fields: Any) -> JobView:
    """Return the job as Slurm shows it."""
    return replace(JobView(7, "7", "ada", "physics", "aws", "ocean", state, node_count=3), **fields)


def known(site: Site, seen: JobView | None, silence: str = "") -> Known:
    """Return what is known of it now."""
    return explain_job.gather(site.ledger, 7, Asked(seen, silence=silence), site.clock.now())


def told(site: Site, seen: JobView | None, runs: Sequence[PastRun] | None = (), silence: str = "") -> dict[str, Any]:
    """Return the page for machines."""
    found = known(site, seen, silence)
    past = expect(runs, 3, limit_of(found))
    spent = job_bill(Lives(site.ledger, site.config, found.now), found.instances, found.job_id)
    cost = money(found, course(site.config, limit_of(found)), past, spent)
    return explain_job.facts("7", found, Asked(seen, silence=silence), past, cost)


def short(site: Site) -> None:
    """Let EC2 have nothing."""
    for kind in ("c7i.large", "m7i.large"):
        for zone in ("us-east-2a", "us-east-2b"):
            for market in (Market.SPOT, Market.ON_DEMAND):
                site.cloud.capacity[kind, zone, market] = 0


def test_a_job_whose_script_is_mpi_says_so_and_where_it_is(site: Site) -> None:
    """Evidence, gang, placement group, one zone, and how far it has booted."""
    resume(site)
    page_of = told(site, view("CONFIGURING", nodes=NODES))
    assert page_of["plan"]["origin"] == "analyzer"
    assert "mpirun starts the program" in page_of["plan"]["why"]
    filled = {one["field"]: one for one in page_of["plan"]["filled"]}
    assert filled["placement"]["source"] == "analyzer"
    assert filled["subnets"]["source"] == "node group: subnet_ids"
    assert len(page_of["place"]["placement_groups"]) == 1
    assert len(page_of["place"]["zones"]) == 1
    assert page_of["now"] == {"word": "booting", "text": "it is booting: 0 of 3 node(s) have registered"}
    site.ledger.register(["aws-cpu-000"], site.clock.now())
    assert standing(known(site, view("CONFIGURING"))).text == "it is booting: 1 of 3 node(s) have registered"
    (rung, *_) = page_of["tries"][0]["rungs"]
    (call,) = rung["calls"]
    assert (call["asked"], call["launched"]) == (3, 3)
    assert call["placement_group"] == page_of["place"]["placement_groups"][0]


def test_a_job_that_waits_for_capacity_says_why_and_until_when(site: Site) -> None:
    """Each rung with what EC2 said of it, what is closed now, and the next try."""
    short(site)
    resume(site)
    setback = site.ledger.setbacks([7])[7]
    assert setback.next_at is not None
    page_of = told(site, view("PENDING", reason="BeginTime"))
    assert page_of["now"]["word"] == "waiting"
    assert "InsufficientInstanceCapacity" in page_of["now"]["text"]
    assert page_of["next_try"] == setback.next_at.isoformat()
    rungs = page_of["tries"][0]["rungs"]
    assert [bool(rung["calls"]) for rung in rungs] == [True] * len(rungs)
    assert {said["code"] for rung in rungs for call in rung["calls"] for said in call["refusals"]} == {
        "InsufficientInstanceCapacity"
    }
    assert {one["instance_type"] for one in page_of["closed"]} == {"c7i.large", "m7i.large"}
    assert page_of["place"] is None
    site.clock.advance(hours=5)
    due = standing(known(site, view("PENDING", reason="Resources")))
    assert due.word == "due"
    assert "Slurm starts it when it has room" in due.text


def test_a_second_try_that_works_keeps_the_first_in_sight(site: Site) -> None:
    """Newest first; the setback is gone, and the money of both is told."""
    short(site)
    resume(site)
    site.cloud.capacity.clear()
    site.clock.advance(hours=5)
    resume(site, "r-2")
    page_of = told(site, view("RUNNING", nodes=NODES))
    assert [one["request_id"] for one in page_of["tries"]] == ["r-2", "r-1"]
    assert [one["launched"] for one in page_of["tries"]] == [3, 0]
    assert page_of["setback"] is None
    assert page_of["now"]["text"] == f"it is RUNNING on 3 node(s): {NODES}"


def test_what_it_costs_at_most_likely_and_so_far(site: Site) -> None:
    """The one estimate over the limit, the same over what earlier runs took, and the bill."""
    resume(site)
    site.ledger.set_prices({row.instance_id: Decimal("0.1") for row in site.ledger.instances()})
    site.clock.advance(hours=1)
    runs = [PastRun(number, "COMPLETED", timedelta(minutes=span), 3) for number, span in enumerate((30, 36, 40, 45))]
    page_of = told(site, view("RUNNING"), runs)
    cost = page_of["cost"]
    boot_and_idle = site.config.slurm.resume_timeout + site.config.slurm.suspend_time
    expected = Decimal(boot_and_idle + 7200) / 3600 * Decimal("0.3")
    assert Decimal(cost["at_most_usd"]) == expected.quantize(Decimal("0.01"), "ROUND_CEILING")
    assert Decimal(cost["likely_usd"][0]) < Decimal(cost["likely_usd"][1]) < Decimal(cost["at_most_usd"])
    assert Decimal(cost["so_far_usd"]) > Decimal("0.3")
    assert cost["running"]
    assert page_of["history"]["text"].startswith("from 4 earlier runs of this name on 3 node(s): 30-45 min")


def test_a_plan_that_stops_it_is_told(site: Site) -> None:
    """Held, why, and what to do."""
    site.plans.leave("7", '{"should_burst": false, "job_metadata": {}}')
    resume(site)
    page_of = told(site, view("PENDING", reason="JobHeldUser"))
    assert page_of["plan"]["refusal"].startswith("plan-no-burst: ")
    assert page_of["now"]["word"] == "held"
    assert "scontrol release 7" in page_of["now"]["text"]
    assert page_of["tries"][0]["rungs"] == []


def test_by_the_ledger_alone(site: Site) -> None:
    """Slurm does not answer: what is known is told, and that it is the ledger's."""
    resume(site)
    page_of = told(site, None, silence="slurmctld is down")
    assert page_of["slurm"] == {"answers": False, "why": "slurmctld is down"}
    assert page_of["now"]["text"].startswith("Slurm does not answer; by the ledger, it is booting: 0 of 3")
    assert (page_of["job"]["name"], page_of["job"]["user"], page_of["job"]["node_count"]) == ("ocean", "ada", 3)
    archive: JobArchive = Archive(silent=True)
    assert explain_job.ask(archive, "7").silence == "slurmctld is down"


def test_a_job_that_is_over_says_what_is_left(site: Site) -> None:
    """Known to accounting, or to nobody but the ledger."""
    resume(site)
    ended = view("COMPLETED", ended_at=site.clock.now(), is_past=True)
    assert "3 instance(s) launched for it are still there" in standing(known(site, ended)).text
    ids = [row.instance_id for row in site.ledger.instances()]
    site.ledger.release(expand(NODES), site.clock.now())
    site.ledger.end_instances(ids, "its node was powered down", site.clock.now())
    assert standing(known(site, None)).text == "it is over: Slurm does not know it any more"
    assert told(site, None)["place"]["zones"]


STATES = {
    "PENDING": ("", None, "waiting", "ASBX has not been asked for it now"),
    "JobHeldUser": ("JobHeldUser", None, "held", "not by ASBX"),
    "released": ("Priority", Setback(7, 1, "plan-refused", "why", Site().clock.now()), "waiting", "has been released"),
}


@pytest.mark.parametrize("which", STATES)
def test_a_job_asbx_was_not_asked_for(site: Site, which: str) -> None:
    """Its wait is Slurm's, and that is said."""
    reason, setback, word, text = STATES[which]
    found = replace(known(site, view("PENDING", reason=reason)), setback=setback)
    assert standing(found).word == word
    assert text in standing(found).text


@pytest.mark.parametrize("before", ["short", "room"])
@pytest.mark.parametrize("width", [60, 80])
def test_the_page_fits_a_terminal_and_cuts_nothing(site: Site, before: str, width: int) -> None:
    """Every line fits, and every id and time of the answer for machines is on it."""
    if before == "short":
        short(site)
    resume(site)
    facts = told(site, view("PENDING", reason="BeginTime") if before == "short" else view("RUNNING", nodes=NODES))
    lines = list(page.lines(job_page.rows(facts), width))
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for one in facts["instances"]:
        assert one["instance"] in text
        assert one["node"] in text
    for name in facts["place"]["placement_groups"] if facts["place"] else ():
        assert name in text
    if facts["next_try"]:
        assert facts["next_try"][:19].replace("T", " ") in text
    for rung in facts["tries"][0]["rungs"]:
        assert rung["rung"] in text
    assert "job 7 ocean" in text
    assert fold(expand(NODES)) in text or before == "short"
