"""The pretend EC2 of the flows' tests, where the contract cannot show it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes import samples
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import FakeCloud

from asbx.model.catalogue import InterfaceSpec, TemplateChange
from asbx.model.market import FleetOrder, InstanceState, Market, Pool, Template, Verdict
from asbx.ports import CloudError

POOL = Pool("c7i.large", "subnet-a", "us-east-2a")
KEY = ("c7i.large", "us-east-2a", Market.ON_DEMAND)


def _order(number: int, count: int, **changes: object) -> FleetOrder:
    return replace(samples.order(f"t-{number}", count=count, pools=(POOL,)), **changes)  # type: ignore[arg-type]


def test_a_group_has_less_room_than_the_zone() -> None:
    """What stands in the group counts, what stands outside does not."""
    cloud = FakeCloud(FakeClock(), capacity={KEY: 100}, group_capacity={KEY: 3})
    cloud.make_group("g", "cluster", {})
    cloud.launch(_order(1, 2))
    assert len(cloud.launch(_order(2, 2, placement_group="g")).launched) == 2
    second = cloud.launch(_order(3, 2, placement_group="g"))
    assert len(second.launched) == 1
    assert [refusal.verdict for refusal in second.refusals] == [Verdict.CAPACITY]
    cloud.make_group("h", "cluster", {})
    assert len(cloud.launch(_order(4, 3, placement_group="h")).launched) == 3


def test_a_spread_group_holds_seven_in_a_zone() -> None:
    """The eighth finds no room."""
    cloud = FakeCloud(FakeClock())
    cloud.make_group("s", "spread", {})
    assert len(cloud.launch(_order(1, 9, placement_group="s")).launched) == 7


def test_a_reservation_is_filled_and_freed() -> None:
    """Its places are its own, whatever room the pool has."""
    cloud = FakeCloud(FakeClock(), capacity={KEY: 0}, reserved={"cr-1": 2})
    answer = cloud.launch(_order(1, 3, reservation="cr-1"))
    assert len(answer.launched) == 2
    assert [refusal.code for refusal in answer.refusals] == ["ReservationCapacityExceeded"]
    cloud.kill(answer.launched[0].instance_id, "Server.SpotInstanceTermination")
    assert cloud.reserved == {"cr-1": 1}
    assert cloud.capacity == {KEY: 0}
    assert cloud.all()[0].state_reason == "Server.SpotInstanceTermination"


def test_a_block_keeps_no_minimum() -> None:
    """EC2 launches what fits; whoever needs all gives the part back."""
    cloud = FakeCloud(FakeClock(), reserved={"cr-1": 2})
    order = _order(1, 3, minimum=3, single_zone=True, market=Market.CAPACITY_BLOCK, reservation="cr-1")
    assert len(cloud.launch(order).launched) == 2


def test_there_are_only_so_many_groups() -> None:
    """As a quota, which other pools do not help against."""
    cloud = FakeCloud(FakeClock(), group_limit=1)
    cloud.make_group("one", "cluster", {})
    cloud.make_group("one", "cluster", {})
    with pytest.raises(CloudError) as caught:
        cloud.make_group("two", "cluster", {})
    assert caught.value.verdict is Verdict.LIMIT


def test_an_instance_has_the_interfaces_of_its_template() -> None:
    """Of the pool's own, or else of the order's; a change of something else keeps those of the base."""
    cloud = FakeCloud(FakeClock())
    layout = TemplateChange((InterfaceSpec(0, 0, "interface"), InterfaceSpec(0, 1, "efa-only")))
    made = cloud.make_template("efa", Template("lt-1"), layout, {})
    reserved = cloud.make_template("reserved", made, TemplateChange(reservation="cr-1"), {})
    cloud.launch(_order(1, 1, pools=(replace(POOL, template=made),)))
    cloud.launch(_order(2, 1, template=reserved))
    cloud.launch(_order(3, 1))
    assert [instance.efa for instance in cloud.all()] == [1, 1, 0]


def test_a_template_that_is_gone_refuses_the_order() -> None:
    """Until it is made again."""
    cloud = FakeCloud(FakeClock())
    made = cloud.make_template("efa", Template("lt-1"), TemplateChange(), {})
    cloud.remove_template("efa")
    with pytest.raises(CloudError) as caught:
        cloud.launch(_order(1, 1, template=made))
    assert caught.value.verdict is Verdict.NOT_FOUND
    cloud.make_template("efa", Template("lt-1"), TemplateChange(), {})
    assert cloud.launch(_order(2, 1, template=made)).launched


def test_topology_is_told_once_it_runs() -> None:
    """For those that have any."""
    clock = FakeClock()
    cloud = FakeCloud(clock)
    ids = [one.instance_id for one in cloud.launch(_order(1, 2)).launched]
    cloud.networks[ids[0]] = ("nn-1", "nn-2", "nn-3")
    assert cloud.topology(ids) == {}
    clock.advance(seconds=60)
    assert cloud.describe(ids)[0].state is InstanceState.RUNNING
    assert cloud.topology(ids) == {ids[0]: ("nn-1", "nn-2", "nn-3")}
