"""Reading Slurm's node table and queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from asbx.errors import SlurmError
from asbx.model.node import NodeView
from asbx.slurm.parse import parse_nodes_json, parse_nodes_text, split_state

RECORDED = Path(__file__).parent.parent / "recorded"


def oneliner(name: str) -> str:
    """Return a recorded table as `--oneliner` prints it."""
    blocks = (RECORDED / name).read_text().strip().split("\n\n")
    return "\n".join(" ".join(line.strip() for line in block.splitlines()) for block in blocks)


@pytest.mark.parametrize("name", ["show-node-1-configuring", "show-node-3-running"])
def test_text_and_json_say_the_same(name: str) -> None:
    """The recorded table of 26.05 reads alike in both forms, but for the instance id, which text may fake."""
    text = {view.name: view for view in parse_nodes_text(oneliner(f"{name}.txt"))}
    rows = parse_nodes_json((RECORDED / f"{name}.json").read_text())
    assert len(rows) == 8
    for row in rows:
        other = text[row.name]
        assert (row.state, row.flags, row.address, row.hostname) == (
            other.state,
            other.flags,
            other.address,
            other.hostname,
        )
        assert row.reason == other.reason


def test_a_node_after_resume_timeout() -> None:
    """DOWN and powered down, with the reason and the address left behind."""
    views = {view.name: view for view in parse_nodes_json((RECORDED / "show-node-1-configuring.json").read_text())}
    view = views["aws-cpu-002"]
    assert (view.state, view.address, view.reason) == ("DOWN", "127.0.0.1", "ResumeTimeout reached")
    assert view.is_powered_down
    assert views["aws-cpu-000"].instance_id == "i-123"


def test_free_text_cannot_fake_state_or_address() -> None:
    """A Comment or Reason with `State=` inside changes nothing."""
    line = (
        "NodeName=aws-cpu-000 NodeAddr=10.0.0.1 NodeHostName=ip-10-0-0-1 State=IDLE+CLOUD ThreadsPerCore=1 "
        "Reason=State=DOWN NodeAddr=6.6.6.6 [root@2026-11-24T00:00:00] Comment=NodeHostName=evil State=POWERED_DOWN"
    )
    assert parse_nodes_text(line) == (
        NodeView(
            "aws-cpu-000",
            "IDLE",
            frozenset({"CLOUD"}),
            "10.0.0.1",
            "ip-10-0-0-1",
            "State=DOWN NodeAddr=6.6.6.6",
        ),
    )


@pytest.mark.parametrize(
    ("text", "base", "flags"),
    [
        ("IDLE", "IDLE", set()),
        ("ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", "ALLOCATED", {"CLOUD", "NOT_RESPONDING", "POWERING_UP"}),
        ("DOWN+CLOUD+POWERED_DOWN*", "DOWN", {"CLOUD", "POWERED_DOWN", "NOT_RESPONDING"}),
        ("DOWN*+CLOUD", "DOWN", {"CLOUD", "NOT_RESPONDING"}),
        ("idle~", "IDLE", {"POWERED_DOWN"}),
        ("alloc#", "ALLOC", {"POWERING_UP"}),
        ("mixed%+drain", "MIXED", {"POWERING_DOWN", "DRAIN"}),
        ("", "", set()),
    ],
)
def test_states_are_a_base_and_flags(text: str, base: str, flags: set[str]) -> None:
    """Flags are a set, whatever their order and the short marks behind them."""
    assert split_state(text) == (base, frozenset(flags))


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"nodes": 3}'])
def test_a_broken_node_table_is_an_error_of_ours(text: str) -> None:
    """No traceback, whatever scontrol prints."""
    with pytest.raises(SlurmError):
        parse_nodes_json(text)
