"""What Slurm's commands print, as values. Pure text work; recorded outputs of several versions are the tests."""

from __future__ import annotations

import json
import re
from typing import Any

from asbx.errors import SlurmError
from asbx.model.node import NodeView

# Only the FIRST occurrence of a key counts: free text (Reason, Comment, Extra) comes after all of these and may
# hold `State=` or `NodeAddr=` to fool a reader. (InstanceId comes after them, so it is read from JSON only.)
_FIELD = re.compile(r"(?:^|\s)(NodeName|NodeAddr|NodeHostName|State)=(\S*)")


def parse_nodes_text(text: str) -> tuple[NodeView, ...]:
    """Read `scontrol show node --oneliner`, as versions before 23.02 need it."""
    return tuple(_node_from_line(line) for line in text.splitlines() if line.startswith("NodeName="))


def _node_from_line(line: str) -> NodeView:
    fields: dict[str, str] = {}
    for match in _FIELD.finditer(line):
        fields.setdefault(match[1], match[2])
    state, flags = split_state(fields.get("State", ""))
    name = fields["NodeName"]
    reason = re.search(r"\sReason=(.*?)(?: \[\S+@\S+\])?(?:\s+Comment=.*)?$", line)
    return NodeView(
        name=name,
        state=state,
        flags=flags,
        address=fields.get("NodeAddr", name),
        hostname=fields.get("NodeHostName", name),
        reason=reason[1].strip() if reason else "",
    )


def split_state(text: str) -> tuple[str, frozenset[str]]:
    """Split `ALLOCATED+CLOUD+POWERING_UP` into the base state and its flags."""
    base, *flags = text.strip().rstrip("*~#!%$@^-").upper().split("+")
    return base, frozenset(flags)


def parse_nodes_json(text: str) -> tuple[NodeView, ...]:
    """Read `scontrol show node --json` (23.02 and later)."""
    try:
        rows: list[dict[str, Any]] = json.loads(text)["nodes"]
        return tuple(_node_from_json(row) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SlurmError(
            "slurm-json",
            "scontrol's node table cannot be read",
            f"{type(error).__name__}: {error}",
            "report this",
        ) from None


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
