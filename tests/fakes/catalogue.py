"""Facts of EC2 from dictionaries: what is not written there is as good as it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from asbx.aws.bundled import bundled
from asbx.model.catalogue import Card, ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Template

_Name = TypeVar("_Name", str, Template)
_ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")


@dataclass
class FakeCatalogue:
    """The door `Catalogue`. calls: method -> how often it was asked.

    type_facts: by type, None for one EC2 does not know; others are as bundled, and made-up names can do everything.
    offers: zones by type, else all three. subnet_facts: by id, None for unknown; others lie in the zone of their last
    letter, with room. template_facts: by template. missing: templates that do not exist. quotas: vCPUs by market and
    type, else unknown. closed: security groups without a rule for themselves. is_silent: EC2 answers nothing at all.
    """

    type_facts: dict[str, TypeFacts | None] = field(default_factory=dict)
    offers: dict[str, frozenset[str]] = field(default_factory=dict)
    subnet_facts: dict[str, SubnetFacts | None] = field(default_factory=dict)
    template_facts: dict[Template, TemplateFacts] = field(default_factory=dict)
    missing: set[Template] = field(default_factory=set)
    quotas: dict[tuple[Market, str], int] = field(default_factory=dict)
    reservation_facts: dict[str, ReservationFacts] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()
    scores: dict[str, int] = field(default_factory=dict)
    is_silent: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts by type."""
        return {name: facts for name in self._heard("types", names) if (facts := self._type(name))}

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the zones that offer each type."""
        return {name: self.offers.get(name, frozenset(_ZONES)) for name in self._heard("zones", names)}

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return facts by subnet id."""
        return {name: facts for name in self._heard("subnets", ids) if (facts := self._subnet(name))}

    def template(self, template: Template) -> TemplateFacts | None:
        """Return what a template says: an image, one security group, nothing special."""
        if not self._heard("template", [template]) or template in self.missing:
            return None
        version = "1" if template.version.startswith("$") else template.version
        fixed = Template(template.template_id, template.name, version)
        plain = TemplateFacts(fixed, "ami-1", ("sg-1",), arch="x86_64", fingerprint=f"{fixed.template_id}{fixed.name}")
        return self.template_facts.get(template, plain)

    def missing_template(self, template: Template) -> bool:
        """Whether it was said to be missing."""
        return bool(self._heard("missing_template", [template])) and template in self.missing

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Return the quota of vCPUs."""
        return self.quotas.get((market, instance_type)) if self._heard("quota", [instance_type]) else None

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Return facts by id of those there are."""
        heard = self._heard("reservations", ids)
        return {name: self.reservation_facts[name] for name in heard if name in self.reservation_facts}

    def missing_reservation(self, reservation: str) -> bool:
        """Whether it was said to be missing: no silent EC2 says that."""
        return bool(self._heard("missing_reservation", [reservation])) and reservation not in self.reservation_facts

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return those that are closed."""
        return tuple(name for name in self._heard("without_self_rule", groups) if name in self.closed)

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Return the scores; fewer than three types have none."""
        del count
        heard = self._heard("spot_scores", instance_types)
        return dict(self.scores) if len(heard) >= 3 else {}

    def ask_spot_scores(self) -> None:
        """Count it: the scores are there from the beginning."""
        self.calls["ask_spot_scores"] += 1

    def forget(self) -> None:
        """Note it."""
        self.calls["forget"] += 1

    def _heard(self, method: str, names: Iterable[_Name]) -> tuple[_Name, ...]:
        """Count a question, and return what it asks after as far as EC2 answers."""
        self.calls[method] += 1
        return () if self.is_silent else tuple(dict.fromkeys(names))

    def _type(self, name: str) -> TypeFacts | None:
        if name in self.type_facts:
            return self.type_facts[name]
        return bundled().get(name) or able(name)

    def _subnet(self, name: str) -> SubnetFacts | None:
        if name in self.subnet_facts:
            return self.subnet_facts[name]
        letter = name[-1]
        return SubnetFacts(name, f"us-east-2{letter}", f"use2-az{ord(letter) - ord('a') + 1}", 4000, "vpc-1")


def able(name: str) -> TypeFacts:
    """Return the facts of a type that can do everything, with EFA on one card."""
    card = Card(0, ("interface", "efa", "efa-only"), 4)
    placement = ("cluster", "partition", "spread")
    return TypeFacts(name, 96, 192 * 1024, 1, 0, tuple(Market), ("x86_64",), 48, placement, (card,))
