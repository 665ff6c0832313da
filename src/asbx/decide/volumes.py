"""What EBS volumes cost a month.

Storage is charged by the GiB-month; gp3 includes 3,000 IOPS and 125 MiB/s whatever its size, io1 and io2 charge each
IOPS, io2 less beyond 32,000 and again beyond 64,000 ("Amazon EBS pricing"). Not held against a real bill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from asbx.model.price import VolumeUnit, volume_offering
from asbx.model.usage import Volume

_GP3_IOPS, _GP3_MIBS = 3000, 125
_TIERS = ((VolumeUnit.IOPS, 0, 32_000), (VolumeUnit.IOPS_TIER2, 32_000, 64_000), (VolumeUnit.IOPS_TIER3, 64_000, 0))


def month(volumes: Iterable[Volume], prices: Mapping[str, Decimal]) -> Decimal | None:
    """Return USD a month; None where a price is not known. prices: by volume_offering."""
    total = Decimal(0)
    for volume in volumes:
        for unit, amount in _amounts(volume, prices):
            price = prices.get(volume_offering(volume.kind, unit))
            if price is None:
                return None
            total += price * amount
    return total


def _amounts(volume: Volume, prices: Mapping[str, Decimal]) -> Iterator[tuple[VolumeUnit, int]]:
    """Yield what is charged of a volume. Where a kind has no tiers, all its IOPS are of the first."""
    yield VolumeUnit.STORAGE, volume.gib
    if volume.kind == "gp3":
        if volume.iops > _GP3_IOPS:
            yield VolumeUnit.IOPS, volume.iops - _GP3_IOPS
        if volume.throughput_mibs > _GP3_MIBS:
            yield VolumeUnit.THROUGHPUT, volume.throughput_mibs - _GP3_MIBS
    elif volume.kind in ("io1", "io2"):
        priced = [tier for tier in _TIERS if tier is _TIERS[0] or volume_offering(volume.kind, tier[0]) in prices]
        for unit, least, most in priced:
            end = volume.iops if unit is priced[-1][0] else min(volume.iops, most)
            if end > least:
                yield unit, end - least
