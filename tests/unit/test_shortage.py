"""When a pool that refused is asked again, by whom, and for how many."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.config.limits import CAPACITY_COOLDOWN, NOT_OFFERED_COOLDOWN, PROBE_LEASE, SHORTAGE_QUIET
from asbx.decide import shortage as memory
from asbx.decide import shortage_key as keys
from asbx.decide.shortage import Closed, Open, Phase, Probe
from asbx.model.market import Market, Pool, Refusal, Verdict
from asbx.model.record import Shortage

KEY = "capacity/on-demand/c7i.large/us-east-2a"
ICE = "InsufficientInstanceCapacity"
SECOND = timedelta(seconds=1)


def refused(count: int = 40, *, old: Shortage | None = None, after: timedelta = timedelta(0)) -> Shortage:
    """Return the memory of a pool after a refusal."""
    found = memory.after_refusal(old, KEY, ICE, Verdict.CAPACITY, count, NOON + after)
    assert found is not None
    return found


# -- keys


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [
        ("c7i.large", "standard"),
        ("hpc7a.96xlarge", "hpc"),
        ("h1.2xlarge", "standard"),
        ("trn1.32xlarge", "trn"),
        ("t3.micro", "standard"),
        ("inf2.xlarge", "inf"),
        ("im4gn.large", "standard"),
        ("dl1.24xlarge", "dl"),
        ("d3.xlarge", "standard"),
        ("vt1.3xlarge", "g"),
        ("gr6.4xlarge", "g"),
        ("p5.48xlarge", "p"),
        ("u-6tb1.metal", "u"),
        ("u7i-12tb.224xlarge", "u"),
        ("x2idn.16xlarge", "x"),
        ("f2.6xlarge", "f"),
        ("y9.large", "y9"),
    ],
)
def test_family(instance_type: str, family: str) -> None:
    """Types share the quota that AWS counts them against."""
    assert keys.family(instance_type) == family


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [("p4d.24xlarge", "p"), ("p5.48xlarge", "p5"), ("p6-b200.48xlarge", "p6"), ("g6.xlarge", "g")],
)
def test_family_on_spot(instance_type: str, family: str) -> None:
    """P5 has a spot quota of its own: one that is used up says nothing of P4."""
    assert keys.family(instance_type, Market.SPOT) == family


def test_keys_are_taken_apart() -> None:
    """What a key was made of is read back; a key that is none of ours is no accident."""
    placed = keys.capacity_key(Market.SPOT, "c7i.large", "us-east-2a", placed=True)
    assert placed == "capacity/spot/c7i.large/us-east-2a/placed"
    assert keys.place_of(placed) == keys.Place("capacity", "spot", "c7i.large", "us-east-2a", placed=True)
    assert keys.place_of(keys.quota_key(Market.SPOT, "g")) == keys.Place("quota", "spot", family="g")
    assert keys.place_of(keys.address_key("subnet-a")) == keys.Place("addresses", subnet="subnet-a")
    assert keys.place_of(keys.LIMIT_KEY) == keys.Place("limit")
    assert keys.place_of("odd") == keys.Place("odd")


def test_a_group_heeds_the_pool_outside_too() -> None:
    """Refused outside means short inside; refused inside says nothing about outside."""
    pool = Pool("c7i.large", "subnet-a", "us-east-2a")
    outside = keys.pool_keys(Market.ON_DEMAND, pool, placed=False)
    inside = keys.pool_keys(Market.ON_DEMAND, pool, placed=True)
    assert outside == (KEY, "quota/on-demand/standard", "addresses/subnet-a", keys.LIMIT_KEY)
    assert inside == (KEY, f"{KEY}/placed", *outside[1:])
    reserved = keys.pool_keys(Market.ON_DEMAND, pool, placed=True, reserved=True)
    assert reserved == outside[1:]


def test_a_refusal_is_about_the_pools_it_fits() -> None:
    """Verdicts that say nothing of a pool have no key; a used-up reservation closes no pool."""
    order = samples.order()
    named = Refusal(ICE, "", Verdict.CAPACITY, "c7i.large", "us-east-2a", "subnet-a")
    assert keys.refusal_keys(order, named) == (KEY,)
    assert keys.refusal_keys(replace(order, placement_group="g"), named) == (f"{KEY}/placed",)
    assert keys.refusal_keys(replace(order, reservation="cr-1"), named) == ()
    everywhere = keys.refusal_keys(order, replace(named, zone="", subnet_id=""))
    assert everywhere == (KEY, KEY.replace("2a", "2b"))
    quota = Refusal("VcpuLimitExceeded", "", Verdict.QUOTA)
    assert keys.refusal_keys(order, quota) == ("quota/on-demand/standard",)
    volumes = Refusal("VolumeLimitExceeded", "", Verdict.LIMIT)
    assert keys.refusal_keys(order, volumes) == (keys.LIMIT_KEY,)
    full = Refusal("InsufficientFreeAddressesInSubnet", "", Verdict.ADDRESSES, subnet_id="subnet-b")
    assert keys.refusal_keys(order, full) == ("addresses/subnet-b",)
    assert keys.refusal_keys(order, Refusal("RequestLimitExceeded", "", Verdict.THROTTLED)) == ()


def test_a_pool_without_a_zone_is_known_by_its_subnet() -> None:
    """Refusals and launches of it meet under the same key."""
    order = samples.order(pools=(Pool("c7i.large", "subnet-a"),))
    refusal = Refusal(ICE, "", Verdict.CAPACITY, "c7i.large", "us-east-2a", "subnet-a")
    (key,) = keys.refusal_keys(order, refusal)
    assert key in keys.pool_keys(order.market, order.pools[0], placed=False)


# -- refusals


def test_the_cool_down_doubles_with_refusals_in_a_row() -> None:
    """60 s, 2, 4, 8, 16 min, then 30 min for as long as it takes."""
    seen, now, kept = [], timedelta(0), None
    for _ in range(8):
        kept = refused(old=kept, after=now)
        seen.append((kept.closed_until - NOON - now).total_seconds())
        now = kept.closed_until - NOON
    assert seen == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert kept is not None
    assert (kept.failures, kept.since) == (8, NOON)


def test_a_burst_of_refusals_counts_once() -> None:
    """The gangs of one call do not double the cool-down for each other; the smallest number stays."""
    first = refused(40)
    again = refused(12, old=first, after=5 * SECOND)
    assert again == replace(first, least=12)
    assert refused(30, old=again, after=9 * SECOND) == again


def test_after_a_quiet_time_it_starts_from_the_first_cool_down() -> None:
    """What was learned long ago does not make a new shortage longer."""
    kept = refused(10)
    kept = refused(10, old=kept, after=CAPACITY_COOLDOWN[0])
    assert kept.failures == 2
    late = kept.closed_until - NOON + SHORTAGE_QUIET
    assert refused(99, old=kept, after=late - SECOND).failures == 3
    anew = refused(99, old=kept, after=late)
    assert (anew.failures, anew.least, anew.since) == (1, 99, NOON + late)


def test_what_is_not_offered_is_closed_for_a_day_at_any_number() -> None:
    """A capacity refusal just before does not shorten it."""
    found = memory.after_refusal(refused(), KEY, "Unsupported", Verdict.NOT_OFFERED, 40, NOON + SECOND)
    assert found is not None
    assert (found.code, found.closed_until) == ("Unsupported", NOON + SECOND + NOT_OFFERED_COOLDOWN[0])
    assert isinstance(memory.state(found, 1, NOON + timedelta(hours=20), "me"), Closed)


@pytest.mark.parametrize("verdict", [Verdict.PRICE, Verdict.THROTTLED, Verdict.INVALID, Verdict.UNKNOWN])
def test_other_verdicts_close_nothing(verdict: Verdict) -> None:
    """Throttling, prices and mistakes of ours are not shortages."""
    assert memory.after_refusal(None, KEY, "X", verdict, 1, NOON) is None
    assert memory.after_refusal(refused(), KEY, "X", verdict, 1, NOON) == refused()


def test_a_reclaimed_instance_closes_its_pool() -> None:
    """EC2 needs the pool itself: one refusal, at any number."""
    key = "capacity/spot/c7i.large/us-east-2a"
    found = memory.reclaimed(None, key, NOON)
    assert found == Shortage(key, "spot-reclaim", 1, 1, NOON, NOON + CAPACITY_COOLDOWN[0])
    assert memory.reclaimed(found, key, NOON + SECOND) == found


# -- who may ask


def test_half_of_what_was_refused_may_be_tried() -> None:
    """A pool that cannot give 40 may give 20, but not 21; refused 20, it may be asked for 10."""
    kept = refused(40)
    closed = memory.state(kept, 21, NOON, "me")
    assert isinstance(closed, Closed)
    assert closed.until == kept.closed_until
    assert isinstance(memory.state(kept, 20, NOON, "me"), Open)
    kept = refused(20, old=kept)
    assert isinstance(memory.state(kept, 20, NOON, "me"), Closed)
    assert isinstance(memory.state(kept, 10, NOON, "me"), Open)
    assert isinstance(memory.state(refused(1), 1, NOON, "me"), Closed)


def test_one_launch_probes() -> None:
    """After the cool-down one claims the probe, the others wait for it, and a dead one's lease runs out."""
    kept = refused(40)
    then = kept.closed_until
    assert memory.claim(kept, NOON, "me") == kept
    assert memory.state(kept, 40, then, "me") == Probe((KEY,))
    mine = memory.claim(kept, then, "me")
    assert memory.holds(mine, then, "me")
    assert mine is not None
    theirs = memory.claim(mine, then + SECOND, "you")
    assert theirs == mine
    assert not memory.holds(theirs, then + SECOND, "you")
    assert memory.state(mine, 40, then, "me") == Probe((KEY,))
    closed = memory.state(mine, 40, then, "you")
    assert isinstance(closed, Closed)
    assert closed.until == then + PROBE_LEASE
    assert memory.holds(memory.claim(mine, then + PROBE_LEASE, "you"), then + PROBE_LEASE, "you")


