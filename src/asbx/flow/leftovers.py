"""What is left behind beside nodes and instances: placement groups, derived templates, files of killed hooks."""

from __future__ import annotations

from asbx.config.limits import SPOOL_ASIDE, SPOOL_TEMPORARY
from asbx.decide.reconcile import Action
from asbx.decide.reconcile_rules import ActionKind
from asbx.flow.doors import Doors
from asbx.flow.making import tidy, unused
from asbx.hooks import leftovers
from asbx.model.event import Event, EventKind
from asbx.model.record import ResourceKind

_WHY = {
    ResourceKind.PLACEMENT_GROUP: "no live instance was launched into it, and none is being launched",
    ResourceKind.TEMPLATE: "no launch has used it for long",
}


class Leftovers:
    """One pass after the other. Remembers what it has said of old files."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._said: set[str] = set()

    def look(self) -> tuple[Action, ...]:
        """Return what a pass would remove or report. Raises LedgerError."""
        now, paths = self._doors.clock.now(), self._doors.config.paths
        made = [
            Action(ActionKind.REMOVE, row.name, _WHY[row.kind], rule=f"unused-{row.kind}")
            for row in unused(self._doors, now)
        ]
        files = [
            Action(ActionKind.REMOVE, name, "a hook was killed while it wrote this", rule="spool-temporary")
            for name in leftovers.temporary(str(paths.requests), (now - SPOOL_TEMPORARY).timestamp())
        ]
        aside = [
            Action(
                ActionKind.REPORT,
                str(paths.set_aside / name),
                f"nobody could read this request, and it has lain here for {SPOOL_ASIDE.days} days",
                rule="set-aside",
            )
            for name in leftovers.aside(str(paths.set_aside), (now - SPOOL_ASIDE).timestamp())
        ]
        return (*made, *files, *aside)

    def run(self) -> tuple[Action, ...]:
        """Do it, and return it. Raises LedgerError.

        EC2 itself refuses to remove a placement group that is in use, and a template that was removed is made again.
        """
        found = self.look()
        tidy(self._doors, self._doors.clock.now())
        for action in found:
            if action.rule == "spool-temporary":
                self._remove(action)
            elif action.rule == "set-aside" and action.target not in self._said:
                self._said.add(action.target)
                self._doors.say(Event(EventKind.RECONCILE_REPORT, f"{action.target}: {action.reason}", level="warning"))
        return found

    def _remove(self, action: Action) -> None:
        folder = str(self._doors.config.paths.requests)
        try:
            leftovers.remove(folder, action.target)
        except OSError as error:
            text, level = f"{folder}/{action.target} cannot be removed: {error.strerror}", "warning"
        else:
            text, level = f"{folder}/{action.target} removed: {action.reason}", "info"
        self._doors.say(Event(EventKind.RESOURCE_REMOVED, text, level=level))
