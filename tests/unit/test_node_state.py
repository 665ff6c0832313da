"""The truth table of node states: every row of what 22.05.8 and 26.05.3 were seen to print, in both their shapes."""

from __future__ import annotations

import json
from itertools import chain, combinations
from pathlib import Path

import pytest

from asbx.decide.node_state import OFF, TABLE, Condition, answers, condition
from asbx.model.node import NodeView
from asbx.slurm.parse import parse_nodes_json, parse_nodes_text

RECORDED = Path(__file__).parent.parent / "recorded"
TIMEOUT = "ResumeTimeout reached"

# (what was done, state as printed, reason, what it means). Sources: recorded runs of 22.05.8 and 26.05.3.
ROWS = [
    # boot
    ("off, 22.05 and 26.05", "IDLE+CLOUD+POWERED_DOWN", "", Condition.OFF),
    ("a job was given it", "ALLOCATED+CLOUD+POWERED_DOWN", "", Condition.WANTED),
    ("a job was given a part of it", "MIXED+CLOUD+POWERED_DOWN", "", Condition.WANTED),
    ("ResumeProgram called, 22.05", "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", "", Condition.COMING),
    ("power_up by hand", "IDLE+CLOUD+POWERING_UP", "", Condition.COMING),
    ("power_up waits for ResumeRate", "IDLE+CLOUD+POWERED_DOWN+POWER_UP", "", Condition.WANTED),
    ("the job was cancelled during the boot", "IDLE+CLOUD+NOT_RESPONDING+POWERING_UP", "", Condition.COMING),
    ("set DOWN during the boot", "DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", "asbx:no-capacity", Condition.COMING),
    ("drained during the boot", "ALLOCATED+CLOUD+DRAIN+NOT_RESPONDING+POWERING_UP", "x", Condition.COMING),
    ("registered with too little during the boot", "IDLE+CLOUD+INVALID_REG+POWERING_UP", "", Condition.COMING),
    ("registered", "ALLOCATED+CLOUD", "", Condition.UP),
    ("a job on part of the CPUs", "MIXED+CLOUD", "", Condition.UP),
    ("idle", "IDLE+CLOUD", "", Condition.UP),
    ("planned by backfill", "IDLE+CLOUD+PLANNED", "", Condition.UP),
    ("reserved", "IDLE+CLOUD+RESERVED+MAINTENANCE", "", Condition.UP),
    # ResumeTimeout
    ("ResumeTimeout, 22.05", "DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING", TIMEOUT, Condition.BOOT_TIMED_OUT),
    ("ResumeTimeout, 26.05", "DOWN+CLOUD+POWERED_DOWN", TIMEOUT, Condition.BOOT_TIMED_OUT),
    ("power_down on it, 26.05", "DOWN+CLOUD+POWER_DOWN+POWERED_DOWN", "asbx:x", Condition.GOING),
    ("power_down on it, 22.05", "DOWN+CLOUD+POWER_DOWN", "asbx:x", Condition.POWER_DOWN_ASKED),
    ("state=resume on it, 22.05; pcluster 7577", "IDLE+CLOUD+POWERED_DOWN+NOT_RESPONDING", "", Condition.OFF_SILENT),
    ("a job gets such a node, 22.05", "ALLOCATED+CLOUD+POWERED_DOWN+NOT_RESPONDING", "", Condition.WANTED),
    ("power_down on such a node, 22.05", "IDLE+CLOUD+POWER_DOWN+NOT_RESPONDING", "", Condition.POWER_DOWN_ASKED),
    ("somebody set an off node DOWN", "DOWN+CLOUD+POWERED_DOWN", "bad rack", Condition.HELD_OFF),
    # power-down
    ("SuspendTime over", "IDLE+CLOUD+POWERING_DOWN", "", Condition.GOING),
    ("set DOWN meanwhile", "DOWN+CLOUD+POWERING_DOWN", "", Condition.GOING),
    ("drained meanwhile", "IDLE+CLOUD+DRAIN+POWERING_DOWN", "x", Condition.GOING),
    ("silent meanwhile", "IDLE+CLOUD+NOT_RESPONDING+POWERING_DOWN", "", Condition.GOING),
    ("too little registered meanwhile", "IDLE+CLOUD+INVALID_REG+POWERING_DOWN", "", Condition.GOING),
    ("power_down under a job", "ALLOCATED+CLOUD+POWER_DOWN", "", Condition.POWER_DOWN_ASKED),
    ("power_down_asap under a job", "ALLOCATED+CLOUD+DRAIN+POWER_DOWN", "asbx:drift", Condition.POWER_DOWN_ASKED),
    ("power_down_force, 22.05", "DOWN+CLOUD+POWER_DOWN+NOT_RESPONDING", "", Condition.POWER_DOWN_ASKED),
    ("power_down of a drained off node, 22.05", "IDLE+CLOUD+DRAIN+POWER_DOWN", "x", Condition.POWER_DOWN_ASKED),
    ("22.05.6 fixed this one", "IDLE+CLOUD+COMPLETING+POWER_DOWN+NOT_RESPONDING", "", Condition.POWER_DOWN_ASKED),
    # DOWN, silent, invalid, drained without a power flag
    ("SlurmdTimeout", "DOWN+CLOUD+NOT_RESPONDING", "Not responding", Condition.LOST),
    ("registered late", "DOWN+CLOUD", "Node unexpectedly rebooted", Condition.LOST),
    ("no reason at all", "DOWN+CLOUD", "", Condition.LOST),
    ("set DOWN by hand", "DOWN+CLOUD", "kernel panic, do not touch", Condition.HELD_DOWN),
    ("no contact yet", "ALLOCATED+CLOUD+NOT_RESPONDING", "", Condition.SILENT),
    ("no contact, idle", "IDLE+CLOUD+NOT_RESPONDING", "", Condition.SILENT),
    ("too little memory", "IDLE+CLOUD+INVALID_REG", "", Condition.BAD_REGISTRATION),
    ("too little memory, drained", "IDLE+CLOUD+DRAIN+INVALID_REG", "Low RealMemory", Condition.BAD_REGISTRATION),
    ("too little memory, DOWN", "DOWN+CLOUD+INVALID_REG", "", Condition.BAD_REGISTRATION),
    ("too little, but a job runs", "ALLOCATED+CLOUD+INVALID_REG", "", Condition.UP),
    ("too little, and off: cleared soon", "IDLE+CLOUD+INVALID_REG+POWERED_DOWN", "", Condition.OFF),
    ("drained idle", "IDLE+CLOUD+DRAIN", "hm", Condition.DRAINED),
    ("drained under a job", "ALLOCATED+CLOUD+DRAIN", "hm", Condition.DRAINING),
    ("drained off", "IDLE+CLOUD+DRAIN+POWERED_DOWN", "admin", Condition.HELD_OFF),
    ("drained, silent", "IDLE+CLOUD+DRAIN+NOT_RESPONDING", "hm", Condition.DRAINED),
    ("failing", "MIXED+CLOUD+FAIL", "hm", Condition.DRAINING),
    # completing and the rest
    ("its last job is cleaned up", "IDLE+CLOUD+COMPLETING", "", Condition.COMPLETING),
    ("drained, the epilog runs", "IDLE+CLOUD+COMPLETING+DRAIN", "hm", Condition.COMPLETING),
    ("another job runs on", "MIXED+CLOUD+COMPLETING", "", Condition.UP),
    ("a reboot is asked for", "ALLOCATED+CLOUD+REBOOT_REQUESTED", "", Condition.REBOOTING),
    ("a reboot is under way", "DOWN+CLOUD+REBOOT_ISSUED", "", Condition.REBOOTING),
    ("slurmctld has just started", "UNKNOWN+CLOUD", "", Condition.UNKNOWN),
    ("an on-premises node", "IDLE", "", Condition.FOREIGN),
    ("an on-premises node that is down", "DOWN+NOT_RESPONDING", "Not responding", Condition.FOREIGN),
]


