"""Make sure Slurm listens on loopback only, whatever this machine's own name resolves to.

With NoCtldInAddrAny and NoInAddrAny, Slurm's daemons bind the address of gethostname() (seen on 22.05.8). Where that
is a loopback address, good. Where it is a network card's or nothing (containers, many cloud images), the wrapper
library nss_wrapper (cwrap.org, Debian package libnss-wrapper) makes them see the name `localhost` instead.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from asbx.lab.layout import Layout
from asbx.lab.trouble import LabError

LOCALHOST = "127.0.0.1"


def own_address() -> str:
    """Return the IPv4 address the host's own name resolves to, "" when it is not a loopback one."""
    if "NSS_WRAPPER_HOSTNAME" in os.environ:
        return ""  # in a shell with another lab's environment: the name we see is not the host's
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
    return address if address.startswith("127.") else ""


def disguise(layout: Layout, *, always: bool = False) -> dict[str, str]:
    """Return the environment that makes programs take this host for `localhost`; empty where it is not needed.

    always: it is needed, because processes are to have names of their own.

    Raises LabError (`lab-host-name`) when it is needed and the library is not installed.
    """
    if own_address() and not always:
        return {}
    found = sorted(Path("/usr/lib").glob("*/libnss_wrapper.so")) + sorted(Path("/usr/lib64").glob("libnss_wrapper.so"))
    if not found:
        raise LabError(
            "lab-host-name",
            f"this host's name {socket.gethostname()!r} does not resolve to a loopback address",
            "Slurm's daemons would listen on a network card or not start at all",
            "install the package libnss-wrapper (`make setup` does), or add `127.0.1.1 NAME` to /etc/hosts",
        )
    hosts = layout.run / "hosts"
    hosts.write_text(f"{LOCALHOST} localhost\n", encoding="utf-8")
    return {"LD_PRELOAD": str(found[0]), "NSS_WRAPPER_HOSTS": str(hosts), "NSS_WRAPPER_HOSTNAME": "localhost"}
