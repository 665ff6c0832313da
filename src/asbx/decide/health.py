"""Which nodes must be left because EC2 says that their instances are unwell, and which may be used again.

Nodes are drained, so that their jobs end as they like, and powered down once no job is on them: Slurm then gets a new
instance when it needs one. An impairment counts after a grace and on two looks; an event AWS has scheduled counts at
once. What EC2 does not say is not held against anybody: an instance it does not mention is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.model.health import InstanceHealth
from asbx.model.node import NodeView
from asbx.model.record import Binding

# What the reasons of nodes drained here begin with; others' drains are never taken back, and never shortened.
UNWELL = "asbx:health"
# While Slurm reboots a node its checks fail for good reason.
_REBOOTING = frozenset({"REBOOT_ISSUED", "REBOOT_REQUESTED"})
_AT_WORK = frozenset({"ALLOCATED", "MIXED"})


@dataclass(frozen=True)
class Sighting:
    """Since when an instance has been seen unwell, or drained here and well again."""

    since: datetime
    well: bool


Sightings = Mapping[str, Sighting]


@dataclass(frozen=True)
class Due:
    """What is to be done now. drain: node -> reason. replace: nodes to power down. undrain: nodes that may be used."""

    drain: dict[str, str] = field(default_factory=dict)
    replace: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()
    sightings: Sightings = field(default_factory=dict)


def due(
    unwell: Iterable[InstanceHealth],
    bindings: Sequence[Binding],
    views: Iterable[NodeView],
    before: Sightings,
    now: datetime,
    grace: timedelta,
) -> Due:
    """Return what one look calls for, with what the looks before have seen (`before`, by instance id)."""
    ill = {one.instance_id: one for one in unwell if _is_ill(one)}
    bound = {binding.node: binding for binding in bindings}
    found = Due()
    seen: dict[str, Sighting] = {}
    replace: list[str] = []
    undrain: list[str] = []
    for view in views:
        binding = bound.get(view.name)
        if is_drained_here(view):
            if binding is None:
                if view.is_powered_down:
                    undrain.append(view.name)  # its instance is gone; the next one is another
                continue
            trouble = _trouble(ill.get(binding.instance_id), binding, before, seen, now, grace)
            if trouble and _is_idle(view):
                replace.append(view.name)
            elif binding.instance_id not in ill and _well_again(binding, before, seen, now):
                undrain.append(view.name)
        elif binding is not None and _may_be_judged(view, binding):
            trouble = _trouble(ill.get(binding.instance_id), binding, before, seen, now, grace)
            if trouble and "DRAIN" not in view.flags:
                found.drain[view.name] = f"{UNWELL} {trouble}"
    return Due(found.drain, tuple(replace), tuple(undrain), seen)


def _is_ill(health: InstanceHealth) -> bool:
    return health.instance_impaired or health.system_impaired or any(not event.is_over for event in health.events)


def _may_be_judged(view: NodeView, binding: Binding) -> bool:
    """Whether a node is up: one that never registered is a failed boot, one that reboots or is off is no node now."""
    return binding.registered_at is not None and not view.is_powered_down and not view.flags & _REBOOTING


def _trouble(
    health: InstanceHealth | None,
    binding: Binding,
    before: Sightings,
    seen: dict[str, Sighting],
    now: datetime,
    grace: timedelta,
) -> str:
    """Return why a node must be left now, "" where it need not; note what was seen."""
    if health is None:
        return ""
    events = [event for event in health.events if not event.is_over]
    if events:
        first = min(events, key=lambda event: event.not_before or now)
        when = f" at {first.not_before:%Y-%m-%d %H:%M} UTC" if first.not_before else ""
        return f"AWS has scheduled {first.code} for {binding.instance_id}{when}"
    earlier = before.get(binding.instance_id)
    known = earlier is not None and not earlier.well
    since = earlier.since if known and earlier is not None else now
    seen[binding.instance_id] = Sighting(since, well=False)
    young = binding.registered_at is None or now - binding.registered_at < grace
    if not known or young or now - since < grace:
        return ""
    what = "host" if health.system_impaired else "instance"
    return f"the {what} status check of {binding.instance_id} fails for {int((now - since).total_seconds())} s"


def _well_again(binding: Binding, before: Sightings, seen: dict[str, Sighting], now: datetime) -> bool:
    """Whether an instance was well on the look before, too: answers of EC2 may lag and flicker."""
    earlier = before.get(binding.instance_id)
    if earlier is not None and earlier.well:
        seen[binding.instance_id] = earlier
        return now > earlier.since
    seen[binding.instance_id] = Sighting(now, well=True)
    return False


def _is_idle(view: NodeView) -> bool:
    """Whether no job is on a drained node (IDLE or DOWN), and none is ending there."""
    return view.state not in _AT_WORK and "COMPLETING" not in view.flags and not view.is_powered_down


def is_drained_here(view: NodeView) -> bool:
    """Whether a node is drained because its instance was unwell."""
    return "DRAIN" in view.flags and view.reason.startswith(UNWELL)
