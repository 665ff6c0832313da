"""One reconcile pass: look at EC2, Slurm and the ledger, and undo what must not last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.decide.reconcile import Action, ActionKind, Sightings, Snapshot, due, findings
from asbx.errors import AsbxError, SlurmError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind


@dataclass
class Sweep:
    """Remembers between passes what was seen, because nothing is done on one sighting."""

    doors: Doors
    sightings: Sightings = field(default_factory=dict)

    def look(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> Snapshot:
        """Take a snapshot. EC2 is asked before Slurm; a side that does not answer raises, and the pass is skipped."""
        doors = self.doors
        owned = doors.cloud.owned(doors.config.cluster.name)
        nodes = doors.scheduler.nodes()
        intents = {instance.tags.get("asbx:intent", "") for instance in owned}
        return Snapshot(
            taken_at=doors.clock.now(),
            owned=owned,
            nodes=nodes,
            rows=doors.ledger.instances(live_only=True),
            bindings=doors.ledger.live_bindings(),
            known_intents=doors.ledger.known_intents(intents),
            busy_nodes=frozenset(busy_nodes),
            busy_intents=frozenset(busy_intents),
        )

    def preview(self) -> tuple[Action, ...]:
        """Return what one look finds, without the grace and without doing anything."""
        return findings(self.look())

    def run(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> tuple[Action, ...]:
        """Do what is due and return it. Raises AsbxError when a side does not answer; nothing was done then."""
        grace = timedelta(seconds=self.doors.config.reconcile.orphan_grace_seconds)
        look = self.look(busy_nodes, busy_intents)
        actions, self.sightings = due(look, self.sightings, grace)
        for action in actions:
            self._do(action, look.taken_at)
        return actions

    def _do(self, action: Action, now: datetime) -> None:
        doors = self.doors
        try:
            if action.kind is ActionKind.TERMINATE:
                doors.cloud.terminate([action.target])
            doors.ledger.end_instances([action.target], action.reason, now)
            if action.node:
                doors.ledger.release([action.node], now)
                self._reset(action.node)
        except AsbxError as error:
            doors.say(
                Event(
                    EventKind.PASS_FAILED,
                    f"{action.kind} {action.target}: {error}",
                    instance_id=action.target,
                    node=action.node,
                    level="error",
                )
            )
            return
        doors.say(
            Event(
                EventKind.INSTANCE_ORPHANED,
                f"{action.kind} {action.target}: {action.reason}",
                node=action.node,
                instance_id=action.target,
                level="warning",
            )
        )

    def _reset(self, node: str) -> None:
        try:
            self.doors.scheduler.release([node])
        except SlurmError as error:
            self.doors.say(
                Event(EventKind.REQUEST_ODD, f"{node}: {error.what}: {error.why}", node=node, level="warning")
            )
