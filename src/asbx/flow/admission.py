"""Which gangs of a request may be launched, as far as their node groups boot at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from asbx.config.limits import PROBE_NEWS
from asbx.decide.breaker import Gate, claim, describe, gate, holds, opens_at, release
from asbx.decide.intake import LOOSE
from asbx.errors import ExitCode
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure
from asbx.model.boot import Breaker
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang, Part
from asbx.model.job import Request
from asbx.model.names import GroupName
from asbx.model.record import Intent

Refused = tuple[tuple[str, ...], Failure]


@dataclass
class Admission:
    """The gate of one request. jobs_of: node -> jobs that wait for it."""

    doors: Doors
    request: Request
    jobs_of: Mapping[str, tuple[int, ...]]
    _probes: list[tuple[str, GroupName, frozenset[str]]] = field(default_factory=list)

    def admit(
        self, gangs: Sequence[Gang], served: Collection[str], before: Sequence[Intent]
    ) -> tuple[list[Gang], list[Refused]]:
        """Return the gangs to launch, and the nodes of those that are not, with the reason. Raises LedgerError.

        A closed group gets none; a half-open one gets one gang, or one loose node, to try. What an earlier run of the
        request has launched goes on (before), and what is served needs no launch.
        """
        if not self.doors.config.boots.failures_in_a_row:
            return list(gangs), []
        now = self.doors.clock.now()
        shut = {one.group: one for one in self.doors.ledger.breakers() if gate(one, now) is not Gate.OPEN}
        if not shut:
            return list(gangs), []
        done = {node for old in before for node in old.nodes if old.gang_id.startswith(LOOSE)}.union(served)
        under_way = {old.gang_id for old in before if not old.gang_id.startswith(LOOSE)}
        admitted: list[Gang] = []
        refused: list[Refused] = []
        for gang in gangs:
            wanted = tuple(node for node in gang.nodes if node not in done)
            groups = sorted({part.group for part in gang.parts} & shut.keys())
            if not groups or not wanted or gang.gang_id in under_way:
                admitted.append(gang)
            elif why := self._barred(gang, groups, wanted if gang.whole else wanted[:1], now):
                refused.append((wanted, why))
            elif gang.whole or len(wanted) == 1:
                admitted.append(gang)
            else:
                admitted.append(self._one_of(gang, [*(node for node in gang.nodes if node in done), wanted[0]]))
                refused.append((wanted[1:], self._failure(groups[0], now)))
        return admitted, refused

    def settle(self, bound: Collection[str]) -> None:
        """Give back the probes of gangs that came to nothing before they could boot, so that another can try."""
        for me, group, nodes in self._probes:
            if nodes.isdisjoint(bound):
                self.doors.ledger.change_breaker(group, lambda old, me=me: release(old, me))  # type: ignore[misc]

    def _barred(self, gang: Gang, groups: Sequence[GroupName], nodes: Sequence[str], now: datetime) -> Failure | None:
        """Take the probes of all groups of a gang; return why it may not launch where one cannot be had."""
        me, taken = f"{gang.gang_id} of {self.request.request_id}", list[GroupName]()
        for group in groups:
            row = self.doors.ledger.change_breaker(group, lambda old: claim(old, now, me, self._lease))
            if not holds(row, now, me):
                for other in taken:
                    self.doors.ledger.change_breaker(other, lambda old: release(old, me))
                return self._failure(group, now, row)
            taken.append(group)
        for group in taken:
            self._probes.append((me, group, frozenset(nodes)))
            text = f"{group}: {me} tries whether its instances become nodes again"
            self.doors.say(Event(EventKind.GROUP_PROBED, text, self.request.request_id, gang.gang_id))
        return None

    @property
    def _lease(self) -> timedelta:
        """Return how long a probe may be without news: until Slurm gives its nodes up and that is noticed."""
        sweeps = timedelta(seconds=2 * self.doors.config.reconcile.interval_seconds)
        return self.doors.config.resume_deadline + sweeps + PROBE_NEWS

    def _failure(self, group: GroupName, now: datetime, row: Breaker | None = None) -> Failure:
        if row is None:
            row = next((one for one in self.doors.ledger.breakers() if one.group == group), Breaker(group))
        return Failure("boot-failures", describe(row, now), ExitCode.NO_CAPACITY, not_before=opens_at(row, now))

    def _one_of(self, gang: Gang, nodes: Sequence[str]) -> Gang:
        jobs = sorted({job for node in nodes for job in self.jobs_of.get(node, ())})
        return replace(gang, parts=(Part(gang.parts[0].group, tuple(nodes)),), jobs=tuple(jobs))