def line(state: str, reason: str) -> str:
    """Return a node as 22.05 and 26.05 print it with --oneliner."""
    why = f" Reason={reason} [root@2026-11-24T14:07:23]" if reason else ""
    head = "NodeName=aws-cpu-000 CoresPerSocket=1 CPUTot=2 Gres=(null) NodeAddr=aws-cpu-000 NodeHostName=aws-cpu-000"
    return f"{head} Port=20488 RealMemory=1000 State={state} ThreadsPerCore=1 ExtSensorsTemp=n/s{why}"


def as_json(state: str, reason: str) -> str:
    """Return a node as 26.05 prints it with --json."""
    name = "aws-cpu-000"
    row = {"name": name, "address": name, "hostname": name, "state": state.split("+"), "reason": reason}
    return json.dumps({"nodes": [row]})


@pytest.mark.parametrize(("what", "state", "reason", "meaning"), ROWS, ids=[row[0] for row in ROWS])
def test_the_truth_table(what: str, state: str, reason: str, meaning: Condition) -> None:
    """Each state, read from text and from JSON, with its flags in any order, means the same."""
    del what
    base, *flags = state.split("+")
    turned = "+".join([base, *reversed(flags)])
    shapes = [parse_nodes_text(line(state, reason)), parse_nodes_text(line(turned, reason))]
    shapes += [parse_nodes_json(as_json(state, reason)), parse_nodes_json(as_json(turned, reason))]
    for (view,) in shapes:
        assert condition(view) is meaning
        assert view.reason == reason