def test_a_refused_probe_closes_for_longer() -> None:
    """The probe is over with its answer, and the cool-down has doubled."""
    kept = refused(40)
    then = kept.closed_until
    after = refused(40, old=memory.claim(kept, then, "me"), after=then - NOON)
    assert (after.failures, after.probe_until, after.probe_by) == (2, None, "")
    assert not memory.holds(after, then, "me")


def test_a_probe_can_be_given_back() -> None:
    """Throttled before EC2 looked at the pool: the next launch may try at once."""
    kept = refused(40)
    then = kept.closed_until
    mine = memory.claim(kept, then, "me")
    assert memory.release(mine, "you") == mine
    assert memory.release(mine, "me") == kept
    assert memory.release(None, "me") is None


def test_a_success_that_disproves_it_is_the_end_of_a_shortage() -> None:
    """As many as were refused, or the probe itself; a smaller launch was never in doubt."""
    kept = refused(40)
    then = kept.closed_until
    assert memory.after_success(kept, 39, NOON) == kept
    assert memory.after_success(kept, 40, NOON) is None
    probed = memory.claim(kept, then, "me")
    assert memory.after_success(probed, 25, then, "you") == probed
    assert memory.after_success(probed, 25, then, "me") is None
    assert memory.after_success(None, 1, then) is None


