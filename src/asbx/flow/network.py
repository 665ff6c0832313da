"""Tell Slurm where in EC2's network its nodes are, so that jobs are placed close together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import TOPOLOGY_EVERY, TOPOLOGY_TRIES
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import expand

Path = tuple[str, ...]


@dataclass
class Network:
    """One pass after the other. Remembers where instances are, how often EC2 told nothing, and what Slurm was told."""

    doors: Doors
    _where: dict[str, Path] = field(default_factory=dict)  # by instance id
    _asked: Counter[str] = field(default_factory=Counter)
    _told: dict[str, Path] | None = None  # by node
    _changed_at: datetime | None = None
    _trouble: str = ""

    def run(self) -> None:
        """Tell Slurm what is new. What a side refuses is said once, and tried again by the next pass."""
        if self.doors.config.slurm.topology == "none":
            return
        trouble = ""
        try:
            self._learn_and_tell()
        except AsbxError as error:
            trouble = str(error)
            if trouble != self._trouble:
                self.doors.say(Event(EventKind.PASS_FAILED, f"topology: {trouble}", level="warning"))
        self._trouble = trouble

    def _learn_and_tell(self) -> None:
        """Raise CloudError, LedgerError, SlurmError or ConfigError."""
        # Only running instances have a place, and a node that has registered runs.
        up = {b.instance_id: b.node for b in self.doors.ledger.live_bindings() if b.registered_at is not None}
        self._learn(set(up))
        live = {node: self._where[one] for one, node in up.items() if one in self._where}
        now = self.doors.clock.now()
        if not self._is_news(live) or (self._changed_at is not None and now - self._changed_at < TOPOLOGY_EVERY):
            return
        all_nodes = [n for partition, group in self.doors.config.groups() for n in expand(partition.node_range(group))]
        paths = dict.fromkeys(all_nodes, ()) | live
        if self.doors.scheduler.write_topology(paths):
            # A file without any place, as on a first start, must not keep the first places waiting.
            self._changed_at = now if live else None
            text = f"Slurm was told the place of {len(live)} node(s) in EC2's network"
            self.doors.say(Event(EventKind.TOPOLOGY_WRITTEN, text))
        self._told = paths

    def _learn(self, instances: set[str]) -> None:
        """Ask for the places that are not known, a few times; forget instances that are gone."""
        self._where = {one: path for one, path in self._where.items() if one in instances}
        self._asked = Counter({one: count for one, count in self._asked.items() if one in instances})
        missing = sorted(one for one in instances - set(self._where) if self._asked[one] < TOPOLOGY_TRIES)
        if missing:
            self._where |= {one: path for one, path in self.doors.cloud.topology(missing).items() if path}
            self._asked.update(missing)

    def _is_news(self, live: dict[str, Path]) -> bool:
        """Whether a node is elsewhere than Slurm thinks; where one was that is off now is no reason to reconfigure."""
        return self._told is None or any(self._told.get(node) != path for node, path in live.items())
