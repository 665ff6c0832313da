"""One pattern finds a job's whole story in the log, from Slurm's call to the end of its last instance."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site, config

from asbx.daemon.engine import Engine
from asbx.hooks import spool
from asbx.model.hostlist import expand
from asbx.model.market import Verdict
from asbx.telemetry.recorder import LedgerAndLogRecorder

PATIENCE = timedelta(minutes=10)
SEVEN, EIGHT, BOTH = "aws-cpu-[000-003]", "aws-cpu-[010-011]", "aws-cpu-020"
JOBS = {
    "jobs": [
        {"job_id": 7, "nodes_alloc": f"{SEVEN},{BOTH}", "nodes_resume": f"{SEVEN},{BOTH}"},
        {"job_id": 8, "nodes_alloc": f"{EIGHT},{BOTH}", "nodes_resume": f"{EIGHT},{BOTH}"},
    ],
    "all_nodes_resume": f"{SEVEN},{EIGHT},{BOTH}",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose spool is a real folder."""
    return Site(config(tmp_path))


def run(site: Site, engine: Engine, kind: str, nodes: str, **more: object) -> str:
    """Write a request as the hook does, and work it off."""
    body = spool.request(kind, [nodes], {}) | {"received_at": site.clock.now().timestamp()} | more
    request_id = spool.write(str(site.config.paths.requests), body)
    engine.drain(PATIENCE)
    return request_id


def story(log: Path, job: int) -> list[dict[str, Any]]:
    """Return what one grep finds."""
    pattern = re.compile(rf'"jobs": \[[^\]]*\b{job}\b')
    return [json.loads(line) for line in log.read_text().splitlines() if pattern.search(line)]


def test_a_job_is_followed_through_its_whole_burst(site: Site, tmp_path: Path) -> None:
    """Asked, refused once, launched, bound, registered, one node powered down, one machine lost: under the same ids."""
    log = tmp_path / "burst.log"
    engine = Engine(replace(site.doors, recorder=LedgerAndLogRecorder(site.ledger, log, site.clock)))
    site.cloud.fail_next("launch", cloud_error("InternalError", Verdict.TRANSIENT))
    resumed = run(site, engine, "resume", f"{SEVEN},{EIGHT},{BOTH}", resume_file=json.dumps(JOBS))
    site.scheduler.register(expand(f"{SEVEN},{EIGHT},{BOTH}"))
    engine.reconcile()
    site.cloud.kill(site.bound()["aws-cpu-003"])
    for _ in range(3):  # seen, seen again after the grace, done
        engine.reconcile()
        site.clock.advance(minutes=4)
    suspended = run(site, engine, "suspend", "aws-cpu-[000-002]")
    engine.close()

    told = story(log, 7)
    kinds = [line["event"] for line in told]
    wanted = ["request-received", "ladder-planned", "launch-asked", "launch-refused", "launch-answered", "node-bound"]
    wanted += ["request-done", "node-registered", "instance-orphaned", "node-released"]
    places = [kinds.index(kind) for kind in wanted]
    assert places == sorted(places), kinds
    assert kinds.count("node-released") == 3
    launched = [line for line in told if line["event"] not in ("request-received", "request-done")]
    assert all(line["gang_id"] and line["intent_id"] for line in launched), launched
    intents = {line["intent_id"] for line in launched if 8 not in line["jobs"]}
    mine = [one for one in site.cloud.all() if one.tags["asbx:job"] == "7"]
    assert intents == {one.tags["asbx:intent"] for one in mine} != set()
    ended = {"node-registered", "instance-orphaned", "node-released"}
    assert {line.get("request_id") for line in told if line["event"] not in ended} == {resumed}
    assert {line["request_id"] for line in told if line["event"] == "node-released"} == {suspended}
    assert "node-released" not in [line["event"] for line in story(log, 8)]
    assert [at for at in (line["at"] for line in told) if not at.endswith("+00:00")] == []


def test_the_ledger_tells_the_same_story(site: Site, tmp_path: Path) -> None:
    """Events about several jobs, and about nodes of a folded list, are found by each of them."""
    engine = Engine(replace(site.doors, recorder=LedgerAndLogRecorder(site.ledger, tmp_path / "l", site.clock)))
    run(site, engine, "resume", f"{SEVEN},{EIGHT},{BOTH}", resume_file=json.dumps(JOBS))
    engine.close()
    for job in (7, 8):
        found = [event.kind.value for _, event in site.ledger.events(job_id=job)]
        assert found == [line["event"] for line in story(tmp_path / "l", job)]
    kinds = [event.kind.value for _, event in site.ledger.events(node="aws-cpu-002")]
    assert kinds == ["request-received", "node-bound"]
