"""What is a failure of the daemon, and what is somebody else's trouble."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.samples import NOON

from asbx.config.limits import LOOP_PATIENCE, SPOOL_PATIENCE
from asbx.daemon.health import Signs, Try, checks, report

WELL = Signs(
    now=NOON,
    started=NOON - timedelta(hours=1),
    turned=NOON - timedelta(seconds=2),
    passed=NOON - timedelta(seconds=30),
    interval=timedelta(seconds=60),
    stuck=(),
    spool=(0, timedelta(0)),
    ledger="",
    ec2=Try(NOON),
    slurm=None,
)
BAD = {
    "loop": {"turned": NOON - LOOP_PATIENCE - timedelta(seconds=1)},
    "work": {"stuck": ("r-1",)},
    "pass": {"passed": None},
    "spool": {"spool": (3, SPOOL_PATIENCE + timedelta(seconds=1))},
    "ledger": {"ledger": "disk full"},
}


def test_all_is_well() -> None:
    """A side that was not asked yet is no trouble."""
    good, body = report(checks(WELL))
    assert (good, body["status"], body["failing"], body["degraded"]) == (True, "ok", [], [])
    assert set(body["checks"]) == {*BAD, "ec2", "slurm"}


@pytest.mark.parametrize("name", BAD)
def test_what_the_daemon_does_not_do_is_a_failure(name: str) -> None:
    """It is named."""
    good, body = report(checks(replace(WELL, **BAD[name])))  # type: ignore[arg-type]
    assert (good, body["status"], body["failing"]) == (False, "failing", [name])


def test_on_standby_no_pass_and_no_spool_is_ours() -> None:
    """The daemon beside the acting one is well while it only waits; its own ledger must serve all the same."""
    waiting = replace(WELL, on_standby=True, passed=None, spool=(3, timedelta(hours=1)))
    assert report(checks(waiting))[0]
    assert report(checks(replace(waiting, ledger="away")))[1]["failing"] == ["ledger"]


@pytest.mark.parametrize("name", ["ec2", "slurm"])
def test_a_side_that_is_away_degrades(name: str) -> None:
    """The daemon waits it out; starting it anew would mend nothing."""
    away = Try(NOON - timedelta(seconds=9), "aws-unreachable: no answer")
    good, body = report(checks(replace(WELL, **{name: away})))  # type: ignore[arg-type]
    assert (good, body["status"], body["degraded"]) == (True, "degraded", [name])
    assert body["checks"][name]["says"] == "aws-unreachable: no answer, 9 s ago"
