"""Where a gang's network is: the layout of EFA interfaces on a type's cards, and the placement group it goes into.

Everything follows from what DescribeInstanceTypes says of a type; no list of types is kept here.
Sources: EC2 user guide, "Maximize network bandwidth on Amazon EC2 instances with multiple network cards" (primary
interface on card 0 device 0; further cards device 1, EFA or EFA-only) and "Placement groups".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from asbx.config.limits import GROUP_NAME_MAX
from asbx.model.catalogue import Card, InterfaceSpec, TemplateFacts, TypeFacts

Layout = Literal["efa-only", "efa", "separate"]
_EFA = ("efa", "efa-only")


def efa_layout(facts: TypeFacts, groups: tuple[str, ...], layout: Layout) -> tuple[InterfaceSpec, ...]:
    """Return the interfaces of an instance that uses every EFA device its type has; () for a type without EFA.

    `efa-only`: one interface with an address on card 0, the other cards carry EFA devices without one. `efa`: every
    card has an address. `separate`: the addressed interface is plain, and card 0's EFA device is a second one on it.
    The primary interface (card 0, device 0) always has an address: efa-only cannot be primary.
    """
    cards = _cards(facts)
    if not facts.efa or not any(_takes_efa(card) for card in cards):
        return ()
    first, others = cards[0], cards[1:]
    specs = [InterfaceSpec(first.index, 0, _primary_kind(first, layout), groups)]
    left = facts.efa - (specs[0].kind == "efa")
    if layout == "separate" and "efa-only" in first.kinds and first.slots > 1 and left:
        specs.append(InterfaceSpec(first.index, 1, "efa-only", groups))
        left -= 1
    for card in others:
        if left and _takes_efa(card):
            device = 0 if layout == "separate" else 1
            specs.append(InterfaceSpec(card.index, device, _further_kind(card, layout), groups))
            left -= 1
    return tuple(specs)


def _primary_kind(card: Card, layout: Layout) -> str:
    if "efa" not in card.kinds or (layout == "separate" and "efa-only" in card.kinds and card.slots > 1):
        return "interface"
    return "efa"


def _further_kind(card: Card, layout: Layout) -> str:
    wanted = "efa" if layout == "efa" else "efa-only"
    return wanted if wanted in card.kinds else next(kind for kind in _EFA if kind in card.kinds)


def _takes_efa(card: Card) -> bool:
    return any(kind in card.kinds for kind in _EFA)


def _cards(facts: TypeFacts) -> tuple[Card, ...]:
    """Return a type's cards by index; where EC2 names none, one that takes what the type takes."""
    if facts.cards:
        return tuple(sorted(facts.cards, key=lambda card: card.index))
    return (Card(0, ("interface", "efa", "efa-only") if facts.efa else ("interface",), 2),)


def plain_layout(template: TemplateFacts) -> tuple[InterfaceSpec, ...]:
    """Return interfaces without EFA for a template that has some; () where the template can stay as it is."""
    if not any(spec.kind in _EFA for spec in template.interfaces):
        return ()
    first = next((s for s in template.interfaces if (s.card, s.device) == (0, 0)), template.interfaces[0])
    return (InterfaceSpec(0, 0, "interface", template.groups or first.groups, first.public),)


def with_public_address(specs: tuple[InterfaceSpec, ...], template: TemplateFacts) -> tuple[InterfaceSpec, ...]:
    """Carry the base's wish for a public address over where AWS allows it: with a single interface only."""
    stated = next((s.public for s in template.interfaces if (s.card, s.device) == (0, 0)), None)
    if len(specs) != 1 or stated is None:
        return specs
    return (replace(specs[0], public=stated),)


def addresses(specs: Sequence[InterfaceSpec]) -> int:
    """Return how many addresses of the subnet one instance takes: efa-only interfaces have none."""
    return sum(1 for spec in specs if spec.kind != "efa-only") or 1


def efa_devices(specs: Sequence[InterfaceSpec]) -> int:
    """Return how many EFA devices one instance has."""
    return sum(1 for spec in specs if spec.kind in _EFA)


def group_name(cluster: str, gang_id: str, request_id: str) -> str:
    """Return the name of a gang's own placement group: readable, unique for the request, as long as EC2 allows.

    A job that is requeued gets another group: the old one may still hold instances that are ending.
    """
    digest = hashlib.sha256(f"{cluster}/{gang_id}/{request_id}".encode()).hexdigest()[:10]
    head = f"asbx-{cluster}-{gang_id}".encode("ascii", "replace").decode().replace("?", "_")
    return f"{head[: GROUP_NAME_MAX - len(digest) - 1]}-{digest}"


def template_name(cluster: str, fingerprint: str, text: str) -> str:
    """Return the name of a derived launch template: the same base and change always have the same name."""
    digest = hashlib.sha256(f"{fingerprint}/{text}".encode()).hexdigest()[:24]
    return f"asbx-{cluster}-{digest}"
