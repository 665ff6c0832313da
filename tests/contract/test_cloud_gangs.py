"""What every EC2 promises of what gangs need: placement groups, derived launch templates, topology."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.test_cloud import World, by_id, emulated, in_memory

from asbx.config.limits import TOPOLOGY_BATCH
from asbx.model.catalogue import InterfaceSpec, TemplateChange
from asbx.model.market import Template, Verdict
from asbx.ports import CloudError

TAGS = {"asbx:cluster": "lab"}
EFA = TemplateChange((InterfaceSpec(0, 0, "efa"),))


@pytest.fixture(scope="module", params=["fake", "emulator"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make every world there is."""
    if request.param == "fake":
        yield from in_memory()
    else:
        yield from emulated(tmp_path_factory.mktemp("emulator"))


def test_a_group_is_made_once_and_removed_once(world: World) -> None:
    """Both may be repeated after a crash."""
    world.cloud.make_group("twice", "cluster", TAGS)
    world.cloud.make_group("twice", "cluster", TAGS)
    assert world.cloud.remove_group("twice")
    assert world.cloud.remove_group("twice")


@pytest.mark.parametrize("strategy", ["cluster", "partition", "spread"])
def test_a_group_holds_what_is_launched_into_it(world: World, strategy: str) -> None:
    """Instances name it, and it stays until the last of them is gone."""
    name = f"held-{strategy}"
    world.cloud.make_group(name, strategy, TAGS)
    order, ids = world.launch(2, "c7i.large a", placement_group=name)
    assert order.placement_group == name
    assert {one.placement_group for one in world.cloud.describe(ids)} == {name}
    assert not world.cloud.remove_group(name)
    world.cloud.terminate(ids)
    world.until(lambda: world.cloud.remove_group(name))


def test_a_group_that_is_not_there_refuses_the_pool(world: World) -> None:
    """The refusal says what is not found; no instance comes."""
    answer = world.cloud.launch(world.order(2, "c7i.large a", placement_group="never-made"))
    assert answer.launched == ()
    assert {refusal.verdict for refusal in answer.refusals} == {Verdict.NOT_FOUND}


def test_without_a_group_an_instance_names_none(world: World) -> None:
    """Nor EFA interfaces, nor a reason to have ended."""
    _, ids = world.launch(1)
    (instance,) = world.cloud.describe(ids)
    assert (instance.placement_group, instance.efa, instance.state_reason) == ("", 0, "")


def test_one_type_is_kept(world: World) -> None:
    """A gang of one type goes where all of it fits, whatever the zone."""
    world.limit("c6a.large", "us-east-2a", 1)
    world.limit("m6a.large", "us-east-2a", 5)
    order = world.order(3, "c6a.large a", "m6a.large a", minimum=3, single_zone=True, single_type=True)
    assert {one.instance_type for one in world.cloud.launch(order).launched} == {"m6a.large"}


def test_a_derived_template_is_made_once_and_serves_orders(world: World) -> None:
    """One of its name is returned as it is; instances from it have its interfaces."""
    base = world.template
    made = world.cloud.make_template("derived-efa", base, EFA, TAGS)
    assert (
        world.cloud.make_template("derived-efa", base, EFA, TAGS) == made == Template(name="derived-efa", version="1")
    )
    order = world.order(2, "c6i.32xlarge a")
    order = replace(order, pools=tuple(replace(pool, template=made) for pool in order.pools))
    ids = [one.instance_id for one in world.cloud.launch(order).launched]
    assert {one.efa for one in by_id(world.cloud.describe(ids)).values()} == {1}


def test_a_template_needs_its_base(world: World) -> None:
    """A base that is gone is not found."""
    gone = world.cloud.make_template("soon-gone", world.template, EFA, TAGS)
    world.cloud.remove_template("soon-gone")
    with pytest.raises(CloudError) as caught:
        world.cloud.make_template("orphan", gone, EFA, TAGS)
    assert caught.value.verdict is Verdict.NOT_FOUND


def test_topology_is_of_running_instances_only(world: World) -> None:
    """Ids without it are left out, and more ids than one call takes are no error."""
    _, ids = world.launch(TOPOLOGY_BATCH + 1)
    assert set(world.cloud.topology(ids)) <= set(ids)
    assert world.cloud.topology([]) == {}
