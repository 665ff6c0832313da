"""What `asbx status` says of fences and of facts that EC2 refuses to tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.samples import NOON
from tests.fakes.scheduler import FakeScheduler

from asbx.cli import nodes, status, status_page
from asbx.decide import standing
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


def test_the_page_fits_a_terminal() -> None:
    """With everything that can be said, no line is wider than 80 columns, and every word is there."""
    check = {"ok": False, "says": "aws-unreachable: ec2 DescribeInstances got no answer, 12 s ago"}
    daemon = {
        "pid": 7,
        "version": "0.1.0",
        "started": (NOON - timedelta(hours=50)).isoformat(),
        "health": {"status": "degraded", "checks": {"ec2": check, "slurm": {"ok": True, "says": ""}}},
        "passes": {},
        "lost": {"log_lines": 3, "audit_rows": 0},
    }
    gang = {"gang": "loose-01795532919351393944-22991-resume-1", "nodes": 1000, "bound": 12, "calls": 3}
    gang |= {"age_seconds": 4000, "rung": "on-demand+cluster+c7i.48xlarge in a very special reservation"}
    states = dict.fromkeys(standing.WORDS, 9999)
    facts = FACTS | {"daemon": daemon, "states": states, "gangs": [gang] * 12, "open_requests": ["r"]}
    for width in (80, 120):
        page = list(status_page.lines(facts, width))
        assert max(map(len, page)) <= width
        text = " ".join(" ".join(page).split())
        for said in ("up for 2 d 2 h", "degraded: ec2: aws-unreachable", "3 log line(s)", "9999 idle", "and 2 more"):
            assert said in text, said


def test_columns_are_left_out_where_a_terminal_is_narrow() -> None:
    """Instance ids first, then zones; names, states and prices stay."""
    columns = ["NODE", "STATE", "INSTANCE", "TYPE", "ZONE", "MARKET", ">AGE", ">USD/H", "JOBS"]
    row = ["aws-cpu-000", "powering-up", "i-0123456789abcdef0", "c6i.32xlarge", "us-east-2b", "on-demand"]
    rows = [[*row, "12 s", "1.6320", "12"]]
    assert nodes.fitting(columns, rows, 120) == (columns, rows)
    assert "INSTANCE" not in nodes.fitting(columns, rows, 90)[0]
    kept, cut = nodes.fitting(columns, rows, 80)
    assert {"NODE", "STATE", "TYPE", ">USD/H"} <= set(kept)
    assert all(len(one) == len(kept) for one in cut)
