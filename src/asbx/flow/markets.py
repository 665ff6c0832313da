"""What the record says of markets: who waits for spot since when, which single nodes there are, what was interrupted.

Only read before a launch, never asked of EC2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from asbx.config.limits import INTERRUPTION_WINDOW, UNSETTLED
from asbx.config.schema import Config
from asbx.decide.intake import LOOSE
from asbx.decide.markets import Singles, is_on_demand
from asbx.decide.unrest import Unrest, unrest
from asbx.flow.doors import Doors
from asbx.model.gang import Gang
from asbx.model.job import Request
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.record import InstanceRow
from asbx.model.spot import Interruption


def waits_for_spot(config: Config) -> bool:
    """Whether any job ever waits for spot."""
    return any(group.market.fallback_after_seconds for _, group in config.groups())


def remember(doors: Doors, row: InstanceRow, at: datetime) -> None:
    """Keep that EC2 took a spot instance back, or says that it will. Raises LedgerError."""
    if row.market is Market.SPOT:
        doors.ledger.add_interruption(Interruption(row.instance_id, row.instance_type, row.zone, at))


class Markets:
    """What one request sees of it. Raises LedgerError where a method asks the ledger."""

    def __init__(self, doors: Doors, request: Request) -> None:
        self._doors, self._request = doors, request
        self._unrest: Mapping[tuple[str, str], Unrest] | None = None
        self._waits: Mapping[int, datetime] | None = None
        self._planned: list[Gang] = []

    @property
    def unrest(self) -> Mapping[tuple[str, str], Unrest]:
        """Return (type, zone) -> what EC2 took back there lately."""
        if self._unrest is None:
            now = self._doors.clock.now()
            self._unrest = unrest(self._doors.ledger.interruptions(now - INTERRUPTION_WINDOW), now)
        return self._unrest

    # -- the wait for spot

    def since(self, jobs: Iterable[int]) -> list[datetime]:
        """Return since when these jobs wait for spot: those that do not yet, since Slurm asked for their nodes."""
        waits = self._all_waits()
        return [waits.get(job, self._request.received_at) for job in jobs]

    def kinds(self, plans: Mapping[int, object]) -> Mapping[int, object]:
        """Return what jobs ask for, so that those whose wait is over are not launched with those who still wait."""
        if not waits_for_spot(self._doors.config):
            return plans
        now, waits = self._doors.clock.now(), self._all_waits()
        ends = {group.market.fallback_after for _, group in self._doors.config.groups() if group.market.fallback_after}
        over = {job: tuple(now >= since + end for end in sorted(ends)) for job, since in waits.items()}
        return {job.job_id: (plans.get(job.job_id), over.get(job.job_id)) for job in self._request.jobs}

    def _all_waits(self) -> Mapping[int, datetime]:
        if self._waits is None:
            jobs = [job.job_id for job in self._request.jobs]
            self._waits = self._doors.ledger.spot_waits(jobs) if jobs else {}
        return self._waits

    # -- single nodes

    def singles(self, group: GroupName) -> Singles:
        """Return the single nodes of a group that live, are being launched, or were planned by this request before."""
        mine = [gang for gang in self._planned if gang.parts[0].group == group]
        ours = {gang.gang_id for gang in mine}
        rows = [
            row
            for row in self._doors.ledger.instances(live_only=True)
            if row.group == group and row.gang_id.startswith(LOOSE) and row.gang_id not in ours
        ]
        asked = [
            (intent, attempt)
            for intent, attempt in self._doors.ledger.in_use(self._doors.clock.now() - UNSETTLED).asked
            if intent.group == group and intent.gang_id.startswith(LOOSE) and intent.gang_id not in ours
        ]
        total = len(rows) + sum(one.order.count for _, one in asked) + sum(len(one.nodes) for one in mine)
        bought = sum(row.market is not Market.SPOT for row in rows)
        bought += sum(one.order.count for _, one in asked if one.order.market is not Market.SPOT)
        bought += sum(len(one.nodes) for one in mine if is_on_demand(one.gang_id))
        return Singles(total, bought)

    def plan(self, gangs: Sequence[Gang]) -> None:
        """Count launches that are planned from now on."""
        self._planned += gangs
