"""What `asbx status` says of fences and of facts that EC2 refuses to tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.samples import NOON
from tests.fakes.scheduler import FakeScheduler

from asbx.cli import status, status_page
from asbx.errors import SlurmError

FACTS: dict[str, Any] = {
    "at": NOON.isoformat(),
    "daemon": {"pid": 7, "unread_facts": {}},
    "nodes": {"IDLE": 2},
    "states": {"idle": 2},
    "markets": {},
    "unpriced": 0,
    "oldest_request_seconds": 0,
    "closed": "0 pool(s) closed",
    "fences": [],
    "instances": 0,
    "cost_per_hour": "0",
    "gangs": [],
    "open_requests": [],
}


def test_fences_for_machines() -> None:
    """Name, nodes and times; null while Slurm does not answer."""
    slurm = FakeScheduler(("aws-gpu-0", "aws-gpu-1"))
    slurm.fence("asbx-aws-gpu-end", slurm.names, NOON, NOON + timedelta(hours=1))
    (fence,) = status.fences(slurm.fences) or []
    assert (fence["name"], fence["nodes"]) == ("asbx-aws-gpu-end", "aws-gpu-[0-1]")
    assert fence["ends"].startswith("2026-03-01T13:00:00")
    slurm.fail_next("fences", SlurmError("slurm-silent", "no answer"))
    assert status.fences(slurm.fences) is None


def test_what_ec2_refuses_to_tell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the code, which names the missing permission; fences are named. Else neither line is there."""
    status_page.show(FACTS)
    assert capsys.readouterr().out.splitlines()[-1].startswith("shortages")
    refused = {"DescribeSubnets": "UnauthorizedOperation: no", "GetServiceQuota": "AccessDenied: You: no"}
    status_page.show(FACTS | {"daemon": {"pid": 7, "unread_facts": refused}, "fences": [{"name": "asbx-aws-gpu-end"}]})
    _, facts, *_, fence = capsys.readouterr().out.splitlines()
    assert fence == "fences     asbx-aws-gpu-end"
    assert facts == (
        "facts      could not read: DescribeSubnets (UnauthorizedOperation), GetServiceQuota (AccessDenied)"
    )
    status_page.show(FACTS | {"daemon": None, "states": None, "fences": None})
    assert "Slurm does not answer" in capsys.readouterr().out


def test_the_cost_of_an_hour_is_rounded_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Four digits after the point, as `asbx cost` shows amounts; the ledger's own digits are for machines."""
    status_page.show(FACTS | {"instances": 4, "cost_per_hour": "21.7600000000"})
    assert "instances  4, 21.7600 USD an hour" in capsys.readouterr().out.splitlines()
