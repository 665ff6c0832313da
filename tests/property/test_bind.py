"""Pairing and naming: controller and node work the name out by the same rule."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import instance

from asbx.config.limits import TAG_VALUE_MAX
from asbx.decide.bind import name_of, naming, pair
from asbx.model.market import Instance

numbers = st.lists(st.integers(0, 9999), min_size=1, max_size=120, unique=True)


@st.composite
def launches(draw: st.DrawFn) -> tuple[list[str], list[Instance]]:
    """Return nodes and as many instances, in some reservations, in any order, now and then with odd indexes."""
    nodes = [f"aws-cpu-{n:04d}" for n in draw(numbers)]
    made: list[Instance] = []
    while len(made) < len(nodes):
        size = draw(st.integers(1, len(nodes) - len(made)))
        shift = draw(st.sampled_from([0, 0, 0, 1]))
        made += [
            replace(instance(f"i-{len(made) + n}", launch_index=n + shift), reservation_id=f"r-{len(made)}")
            for n in range(size)
        ]
    return nodes, draw(st.permutations(made))


@given(launches())
def test_no_node_and_no_instance_twice(case: tuple[list[str], list[Instance]]) -> None:
    """Every node has one instance and every instance one node."""
    nodes, made = case
    pairs = pair(nodes, made)
    assert sorted(node for node, _ in pairs) == sorted(nodes)
    assert len({i.instance_id for _, i in pairs}) == len(nodes)


@given(launches())
def test_the_node_finds_the_name_the_controller_bound(case: tuple[list[str], list[Instance]]) -> None:
    """Reading its tags as the bootstrap does, every instance comes to the name it is bound to."""
    nodes, made = case
    pairs = pair(nodes, made)
    tags: dict[str, dict[str, str]] = {i.instance_id: {} for i in made}
    for call in naming(pairs):
        assert all(len(value) <= TAG_VALUE_MAX for _, value in call.tags)
        for instance_id in call.instance_ids:
            tags[instance_id].update(call.tags)
    for node, one in pairs:
        assert name_of(replace(one, tags=tags[one.instance_id])) == node


@given(st.integers(1, 1000))
def test_one_reservation_is_one_call(count: int) -> None:
    """Whatever the number of nodes in a row, naming them is one CreateTags."""
    made = [replace(instance(f"i-{n}", launch_index=n), reservation_id="r-1") for n in range(count)]
    assert len(naming(pair([f"aws-cpu-{n:04d}" for n in range(count)], made))) == 1
