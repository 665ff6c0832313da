"""The demo's eyes: what it tells, and when."""

from __future__ import annotations

import json

import pytest

from asbx.lab.timeline import JsonLines, PlainLines
from asbx.lab.watch import Happening, Sight, going_down, going_up, job_news
from asbx.model.node import NodeView


def _node(name: str, *flags: str, address: str = "") -> NodeView:
    return NodeView(name, "ALLOCATED", frozenset(flags), address or name, name)


def _names(happenings: object) -> list[str]:
    return [one.name for one in happenings if isinstance(one, Happening)]  # type: ignore[attr-defined]


def _sight(
    *nodes: NodeView, state: str = "CONFIGURING", instances: tuple[dict[str, str], ...] = (), output: str = ""
) -> Sight:
    return Sight(state, nodes, instances, 0, output)


def test_tells_of_powering_up() -> None:
    """Nodes going up are told as one folded list."""
    told = list(going_up(_sight(_node("a-0", "POWERING_UP"), _node("a-1", "POWERING_UP"))))
    assert told[0].name == "powering-up"
    assert "a-[0-1]" in told[0].text


def test_a_node_registers_when_slurm_sees_it_up() -> None:
    """An address alone is no registration, and neither is a node at its own name."""
    assert _names(going_up(_sight(_node("a-0", "CLOUD", "POWERING_UP", address="127.1.1.1")))) == ["powering-up"]
    assert _names(going_up(_sight(_node("a-0", "CLOUD", address="127.1.1.1")))) == ["registered"]
    assert _names(going_up(_sight(_node("a-0", "CLOUD")))) == []


def test_an_open_ring_is_no_output() -> None:
    """Only a ring that was closed counts."""
    assert _names(job_news(_sight(state="RUNNING", output="ring: rank 0 of 4 on a-0\n"))) == ["running"]
    assert "output" in _names(job_news(_sight(state="RUNNING", output="ring: closed, ...\n")))


def test_powered_down_before_the_job_is_not_the_end() -> None:
    """Nodes that are still off when the job waits are not told as powered down."""
    assert _names(going_down(_sight(_node("a-0", "POWERED_DOWN"), state="PENDING"))) == []


def test_the_end_needs_every_instance_terminated() -> None:
    """One instance still running is not yet the end."""
    one, two = {"id": "i-1", "state": "terminated"}, {"id": "i-2", "state": "shutting-down"}
    node = _node("a-0", "POWERING_DOWN")
    assert "terminated" not in _names(going_down(_sight(node, state="COMPLETED", instances=(one, two))))
    assert "terminated" in _names(going_down(_sight(node, state="COMPLETED", instances=(one,))))


def test_json_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Every event is one JSON object with its name and facts."""
    JsonLines().event("submitted", "  sbatch", job=7)
    row = json.loads(capsys.readouterr().out)
    assert (row["event"], row["text"], row["job"]) == ("submitted", "sbatch", 7)


def test_plain_lines_have_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no control characters."""
    story = PlainLines()
    story.event("x", "told")
    story.waiting("for something")
    story.close()
    out = capsys.readouterr().out
    assert out.endswith(" s  told\n")
    assert "\x1b" not in out
