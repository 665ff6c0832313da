"""What EC2 says about its instance types, as far as it ships with the program.

Public facts of DescribeInstanceTypes and DescribeInstanceTypeOfferings as moto carries them; `scripts/catalogue.py`
writes them anew. They serve dry runs and checks without AWS; live facts come from EC2 itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from asbx.model.catalogue import Card, ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Template

_KINDS = {"i": "interface", "e": "efa", "o": "efa-only"}


@cache
def bundled() -> dict[str, TypeFacts]:
    """Return the bundled table, read once."""
    return {
        name: TypeFacts(
            name=name,
            vcpus=row[0],
            memory_mib=row[1],
            efa=row[2],
            gpus=row[3],
            markets=tuple(Market(market) for market in row[4]),
            arch=tuple(row[5]),
            cores=row[6],
            placement=tuple(row[7]),
            cards=_cards(row[8]),
            gpu_name=row[9] if len(row) > 9 else "",
            gpu_memory_mib=row[10] if len(row) > 9 else 0,
        )
        for name, row in _read("catalogue.json.gz").items()
    }


@cache
def bundled_zones(region: str) -> dict[str, frozenset[str]]:
    """Return the zones of a region by type, {} for a region that is not in the table."""
    offers = _read("offerings.json.gz").get(region, {})
    return {name: frozenset(zones.split(",")) for zones, names in offers.items() for name in names}


def _read(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(gzip.decompress(resources.files("asbx.aws").joinpath(name).read_bytes()))
    return table


def _cards(runs: list[list[Any]]) -> tuple[Card, ...]:
    """Spread runs of [how many, kinds, slots] out to one card each."""
    alike = [(tuple(_KINDS[kind] for kind in kinds), slots) for count, kinds, slots in runs for _ in range(count)]
    return tuple(Card(index, kinds, slots) for index, (kinds, slots) in enumerate(alike))


class BundledCatalogue:
    """The Catalogue port without AWS: types and zones as they ship, everything else unknown."""

    def __init__(self, region: str) -> None:
        self._region = region

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts of those in the table."""
        return {name: bundled()[name] for name in names if name in bundled()}

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return zones by type; a region or a type that is not in the table is unknown, not without zones."""
        offers = bundled_zones(self._region)
        known = {name for name in names if name in bundled()} if offers else set()
        return {name: offers.get(name, frozenset()) for name in known}

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return nothing."""
        del self, ids
        return {}

    def template(self, template: Template) -> TemplateFacts | None:
        """Return nothing."""
        return dict[Template, TemplateFacts]().get(template)

    def missing_template(self, template: Template) -> bool:
        """Return False: nobody said that it is missing."""
        del self, template
        return False

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Return nothing."""
        return dict[tuple[Market, str], int]().get((market, instance_type))

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Return nothing."""
        del self, ids
        return {}

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return nothing."""
        del self, groups
        return ()

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Return nothing."""
        del self, instance_types, count
        return {}

    def ask_spot_scores(self) -> None:
        """Ask nobody."""

    def forget(self) -> None:
        """Do nothing: the table does not change."""
