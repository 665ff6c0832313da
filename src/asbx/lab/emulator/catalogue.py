"""What EC2 says of its instance types, from the real lists that moto carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES


def vcpus(instance_type: str) -> int:
    """Return the number of vCPUs of a known type."""
    return int(INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def architecture(instance_type: str) -> str:
    """Return x86_64 or arm64, for a known type."""
    kinds = INSTANCE_TYPES[instance_type]["ProcessorInfo"]["SupportedArchitectures"]
    return "arm64" if "arm64" in kinds else "x86_64"


def core_options(instance_type: str) -> tuple[int, int]:
    """Return cores and threads a core, for a known type."""
    info = INSTANCE_TYPES[instance_type]["VCpuInfo"]
    threads = int(info.get("DefaultThreadsPerCore", 1))
    return int(info.get("DefaultCores", info["DefaultVCpus"] // threads)), threads


def is_nitro(instance_type: str) -> bool:
    """Whether a known type is built on the Nitro system; bare metal is, and has no hypervisor to name."""
    facts = INSTANCE_TYPES[instance_type]
    return bool(facts.get("BareMetal")) or facts.get("Hypervisor") == "nitro"


def takes_efa(instance_type: str) -> bool:
    """Whether a known type can carry EFA interfaces."""
    return bool(INSTANCE_TYPES[instance_type].get("NetworkInfo", {}).get("EfaSupported"))


@dataclass(frozen=True)
class NetworkCard:
    """A network card of a type: how many interfaces it takes, and of which kinds."""

    interfaces: int
    kinds: frozenset[str]


@cache
def network_cards(instance_type: str) -> tuple[NetworkCard, ...]:
    """Return the network cards of a known type, by index."""
    info = INSTANCE_TYPES[instance_type]["NetworkInfo"]
    cards = sorted(info["NetworkCards"], key=lambda card: int(card["NetworkCardIndex"]))
    return tuple(NetworkCard(int(c["MaximumNetworkInterfaces"]), frozenset(c["InterfaceTypes"])) for c in cards)


def most_interfaces(instance_type: str) -> tuple[int, int]:
    """Return how many interfaces a known type takes at most, and how many of them EFA."""
    info = INSTANCE_TYPES[instance_type]["NetworkInfo"]
    return int(info["MaximumNetworkInterfaces"]), int(info.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0))


def placement_strategies(instance_type: str) -> frozenset[str]:
    """Return the placement group strategies a known type can be in."""
    return frozenset(INSTANCE_TYPES[instance_type].get("PlacementGroupInfo", {}).get("SupportedStrategies", ()))


def usage_classes(instance_type: str) -> frozenset[str]:
    """Return the markets a known type is sold on, in EC2's words."""
    return frozenset(INSTANCE_TYPES[instance_type].get("SupportedUsageClasses", ()))


@cache
def zones_by_type(region: str) -> dict[str, frozenset[str]]:
    """Return, for each type offered in a region, the zones that offer it."""
    zones: dict[str, set[str]] = {}
    for offering in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ()):
        zones.setdefault(offering["InstanceType"], set()).add(offering["Location"])
    return {kind: frozenset(found) for kind, found in zones.items()}


def is_known(instance_type: str, region: str) -> bool:
    """Whether the type exists and the region offers it."""
    return instance_type in INSTANCE_TYPES and instance_type in zones_by_type(region)
