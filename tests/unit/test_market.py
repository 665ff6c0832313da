"""The pretend market: prices, pools and what a fleet gets."""

from __future__ import annotations

from decimal import Decimal

import pytest

from asbx.sim.market import (
    FleetSpec,
    Lifecycle,
    Limits,
    Market,
    Offer,
    PoolKey,
    PriceBook,
    Reservation,
    Strategy,
    default_price,
)

SPOT, ON_DEMAND = Lifecycle.SPOT, Lifecycle.ON_DEMAND
NOW = 1000.0


def offers(*pools: str, **facts: object) -> tuple[Offer, ...]:
    """Return one offer for each "type zone"."""
    made = []
    for position, pool in enumerate(pools):
        kind, zone = pool.split()
        made.append(Offer(position, kind, zone, **facts))  # type: ignore[arg-type]
    return tuple(made)


def market(**capacity: int) -> Market:
    """Return a market; names such as spot_c7i_large_a give a pool's capacity."""
    made = Market()
    for name, count in capacity.items():
        which, family, size, zone = name.split("_")
        lifecycle = SPOT if which == "spot" else ON_DEMAND
        made.set_capacity(PoolKey(f"{family}.{size}", zone, lifecycle), count)
    return made


def got(made: Market, spec: FleetSpec, limits: Limits | None = None) -> dict[str, int]:
    """Return instances by "type zone"."""
    shares = made.quote(spec, NOW, limits).shares
    return {f"{s.offer.instance_type} {s.offer.zone}": s.count for s in shares}


def codes(made: Market, spec: FleetSpec, limits: Limits | None = None) -> dict[str, str]:
    """Return refusal codes by "type zone"."""
    refusals = made.quote(spec, NOW, limits).refusals
    return {f"{r.offer.instance_type} {r.offer.zone}": r.code for r in refusals}


def test_an_empty_pool_passes_its_share_on_and_is_refused_by_name() -> None:
    """What the cheapest pool lacks comes from the next, and the first is reported."""
    made = market(od_c6i_large_a=2)
    spec = FleetSpec(ON_DEMAND, 5, offers("c7i.large a", "c6i.large a"))
    assert got(made, spec) == {"c6i.large a": 2, "c7i.large a": 3}
    assert codes(made, spec) == {"c6i.large a": "InsufficientInstanceCapacity"}


def test_prioritized_follows_priorities_and_lowest_price_the_price() -> None:
    """The strategy decides, not the order of the request."""
    pools = (Offer(0, "c6i.large", "a", priority=2), Offer(1, "c7i.large", "a", priority=1), Offer(2, "c5.large", "a"))
    assert got(Market(), FleetSpec(ON_DEMAND, 3, pools, Strategy.PRIORITIZED)) == {"c7i.large a": 3}
    assert got(Market(), FleetSpec(ON_DEMAND, 3, pools, Strategy.LOWEST_PRICE)) == {"c6i.large a": 3}


def test_capacity_optimized_takes_the_fullest_pool() -> None:
    """The pool with the most free places goes first, whatever it costs."""
    made = market(spot_c6i_large_a=3, spot_c7i_large_a=9)
    spec = FleetSpec(SPOT, 2, offers("c6i.large a", "c7i.large a"), Strategy.CAPACITY)
    assert got(made, spec) == {"c7i.large a": 2}


def test_price_capacity_optimized_wants_depth_before_price() -> None:
    """The cheapest of the pools that hold the whole target wins over a cheaper one that does not."""
    made = market(spot_c6i_large_a=3)
    cheap, dear = PoolKey("c6i.large", "a", SPOT), PoolKey("c7i.large", "a", SPOT)
    made.prices.set(cheap, Decimal("0.01"), 0)
    made.prices.set(dear, Decimal("0.09"), 0)
    pools = offers("c6i.large a", "c7i.large a")
    assert got(made, FleetSpec(SPOT, 4, pools, Strategy.PRICE_CAPACITY)) == {"c7i.large a": 4}
    assert got(made, FleetSpec(SPOT, 3, pools, Strategy.PRICE_CAPACITY)) == {"c6i.large a": 3}


def test_capacity_optimized_prioritized_honours_priority_among_pools_deep_enough() -> None:
    """Capacity first, priority second."""
    made = market(spot_c6i_large_a=1)
    pools = (Offer(0, "c6i.large", "a", priority=0), Offer(1, "c7i.large", "a", priority=2), Offer(2, "c5.large", "a"))
    assert got(made, FleetSpec(SPOT, 4, pools, Strategy.CAPACITY_PRIORITIZED)) == {"c7i.large a": 4}


def test_diversified_spreads_evenly_and_fills_gaps_from_the_others() -> None:
    """Each pool gives its part; the part of an empty one goes to the rest."""
    made = market(spot_c6i_large_a=1)
    spec = FleetSpec(SPOT, 9, offers("c7i.large a", "c6i.large a", "c5.large a"), Strategy.DIVERSIFIED)
    assert got(made, spec) == {"c7i.large a": 4, "c6i.large a": 1, "c5.large a": 4}


