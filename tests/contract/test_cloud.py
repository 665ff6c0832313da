"""What every EC2 promises, the one in memory and the adapter on the emulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract import emulator
from tests.fakes import samples
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import FakeCloud

from asbx.aws.cloud import Ec2
from asbx.config.schema import Aws
from asbx.model.health import InstanceHealth, ScheduledEvent
from asbx.model.market import FleetOrder, Instance, InstanceState, Market, Pool, Template, Verdict
from asbx.ports import Cloud, CloudError

ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")
_GONE = "i-0000000000000dead"


@dataclass
class World:
    """A cloud, and what a test may do to the world behind it."""

    cloud: Cloud
    subnets: dict[str, str]
    template: Template
    limit: Callable[[str, str, int], None]  # on-demand room of (type, zone)
    until: Callable[[Callable[[], bool]], None]
    numbers: Iterator[int]
    befall: Callable[[str, str], None]  # id, "instance", "system", "well" or the code of an event
    write: Callable[[str, str], None]  # what a machine writes on its console

    def order(self, count: int, *pools: str, **changes: Any) -> FleetOrder:
        """Return an order under a fresh token. pools: "type zone-letter"."""
        named = [pool.split() for pool in pools or ("c7i.large a",)]
        zones = [f"us-east-2{letter}" for _, letter in named]
        number = next(self.numbers)
        order = samples.order(
            f"token-{number}",
            count=count,
            pools=tuple(Pool(kind, self.subnets[zone], zone) for (kind, _), zone in zip(named, zones, strict=True)),
            tags=(("asbx:cluster", f"c-{number}"), ("asbx:intent", f"int-{number}")),
        )
        return replace(order, template=self.template, **changes)

    def launch(self, count: int = 2, *pools: str, **changes: Any) -> tuple[FleetOrder, list[str]]:
        """Launch; return the order and the ids."""
        order = self.order(count, *pools, **changes)
        return order, [launched.instance_id for launched in self.cloud.launch(order).launched]


def in_memory() -> Iterator[World]:
    """Make a world that is an object."""
    clock = FakeClock()
    cloud = FakeCloud(clock, address_after=timedelta(seconds=3))

    def until(condition: Callable[[], bool]) -> None:
        clock.advance(seconds=60)
        assert condition()

    def limit(kind: str, zone: str, room: int) -> None:
        cloud.capacity[kind, zone, Market.ON_DEMAND] = room

    def befall(instance_id: str, what: str) -> None:
        if what == "well":
            cloud.health.pop(instance_id, None)
            return
        events = () if what in ("instance", "system") else (ScheduledEvent("e-1", what, "It is scheduled"),)
        cloud.health[instance_id] = InstanceHealth(instance_id, what == "instance", what == "system", events)

    subnets = {zone: f"subnet-{zone[-1]}" for zone in ZONES}
    write = cloud.consoles.__setitem__
    yield World(cloud, subnets, Template(name="nodes"), limit, until, iter(range(10**6)), befall, write)


def emulated(folder: Path) -> Iterator[World]:
    """Make a world behind HTTP."""
    machine = emulator.start(folder)
    try:
        ground = emulator.prepare(machine.client())
        keys = {"access_key_id": "test", "secret_access_key": "test"}
        settings = Aws.model_validate(
            {
                "region": "us-east-2",
                "endpoint_url": machine.url,
                "authentication_method": "access_keys",
                "access_keys": keys,
            }
        )

        def limit(kind: str, zone: str, room: int) -> None:
            body = {"type": kind, "zone": zone, "market": "on-demand", "capacity": room}
            machine.lab("POST", "pools", body)

        def befall(instance_id: str, what: str) -> None:
            checks = {"instance": {"state": "impaired"}, "system": {"state": "impaired", "what": "system"}}
            body = checks.get(what, {"state": "well"} if what == "well" else {"state": "event", "code": what})
            machine.lab("POST", f"machines/{instance_id}", body)

        def write(instance_id: str, text: str) -> None:
            place = folder / "machines" / instance_id / "console.log"
            place.parent.mkdir(parents=True)
            place.write_text(text, encoding="utf-8")

        template = Template(template_id=ground.template, version="1")
        yield World(Ec2(settings), ground.subnets, template, limit, _poll, iter(range(10**6)), befall, write)
    finally:
        machine.stop()


def _poll(condition: Callable[[], bool]) -> None:
    assert emulator.until(condition)


@pytest.fixture(scope="module", params=["fake", "emulator"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make every world there is; one serves all tests, each uses pools and tags of its own."""
    if request.param == "fake":
        yield from in_memory()
    else:
        yield from emulated(tmp_path_factory.mktemp("emulator"))


