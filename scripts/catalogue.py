"""Write the bundled facts of src/asbx/aws from those that moto carries. Run when moto is updated.

catalogue.json.gz: instance type -> row of facts. offerings.json.gz: region -> zones with "," between -> types there.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src/asbx/aws"
KINDS = {"interface": "i", "efa": "e", "efa-only": "o"}
MARKETS = ("on-demand", "spot", "capacity-block")


def main() -> None:
    """Cut the facts down to what the Catalogue door tells and write them reproducibly."""
    source = resources.files("moto.ec2").joinpath("resources")
    types = _read(source.joinpath("instance_types.json.gz"))
    _write("catalogue.json.gz", {name: row(facts) for name, facts in sorted(types.items())})
    folder = source.joinpath("instance_type_offerings/availability-zone")
    regions = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json.gz")), key=lambda e: e.name)
    _write("offerings.json.gz", {entry.name.split(".")[0]: offerings(_read(entry)) for entry in regions})


def row(facts: dict[str, Any]) -> list[Any]:
    """Return [vCPUs, MiB, EFA interfaces, GPUs, markets, architectures, cores, placement strategies, cards].

    Types with GPUs have their name and the MiB of one of them after that.
    """
    network = facts.get("NetworkInfo") or {}
    gpus = (facts.get("GpuInfo") or {}).get("Gpus") or []
    cards = sorted(network.get("NetworkCards") or [], key=lambda card: card["NetworkCardIndex"])
    return [
        facts["VCpuInfo"]["DefaultVCpus"],
        facts["MemoryInfo"]["SizeInMiB"],
        (network.get("EfaInfo") or {}).get("MaximumEfaInterfaces", 0),
        sum(gpu.get("Count", 0) for gpu in gpus),
        [market for market in MARKETS if market in facts.get("SupportedUsageClasses", [])],
        facts["ProcessorInfo"]["SupportedArchitectures"],
        facts["VCpuInfo"]["DefaultCores"],
        (facts.get("PlacementGroupInfo") or {}).get("SupportedStrategies", []),
        alike(cards),
        *([gpus[0]["Name"], gpus[0]["MemoryInfo"]["SizeInMiB"]] if gpus else []),
    ]


def alike(cards: list[dict[str, Any]]) -> list[list[Any]]:
    """Return [how many, kinds of interfaces, slots] for neighbouring cards that are alike."""
    assert [card["NetworkCardIndex"] for card in cards] == list(range(len(cards)))
    pairs = [("".join(KINDS[k] for k in card["InterfaceTypes"]), card["MaximumNetworkInterfaces"]) for card in cards]
    return [[len(list(run)), *pair] for pair, run in groupby(pairs)]


def offerings(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Return types by the zones that offer them."""
    zones: dict[str, set[str]] = defaultdict(set)
    for item in rows:
        zones[item["InstanceType"]].add(item["Location"])
    types: dict[str, list[str]] = defaultdict(list)
    for name, where in sorted(zones.items()):
        types[",".join(sorted(where))].append(name)
    return dict(sorted(types.items()))


def _read(path: Any) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _write(name: str, table: Any) -> None:
    packed = gzip.compress(json.dumps(table, separators=(",", ":")).encode(), 9, mtime=0)
    (TARGET / name).write_bytes(packed)
    print(f"{name}: {len(packed)} bytes")


if __name__ == "__main__":
    main()
