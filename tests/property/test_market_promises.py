"""What holds for every request on every stock."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from asbx.sim.market import Allocation, FleetSpec, Lifecycle, Limits, Market, Offer, PoolKey, Reservation, Strategy

TYPES = ("c7i.large", "c6i.large", "m7i.xlarge", "hpc7a.96xlarge")
ZONES = ("a", "b", "c")
ALLOWED = {
    Lifecycle.ON_DEMAND: (Strategy.LOWEST_PRICE, Strategy.PRIORITIZED),
    Lifecycle.SPOT: tuple(set(Strategy) - {Strategy.PRIORITIZED}),
}


@st.composite
def stocks(draw: st.DrawFn) -> Market:
    """Draw a market with some bounded pools."""
    market = Market()
    keys = st.builds(PoolKey, st.sampled_from(TYPES), st.sampled_from(ZONES), st.sampled_from(sorted(ALLOWED)))
    for key, capacity in draw(st.dictionaries(keys, st.integers(0, 12), max_size=20)).items():
        market.set_capacity(key, capacity)
    return market


@st.composite
def fleet_specs(draw: st.DrawFn) -> FleetSpec:
    """Draw a request EC2 would take; positions count up as the emulator gives them."""
    lifecycle = draw(st.sampled_from(sorted(ALLOWED)))
    pools = draw(st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(ZONES)), min_size=1, unique=True))
    weighted = draw(st.booleans())
    made = tuple(
        Offer(
            position,
            kind,
            zone,
            subnet_id=f"subnet-{zone}",
            priority=draw(st.none() | st.integers(0, 3)),
            max_price=draw(st.none() | st.sampled_from([Decimal("0.001"), Decimal(9)])),
            weight=Decimal(draw(st.integers(1, 4))) if weighted else Decimal(1),
            vcpus=2,
        )
        for position, (kind, zone) in enumerate(pools)
    )
    target = draw(st.integers(1, 25))
    single_type, single_zone = draw(st.booleans()), draw(st.booleans())
    return FleetSpec(
        lifecycle,
        target,
        made,
        draw(st.sampled_from(sorted(ALLOWED[lifecycle]))),
        single_type,
        single_zone,
        draw(st.integers(0, target)) if single_type or single_zone else 0,
    )


@st.composite
def reserved_stocks(draw: st.DrawFn) -> Market:
    """Draw a market where a group holds so many of some pools, with reservations inside and outside of it."""
    market = draw(stocks())
    pools = st.builds(PoolKey, st.sampled_from(TYPES), st.sampled_from(ZONES), st.just(Lifecycle.ON_DEMAND))
    for key, count in draw(st.dictionaries(pools, st.integers(0, 6), max_size=6)).items():
        market.set_in_group(key, count)
    for number, key in enumerate(draw(st.lists(pools, max_size=5))):
        made = Reservation(f"cr-{number}", key, draw(st.integers(1, 6)), group=draw(st.sampled_from(["", "pg"])))
        with contextlib.suppress(ValueError):
            market.reserve(made)
    return market


@given(reserved_stocks(), fleet_specs(), st.sampled_from(["", "pg"]), st.booleans(), st.booleans())
def test_groups_and_reservations_give_no_more_than_they_have_and_get_all_back(
    market: Market, spec: FleetSpec, group: str, first: bool, gone: bool
) -> None:
    """A cluster group keeps its bound and its zone, a reservation its total; what ends leaves everything as before."""
    keys = {offer.position: PoolKey(offer.instance_type, offer.zone, spec.market) for offer in spec.offers}
    offers = tuple(
        replace(o, cluster=group, reservations=market.open_for(keys[o.position], "", group, 0.0)) for o in spec.offers
    )
    before, zones = market.rows(), market.group_zones("pg")
    room = {key: market.cluster_room("pg", key) for key in keys.values()}
    allocation = market.launch(replace(spec, offers=offers, reserved_first=first), 0.0)
    for made in market.reservations.values():
        assert 0 <= made.used <= made.total
    for key, count in taken(spec, allocation).items():
        reserved = sum(n for s in allocation.shares for _, n in s.reserved if keys[s.offer.position] == key)
        left = room[key]
        assert not group or left is None or count - reserved <= left
    if group:
        found = {share.offer.zone for share in allocation.shares}
        assert len(found) <= 1
        assert not zones or found <= zones
    for made in market.reservations.values() if gone else ():
        market.end_reservation(made.reservation_id)
    for share in allocation.shares:
        key = keys[share.offer.position]
        for reservation, count in share.reserved:
            market.release(key, count, group=group, reservation=reservation)
        market.release(key, share.count - sum(n for _, n in share.reserved), group=group)
    if gone:
        assert all(row.in_use == 0 for row in market.rows())
        assert market.group_zones("pg") == frozenset()
    else:
        assert [(row.key, row.in_use) for row in market.rows()] == [(row.key, row.in_use) for row in before]
        assert market.group_zones("pg") == zones


LIMITS = st.builds(
    Limits,
    st.dictionaries(st.sampled_from([f"subnet-{zone}" for zone in ZONES]), st.integers(0, 15)),
    st.none() | st.integers(0, 40),
)


def taken(spec: FleetSpec, allocation: Allocation) -> Counter[PoolKey]:
    """Return instances by pool."""
    counts: Counter[PoolKey] = Counter()
    for share in allocation.shares:
        counts[PoolKey(share.offer.instance_type, share.offer.zone, spec.market)] += share.count
    return counts


@given(stocks(), fleet_specs(), LIMITS)
def test_no_pool_subnet_or_quota_gives_more_than_it_has(market: Market, spec: FleetSpec, limits: Limits) -> None:
    """Never more than the pool holds, the subnet has addresses for, the quota leaves."""
    free = {PoolKey(o.instance_type, o.zone, spec.market): None for o in spec.offers}
    bounds = {key: market.free(key) for key in free}
    allocation = market.launch(spec, 0.0, limits)
    for key, count in taken(spec, allocation).items():
        bound = bounds[key]
        assert bound is None or count <= bound
        assert market.in_use(key) == count
    by_subnet = Counter[str]()
    for share in allocation.shares:
        by_subnet[share.offer.subnet_id] += share.count
    assert all(count <= limits.addresses.get(subnet, count) for subnet, count in by_subnet.items())
    assert limits.vcpus is None or 2 * allocation.instances <= limits.vcpus


@given(stocks(), fleet_specs())
def test_a_fleet_never_overshoots_by_more_than_one_instance(market: Market, spec: FleetSpec) -> None:
    """Without weights exactly the target at most; with weights less than one instance over it."""
    allocation = market.quote(spec, 0.0)
    largest = max(offer.weight for offer in spec.offers)
    assert allocation.units < spec.target + largest
    if largest == 1:
        assert allocation.instances <= spec.target


@given(stocks(), fleet_specs(), LIMITS)
def test_a_minimum_is_met_or_nothing_launches(market: Market, spec: FleetSpec, limits: Limits) -> None:
    """All or nothing, and nothing is taken when nothing launches."""
    allocation = market.launch(spec, 0.0, limits)
    assert not allocation.shares or allocation.units >= spec.minimum
    if not allocation.shares:
        assert all(row.in_use == 0 for row in market.rows())


@given(stocks(), fleet_specs(), LIMITS)
def test_single_type_and_single_zone_are_kept(market: Market, spec: FleetSpec, limits: Limits) -> None:
    """One type where one is asked for, one zone where one is asked for."""
    shares = market.quote(spec, 0.0, limits).shares
    assert not spec.single_type or len({share.offer.instance_type for share in shares}) <= 1
    assert not spec.single_zone or len({share.offer.zone for share in shares}) <= 1


@given(stocks(), fleet_specs(), LIMITS)
def test_a_fleet_short_of_its_target_says_why(market: Market, spec: FleetSpec, limits: Limits) -> None:
    """Whoever gets less than the target is told of at least one pool that refused; nobody is told twice."""
    allocation = market.quote(spec, 0.0, limits)
    assert allocation.units >= spec.target or allocation.refusals
    positions = [refusal.offer.position for refusal in allocation.refusals]
    assert len(positions) == len(set(positions))


@given(stocks(), fleet_specs())
def test_a_plain_fleet_leaves_nothing_it_could_have_had(market: Market, spec: FleetSpec) -> None:
    """Without Single*, a fleet falls short only when every willing pool is empty."""
    if spec.single_type or spec.single_zone:
        return
    allocation = market.launch(spec, 0.0)
    if allocation.units < spec.target:
        refused = {refusal.offer.position: refusal.code for refusal in allocation.refusals}
        assert set(refused) == {offer.position for offer in spec.offers}


@given(stocks(), fleet_specs(), LIMITS)
def test_release_returns_the_market_to_where_it_was(market: Market, spec: FleetSpec, limits: Limits) -> None:
    """Launch, then release all: the same request gets the same again."""
    first = market.launch(spec, 0.0, limits)
    for key, count in taken(spec, first).items():
        market.release(key, count)
    assert market.quote(spec, 0.0, limits) == first
