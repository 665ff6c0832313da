"""What EC2 says about its instance types, as far as it ships with the program.

The bundled table holds public facts of DescribeInstanceTypes (vCPUs, memory, EFA interfaces, markets) as moto carries
them; `scripts/catalogue.py` writes it anew. It serves dry runs and checks without AWS; live facts come from EC2 itself.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from asbx.model.market import Market


@dataclass(frozen=True)
class TypeFacts:
    """One instance type. efa: how many EFA interfaces it takes, 0 for none. arch: x86_64 or arm64, first first."""

    name: str
    vcpus: int
    memory_mib: int
    efa: int
    gpus: int
    markets: tuple[Market, ...]
    arch: tuple[str, ...]


@cache
def bundled() -> dict[str, TypeFacts]:
    """Return the bundled table, read once."""
    raw = resources.files("asbx.aws").joinpath("catalogue.json.gz").read_bytes()
    return {
        name: TypeFacts(name, row[0], row[1], row[2], row[3], tuple(Market(m) for m in row[4]), tuple(row[5]))
        for name, row in json.loads(gzip.decompress(raw)).items()
    }