def test_single_zone_takes_the_zone_that_serves_all_over_a_cheaper_one_that_does_not() -> None:
    """With SingleAvailabilityZone a whole fleet in a dearer zone beats half of one in a cheaper zone."""
    made = market(od_c6i_large_a=2)
    spec = FleetSpec(ON_DEMAND, 4, offers("c6i.large a", "c7i.large b"), single_zone=True)
    assert got(made, spec) == {"c7i.large b": 4}


def test_single_type_may_use_several_zones_of_one_type() -> None:
    """SingleInstanceType binds the type, not the zone."""
    made = market(od_c6i_large_a=2, od_c6i_large_b=2, od_c7i_large_a=3)
    spec = FleetSpec(ON_DEMAND, 4, offers("c6i.large a", "c6i.large b", "c7i.large a"), single_type=True)
    assert got(made, spec) == {"c6i.large a": 2, "c6i.large b": 2}


def test_a_minimum_out_of_reach_launches_nothing_and_names_every_pool_tried() -> None:
    """MinTargetCapacity is all or nothing."""
    made = market(od_c6i_large_a=3, od_c6i_large_b=2)
    spec = FleetSpec(ON_DEMAND, 4, offers("c6i.large a", "c6i.large b"), single_zone=True, minimum=4)
    assert made.launch(spec, NOW).shares == ()
    assert made.rows()[0].in_use == 0
    assert codes(made, spec) == dict.fromkeys(("c6i.large a", "c6i.large b"), "InsufficientInstanceCapacity")


def test_a_subnet_gives_no_more_addresses_than_it_has() -> None:
    """Interfaces count: two addresses an instance halve what a subnet holds."""
    pools = (Offer(0, "c7i.large", "a", "subnet-1", addresses=2), Offer(1, "c6i.large", "a", "subnet-1", addresses=2))
    spec = FleetSpec(ON_DEMAND, 6, pools)
    limits = Limits({"subnet-1": 9})
    assert sum(got(Market(), spec, limits).values()) == 4
    assert set(codes(Market(), spec, limits).values()) == {"InsufficientFreeAddressesInSubnet"}


def test_a_quota_is_reported_by_the_code_of_its_market() -> None:
    """EC2 calls the on-demand quota and the spot quota by different names."""
    pool = offers("c7i.xlarge a", vcpus=4)
    for lifecycle, code in ((ON_DEMAND, "VcpuLimitExceeded"), (SPOT, "MaxSpotInstanceCountExceeded")):
        spec = FleetSpec(lifecycle, 3, pool)
        assert got(Market(), spec, Limits(vcpus=9)) == {"c7i.xlarge a": 2}
        assert codes(Market(), spec, Limits(vcpus=9)) == {"c7i.xlarge a": code}


def test_a_spot_price_above_the_limit_is_a_price_refusal_not_a_shortage() -> None:
    """MaxPrice below the market: SpotMaxPriceTooLow."""
    spec = FleetSpec(SPOT, 1, offers("c7i.large a", max_price=Decimal("0.001")))
    assert codes(Market(), spec) == {"c7i.large a": "SpotMaxPriceTooLow"}
    assert not got(Market(), spec)


def test_types_sold_on_demand_only_have_no_spot() -> None:
    """Ask for an hpc type on the spot market: it is refused as not supported."""
    assert default_price(PoolKey("hpc7a.96xlarge", "b", SPOT)) is None
    assert codes(Market(), FleetSpec(SPOT, 1, offers("hpc7a.96xlarge b"))) == {"hpc7a.96xlarge b": "Unsupported"}


def test_a_total_price_caps_the_whole_fleet() -> None:
    """MaxTotalPrice is an amount per hour for all instances together."""
    made = Market()
    made.prices.set(PoolKey("c7i.large", "a", ON_DEMAND), Decimal("0.10"), 0)
    spec = FleetSpec(ON_DEMAND, 5, offers("c7i.large a"), max_total_price=Decimal("0.35"))
    assert got(made, spec) == {"c7i.large a": 3}


def test_weights_round_instances_up() -> None:
    """A target of 10 with weight 4 is 3 instances."""
    spec = FleetSpec(ON_DEMAND, 10, offers("c7i.large a", weight=Decimal(4)))
    assert got(Market(), spec) == {"c7i.large a": 3}


def test_a_barred_offer_is_refused_with_the_callers_reason() -> None:
    """What can never launch does not hide behind capacity."""
    spec = FleetSpec(ON_DEMAND, 1, offers("c7i.large a", barred=("InvalidFleetConfiguration", "not in this zone")))
    assert codes(Market(), spec) == {"c7i.large a": "InvalidFleetConfiguration"}