@pytest.mark.parametrize(
    ("name", "meanings"),
    [
        ("show-node-1-configuring", {2: Condition.BOOT_TIMED_OUT, 0: Condition.UP, 1: Condition.UP}),
        ("show-node-2-down-powering-down", {2: Condition.GOING, 0: Condition.GOING, 1: Condition.GOING}),
        ("show-node-3-running", dict.fromkeys((3, 4, 5), Condition.UP)),
    ],
)
def test_recorded_tables(name: str, meanings: dict[int, Condition]) -> None:
    """The recorded tables of 26.05, text and JSON: these nodes are so, all others are off."""
    blocks = (RECORDED / f"{name}.txt").read_text().strip().split("\n\n")
    tables = [parse_nodes_text("\n".join(" ".join(row.strip() for row in block.splitlines()) for block in blocks))]
    if (RECORDED / f"{name}.json").exists():
        tables.append(parse_nodes_json((RECORDED / f"{name}.json").read_text()))
    for table in tables:
        found = {number: condition(view) for number, view in enumerate(table)}
        assert found == dict.fromkeys(range(8), Condition.OFF) | meanings


FLAGS = (
    "POWERED_DOWN",
    "POWERING_UP",
    "POWERING_DOWN",
    "POWER_DOWN",
    "POWER_UP",
    "NOT_RESPONDING",
    "INVALID_REG",
    "DRAIN",
    "COMPLETING",
)
STATES = ("IDLE", "ALLOCATED", "MIXED", "DOWN", "UNKNOWN", "ERROR", "FUTURE", "NEVER_SEEN")


def test_every_combination_has_a_meaning() -> None:
    """All states with all sets of flags are something; a power flag is never overlooked, an unknown one ignored."""
    for state in STATES:
        for flags in chain.from_iterable(combinations(FLAGS, size) for size in range(len(FLAGS) + 1)):
            view = NodeView("n", state, frozenset({*flags, "CLOUD"}), "n", "n")
            found = condition(view)
            strange = NodeView("n", state, frozenset({*flags, "CLOUD", "NEW_IN_27_11"}), "n", "n")
            assert condition(strange) is found
            has_power = {"POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "POWER_DOWN", "POWER_UP"} & set(flags)
            is_power = found in OFF or found in (Condition.COMING, Condition.WANTED, Condition.POWER_DOWN_ASKED)
            assert bool(has_power) == is_power, (state, flags, found)
            assert not (answers(view) and "NOT_RESPONDING" in flags)


def test_every_row_of_the_table_can_be_reached() -> None:
    """No row is hidden behind an earlier one."""
    reached = set()
    for state in (*STATES, "IDLE"):
        for flags in chain.from_iterable(combinations((*FLAGS, "REBOOT_ISSUED", "CLOUD"), size) for size in range(7)):
            for slurms in (True, False):
                row = next(r for r in TABLE if r.fits(state, frozenset(flags), slurms=slurms))
                reached.add(TABLE.index(row))
    assert reached == set(range(len(TABLE)))
