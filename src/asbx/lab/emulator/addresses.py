"""Hand out the private addresses of a subnet."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv4Network

# VPC user guide, "Subnet sizing": AWS keeps the first four addresses and the last of every subnet.
_FIRST, _LAST = 4, 1


class AddressPool:
    """The addresses of one subnet.

    A fresh address is preferred to a returned one, and the one returned longest ago to the others: whoever
    still listens on an old address is left in peace as long as possible.
    """

    def __init__(self, cidr: str) -> None:
        network = IPv4Network(cidr, strict=False)
        first = int(network.network_address)
        self._next = first + _FIRST
        self._end = first + network.num_addresses - _LAST
        self._returned: deque[int] = deque()
        self.taken = 0

    @property
    def free(self) -> int:
        """How many addresses are left."""
        return max(0, self._end - self._next) + len(self._returned)

    def take(self) -> str:
        """Return an address. Raises ValueError when there is none; ask `free` first."""
        if self._next < self._end:
            number = self._next
            self._next += 1
        elif self._returned:
            number = self._returned.popleft()
        else:
            raise ValueError("no free address")
        self.taken += 1
        return str(IPv4Address(number))

    def give_back(self, address: str) -> None:
        """Take an address back."""
        self._returned.append(int(IPv4Address(address)))
        self.taken -= 1