def by_id(found: tuple[Instance, ...]) -> dict[str, Instance]:
    """Return instances by id."""
    return {instance.instance_id: instance for instance in found}


def test_a_launch_gives_what_was_asked(world: World) -> None:
    """Count, type, zone, subnet and market are those of the order, and nothing was refused."""
    answer = world.cloud.launch(world.order(3, "c7i.large a"))
    assert answer.fleet_id
    assert len({launched.instance_id for launched in answer.launched}) == 3
    assert answer.refusals == ()
    for launched in answer.launched:
        assert (launched.instance_type, launched.zone, launched.market) == (
            "c7i.large",
            "us-east-2a",
            Market.ON_DEMAND,
        )
        assert launched.subnet_id == world.subnets["us-east-2a"]


def test_the_same_token_launches_once(world: World) -> None:
    """A repeated call gets the first answer; another order under its token is refused."""
    order = world.order(2)
    first = world.cloud.launch(order)
    again = world.cloud.launch(order)
    assert {one.instance_id for one in again.launched} == {one.instance_id for one in first.launched}
    with pytest.raises(CloudError) as caught:
        world.cloud.launch(replace(order, count=3))
    assert caught.value.verdict == Verdict.INVALID


def test_a_part_comes_with_refusals(world: World) -> None:
    """Pools that run out give what they have; each names itself in a refusal beside the instances."""
    world.limit("c6i.large", "us-east-2a", 1)
    world.limit("c6i.large", "us-east-2b", 1)
    answer = world.cloud.launch(world.order(4, "c6i.large a", "c6i.large b"))
    assert Counter(launched.zone for launched in answer.launched) == {"us-east-2a": 1, "us-east-2b": 1}
    assert {(refusal.verdict, refusal.zone) for refusal in answer.refusals} == {
        (Verdict.CAPACITY, "us-east-2a"),
        (Verdict.CAPACITY, "us-east-2b"),
    }


def test_a_minimum_is_whole_or_nothing(world: World) -> None:
    """Below the minimum nothing is launched, and the pools' room is untouched."""
    world.limit("m6i.large", "us-east-2a", 2)
    answer = world.cloud.launch(world.order(3, "m6i.large a", minimum=3, single_zone=True))
    assert answer.launched == ()
    assert {refusal.verdict for refusal in answer.refusals} == {Verdict.CAPACITY}
    assert len(world.launch(2, "m6i.large a", minimum=2, single_zone=True)[1]) == 2


def test_a_single_zone_is_kept(world: World) -> None:
    """A gang in one zone goes where all of it fits."""
    world.limit("r6i.large", "us-east-2a", 1)
    world.limit("r6i.large", "us-east-2b", 5)
    order = world.order(3, "r6i.large a", "r6i.large b", minimum=3, single_zone=True)
    assert {launched.zone for launched in world.cloud.launch(order).launched} == {"us-east-2b"}


def test_an_ended_instance_frees_its_room(world: World) -> None:
    """Capacity comes back once an instance is gone."""
    world.limit("r7i.large", "us-east-2a", 1)
    _, (first,) = world.launch(1, "r7i.large a")
    assert world.launch(1, "r7i.large a")[1] == []
    world.cloud.terminate([first])
    world.until(lambda: bool(world.launch(1, "r7i.large a")[1]))


def test_instances_run_and_have_an_address(world: World) -> None:
    """Sooner or later each is running with an address of its own, under the tags of the order."""
    order, ids = world.launch(3)

    def are_up() -> bool:
        found = world.cloud.describe(ids)
        return len(found) == 3 and all(one.state == InstanceState.RUNNING and one.private_ip for one in found)

    world.until(are_up)
    found = world.cloud.describe(ids)
    assert len({instance.private_ip for instance in found}) == 3
    for instance in found:
        assert dict(order.tags).items() <= instance.tags.items()
        assert instance.launched_at.tzinfo is not None


def test_a_reservation_numbers_its_instances(world: World) -> None:
    """Reservation id and launch index together tell the instances of a launch apart, from 0 without a gap."""
    world.limit("c5.large", "us-east-2a", 2)
    _, ids = world.launch(5, "c5.large a", "c5.large b")
    found = world.cloud.describe(ids)
    places: dict[str, list[int]] = {}
    for instance in found:
        places.setdefault(instance.reservation_id, []).append(instance.launch_index)
    assert sorted(index for indexes in places.values() for index in indexes) == sorted(
        index for indexes in places.values() for index in range(len(indexes))
    )
    assert sum(len(indexes) for indexes in places.values()) == 5


