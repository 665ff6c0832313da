"""The engine: from spool file to finished request, in each node's order, whatever lies in the spool."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from tests.fakes.site import Site, config

from asbx.config.limits import REQUESTS_AT_ONCE
from asbx.daemon.engine import Engine
from asbx.errors import LedgerError
from asbx.hooks import spool
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.market import Instance

PATIENCE = timedelta(minutes=10)
RESUME_FILE = '{"jobs":[{"job_id":7,"nodes":"aws-cpu-[000-003]"}],"all_nodes":"aws-cpu-[000-003]"}'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose spool is a real folder."""
    return Site(config(tmp_path))


def put(site: Site, kind: str, nodes: str, **more: object) -> str:
    """Write a request as the hook does."""
    body = spool.request(kind, [nodes], {}) | {"received_at": site.clock.now().timestamp()} | more
    return spool.write(str(site.config.paths.requests), body)


def test_a_spool_file_becomes_running_nodes(site: Site) -> None:
    """The file is gone, the request is done, the gang is up."""
    request_id = put(site, "resume", "aws-cpu-[000-003]", resume_file=RESUME_FILE)
    Engine(site.doors).drain(PATIENCE)
    assert spool.waiting(str(site.config.paths.requests)) == []
    status = site.ledger.request_outcome(request_id)
    assert status is not None
    assert status[0] == "done"
    assert sorted(site.bound()) == list(expand("aws-cpu-[000-003]"))


def test_a_suspend_does_not_overtake_its_resume(site: Site) -> None:
    """Both lie in the spool: the nodes come up and go away, in this order, and nothing is left."""
    put(site, "resume", "aws-cpu-[000-003]", resume_file=RESUME_FILE)
    put(site, "suspend", "aws-cpu-[002-003]")
    put(site, "suspend", "aws-cpu-[000-001]")
    Engine(site.doors).drain(PATIENCE)
    assert site.bound() == {}
    assert site.cloud.alive() == ()
    assert len(site.cloud.all()) == 4


def test_a_suspend_does_not_stand_behind_launches_that_wait(site: Site) -> None:
    """More resumes than are worked on at once wait for their instances: a node powered down is ended all the same."""
    put(site, "resume", "aws-cpu-900")
    Engine(site.doors).drain(PATIENCE)
    gate, terminate, ended, look = Event(), site.cloud.terminate, Event(), site.cloud.describe

    def waiting(ids: Sequence[str]) -> tuple[Instance, ...]:
        gate.wait(20)
        return look(ids)

    def ending(ids: Sequence[str]) -> tuple[str, ...]:
        ended.set()
        return terminate(ids)

    site.cloud.describe, site.cloud.terminate = waiting, ending  # type: ignore[method-assign, assignment]
    for number in range(REQUESTS_AT_ONCE + 2):
        put(site, "resume", f"aws-cpu-{number:03d}")
    put(site, "suspend", "aws-cpu-900")
    engine = Engine(site.doors)
    engine.intake()
    engine.dispatch()
    try:
        assert ended.wait(20)
        assert not gate.is_set()
    finally:
        gate.set()
        engine.close()


def test_nothing_overtakes_a_request_that_rests(site: Site) -> None:
    """The ledger fails a resume for a moment: who asks for the same nodes meanwhile launches nothing again."""
    put(site, "resume", "aws-cpu-[000-003]", resume_file=RESUME_FILE)
    put(site, "resume", "aws-cpu-[000-003]", resume_file=RESUME_FILE)
    put(site, "suspend", "aws-cpu-[000-003]")
    site.ledger.fail_next("answer_attempt", LedgerError("ledger-busy", "busy"))
    Engine(site.doors).drain(PATIENCE)
    assert site.bound() == {}
    assert len(site.cloud.all()) == 4
    assert site.cloud.alive() == ()


