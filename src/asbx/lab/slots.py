"""Give each lab a network and ports of its own, so that several run side by side on one machine.

Slot k owns addresses 127.(100+k).0.0/16 (the lab's VPC) and 1,024 ports below the kernel's ephemeral range. A lab
claims its slot by listening on the slot's first port for as long as it is up, which works across users and needs no
file outside the state folder.
"""

from __future__ import annotations

import socket
import zlib
from dataclasses import dataclass
from pathlib import Path

from asbx.lab.trouble import LabError

_FIRST_PORT = 10240
_PORTS = 1024
_SLOTS = 22  # 10240 + 22 * 1024 = 32768, where ephemeral ports begin by default (ip(7))
_FIRST_NODE_PORT = 8
MOST_NODES = _PORTS - _FIRST_NODE_PORT


@dataclass(frozen=True)
class Slot:
    """A lab's share of the loopback network. address: what the host's own name resolves to."""

    number: int
    address: str

    @property
    def _base(self) -> int:
        return _FIRST_PORT + self.number * _PORTS

    @property
    def claim_port(self) -> int:
        """Held open while the lab is up."""
        return self._base

    @property
    def slurmctld_port(self) -> int:
        """Where slurmctld listens."""
        return self._base + 1

    @property
    def slurmdbd_port(self) -> int:
        """Where slurmdbd listens."""
        return self._base + 2

    @property
    def database_port(self) -> int:
        """Where MariaDB listens."""
        return self._base + 3

    @property
    def telemetry_port(self) -> int:
        """Where the product's daemon answers for itself."""
        return self._base + 7

    def node_port(self, index: int) -> int:
        """Return the port of the index-th node of the cluster."""
        return self._base + _FIRST_NODE_PORT + index

    @property
    def network(self) -> str:
        """First two numbers of every address in the lab's VPC."""
        return f"127.{100 + self.number}"


def claim(root: Path, address: str, nodes: int) -> tuple[Slot, socket.socket]:
    """Return a free slot and the listening socket that claims it. Raises LabError (`lab-no-slot`).

    nodes: how many node ports must be free; somebody else may sit on the others.
    The search starts at a place given by the folder, so a lab usually gets the same ports again.
    """
    start = zlib.crc32(str(root).encode()) % _SLOTS
    for step in range(_SLOTS):
        slot = Slot((start + step) % _SLOTS, address)
        held = _listen(address, slot.claim_port)
        if held is None:
            continue
        if all(_is_free(address, slot.claim_port + offset) for offset in range(1, _FIRST_NODE_PORT + nodes)):
            return slot, held
        held.close()
    raise LabError(
        "lab-no-slot",
        "no block of free ports is left for another lab",
        f"all {_SLOTS} blocks of {_PORTS} ports from {_FIRST_PORT} on are in use on {address}",
        "end a lab with `asbx lab down`",
    )


def _listen(address: str, port: int) -> socket.socket | None:
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((address, port))
        line.listen(1)
    except OSError:
        line.close()
        return None
    return line


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind((address, port))
        except OSError:
            return False
        return True
