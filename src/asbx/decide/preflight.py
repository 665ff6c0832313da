"""What can be known to fail before EC2 is asked: one clear sentence for each pool that is dropped.

A fact that could not be learned drops nothing. `is_hopeless` says that waiting will not help: the job is then held,
not retried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from asbx.config.limits import BLOCK_CLOSES_BEFORE_END
from asbx.decide.unrest import Unrest
from asbx.model.catalogue import ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Pool, Verdict


@dataclass(frozen=True)
class Known:
    """What EC2 has told about the pools of a group, and what is remembered of them. Absent: not known.

    zones: type -> zones that offer it. quotas: (market, type) -> vCPUs of the account. unruly: security groups
    without the rule EFA needs. scores: zone -> spot placement score. prices: (type, zone, market) -> USD an hour.
    subnet: the only one allowed, because nodes of the gang are there already. trouble: key of decide.shortage -> how
    often it refused lately. block_early: how long before its end a Capacity Block is closed here.
    unrest: (type, zone) -> what EC2 took back there lately.
    """

    types: Mapping[str, TypeFacts] = field(default_factory=dict)
    zones: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subnets: Mapping[str, SubnetFacts] = field(default_factory=dict)
    template: TemplateFacts | None = None
    has_no_template: bool = False
    quotas: Mapping[tuple[Market, str], int] = field(default_factory=dict)
    reservations: Mapping[str, ReservationFacts] = field(default_factory=dict)
    unruly: Sequence[str] = ()
    scores: Mapping[str, int] = field(default_factory=dict)
    prices: Mapping[tuple[str, str, Market], Decimal] = field(default_factory=dict)
    subnet: str = ""
    trouble: Mapping[str, int] = field(default_factory=dict)
    block_early: timedelta = BLOCK_CLOSES_BEFORE_END
    unrest: Mapping[tuple[str, str], Unrest] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A pool that is not asked, and why. code: kebab-case, or EC2's own."""

    what: str
    why: str
    code: str
    verdict: Verdict | None = None
    is_hopeless: bool = True

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.what}: {self.why}"


def in_zone(pool: Pool, known: Known) -> Pool:
    """Return the pool with its zone, where the subnet is known."""
    facts = known.subnets.get(pool.subnet_id)
    return Pool(pool.instance_type, pool.subnet_id, facts.zone, pool.max_price) if facts and not pool.zone else pool


def refusal_of_pool(pool: Pool, known: Known) -> Dropped | None:
    """Return why a pool can never launch with this template, in any market, or None."""
    name, zone = pool.instance_type, pool.zone
    what = f"{name} in {zone or pool.subnet_id}"
    facts = known.types.get(name)
    offered = known.zones.get(name)
    if offered is not None and not offered:
        return Dropped(name, "EC2 does not offer this type in the region", "type-not-offered", Verdict.NOT_OFFERED)
    if offered is not None and zone and zone not in offered:
        why = f"EC2 offers it in {', '.join(sorted(offered))} only"
        return Dropped(what, why, "type-not-offered", Verdict.NOT_OFFERED)
    arch = known.template.arch if known.template else ""
    if facts is not None and arch and arch not in facts.arch:
        image = known.template.image_id if known.template else ""
        why = f"the template's image {image} is for {arch}, the type is {' or '.join(facts.arch)}"
        return Dropped(name, why, "image-architecture", Verdict.INVALID)
    if known.subnet and pool.subnet_id != known.subnet:
        why = f"other nodes of the job are in {known.subnet} already, and a gang is in one subnet"
        return Dropped(what, why, "gang-elsewhere", is_hopeless=False)
    return None


def refusal_of_market(pool: Pool, market: Market, count: int, known: Known) -> Dropped | None:
    """Return why a pool cannot give so many instances in a market, or None."""
    facts = known.types.get(pool.instance_type)
    if facts is None:
        return None
    if facts.markets and market not in facts.markets:
        sold = " and ".join(facts.markets)
        why = f"EC2 sells it as {sold} only"
        return Dropped(f"{pool.instance_type} as {market}", why, "market-not-offered", Verdict.NOT_OFFERED)
    quota = known.quotas.get((market, pool.instance_type))
    if quota is not None and facts.vcpus * count > quota:
        why = (
            f"{count} x {facts.vcpus} vCPUs are more than the account's {market} quota of {quota} "
            f"for this family; ask AWS to raise it"
        )
        return Dropped(f"{count} x {pool.instance_type}", why, "quota-below-request", Verdict.QUOTA)
    return None


def refusal_of_subnet(pool: Pool, needed: int, known: Known) -> Dropped | None:
    """Return why a subnet has no room for so many addresses, or None."""
    facts = known.subnets.get(pool.subnet_id)
    if facts is None or facts.free >= needed:
        return None
    why = f"{needed} address(es) are needed and {facts.free} are free"
    return Dropped(pool.subnet_id, why, "subnet-full", Verdict.ADDRESSES, is_hopeless=False)