def test_what_nobody_can_read_is_put_aside(site: Site) -> None:
    """It is kept and reported, and the requests around it are served."""
    put(site, "resume", "aws-cpu-000")
    folder = site.config.paths.requests
    (folder / "00000000000000000001-1-resume.json").write_text("{ half a fi")
    put(site, "resume", "aws-cpu-001")
    Engine(site.doors).drain(PATIENCE)
    assert set(site.bound()) == {"aws-cpu-000", "aws-cpu-001"}
    assert [file.read_text() for file in site.config.paths.set_aside.iterdir()] == ["{ half a fi"]
    assert len(site.recorder.of(EventKind.REQUEST_SET_ASIDE)) == 1


def test_a_request_without_a_readable_node_is_closed(site: Site) -> None:
    """Nothing can be done for it, and that is said."""
    request_id = put(site, "resume", "aws-cpu-[00")
    Engine(site.doors).drain(PATIENCE)
    status = site.ledger.request_outcome(request_id)
    assert status is not None
    assert status[0] == "failed"


def test_a_request_survives_a_restart(site: Site) -> None:
    """Taken in by a process that died: another one finishes it."""
    put(site, "resume", "aws-cpu-[000-003]", resume_file=RESUME_FILE)
    Engine(site.doors).intake()
    assert spool.waiting(str(site.config.paths.requests)) == []
    Engine(site.doors).drain(PATIENCE)
    assert len(site.bound()) == 4


def test_a_ledger_in_trouble_loses_no_request(site: Site) -> None:
    """While the ledger cannot take it the file stays; later it is served."""
    put(site, "resume", "aws-cpu-000")
    engine = Engine(site.doors)
    site.ledger.fail_next("add_request", LedgerError("ledger-locked", "locked"))
    with pytest.raises(LedgerError):
        engine.intake()
    assert len(spool.waiting(str(site.config.paths.requests))) == 1
    engine.drain(PATIENCE)
    assert set(site.bound()) == {"aws-cpu-000"}


def test_the_notes_of_a_request_are_events(site: Site) -> None:
    """A missing resume file is told in the log, and the nodes start all the same."""
    put(site, "resume", "aws-cpu-000", resume_file=None, resume_file_error="cannot read /proc/9/fd/3: gone")
    Engine(site.doors).drain(PATIENCE)
    assert any("gone" in event.text for event in site.recorder.of(EventKind.REQUEST_ODD))
    assert set(site.bound()) == {"aws-cpu-000"}


def test_a_broken_flow_does_not_stop_the_next(site: Site) -> None:
    """An error nobody foresaw closes its own request only."""
    site.cloud.fail_next("launch", ZeroDivisionError("boom"))  # type: ignore[arg-type]
    first = put(site, "resume", "aws-cpu-000")
    put(site, "resume", "aws-cpu-001")
    engine = Engine(site.doors)
    engine.intake()
    engine.drain(PATIENCE)
    status = site.ledger.request_outcome(first)
    assert status is not None
    assert {status[0]} <= {"failed", "done"}
    assert len(site.bound()) == 1


def test_a_spool_of_a_host_that_was_dead_harms_nobody(site: Site) -> None:
    """The other controller has brought these nodes down and up again since: what was asked here long ago is over."""
    stale = put(site, "suspend", "aws-cpu-[000-001]")
    asked = put(site, "resume", "aws-cpu-002", resume_file=None)
    site.clock.advance(hours=1)
    site.scheduler.power_up(["aws-cpu-000"])
    site.resume("aws-cpu-000", request_id="r-other")
    site.scheduler.register(["aws-cpu-000"])
    engine = Engine(site.doors)
    engine.in_office_since = site.clock.now()
    engine.drain(PATIENCE)
    assert list(site.bound()) == ["aws-cpu-000"], "it serves, and nothing was launched for a node nobody waits for"
    assert (site.ledger.request_outcome(stale) or ("",))[0] == "done", "the node that is off may well be suspended"
    outcome = site.ledger.request_outcome(asked)
    assert outcome is not None
    assert "too late" in outcome[1]
