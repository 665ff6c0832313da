"""What comes next for a node, in one sentence, from what Slurm and the ledger know of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from asbx.decide.blocks import is_drained_here as leaves_block
from asbx.decide.breaker import Gate, describe, gate
from asbx.decide.health import is_drained_here as is_unwell
from asbx.model.boot import Breaker
from asbx.model.node import NodeView
from asbx.model.record import Binding


def outlook(
    view: NodeView | None, binding: Binding | None, breaker: Breaker | None, now: datetime, patience: timedelta
) -> str:
    """Return what comes next. view: None where Slurm does not know it or does not answer. patience: ResumeTimeout."""
    if view is None:
        return "nothing: Slurm does not know it, or does not answer"
    for find in (_drained, _rising, _off):
        found = find(view, binding, breaker, now, patience)
        if found:
            return found
    if view.state == "DOWN":
        return f"it is DOWN ({view.reason or 'no reason given'}); the next sweeps compare it with EC2"
    if binding is None:
        return "it has no instance of ours, and Slurm holds it for up; the next sweeps compare it with EC2"
    if binding.registered_at is None:
        return "it is up; the next sweep notes that it has registered"
    return "it serves, and is powered down when it has been idle for SuspendTime"


def _drained(view: NodeView, _b: Binding | None, _r: Breaker | None, _n: datetime, _p: timedelta) -> str:
    if "DRAIN" not in view.flags:
        return ""
    if is_unwell(view):
        return "it gets no new job, and is powered down when no job is on it; used again if EC2 says that it is well"
    if leaves_block(view):
        return "it gets no new job: its Capacity Block ends"
    return f"it gets no new job until somebody undrains it ({view.reason or 'no reason given'})"


def _rising(view: NodeView, binding: Binding | None, _r: Breaker | None, now: datetime, patience: timedelta) -> str:
    if not view.flags & {"POWERING_UP", "POWER_UP"}:
        return ""
    if binding is None:
        return "it has been asked for and has no instance yet: `asbx events` tells what EC2 says"
    if binding.registered_at is not None:
        return "its slurmd has registered; Slurm starts the job at its next look"
    waited, most = int((now - binding.bound_at).total_seconds()), int(patience.total_seconds())
    return f"it has its instance for {waited} s; its slurmd must register within {most} s of Slurm's request"


def _off(view: NodeView, binding: Binding | None, breaker: Breaker | None, now: datetime, _p: timedelta) -> str:
    if not view.is_powered_down:
        return ""
    if breaker is not None and gate(breaker, now) is not Gate.OPEN:
        return describe(breaker, now)
    if binding is not None:
        return f"it is off; {binding.instance_id} behind it is ended by the next sweeps"
    return "it is off; Slurm powers it up when a job needs it"
