"""What the pretend EC2 charges, line by line. Its own arithmetic, in fractions; only what is printed is rounded.

An instance is billed from the launch time it shows to the end it shows, by the second, begun ones counted, for at
least one and `billed_least`. The price is the one in force when each hour of its life (`billed_hour`) begins; a Spot
instance taken back within its first costs nothing. Volumes are billed for the same seconds, by the calendar's months.
Rules and their sources: EC2 user guide, "Billing for interrupted Spot Instances"; AWS News Blog, 28 November 2017 (Spot
pricing); "Amazon EBS pricing".
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

from asbx.lab.emulator.machine import BY_SPOT, Disk, Machine, iso_z
from asbx.lab.emulator.world import World
from asbx.sim.prices import VOLUME_USD

_NANO = Decimal("0.000000001")
_HOUR, _DAY = 3600, 86_400


def bill(world: World) -> dict[str, Any]:
    """Return the bill of everything launched so far, up to now."""
    lines = [_line(world, machine) for machine in world.machines.values()]
    total = sum((Decimal(line["usd"]) for line in lines), Decimal(0))
    return {"total_usd": f"{total:f}", "instances": lines}


def _line(world: World, machine: Machine) -> dict[str, Any]:
    launch, seconds = machine.launch, billed_seconds(world, machine)
    segments = [] if is_free(world, machine) else list(_segments(world, machine, seconds))
    compute = sum((part[3] for part in segments), Fraction(0))
    disks = [
        (volume, disk, _volume_usd(machine, disk, seconds))
        for volume, disk in zip(machine.volumes, launch.disks, strict=True)
    ]
    storage = sum((usd for _, _, usd in disks), Fraction(0))
    return {
        "id": machine.instance_id,
        "type": launch.pool.instance_type,
        "zone": launch.pool.zone,
        "market": launch.pool.market.value,
        "seconds": machine.seconds(world.now()),
        "billed_seconds": seconds,
        "is_free": is_free(world, machine),
        "segments": [
            {"from_second": begin, "to_second": end, "usd_per_hour": f"{price:f}", "usd": _usd(usd)}
            for begin, end, price, usd in segments
        ],
        "volumes": [
            {"id": volume, "kind": disk.kind, "gib": disk.gib, "usd_per_month": _usd(monthly(disk)), "usd": _usd(usd)}
            for volume, disk, usd in disks
        ],
        "compute_usd": _usd(compute),
        "volumes_usd": _usd(storage),
        "usd": _usd(compute + storage),
    }


def billed_seconds(world: World, machine: Machine) -> int:
    """Return the seconds charged up to now."""
    now = world.now()
    begin = datetime.fromisoformat(iso_z(machine.launch.launched_at))
    told = iso_z(machine.ended_at)[:19] + "Z" if machine.ended_at is not None and machine.has_ended(now) else iso_z(now)
    lived = (datetime.fromisoformat(told) - begin) / timedelta(microseconds=1)
    return max(floor(world.knobs.billed_least), ceil(lived / 1_000_000), 1)


def is_free(world: World, machine: Machine) -> bool:
    """Return whether it is a Spot instance that was taken back within its first hour."""
    if not machine.launch.is_spot or machine.reason is not BY_SPOT or not machine.has_ended(world.now()):
        return False
    return machine.seconds(world.now()) < world.knobs.billed_hour


def _segments(world: World, machine: Machine, seconds: int) -> Iterator[tuple[int, int, Decimal, Fraction]]:
    """Yield (from second, to second, USD an hour, USD), neighbours of one price as one."""
    begin, price, hour = 0, _price(world, machine, 0), max(1, floor(world.knobs.billed_hour))
    for start in range(hour, seconds, hour):
        now = _price(world, machine, start)
        if now != price:
            yield begin, start, price, Fraction(price) * (start - begin) / _HOUR
            begin, price = start, now
    if seconds > begin:
        yield begin, seconds, price, Fraction(price) * (seconds - begin) / _HOUR


def _price(world: World, machine: Machine, second: int) -> Decimal:
    launch = machine.launch
    return world.market.prices.price(launch.pool, launch.launched_at + second) or launch.price


def monthly(disk: Disk) -> Fraction:
    """Return what a volume costs a month: storage, and IOPS and throughput beyond what is included."""
    rates = {unit: Fraction(usd) for unit, usd in VOLUME_USD.get(disk.kind, {}).items()}
    usd = rates.get("GB-Mo", Fraction(0)) * disk.gib
    if disk.kind == "gp3":
        usd += rates["IOPS-Mo"] * max(0, disk.iops - 3000)
        usd += rates["GiBps-mo"] * Fraction(max(0, disk.mibs - 125), 1024)
    elif "IOPS-Mo" in rates:
        first = min(disk.iops, 32_000) if "IOPS-Mo.tier2" in rates else disk.iops
        usd += rates["IOPS-Mo"] * first
        usd += rates.get("IOPS-Mo.tier2", Fraction(0)) * max(0, min(disk.iops, 64_000) - 32_000)
        usd += rates.get("IOPS-Mo.tier3", Fraction(0)) * max(0, disk.iops - 64_000)
    return usd


def _volume_usd(machine: Machine, disk: Disk, seconds: int) -> Fraction:
    """Charge each second by the length of its month; a second belongs to the month it begins in."""
    at = datetime.fromisoformat(iso_z(machine.launch.launched_at)).astimezone(UTC)
    usd, left, price = Fraction(0), seconds, monthly(disk)
    while left > 0:
        days = monthrange(at.year, at.month)[1]
        turn = datetime(at.year, at.month, days, tzinfo=UTC) + timedelta(days=1)
        here = min(left, ceil((turn - at) / timedelta(seconds=1)))
        usd += price * here / (days * _DAY)
        at, left = turn, left - here
    return usd


def _usd(amount: Fraction) -> str:
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return f"{exact.quantize(_NANO, ROUND_HALF_EVEN):f}"
