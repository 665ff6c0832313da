"""Find out all that is known of instances, for whoever says what they cost: a handful of questions for any number."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from asbx.config.limits import LIVES_BY_NODE, USAGE_CATCH_UP, USAGE_STALE
from asbx.config.schema import Config
from asbx.decide import volumes
from asbx.decide.cost import Bill, bill_of
from asbx.decide.meter.spans import Capacity, Life
from asbx.decide.usage import is_tracked, runs_of
from asbx.flow.accounting import Accounting
from asbx.flow.cost_report import rules_of
from asbx.flow.doors import Doors
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.price import PriceChange, VolumeUnit, is_volume, volume_offering
from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun, Volume
from asbx.ports.usage import CostBook

_GPU = re.compile(r"(?:^|,)gpu(?::[A-Za-z][^:,]*)?(?::(\d+))?")
_Offering = tuple[str, str, Market]


@dataclass(frozen=True)
class Lives:
    """Makes lives out of rows. now: up to when those that live are known."""

    record: CostBook
    config: Config
    now: datetime

    def __call__(self, rows: Sequence[InstanceRow]) -> list[Life]:
        """Return a life for each row, in their order. Raises LedgerError."""
        if not rows:
            return []
        begin = min(row.launched_at for row in rows)
        end = max(row.ended_at or self.now for row in rows)
        known = _Known(self, rows, begin, max(begin, end))
        return [known.life(row) for row in rows]

    @cached_property
    def _capacities(self) -> dict[GroupName, Capacity]:
        return {
            GroupName(partition.partition_name, group.node_group_name): _capacity(group.slurm_specifications)
            for partition, group in self.config.groups()
        }

    def capacity(self, group: GroupName) -> Capacity | None:
        """Return what a node of a group has; None for a group that is configured no more."""
        return self._capacities.get(group)


def settling(doors: Doors) -> tuple[Accounting, ...]:
    """Return the part of the pass that settles what is over; none where there is no book for it."""
    if doors.usage is None:
        return ()
    book, config, clock = doors.usage.book, doors.config, doors.clock

    def lives(rows: Sequence[InstanceRow]) -> list[Life]:
        """Leave out what nobody has looked at since its end, for as long as the accounting could still tell of it."""
        now, watches = clock.now(), book.watches()
        looked = watches[-1].end if watches else None
        ready = [
            row
            for row in rows
            if row.ended_at is not None
            and ((looked is not None and row.ended_at <= looked) or now - row.ended_at > USAGE_CATCH_UP)
        ]
        return Lives(book, config, now)(ready)

    return (Accounting(book, lives, clock, rules_of(config)),)


def job_bill(lives: Lives, launched: Sequence[InstanceRow], job_id: int) -> Bill:
    """Return what a job costs up to now: of what was launched for it, and of what it ran on beside.

    Raises LedgerError.
    """
    rows = {row.instance_id: row for row in (*launched, *lives.record.hosts(job_id))}
    return bill_of(lives(list(rows.values())), lives.now, job_id=job_id, rules=rules_of(lives.config))


class _Known:
    """What the record has of a time."""

    def __init__(self, lives: Lives, rows: Sequence[InstanceRow], begin: datetime, end: datetime) -> None:
        record, ids = lives.record, [row.instance_id for row in rows]
        few = len(rows) <= LIVES_BY_NODE
        nodes = {row.node for row in rows if row.node}
        self._lives = lives
        self._runs: dict[str, list[JobRun]] = defaultdict(list)
        for run in record.runs(begin, end, nodes=nodes if few else None):
            self._runs[run.node].append(run)
        self._watches = record.watches()
        self._registered = record.registrations(ids if few else None)
        self._reclaimed = record.reclaimed()
        self._volumes: dict[str, list[Volume]] = defaultdict(list)
        for volume in record.volumes(ids if few else None):
            self._volumes[volume.instance_id].append(volume)
        self._changes: dict[_Offering, list[PriceChange]] = defaultdict(list)
        for change in record.price_changes(begin, end, instance_types=self._names(rows)):
            self._changes[change.instance_type, change.zone, change.market].append(change)
        self._siblings = self._of_groups(rows)

    def _names(self, rows: Sequence[InstanceRow]) -> set[str]:
        kinds = {volume.kind for found in self._volumes.values() for volume in found}
        ebs = {volume_offering(kind, unit) for kind in kinds for unit in VolumeUnit}
        return {row.instance_type for row in rows} | ebs

    def _of_groups(self, rows: Sequence[InstanceRow]) -> dict[GroupName, list[Volume]]:
        """Return the volumes of the last instance of each group whose volumes were seen."""
        return {
            row.group: self._volumes[row.instance_id]
            for row in sorted(rows, key=lambda row: row.launched_at)
            if row.instance_id in self._volumes
        }

    def life(self, row: InstanceRow) -> Life:
        """Put together what is known of one."""
        begin, end = row.bound_at or row.launched_at, row.ended_at
        runs = runs_of(self._runs.get(row.node, ()), row.launched_at, end or self._lives.now)
        return Life(
            row,
            self._registered.get(row.instance_id),
            runs,
            tuple(
                change
                for zone in {"", row.zone}
                for change in self._changes.get((row.instance_type, zone, row.market), ())
            ),
            self._month(row),
            self._lives.capacity(row.group),
            is_tracked(self._watches, begin, end, self._lives.now - USAGE_STALE),
            row.instance_id in self._reclaimed,
        )

    def _month(self, row: InstanceRow) -> Decimal:
        """Return what its volumes cost a month. One that was given back before anybody looked has its siblings'."""
        found = self._volumes.get(row.instance_id) or self._siblings.get(row.group, [])
        return volumes.month(found, self._volume_prices(row.launched_at)) or Decimal(0)

    def _volume_prices(self, at: datetime) -> Mapping[str, Decimal]:
        """Return the prices in force at a moment; before the first one that is known, that one."""
        found: dict[str, Decimal] = {}
        for (name, _, _), changes in self._changes.items():
            if is_volume(name):
                before = [change for change in changes if change.since <= at]
                found[name] = (before[-1] if before else changes[0]).usd
        return found


def _capacity(said: Mapping[str, str | float | bool]) -> Capacity:
    """Read what a NodeName line promises (slurm.conf(5)); names of settings are in any case."""
    told = {name.lower(): str(value) for name, value in said.items()}
    gpus = sum(int(count or 1) for count in _GPU.findall(told.get("gres", "").lower()))
    return Capacity(_number(told.get("cpus", "")) or _cores(told), _number(told.get("realmemory", "")), gpus)


def _cores(told: Mapping[str, str]) -> int:
    parts = [_number(told.get(name, "")) for name in ("sockets", "corespersocket", "threadspercore")]
    sockets, cores, threads = parts
    return (sockets or 1) * cores * (threads or 1)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