def test_an_old_shortage_says_nothing() -> None:
    """It stops nobody, and whoever meets it forgets it."""
    kept = refused(40)
    late = kept.closed_until + SHORTAGE_QUIET
    assert memory.phase(kept, late) is Phase.FORGOTTEN
    assert isinstance(memory.state(kept, 40, late, "me"), Open)
    assert memory.claim(kept, late, "me") is None
    assert memory.holds(None, late, "me")


def test_a_pool_is_as_open_as_all_of_its_keys() -> None:
    """The longest closed key is named; quotas are counted in vCPUs; open keys need no probe."""
    quota = "quota/on-demand/standard"
    pool = Pool("c7i.large", "subnet-a", "us-east-2a")
    all_keys = keys.pool_keys(Market.ON_DEMAND, pool, placed=True)
    assert isinstance(memory.pool_state({}, all_keys, 40, NOON, "me"), Open)
    over = memory.after_refusal(None, quota, "VcpuLimitExceeded", Verdict.QUOTA, 100, NOON)
    assert over is not None
    known = {KEY: refused(4), quota: over}
    closed = memory.pool_state(known, all_keys, 30, NOON, "me", vcpus=2)
    assert isinstance(closed, Closed)
    assert closed.until == over.closed_until
    assert "standard" in closed.why
    assert isinstance(memory.pool_state({quota: over}, all_keys, 25, NOON, "me", vcpus=2), Open)
    then = over.closed_until
    assert memory.pool_state(known, all_keys, 60, then, "me") == Probe((KEY, quota))


# -- words


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (f"{KEY}/placed", "c7i.large on-demand in us-east-2a inside a placement group refused 40 ("),
        ("quota/spot/g", "the account's spot quota of g instances refused 40 vCPUs ("),
        ("addresses/subnet-a", "subnet subnet-a refused 40 ("),
        ("odd", "odd refused 40 ("),
    ],
)
def test_it_is_described(key: str, words: str) -> None:
    """One sentence says what, how often, and when it may be asked again."""
    kept = replace(refused(40), key=key)
    assert memory.describe(kept, NOON) == f"{words}{ICE}, once); not asked before 2026-03-01 12:01:00 UTC"
    then = kept.closed_until
    assert memory.describe(replace(kept, failures=3), then).endswith("3 times in a row); the next launch tries it")
    probed = replace(kept, probe_until=then + PROBE_LEASE, probe_by="job-7")
    assert memory.describe(probed, then).endswith("job-7 is trying it, until 2026-03-01 12:03:00 UTC at most")
    assert memory.describe(kept, then + SHORTAGE_QUIET).endswith("too long ago to matter")