def test_release_gives_capacity_back_and_no_more_than_was_taken() -> None:
    """A pool never ends up with more than it had."""
    made, key = market(od_c7i_large_a=1), PoolKey("c7i.large", "a", ON_DEMAND)
    made.launch(FleetSpec(ON_DEMAND, 1, offers("c7i.large a")), NOW)
    assert made.free(key) == 0
    made.release(key)
    assert made.free(key) == 1
    with pytest.raises(ValueError):
        made.release(key)


def test_a_bound_below_what_runs_ends_nothing_and_gives_nothing() -> None:
    """Lowering a capacity under the number in use leaves no free place and no negative one."""
    made, key = Market(), PoolKey("c7i.large", "a", ON_DEMAND)
    made.take(key, 3)
    made.set_capacity(key, 1)
    assert (made.in_use(key), made.free(key)) == (3, 0)


def test_a_price_holds_from_its_own_moment_on() -> None:
    """A new price does not change the past."""
    book, key = PriceBook(), PoolKey("c7i.large", "a", SPOT)
    before = default_price(key)
    book.set(key, Decimal("0.5"), 100)
    book.set(key, Decimal("0.7"), 200)
    assert [book.price(key, at) for at in (99, 100, 250)] == [before, Decimal("0.5"), Decimal("0.7")]
    assert [change.usd for change in book.history(key, 150, 300)] == [Decimal("0.5"), Decimal("0.7")]


def test_default_prices_grow_with_the_size_and_spot_is_cheaper() -> None:
    """Pretend prices keep the order real ones have."""
    sizes = ["medium", "large", "xlarge", "2xlarge", "48xlarge"]
    prices = [default_price(PoolKey(f"c7i.{size}", "a", ON_DEMAND)) for size in sizes]
    assert prices == sorted(p for p in prices if p is not None)
    assert prices[1] == Decimal("0.08925")
    spot = default_price(PoolKey("c7i.large", "a", SPOT))
    assert spot is not None
    assert Decimal("0.02") < spot < Decimal("0.04")
    assert default_price(PoolKey("zz9.metal", "a", ON_DEMAND)) == Decimal("5.76")


def test_one_cluster_group_has_room_of_its_own() -> None:
    """The bound is for each group, and the pool's own bound stays."""
    made = market(od_c6i_large_a=5)
    made.set_in_group(PoolKey("c6i.large", "a", ON_DEMAND), 2)
    spec = FleetSpec(ON_DEMAND, 3, offers("c6i.large a", cluster="pg-1"))
    assert made.launch(spec, NOW).instances == 2
    assert codes(made, spec) == {"c6i.large a": "InsufficientInstanceCapacity"}
    assert got(made, FleetSpec(ON_DEMAND, 3, offers("c6i.large a", cluster="pg-2"))) == {"c6i.large a": 2}
    assert got(made, FleetSpec(ON_DEMAND, 9, offers("c6i.large a"))) == {"c6i.large a": 3}


def test_places_reserved_are_used_first_and_not_beyond() -> None:
    """An open reservation before the pool; a targeted one instead of the pool."""
    made = market(od_c6i_large_a=4)
    made.reserve(Reservation("cr-1", PoolKey("c6i.large", "a", ON_DEMAND), 3))
    assert got(made, FleetSpec(ON_DEMAND, 9, offers("c6i.large a"))) == {"c6i.large a": 1}
    (share,) = made.quote(FleetSpec(ON_DEMAND, 4, offers("c6i.large a", reservations=("cr-1",))), NOW).shares
    assert (share.count, share.reserved) == (4, (("cr-1", 3),))
    strict = FleetSpec(ON_DEMAND, 4, offers("c6i.large a", reservations=("cr-1",), reserved_only=True))
    assert got(made, strict) == {"c6i.large a": 3}
    assert codes(made, strict) == {"c6i.large a": "ReservationCapacityExceeded"}


def test_a_reservation_serves_only_within_its_time() -> None:
    """Before its start and from its end on it gives nothing; expired, its free places are the pool's again."""
    made = market(od_c6i_large_a=2)
    made.reserve(Reservation("cr-1", PoolKey("c6i.large", "a", ON_DEMAND), 2, starts=NOW, ends=NOW + 10))
    spec = FleetSpec(ON_DEMAND, 2, offers("c6i.large a", reservations=("cr-1",), reserved_only=True))
    assert [made.quote(spec, at).instances for at in (NOW - 1, NOW, NOW + 10)] == [0, 2, 0]
    made.expire(NOW + 10)
    assert made.free(PoolKey("c6i.large", "a", ON_DEMAND)) == 2


def test_reserved_places_need_no_quota() -> None:
    """They were counted when they were reserved; quotas are by name."""
    made = market()
    made.reserve(Reservation("cr-1", PoolKey("c6i.large", "a", ON_DEMAND), 2))
    spec = FleetSpec(ON_DEMAND, 9, offers("c6i.large a", vcpus=2, quota="standard", reservations=("cr-1",)))
    assert got(made, spec, Limits(quotas={"standard": 6, "hpc": 0})) == {"c6i.large a": 5}
