"""Where nothing goes wrong a gang runs exactly if there is room for it, whatever the site has and the job asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from tests.property.gang_world import CPU, EVERY_POOL, Setup, setups

from asbx.aws.bundled import bundled
from asbx.flow.resume import Resume
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.model.market import Market, Verdict

MARKETS = {
    "on-demand": (Market.ON_DEMAND,),
    "spot": (Market.SPOT,),
    "mixed": (Market.SPOT, Market.ON_DEMAND),
}
SPREAD = 7


@dataclass(frozen=True)
class Room:
    """A pool of a site, as its EC2 has it."""

    setup: Setup
    kind: str
    zone: str
    market: Market

    def outside(self, size: int) -> bool:
        """Return whether so many fit."""
        key = (self.kind, self.zone, self.market)
        if key in self.setup.refusing or (self.kind, self.zone) in self.setup.not_offered:
            return False
        room = self.setup.rooms.get(key, self.setup.room)
        return room is None or room >= size

    def inside(self, size: int, placement: str) -> bool:
        """Return whether so many fit into one placement group."""
        most = self.setup.groups.get((self.kind, self.zone, self.market), size)
        return self.outside(size) and most >= size and not (placement == "spread" and size > SPREAD)


def rooms(setup: Setup, *, efa: bool) -> Iterator[Room]:
    """Return every pool a gang may be in. efa: only of types that have it."""
    for kind, zone, market in EVERY_POOL:
        facts = bundled()[kind]
        sold = market in MARKETS[setup.fields["purchasing_option"]] and market in facts.markets
        if kind in setup.kinds and sold and (facts.efa or not efa):
            yield Room(setup, kind, zone, market)


def fits(setup: Setup, size: int) -> bool:
    """Return whether a gang of so many, all of one type and in one zone, has a place somewhere."""
    placement = {"auto": "cluster", "none": ""}.get(setup.fields["placement"], setup.fields["placement"])
    places = list(rooms(setup, efa=setup.fields["efa"] == "required"))
    outside = any(room.outside(size) for room in places)
    if not placement:
        return outside
    inside = setup.group_limit > 0 and any(room.inside(size, placement) for room in places)
    fallback = setup.fields["placement_fallback"] and not setup.mpi["force_cluster_placement_group"]
    return inside or (fallback and outside)


@st.composite
def one_type(draw: st.DrawFn) -> Setup:
    """Draw a site whose gangs are of one type, in one zone, bought as they are needed, and told at once."""
    setup = draw(setups())
    plain = {"strategy": "gang", "mixed_types": False}
    delays = (0, 0, setup.delays[2])
    return Setup(
        setup.fields | plain, setup.mpi, setup.kinds, setup.room, setup.rooms, setup.groups, setup.refusing,
        setup.not_offered, delays, setup.group_limit, (), 1000,
    )  # fmt: skip


@given(one_type(), st.integers(2, SPREAD) | st.integers(2, 40))
def test_a_gang_runs_exactly_where_there_is_room(setup: Setup, size: int) -> None:
    """All nodes are bound if one zone of one type has room for all, in the group where it must; else nothing runs."""
    site = setup.site()
    spread_wide = setup.fields["placement"] == "spread" and size > SPREAD
    ask = JobAsk(1, CPU[:size], CPU[:size])
    request = Request("r-1", RequestKind.RESUME, CPU[:size], site.clock.now(), (ask,))
    site.ledger.add_request(request)
    outcome = Resume(site.doors, request).run()
    assert len(outcome.bound) in (0, size)
    assert len(site.cloud.alive()) == len(outcome.bound)
    if not spread_wide:  # such a gang is not kept together, and is as whole as any
        assert bool(outcome.bound) is fits(setup, size), outcome.failed
    asked = {(p.instance_type, p.zone, o.market, o.placement_group) for o in site.cloud.orders for p in o.pools}
    repeated = {verdict for _, verdict in setup.refusing.values()} & {Verdict.THROTTLED, Verdict.TRANSIENT}
    assert repeated or len(site.cloud.orders) <= len(asked), "each call learns of a pool at least"
