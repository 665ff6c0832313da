"""Leave nodes whose instances EC2 says are unwell: drained at once, replaced when no job is on them, never killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import REFUSED_AGAIN
from asbx.decide.health import Due, Sightings, due, is_drained_here
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.health import InstanceHealth
from asbx.model.hostlist import fold
from asbx.model.market import Verdict
from asbx.ports import CloudError

_ACTION = "DescribeInstanceStatus"


@dataclass
class Health:
    """One pass after the other. troubles: what EC2 refuses to tell, by action."""

    doors: Doors
    troubles: dict[str, str] = field(default_factory=dict)
    _sightings: Sightings = field(default_factory=dict)
    _has_drained: bool = True
    _ask_again: datetime | None = None

    def run(self) -> None:
        """Do what is due. Raises AsbxError when a side does not answer; without an answer nobody is unwell or well.

        Slurm is asked only where there is something to decide.
        """
        if not self.doors.config.health.enabled:
            return
        bindings = self.doors.ledger.live_bindings()
        if not (bindings or self._has_drained):
            return
        unwell = self._unwell() if bindings else ()
        if unwell is None:
            return
        bound = {binding.instance_id for binding in bindings}
        ours = [one for one in unwell if one.instance_id in bound]
        if not (ours or self._has_drained):
            self._sightings = {}
            return
        views = self.doors.scheduler.nodes()
        found = due(ours, bindings, views, self._sightings, self.doors.clock.now(), self.doors.config.health.grace)
        self._sightings = found.sightings
        self._has_drained = bool(found.drain) or any(is_drained_here(view) for view in views)
        self._act(found)

    def _unwell(self) -> tuple[InstanceHealth, ...] | None:
        """Ask EC2; None where it may not be asked, which is said once and tried again now and then."""
        now = self.doors.clock.now()
        if self._ask_again is not None and now < self._ask_again:
            return None
        try:
            unwell = self.doors.cloud.unwell()
        except CloudError as error:
            if error.verdict is not Verdict.PERMISSION:
                raise
            self._ask_again = now + REFUSED_AGAIN
            if _ACTION not in self.troubles:
                text = f"EC2's status checks and scheduled events are not looked at: {error.code}: {error.why}"
                self.doors.say(Event(EventKind.RECONCILE_SKIPPED, text, level="warning"))
            self.troubles[_ACTION] = f"{error.code}: {error.why}"
            return None
        self._ask_again = None
        self.troubles.pop(_ACTION, None)
        return unwell

    def _act(self, found: Due) -> None:
        for node, reason in found.drain.items():
            self._try(lambda node=node, reason=reason: self._drain(node, reason))  # type: ignore[misc]
        if found.replace:
            self._try(lambda: self._replace(found.replace))
        if found.undrain:
            self._try(lambda: self._undrain(found.undrain))

    def _drain(self, node: str, reason: str) -> None:
        self.doors.scheduler.drain([node], reason)
        text = f"{node} drained: {reason}"
        self.doors.say(Event(EventKind.NODE_DRAINED, text, node=node, level="warning", data={"nodes": node}))

    def _replace(self, nodes: tuple[str, ...]) -> None:
        self.doors.scheduler.power_down(nodes)
        for node in nodes:
            text = f"{node} is powered down: its instance is unwell and no job is on it"
            self.doors.say(Event(EventKind.NODE_REPLACED, text, node=node))

    def _undrain(self, nodes: tuple[str, ...]) -> None:
        self.doors.scheduler.undrain(nodes)
        text = f"{fold(nodes)} may be used again: the instance is well, or another will come"
        self.doors.say(Event(EventKind.NODE_UNDRAINED, text, data={"nodes": fold(nodes)}))

    def _try(self, act: Callable[[], None]) -> None:
        """Do one step; what Slurm refuses is tried again by the next pass."""
        try:
            act()
        except AsbxError as error:
            self.doors.say(Event(EventKind.PASS_FAILED, f"health: {error}", level="error"))
