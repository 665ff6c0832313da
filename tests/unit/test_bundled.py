"""The facts that ship with the program."""

from __future__ import annotations

from asbx.aws.bundled import BundledCatalogue, bundled
from asbx.model.market import Market, Template

CATALOGUE = BundledCatalogue("us-east-2")


def test_efa_types_say_what_layouts_need() -> None:
    """Cards by index, what may stand on them, and how many EFA interfaces there may be in all."""
    found = CATALOGUE.types(["p5.48xlarge", "hpc7a.96xlarge", "c7i.large", "made.up"])
    assert set(found) == {"p5.48xlarge", "hpc7a.96xlarge", "c7i.large"}
    assert [card.index for card in found["p5.48xlarge"].cards] == list(range(32))
    assert found["p5.48xlarge"].efa == 32
    assert Market.CAPACITY_BLOCK in found["p5.48xlarge"].markets
    assert found["hpc7a.96xlarge"].cores == 192
    assert found["hpc7a.96xlarge"].cards[1].kinds == ("interface", "efa", "efa-only")
    assert found["c7i.large"].cards[0].kinds == ("interface",)


def test_every_row_is_whole() -> None:
    """Cores, cards and strategies are there for all types, EFA needs a card that takes it."""
    for facts in bundled().values():
        assert facts.cores, facts.name
        assert facts.cards, facts.name
        assert "spread" in facts.placement, facts.name
        assert not facts.efa or any("efa" in card.kinds for card in facts.cards), facts.name


def test_zones_tell_never_from_unknown() -> None:
    """A type that a region does not sell has no zones; a region nobody wrote down is unknown."""
    assert CATALOGUE.zones(["hpc7a.96xlarge", "made.up"]) == {"hpc7a.96xlarge": frozenset({"us-east-2b"})}
    assert BundledCatalogue("us-east-1").zones(["hpc7a.96xlarge"]) == {"hpc7a.96xlarge": frozenset()}
    assert BundledCatalogue("xx-nowhere-1").zones(["hpc7a.96xlarge"]) == {}


def test_the_rest_is_unknown() -> None:
    """What only the account knows is left out, and nothing is called missing."""
    assert CATALOGUE.template(Template("lt-1")) is None
    assert not CATALOGUE.missing_template(Template("lt-1"))
    assert CATALOGUE.quota(Market.SPOT, "c7i.large") is None
    assert CATALOGUE.subnets(["subnet-a"]) == {}
    assert CATALOGUE.reservations(["cr-1"]) == {}
    assert CATALOGUE.without_self_rule(["sg-1"]) == ()
    assert CATALOGUE.spot_scores(["a.b", "c.d", "e.f"], 1) == {}
