"""Write src/asbx/aws/catalogue.json.gz from the instance-type facts that moto carries. Run when moto is updated."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src/asbx/aws/catalogue.json.gz"


def main() -> None:
    """Cut the facts down to what TypeFacts holds and write them reproducibly."""
    packed = resources.files("moto.ec2").joinpath("resources/instance_types.json.gz").read_bytes()
    raw = json.loads(gzip.decompress(packed))
    table = {name: row(facts) for name, facts in sorted(raw.items())}
    TARGET.write_bytes(gzip.compress(json.dumps(table, separators=(",", ":")).encode(), 9, mtime=0))


def row(facts: dict[str, object]) -> list[object]:
    """Return [vCPUs, memory MiB, EFA interfaces, GPUs, markets, architectures] of one type."""
    network = facts.get("NetworkInfo") or {}
    gpus = (facts.get("GpuInfo") or {}).get("Gpus") or []  # type: ignore[attr-defined]
    return [
        facts["VCpuInfo"]["DefaultVCpus"],  # type: ignore[index]
        facts["MemoryInfo"]["SizeInMiB"],  # type: ignore[index]
        (network.get("EfaInfo") or {}).get("MaximumEfaInterfaces", 0),  # type: ignore[attr-defined]
        sum(gpu.get("Count", 0) for gpu in gpus),
        [use for use in facts.get("SupportedUsageClasses", []) if use in ("on-demand", "spot")],  # type: ignore[attr-defined]
        facts["ProcessorInfo"]["SupportedArchitectures"],  # type: ignore[index]
    ]


if __name__ == "__main__":
    main()
