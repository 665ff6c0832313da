"""What Slurm's commands print, as values. Pure text work; recorded outputs of several versions are the tests."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from asbx.errors import SlurmError
from asbx.model.node import NodeView

_REASON = re.compile(r" Reason=(.*?)(?: \[\S+@\S+\])?(?:\s+Comment=.*)?$")
# What the marks glued to a short state say (sinfo(1), "NODE STATE CODES").
_MARKS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "%": "POWERING_DOWN",
    "!": "POWER_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}


def parse_nodes_text(text: str) -> tuple[NodeView, ...]:
    """Read `scontrol show node --oneliner`, as versions before 23.02 need it."""
    return tuple(_node_from_line(line) for line in text.splitlines() if line.startswith("NodeName="))


def _node_from_line(line: str) -> NodeView:
    """Read one line. Ten thousand of a kilobyte each are read in a pass: no pattern runs over all of it.

    Only the FIRST occurrence of a key counts: free text (Reason, Comment, Extra) comes after all of these and may hold
    `State=` or `NodeAddr=` to fool a reader. (InstanceId comes after them, so it is read from JSON only.)
    """
    name = line[len("NodeName=") :].partition(" ")[0]
    state, flags = split_state(_value(line, " State=") or "")
    found = line.find(" Reason=")
    reason = _REASON.match(line, found) if found >= 0 else None
    return NodeView(
        name=name,
        state=state,
        flags=flags,
        address=_value(line, " NodeAddr=") or name,
        hostname=_value(line, " NodeHostName=") or name,
        reason=reason[1].strip() if reason else "",
    )


def _value(line: str, key: str) -> str | None:
    start = line.find(key)
    if start < 0:
        return None
    start += len(key)
    end = line.find(" ", start)
    return line[start:] if end < 0 else line[start:end]


@lru_cache(maxsize=4096)  # ten thousand nodes are in a handful of states
def split_state(text: str) -> tuple[str, frozenset[str]]:
    """Split `ALLOCATED+CLOUD+POWERING_UP` into the base state and its flags; marks (`idle~`) become their flags."""
    words, flags = text.strip().upper().split("+"), set[str]()
    for number, word in enumerate(words):
        bare = word.rstrip("".join(_MARKS))
        flags.update(_MARKS[mark] for mark in word[len(bare) :])
        words[number] = bare
    return words[0], frozenset(flags.union(words[1:]) - {""})


def parse_nodes_json(text: str) -> tuple[NodeView, ...]:
    """Read `scontrol show node --json` (23.02 and later)."""
    try:
        rows: list[dict[str, Any] | NodeView] = json.loads(text, object_hook=_shrunk)["nodes"]
        return tuple(row if isinstance(row, NodeView) else _node_from_json(row) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SlurmError(
            "slurm-json",
            "scontrol's node table cannot be read",
            f"{type(error).__name__}: {error}",
            "report this",
        ) from None


def _shrunk(item: dict[str, Any]) -> dict[str, Any] | NodeView:
    """Make a node of its object as soon as it is read: ten thousand whole ones would take 100 MB."""
    return _node_from_json(item) if "hostname" in item and "state" in item else item


def _node_from_json(row: dict[str, Any]) -> NodeView:
    raw = row.get("state") or []
    words = [str(word).upper() for word in (raw if isinstance(raw, list) else str(raw).split("+"))]
    name = str(row.get("name", ""))
    return NodeView(
        name=name,
        state=words[0] if words else "UNKNOWN",
        flags=frozenset(words[1:]),
        address=str(row.get("address") or name),
        hostname=str(row.get("hostname") or name),
        reason=str(row.get("reason") or ""),
        instance_id=_id(str(row.get("instance_id") or "")),
    )


def _id(text: str) -> str:
    return text if text.startswith("i-") else ""
