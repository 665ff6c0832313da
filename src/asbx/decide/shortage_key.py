"""What a shortage is about, as one string: a pool, a quota, a subnet. The ledger keeps shortages under these keys.

`capacity/MARKET/TYPE/ZONE[/placed]`, `quota/MARKET/FAMILY`, `addresses/SUBNET`, `limit/account` for every other limit.

A pool that refused outside a placement group is short inside one too. Refused inside a cluster group says nothing
about outside, where instances need not stand close together (EC2 user guide, "Placement strategies", cluster).
So a launch into a group heeds both keys, one without a group only the plain key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from asbx.model.market import FleetOrder, Market, Pool, Refusal, Verdict

_CAPACITY, _QUOTA, _ADDRESSES, _PLACED = "capacity", "quota", "addresses", "placed"
# Volumes, network interfaces, fleets: each launch takes some of all, whatever its type.
LIMIT_KEY = "limit/account"
STANDARD = "standard"
# Quotas of vCPUs are counted by family, one for on-demand and one for spot: AWS, "Amazon EC2 service quotas" and
# "Spot Instance quotas" (Standard is A, C, D, H, I, M, R, T, Z; G and VT share one; U is "High Memory"). Longer names
# first: trn is not T. Where spot has no quota of its own (HPC, High Memory), the key simply never comes up. On spot the
# P types from the fifth generation on have quotas of their own.
_FAMILIES = (
    ("trn", "trn"),
    ("inf", "inf"),
    ("hpc", "hpc"),
    ("dl", "dl"),
    ("vt", "g"),
    ("f", "f"),
    ("g", "g"),
    ("p", "p"),
    ("u", "u"),
    ("x", "x"),
    *((letter, STANDARD) for letter in "acdhimrtz"),
)


@dataclass(frozen=True)
class Place:
    """A key taken apart. What a kind of key does not name is ""; kind: capacity, quota, addresses or limit."""

    kind: str
    market: str = ""
    instance_type: str = ""
    zone: str = ""
    placed: bool = False
    family: str = ""
    subnet: str = ""


def family(instance_type: str, market: Market = Market.ON_DEMAND) -> str:
    """Return the family whose quota of vCPUs a type counts against; of an unknown one, all before the size."""
    recent = re.match(r"p([5-9]|[1-9][0-9])", instance_type)
    if recent is not None and market is Market.SPOT:
        return recent[0]
    for prefix, name in _FAMILIES:
        if instance_type.startswith(prefix):
            return name
    return instance_type.split(".", 1)[0]


def capacity_key(market: Market, instance_type: str, zone: str, *, placed: bool) -> str:
    """Return the key of a capacity pool. zone: where only the subnet is known, that."""
    return "/".join([_CAPACITY, market, instance_type, zone, *([_PLACED] if placed else [])])


def quota_key(market: Market, quota_family: str) -> str:
    """Return the key of the account's quota for a market and a family (not a type)."""
    return f"{_QUOTA}/{market}/{quota_family}"


def address_key(subnet: str) -> str:
    """Return the key of a subnet's free addresses."""
    return f"{_ADDRESSES}/{subnet}"


def place_of(key: str) -> Place:
    """Take a key apart; one that is none of ours is a place of its own kind."""
    parts = key.split("/")
    match parts:
        case [kind, market, instance_type, zone, *rest] if kind == _CAPACITY:
            return Place(kind, market, instance_type, zone, placed=rest == [_PLACED])
        case [kind, market, name] if kind == _QUOTA:
            return Place(kind, market, family=name)
        case [kind, subnet] if kind == _ADDRESSES:
            return Place(kind, subnet=subnet)
        case _ if key == LIMIT_KEY:
            return Place("limit")
        case _:
            return Place(key)


def amount(key: str, count: int, vcpus: int = 1) -> int:
    """Return how much of what a key is about `count` instances take: quotas are counted in vCPUs.

    vcpus: of one instance; 1 where it is not known, each time alike.
    """
    return count * vcpus if place_of(key).kind == _QUOTA else count


def pool_keys(market: Market, pool: Pool, *, placed: bool, reserved: bool = False) -> tuple[str, ...]:
    """Return every key that a launch from a pool must heed, and that its success speaks about.

    reserved: it draws on a capacity reservation, whose instances are set aside from the pool everybody draws on.
    """
    where = pool.zone or pool.subnet_id
    outside = [] if reserved else [capacity_key(market, pool.instance_type, where, placed=False)]
    inside = [capacity_key(market, pool.instance_type, where, placed=True)] if placed and not reserved else []
    quota = quota_key(market, family(pool.instance_type, market))
    return (*outside, *inside, quota, address_key(pool.subnet_id), LIMIT_KEY)


def refusal_keys(order: FleetOrder, refusal: Refusal) -> tuple[str, ...]:
    """Return the keys a refusal is about: none where it says nothing of any pool (throttling, prices, permissions).

    A refusal that names no pool, or only a part of its name, is about all that fit it. A reservation that is used up
    says nothing about the pool beside it.
    """
    found = [_refusal_key(order, pool, refusal.verdict) for pool in order.pools if _fits(pool, refusal)]
    return tuple(dict.fromkeys(key for key in found if key))


def _fits(pool: Pool, refusal: Refusal) -> bool:
    named = (
        (refusal.instance_type, pool.instance_type),
        (refusal.subnet_id, pool.subnet_id),
        (refusal.zone if pool.zone else "", pool.zone),
    )
    return all(said in ("", ours) for said, ours in named)


def _refusal_key(order: FleetOrder, pool: Pool, verdict: Verdict) -> str:
    match verdict:
        case Verdict.QUOTA:
            return quota_key(order.market, family(pool.instance_type, order.market))
        case Verdict.LIMIT:
            return LIMIT_KEY
        case Verdict.ADDRESSES:
            return address_key(pool.subnet_id)
        case Verdict.CAPACITY | Verdict.NOT_OFFERED if not order.reservation:
            where = pool.zone or pool.subnet_id
            return capacity_key(order.market, pool.instance_type, where, placed=bool(order.placement_group))
        case _:
            return ""
