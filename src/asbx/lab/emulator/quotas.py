"""The account's vCPU quotas, by market and class of instance families.

Names and codes: Service Quotas, service ec2 (EC2 user guide, "On-Demand Instance quotas" and "Spot Instance quotas";
the codes as `aws service-quotas list-service-quotas` prints them, read in several public listings).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from asbx.sim.market import Lifecycle

STANDARD = "standard"
# Without a quota of ours there is none; Service Quotas has no word for that and answers this.
UNLIMITED = 1_000_000
_CLASSES = {
    "dl": "dl",
    "f": "f",
    "g": "g",
    "gr": "g",
    "hpc": "hpc",
    "inf": "inf",
    "p": "p",
    "trn": "trn",
    "u": "high_memory",
    "vt": "g",
    "x": "x",
}
_LETTERS = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Quota:
    """One quota. family: a class of families. knob: what sets it here."""

    code: str
    name: str
    market: Lifecycle
    family: str

    @property
    def knob(self) -> str:
        """The knob that sets it."""
        market = self.market.value.replace("-", "_")
        return f"vcpus_{market}" if self.family == STANDARD else f"vcpus_{market}_{self.family}"


def _on_demand(code: str, words: str, family: str) -> Quota:
    return Quota(code, f"Running On-Demand {words} instances", Lifecycle.ON_DEMAND, family)


def _spot(code: str, words: str, family: str) -> Quota:
    return Quota(code, f"All {words} Spot Instance Requests", Lifecycle.SPOT, family)


QUOTAS = (
    _on_demand("L-1216C47A", "Standard (A, C, D, H, I, M, R, T, Z)", STANDARD),
    _on_demand("L-6E869C2A", "DL", "dl"),
    _on_demand("L-74FC7D96", "F", "f"),
    _on_demand("L-DB2E81BA", "G and VT", "g"),
    _on_demand("L-F7808C92", "HPC", "hpc"),
    _on_demand("L-43DA4232", "High Memory", "high_memory"),
    _on_demand("L-1945791B", "Inf", "inf"),
    _on_demand("L-417A185B", "P", "p"),
    _on_demand("L-2C3B7624", "Trn", "trn"),
    _on_demand("L-7295265B", "X", "x"),
    _spot("L-34B43A08", "Standard (A, C, D, H, I, M, R, T, Z)", STANDARD),
    _spot("L-85EED4F7", "DL", "dl"),
    _spot("L-88CF9481", "F", "f"),
    _spot("L-3819A6DF", "G and VT", "g"),
    _spot("L-B5D1601B", "Inf", "inf"),
    _spot("L-7212CCBC", "P4, P3 and P2", "p"),
    _spot("L-C4BD4855", "P5", "p5"),
    _spot("L-6B0D517C", "Trn", "trn"),
    _spot("L-E3A00192", "X", "x"),
)


@cache
def family_class(instance_type: str, market: Lifecycle) -> str:
    """Return the class whose quota counts a type on a market."""
    letters = _LETTERS.match(instance_type)
    found = _CLASSES.get(letters.group() if letters else "", STANDARD)
    # Spot has a quota of its own for P5 (EC2 user guide, "Spot Instance quotas").
    return "p5" if market is Lifecycle.SPOT and instance_type.startswith("p5") else found
