"""Which bound instances have failed to become nodes, by what Slurm and EC2 show of them.

Not among them: what EC2 refused to launch, what it took back, what somebody terminated. None of these says that the
node's image or user data is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from asbx.config.limits import CONSOLE_MAX_BYTES
from asbx.model.boot import BootTrouble
from asbx.model.market import Instance
from asbx.model.node import NodeView
from asbx.model.record import Binding

# EC2's state reason codes (EC2 API reference, StateReason) of an instance that ended without anybody's call or want of
# capacity: it powered itself off, as our bootstrap does when it cannot serve, or its template let EC2 not start it.
_ITS_OWN_END = frozenset(
    {"Client.InstanceInitiatedShutdown", "Client.InternalError", "Client.InvalidSnapshot.NotFound"}
)
# What Slurm writes as the reason of such a node (seen on 22.05.8 and 26.05.3).
_TIMED_OUT = "ResumeTimeout reached"


@dataclass(frozen=True)
class Failed:
    """A node whose instance came to nothing. detail: in Slurm's or EC2's words."""

    binding: Binding
    trouble: BootTrouble
    detail: str


def failed(
    bindings: Iterable[Binding],
    seen: Mapping[str, Instance],
    views: Mapping[str, NodeView],
    busy: Collection[str] = (),
) -> tuple[Failed, ...]:
    """Return the boots that have failed, of nodes that have not registered. busy: nodes that requests work on."""
    found = []
    for binding in bindings:
        if binding.registered_at is not None or binding.node in busy:
            continue
        one = _failed(binding, seen.get(binding.instance_id), views.get(binding.node))
        if one is not None:
            found.append(one)
    return tuple(found)


def _failed(binding: Binding, instance: Instance | None, view: NodeView | None) -> Failed | None:
    if view is None:
        return None  # a foreign or empty node table says nothing
    # Slurm still waits for it: one that ended later than its registration was a node.
    waits = "POWERING_UP" in view.flags
    if waits and instance is not None and instance.state.is_ended and instance.state_reason in _ITS_OWN_END:
        return Failed(binding, BootTrouble.ENDED_ITSELF, f"EC2 says {instance.state_reason}")
    if view.state == "DOWN" and "POWERED_DOWN" in view.flags and view.reason.startswith(_TIMED_OUT):
        return Failed(binding, BootTrouble.NEVER_REGISTERED, view.reason)
    if "INVALID_REG" in view.flags and not view.is_powered_down:
        return Failed(binding, BootTrouble.BAD_REGISTRATION, view.reason or "INVALID_REG")
    return None


# Escape sequences of terminals, and control characters but tab and line feed.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")
# What looks like a secret in what a script prints: keys of AWS, whatever is called a password or token, private keys.
_SECRET = re.compile(
    r"(?i)((?:secret(?:_access)?_key|session_token|password|passwd|token|api_?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"']+"
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_MASK = "[removed]"


def presentable(console: str) -> str:
    """Return the end of a console's text as it may be kept: without control characters and what looks like a secret.

    A best effort: what a secret looks like nobody can list.
    """
    text = _CONTROL.sub("", console)
    text = _KEY_BLOCK.sub(_MASK, text)
    text = _ACCESS_KEY.sub(_MASK, _SECRET.sub(rf"\g<1>{_MASK}", text))
    return text.encode()[-CONSOLE_MAX_BYTES:].decode(errors="ignore")
