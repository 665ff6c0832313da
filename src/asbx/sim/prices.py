"""Say what a pool costs an hour in the pretend world.

Every figure here is a pretend figure: of the right size, so that comparisons and totals look sensible, and made
by a fixed rule, so that two runs agree. None of them is AWS's price list, and no bill may be argued from them.

The rule, for any type there is:
- on-demand: a family's rate for one unit (about one vCPU) times the units of the size (`large` 2, `xlarge` 4,
  `Nxlarge` 4N, `metal` 96, `metal-Nxl` 4N, `medium` 1 and halves below it); the same in every zone. A family
  without a rate of its own takes the rate of its class letter. A few types have a figure of their own.
- spot: 30 to 44 % of on-demand, in steps of two, by a checksum of type and zone: zones differ, runs do not.
- families that EC2 sells on demand only (hpc*, mac*, u-*) have no spot price.
- a Capacity Block is paid ahead and as a whole; here its instances cost as much an hour as on demand.
"""

from __future__ import annotations

import bisect
import re
import zlib
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Lifecycle(StrEnum):
    """How an instance is paid for, in EC2's words."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    CAPACITY_BLOCK = "capacity-block"


@dataclass(frozen=True, order=True)
class PoolKey:
    """What EC2 keeps capacity and prices by: one type, in one zone, on one market."""

    instance_type: str
    zone: str
    market: Lifecycle


_TYPE_USD = {
    # The hpc families cost the same at every size: the sizes differ in cores switched on.
    "hpc6a.48xlarge": "2.88",
    "hpc7a.12xlarge": "7.20",
    "hpc7a.24xlarge": "7.20",
    "hpc7a.48xlarge": "7.20",
    "hpc7a.96xlarge": "7.20",
    "p4d.24xlarge": "32.77",
    "p5.48xlarge": "98.32",
}
_FAMILY_USD = {
    "c5": "0.0425",
    "c5n": "0.054",
    "c6a": "0.03825",
    "c6i": "0.0425",
    "c7a": "0.05132",
    "c7g": "0.03625",
    "c7i": "0.044625",
    "g5": "0.2515",
    "g6": "0.2012",
    "m5": "0.048",
    "m6i": "0.048",
    "m7i": "0.0504",
    "r6i": "0.063",
    "r7i": "0.06615",
    "t3": "0.0416",
}
_CLASS_USD = {
    "c": "0.045",
    "g": "0.25",
    "h": "0.05",
    "i": "0.085",
    "m": "0.05",
    "p": "0.6",
    "r": "0.066",
    "t": "0.042",
    "x": "0.104",
}
_OTHER_USD = "0.06"
_SMALL_UNITS = {"nano": "0.125", "micro": "0.25", "small": "0.5", "medium": "1", "large": "2", "xlarge": "4"}
_ON_DEMAND_ONLY = ("hpc", "mac", "u-")
_LARGE = re.compile(r"(?:metal-)?(\d+)xl(?:arge)?")
# 2024-01-01: since when the prices nobody has set are in force.
_FAR_PAST = 1704067200.0
# EBS, a month: by volume type what a GB, an IOPS (by tier) and a MiB/s beyond the free ones cost.
VOLUME_USD = {
    "gp2": {"GB-Mo": "0.10"},
    "gp3": {"GB-Mo": "0.08", "IOPS-Mo": "0.005", "GiBps-mo": "40.96"},
    "io1": {"GB-Mo": "0.125", "IOPS-Mo": "0.065"},
    "io2": {"GB-Mo": "0.125", "IOPS-Mo": "0.065", "IOPS-Mo.tier2": "0.0455", "IOPS-Mo.tier3": "0.03185"},
}


def units(instance_type: str) -> Decimal:
    """Return the size of a type in price units, from its name alone."""
    _, _, size = instance_type.partition(".")
    if size in _SMALL_UNITS:
        return Decimal(_SMALL_UNITS[size])
    numbered = _LARGE.fullmatch(size)
    if numbered:
        return Decimal(4 * int(numbered.group(1)))
    return Decimal(96) if size.startswith("metal") else Decimal(4)


def default_price(key: PoolKey) -> Decimal | None:
    """Return the pretend price of a pool, USD an hour; None where EC2 sells no such thing (spot of hpc*)."""
    kind = key.instance_type
    if kind in _TYPE_USD:
        on_demand = Decimal(_TYPE_USD[kind])
    else:
        family = kind.partition(".")[0]
        rate = _FAMILY_USD.get(family) or _CLASS_USD.get(kind[:1], _OTHER_USD)
        on_demand = Decimal(rate) * units(kind)
    if key.market is not Lifecycle.SPOT:
        return _tidy(on_demand)
    if kind.startswith(_ON_DEMAND_ONLY):
        return None
    step = zlib.crc32(f"{kind}/{key.zone}".encode()) % 8
    return _tidy(on_demand * (30 + 2 * step) / 100)


def _tidy(usd: Decimal) -> Decimal:
    """Round to EC2's six decimals, without trailing zeros and without an exponent."""
    return Decimal(f"{usd:.6f}".rstrip("0").rstrip(".") or "0")


@dataclass(frozen=True)
class PriceChange:
    """A price from a moment on; at: seconds since the epoch."""

    key: PoolKey
    at: float
    usd: Decimal


class PriceBook:
    """Prices over time: the default until somebody sets another, then each from its own moment on."""

    def __init__(self) -> None:
        self._changes: dict[PoolKey, list[tuple[float, Decimal]]] = {}

    def set(self, key: PoolKey, usd: Decimal, at: float) -> None:
        """Set a pool's price from a moment on. Raises ValueError for a price below zero."""
        if usd < 0:
            raise ValueError(f"a price cannot be below zero: {usd}")
        changes = self._changes.setdefault(key, [])
        bisect.insort(changes, (at, usd), key=lambda change: change[0])

    def price(self, key: PoolKey, at: float) -> Decimal | None:
        """Return what the pool costs at a moment; None where it is not sold."""
        for since, usd in reversed(self._changes.get(key, [])):
            if since <= at:
                return usd
        return default_price(key)

    def history(self, key: PoolKey, start: float, end: float) -> tuple[PriceChange, ...]:
        """Return the price in force at the start and every change up to the end, oldest first."""
        changes = self._changes.get(key, [])
        before = [change for change in changes if change[0] <= start]
        opening = before[-1] if before else (_FAR_PAST, default_price(key))
        rows = [] if opening[1] is None else [PriceChange(key, opening[0], opening[1])]
        rows.extend(PriceChange(key, at, usd) for at, usd in changes if start < at <= end)
        return tuple(rows)

    def set_keys(self) -> tuple[PoolKey, ...]:
        """Return the pools whose price was set by hand."""
        return tuple(sorted(self._changes))
