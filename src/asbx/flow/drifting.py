"""Compare what runs with what the configuration would launch now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asbx.decide.drift import drift
from asbx.decide.territory import Territory
from asbx.flow.doors import Doors
from asbx.model.market import Template
from asbx.model.names import GroupName
from asbx.model.record import Binding, InstanceRow


@dataclass
class Drifting:
    """Remembers which launch template an instance came from: that never changes."""

    doors: Doors
    land: Territory
    _template_of: dict[str, Template | None] = field(default_factory=dict)

    def look(self, rows: Sequence[InstanceRow], bindings: Sequence[Binding]) -> dict[str, str]:
        """Return instance id -> what is different now, of bound instances. Raises LedgerError."""
        if self.doors.config.reconcile.drift == "ignore":
            return {}
        node_of = {binding.instance_id: binding.node for binding in bindings}
        bound = [row for row in rows if row.instance_id in node_of]
        self._learn(bound)
        groups = {group: self.doors.config.group(group) for group in self.land.numbers}
        current = {name: self._current(name) for name in {self.land.group_of(node_of[r.instance_id]) for r in bound}}
        found = {}
        for row in bound:
            node = node_of[row.instance_id]
            name = self.land.group_of(node)
            group = groups[name] if name is not None else None
            why = drift(node, row.instance_type, group, self._template_of.get(row.instance_id), current[name])
            if why:
                found[row.instance_id] = why
        return found

    def _current(self, name: GroupName | None) -> Template | None:
        """Return the template a group would be launched from now, with its version's number."""
        group = self.doors.config.group(name) if name is not None else None
        if group is None:
            return None
        spec = group.launch_template_specification
        facts = self.doors.catalogue.template(
            Template(spec.launch_template_id, spec.launch_template_name, spec.version)
        )
        return facts.fixed if facts is not None else None

    def _learn(self, rows: Sequence[InstanceRow]) -> None:
        """Read the orders of instances that were not there before, in one query; forget those that are gone."""
        known: Mapping[str, Template | None] = self._template_of
        fresh = [row for row in rows if row.instance_id not in known]
        self._template_of = {row.instance_id: known.get(row.instance_id) for row in rows}
        for attempt in self.doors.ledger.attempts_of({row.intent_id for row in fresh}) if fresh else ():
            for one in attempt.answer.launched if attempt.answer is not None else ():
                if one.instance_id in self._template_of:
                    self._template_of[one.instance_id] = attempt.order.template
