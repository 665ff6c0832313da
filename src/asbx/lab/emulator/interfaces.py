"""What EC2 checks of network interfaces: cards, devices, EFA, addresses.

Limits come from DescribeInstanceTypes (NetworkInfo). Rules: EC2 user guide, "Elastic Fabric Adapter", "Multiple
network cards"; EC2 API reference, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest. Where AWS names no
code, the one here is our choice; the texts name the rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asbx.lab.emulator import catalogue

Nic = Mapping[str, Any]
Bar = tuple[str, str]

EFA_ONLY = "efa-only"
KINDS = ("interface", "efa", EFA_ONLY)
# What gives an interface an address; an efa-only one has none (EC2 user guide, "EFA-only interfaces").
_ADDRESSING = (
    "AssociatePublicIpAddress",
    "PrivateIpAddress",
    "PrivateIpAddresses",
    "SecondaryPrivateIpAddressCount",
    "Ipv4PrefixCount",
    "Ipv4Prefixes",
    "Ipv6AddressCount",
    "Ipv6Addresses",
    "Ipv6PrefixCount",
    "Ipv6Prefixes",
)
_COMBINATION, _VALUE, _TOO_MANY = "InvalidParameterCombination", "InvalidParameterValue", "AttachmentLimitExceeded"


def interface_bar(instance_type: str, nics: Sequence[Nic]) -> Bar | None:
    """Return why a type cannot have these interfaces; None if it can, or if none are named."""
    if any("DeviceIndex" not in nic for nic in nics):
        return "MissingParameter", "Each network interface requires a device index."
    return next(_bars(instance_type, nics), None) if nics else None


def kind_of(nic: Nic) -> str:
    """Return the interface type: interface, efa or efa-only."""
    return str(nic.get("InterfaceType") or "interface")


def _slot(nic: Nic) -> tuple[int, int]:
    """Return network card and device index."""
    return int(nic.get("NetworkCardIndex") or 0), int(nic["DeviceIndex"])


def _bars(instance_type: str, nics: Sequence[Nic]) -> Iterator[Bar]:
    for nic in nics:
        yield from _lone_bars(instance_type, nic)
    slots = Counter(_slot(nic) for nic in nics)
    for (card, device), count in slots.items():
        if count > 1:
            yield _VALUE, f"Several network interfaces have device index {device} on network card {card}."
    primary = [kind_of(nic) for nic in nics if _slot(nic) == (0, 0)]
    if not primary or primary[0] == EFA_ONLY:
        yield _COMBINATION, "Exactly one interface that has an address must be at network card 0, device 0."
    if len(nics) > 1 and any(nic.get("AssociatePublicIpAddress") for nic in nics):
        text = "The associatePublicIPAddress parameter cannot be specified when launching with multiple interfaces."
        yield _COMBINATION, text
    yield from _count_bars(instance_type, nics)


def _lone_bars(instance_type: str, nic: Nic) -> Iterator[Bar]:
    kind, (index, device) = kind_of(nic), _slot(nic)
    cards = catalogue.network_cards(instance_type)
    if kind not in KINDS:
        yield _VALUE, f"Invalid value '{kind}' for interfaceType."
    if index >= len(cards):
        yield _VALUE, f"Network card index {index} exceeds the limit for {instance_type}, which has {len(cards)}."
        return
    card = cards[index]
    if kind != "interface" and not catalogue.takes_efa(instance_type):
        yield _COMBINATION, f"EFA interfaces are not supported on {instance_type}."
    elif kind not in card.kinds:
        yield _COMBINATION, f"Network card {index} of {instance_type} does not support interfaces of type {kind}."
    if device >= card.interfaces:
        yield (
            _VALUE,
            (
                f"The specified number '{device}' for the device index exceeds the maximum number of network "
                f"interfaces ({card.interfaces}) supported by the network card at network card index {index}."
            ),
        )
    if kind == EFA_ONLY:
        given = [name for name in _ADDRESSING if nic.get(name) is not None]
        if given:
            yield _VALUE, f"An interface of type efa-only has no IP address: {', '.join(given)} cannot be specified."


def _count_bars(instance_type: str, nics: Sequence[Nic]) -> Iterator[Bar]:
    most, most_efa = catalogue.most_interfaces(instance_type)
    efa = [_slot(nic)[0] for nic in nics if kind_of(nic) != "interface"]
    if len(nics) > most:
        yield _TOO_MANY, f"{instance_type} takes at most {most} network interfaces."
    if len(efa) > most_efa:
        yield _TOO_MANY, f"{instance_type} takes at most {most_efa} EFA interfaces."
    if len(set(efa)) < len(efa):
        yield _TOO_MANY, "A network card takes one EFA interface."