def test_unknown_ids_are_left_out(world: World) -> None:
    """One id EC2 does not know hides none of the others."""
    _, ids = world.launch(2)
    assert set(by_id(world.cloud.describe([ids[0], _GONE, ids[1]]))) == set(ids)
    assert world.cloud.describe([_GONE]) == ()
    assert world.cloud.describe([]) == ()


def test_terminate_may_be_repeated(world: World) -> None:
    """Ending twice ends once; an unknown id hides no other and is left out: it may only be too new to be seen."""
    _, ids = world.launch(2)
    asked = [ids[0], _GONE, ids[1]]
    assert set(world.cloud.terminate(asked)) == set(ids)
    assert set(world.cloud.terminate(asked)) == set(ids)
    assert not any(instance.state.is_alive for instance in world.cloud.describe(ids))
    assert world.cloud.terminate([]) == ()


def test_owned_are_the_clusters_living_ones(world: World) -> None:
    """By the cluster's tag, and by the intent's; what is ending is not among them."""
    order, ids = world.launch(2)
    cluster, intent = dict(order.tags)["asbx:cluster"], dict(order.tags)["asbx:intent"]
    assert set(by_id(world.cloud.owned(cluster))) == set(ids)
    assert set(by_id(world.cloud.launched_for(intent))) == set(ids)
    assert world.cloud.owned("nobody") == ()
    world.cloud.terminate(ids[:1])
    assert set(by_id(world.cloud.owned(cluster))) == {ids[1]}
    assert set(by_id(world.cloud.launched_for(intent))) == {ids[1]}


def test_tags_are_added(world: World) -> None:
    """Tags put on later stand beside the first ones, on all that were named."""
    order, ids = world.launch(2)
    world.cloud.tag(ids, {"asbx:nodes": "r-1=aws-cpu-[000-001]", "asbx:node": ""})
    for instance in world.cloud.describe(ids):
        assert instance.tags["asbx:nodes"] == "r-1=aws-cpu-[000-001]"
        assert dict(order.tags).items() <= instance.tags.items()


def test_tags_need_an_instance(world: World) -> None:
    """Tagging what EC2 does not know (yet) is refused as not found, so that it can be tried again."""
    with pytest.raises(CloudError) as caught:
        world.cloud.tag([_GONE], {"a": "b"})
    assert caught.value.verdict == Verdict.NOT_FOUND


def test_an_impossible_order_is_refused(world: World) -> None:
    """A minimum over several types and zones is not something EC2 can keep."""
    with pytest.raises(CloudError) as caught:
        world.cloud.launch(world.order(2, "c7i.large a", "m7i.large b", minimum=2))
    assert caught.value.verdict == Verdict.INVALID


def test_only_the_unwell_are_told(world: World) -> None:
    """Impaired instances and those with an event, whoever's they are; the others are not mentioned."""
    _, ids = world.launch(4)
    world.until(lambda: all(one.state is InstanceState.RUNNING for one in world.cloud.describe(ids)))
    assert not {one.instance_id for one in world.cloud.unwell()} & set(ids)
    for one, what in zip(ids, ("instance", "system", "instance-retirement"), strict=False):
        world.befall(one, what)
    found = {one.instance_id: one for one in world.cloud.unwell() if one.instance_id in ids}
    assert sorted(found) == sorted(ids[:3])
    assert (found[ids[0]].instance_impaired, found[ids[0]].system_impaired) == (True, False)
    assert (found[ids[1]].instance_impaired, found[ids[1]].system_impaired) == (False, True)
    (event,) = found[ids[2]].events
    assert (event.code, event.is_over) == ("instance-retirement", False)
    world.befall(ids[0], "well")
    assert ids[0] not in {one.instance_id for one in world.cloud.unwell()}
    world.cloud.terminate(ids)
    assert not {one.instance_id for one in world.cloud.unwell()} & set(ids), "what does not run is not told of"


def test_a_console_is_read(world: World) -> None:
    """What the machine wrote, or nothing while it has not; an unknown machine is refused as not found."""
    _, (silent, talking) = world.launch(2)
    text = "boot\n" + "x" * 70_000 + "é end\n"
    world.write(talking, text)
    assert world.cloud.console(silent) == ""
    assert world.cloud.console(talking).endswith("é end\n")
    world.cloud.terminate([talking])
    assert world.cloud.console(talking).endswith("é end\n"), "EC2 keeps it for a while"
    with pytest.raises(CloudError) as caught:
        world.cloud.console(_GONE)
    assert caught.value.verdict == Verdict.NOT_FOUND
