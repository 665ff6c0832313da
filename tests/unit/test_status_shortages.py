"""Shortages as `asbx status` shows them, to people and to machines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.cli import shortages
from asbx.config.limits import SHORTAGE_QUIET

CLOSED = samples.shortage("capacity/spot/c7i.large/us-east-2a/placed")
HALF_OPEN = replace(samples.shortage("quota/on-demand/g"), closed_until=NOON)
PROBING = replace(
    samples.shortage("addresses/subnet-a"), closed_until=NOON, probe_until=NOON + timedelta(minutes=1), probe_by="job-7"
)
OLD = replace(samples.shortage(), closed_until=NOON - SHORTAGE_QUIET)
ALL = (CLOSED, HALF_OPEN, PROBING, OLD)


def test_for_machines() -> None:
    """Every key of the contract; what a shortage is not about is null."""
    found = [shortages.facts(each, NOON) for each in shortages.recent(ALL, NOON)]
    assert found[0] == {
        "key": "capacity/spot/c7i.large/us-east-2a/placed",
        "kind": "capacity",
        "market": "spot",
        "instance_type": "c7i.large",
        "zone": "us-east-2a",
        "placed": True,
        "family": None,
        "subnet": None,
        "code": "InsufficientInstanceCapacity",
        "least": 4,
        "failures": 1,
        "since": "2026-03-01T12:00:00.123456+00:00",
        "closed_until": "2026-03-01T12:01:00.123456+00:00",
        "state": "closed",
    }
    assert [each["state"] for each in found] == ["closed", "half-open", "probing"]
    assert (found[1]["market"], found[1]["family"], found[1]["zone"]) == ("on-demand", "g", None)
    assert (found[2]["market"], found[2]["subnet"], found[2]["placed"]) == (None, "subnet-a", False)


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One row each with what it is about and when it may be asked again; what is too old is left out."""
    shortages.show(ALL, NOON)
    out = capsys.readouterr().out
    placed, quota, subnet = (line for line in out.splitlines() if "InsufficientInstanceCapacity" in line)
    assert placed.split()[:4] == ["spot", "c7i.large", "us-east-2a", "yes"]
    assert "closed until " in placed
    assert "quota g" in quota
    assert "4 vCPUs" in quota
    assert quota.rstrip().endswith("may be probed")
    assert "subnet-a" in subnet
    assert "job-7 probes it until " in subnet
    assert "…" not in out


def test_nothing_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table would leave people wondering."""
    shortages.show([OLD], NOON)
    assert capsys.readouterr().out == "No pool is short: EC2 has refused none lately.\n"


def test_the_line_counts_what_is_not_asked() -> None:
    """Closed, or being tried by somebody else."""
    assert shortages.line(ALL, NOON) == "2 pool(s) closed"
    assert shortages.line([], NOON) == "0 pool(s) closed"
