"""Layouts of network interfaces, over every type EC2 sells."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asbx.aws.bundled import bundled
from asbx.decide.place import Layout, addresses, efa_devices, efa_layout, group_name, template_name
from asbx.model.catalogue import Card, InterfaceSpec, TypeFacts

LAYOUTS: tuple[Layout, ...] = ("efa-only", "efa", "separate")
EFA = ("efa", "efa-only")


def takes_efa(card: Card) -> bool:
    """Whether an EFA device may be on a card."""
    return not set(EFA).isdisjoint(card.kinds)


def most_devices(facts: TypeFacts, layout: Layout) -> int:
    """Return how many EFA devices a layout can have: one on each card that takes one, where its kinds leave room.

    Card 0 holds the address: it carries EFA as `efa`, or, in the layout `separate`, as a second interface.
    """
    cards = {card.index: card for card in facts.cards}
    first = cards[0]
    own = "efa" in first.kinds or (layout == "separate" and "efa-only" in first.kinds and first.slots > 1)
    return min(facts.efa, own + sum(takes_efa(card) for index, card in cards.items() if index))


def check(facts: TypeFacts, layout: Layout, specs: tuple[InterfaceSpec, ...]) -> None:
    """Check a layout against what EC2 says of the type."""
    places = Counter((spec.card, spec.device) for spec in specs)
    assert places[0, 0] == 1, "there is one primary interface"
    assert max(places.values()) == 1, "no two interfaces are at the same place"
    primary = next(spec for spec in specs if (spec.card, spec.device) == (0, 0))
    assert primary.kind in ("interface", "efa"), "the primary interface has an address"
    cards = {card.index: card for card in facts.cards}
    for index, count in Counter(spec.card for spec in specs).items():
        assert count <= cards[index].slots
    assert all(spec.kind in cards[spec.card].kinds for spec in specs)
    assert all(count == 1 for count in Counter(s.card for s in specs if s.kind in EFA).values()), "one device a card"
    assert efa_devices(specs) == most_devices(facts, layout)
    with_address = sum(spec.kind != "efa-only" for spec in specs)
    assert addresses(specs) == with_address
    if layout != "efa" and all(set(EFA) <= set(card.kinds) for card in facts.cards):
        assert with_address == 1, "one address is enough"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_gets_all_of_its_efa_devices(layout: Layout) -> None:
    """Each type with EFA has as many devices as its cards take, every interface where EC2 allows it; others none."""
    seen = Counter[int]()
    for facts in bundled().values():
        specs = efa_layout(facts, ("sg-1",), layout)
        if not facts.efa:
            assert specs == ()
            continue
        check(facts, layout, specs)
        assert all(spec.groups == ("sg-1",) for spec in specs)
        seen[efa_devices(specs)] += 1
    assert {1, 2, 4, 8, 16, 32} <= set(seen)


KINDS = st.sampled_from(
    [("interface",), ("interface", "efa"), ("interface", "efa-only"), ("interface", "efa", "efa-only")]
)
CARDS = st.lists(st.tuples(KINDS, st.integers(1, 4)), min_size=1, max_size=6)


@given(CARDS, st.integers(1, 8), st.sampled_from(LAYOUTS), st.randoms(use_true_random=False))
def test_types_to_come_are_laid_out_as_well(
    cards: list[tuple[tuple[str, ...], int]], efa: int, layout: Layout, order: object
) -> None:
    """Cards of any kinds, in any order: the same rules, and no device of too much; none where no card takes one."""
    made = [Card(index, kinds, slots) for index, (kinds, slots) in enumerate(cards)]
    order.shuffle(made)  # type: ignore[attr-defined]
    facts = TypeFacts("made.up", 8, 1024, efa, 0, (), ("x86_64",), 4, (), tuple(made))
    specs = efa_layout(facts, (), layout)
    if any(takes_efa(card) for card in made):
        check(facts, layout, specs)
    else:
        assert specs == ()


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=40))
def test_names_are_what_ec2_takes(gang: str, request_id: str, fingerprint: str) -> None:
    """Whatever a gang is called, its placement group's name is printable ASCII and short, the same every time."""
    name = group_name("lab", gang, request_id)
    assert name == group_name("lab", gang, request_id)
    assert len(name) <= 255
    assert name.isascii()
    assert name != group_name("lab", gang, request_id + "/1")
    assert template_name("lab", fingerprint, gang) == template_name("lab", fingerprint, gang)
