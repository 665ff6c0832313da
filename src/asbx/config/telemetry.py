"""The part of the configuration about the daemon's HTTP page for Prometheus and health checks."""

from __future__ import annotations

from ipaddress import ip_address

from asbx.config.section import Section


class Telemetry(Section):
    """Where the daemon answers for itself: `/metrics` and `/healthz`, over plain HTTP without a password."""

    listen: str = "127.0.0.1:9815"
    """Address and port; port 0 takes any free one, empty means nowhere. A port in use stops nothing."""
    allow_remote: bool = False
    """Let `listen` be an address that other machines reach. They then see node groups and costs."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Return (host, port), None for nowhere. Raises ValueError, whose text says what is wrong."""
        if not self.listen:
            return None
        host, colon, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be ADDRESS:PORT, such as 127.0.0.1:9815, or empty")
        try:
            found = ip_address(host)
        except ValueError:
            raise ValueError("must name an IP address: a name may mean another machine tomorrow") from None
        if not found.is_loopback and not self.allow_remote:
            raise ValueError("is reached by other machines; telemetry.allow_remote lets it be")
        return host, int(port)
