"""The doors `Catalogue`, `Prices` and `Recorder` of the pretend world: what it knows, it tells at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from asbx.aws.bundled import bundled
from asbx.model.catalogue import ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.event import Event, EventKind
from asbx.model.market import Market, Template
from asbx.model.price import PriceChange
from asbx.sim.hub import SECOND, Hub
from asbx.sim.market import Market as Pools
from asbx.sim.prices import Lifecycle, PoolKey

_TEXTS = 50
# A pass says `TypeError: ..` of a fault of ours, and the code of what it met of everything else.
_A_FAULT = re.compile(r"\w+(Error|Exception): ")


class SimCatalogue:
    """EC2's facts: types as bundled, every type in every zone, a subnet of ample room in each."""

    def __init__(self, zones: Sequence[str]) -> None:
        self._zones = frozenset(zones)
        self._subnets = {
            f"subnet-{zone}": SubnetFacts(f"subnet-{zone}", zone, f"az{n}", 1 << 16, "vpc-sim")
            for n, zone in enumerate(zones, 1)
        }

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts by type."""
        table = bundled()
        return {name: table[name] for name in names if name in table}

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the zones that offer each type."""
        return dict.fromkeys(names, self._zones)

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return facts by subnet id."""
        return {one: self._subnets[one] for one in ids if one in self._subnets}

    def template(self, template: Template) -> TemplateFacts | None:
        """Return what the one launch template says."""
        fixed = Template(template.template_id, template.name, "1")
        return TemplateFacts(fixed, "ami-sim", ("sg-sim",), arch="x86_64", fingerprint=template.name)

    def missing_template(self, template: Template) -> bool:
        """None is missing."""
        del template
        return False

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Tell of no quota."""
        del market, instance_type
        return None

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Know of none."""
        del ids
        return {}

    def missing_reservation(self, reservation: str) -> bool:
        """Every one is missing."""
        del reservation
        return True

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Every security group is in order."""
        del groups
        return ()

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Tell no scores."""
        del instance_types, count
        return {}

    def ask_spot_scores(self) -> None:
        """There are none."""

    def forget(self) -> None:
        """Nothing is remembered."""


class SimPrices:
    """The market's prices, as they are now."""

    def __init__(self, hub: Hub, pools: Pools, zones: Sequence[str]) -> None:
        self._hub, self._pools, self._zone = hub, pools, zones[0]

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price now."""
        key = PoolKey(instance_type, zone or self._zone, Lifecycle(market.value))
        return self._pools.prices.price(key, self._hub.now_us / SECOND)

    hourly = known

    def learn(self, changes: Iterable[PriceChange]) -> None:
        """Learn nothing: the market is known as it is."""


class SimRecorder:
    """Counts events, and keeps the first words of those that tell of faults in the program."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()

    def record(self, event: Event) -> None:
        """Count it."""
        self.counts[event.kind.value] += 1
        if event.kind is EventKind.PASS_FAILED and _A_FAULT.match(event.text) and len(self.texts) < _TEXTS:
            self.texts[event.text[:200]] += 1
