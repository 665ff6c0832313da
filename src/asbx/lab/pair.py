"""Two hosts in one machine, each with its slurmctld and its daemon: names, addresses, folders, files of each.

slurmctld finds its place in the order of SlurmctldHost by the host's name. libnss_wrapper gives each process tree a
name of its own, so no privilege and no namespace is needed; a loopback address for each lets both use one port.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asbx.lab import postgres
from asbx.lab.layout import Layout
from asbx.lab.record import Record

NUMBERS = (1, 2)


@dataclass(frozen=True)
class Host:
    """One of the two. What is local to a host lies in its folder; Slurm's state is shared, as on a real pair."""

    layout: Layout
    number: int

    @property
    def name(self) -> str:
        """Its name in SlurmctldHost."""
        return f"ctl{self.number}"

    def address(self, record: Record) -> str:
        """Return where its slurmctld listens: above the lab's subnets."""
        return f"{record.slot.network}.255.{self.number}"

    @property
    def folder(self) -> Path:
        """What is on this host alone."""
        return self.layout.root / self.name

    @property
    def slurm_conf(self) -> Path:
        """What its slurmctld reads."""
        return self.folder / "slurm.conf"

    @property
    def config(self) -> Path:
        """What its daemon and hooks read."""
        return self.folder / "aws-burst.yaml"

    @property
    def spool(self) -> Path:
        """Where its hooks write."""
        return self.folder / "spool"

    @property
    def socket(self) -> Path:
        """Where its daemon listens."""
        return self.folder / "asbx.sock"

    def process(self, kind: str) -> str:
        """Return what the record calls its slurmctld or daemon."""
        return kind if self.number == 1 else f"{kind}-{self.number}"

    def environment(self, record: Record) -> dict[str, str]:
        """Return what makes a process believe that it runs there."""
        return {**record.disguise, "NSS_WRAPPER_HOSTNAME": self.name} if is_pair(record) else {}


def is_pair(record: Record) -> bool:
    """Whether the lab has two controllers."""
    return record.wishes.controllers == len(NUMBERS)


def hosts(layout: Layout, record: Record) -> list[Host]:
    """Return both hosts, or the first where there is one."""
    return [Host(layout, number) for number in NUMBERS[: record.wishes.controllers]]


def hosts_file(layout: Layout, record: Record) -> str:
    """Return the lines that give both names their addresses."""
    return "".join(f"{host.address(record)} {host.name}\n" for host in hosts(layout, record))


def settings(layout: Layout, record: Record) -> dict[str, str]:
    """Return what slurm.conf says instead: two hosts, and a backup that takes over after a few seconds."""
    named = [f"{host.name}({host.address(record)})" for host in hosts(layout, record)]
    return {"SlurmctldHost": "\nSlurmctldHost=".join(named), "SlurmctldTimeout": "6"}


def write_slurm_confs(layout: Layout, record: Record) -> None:
    """Write what differs between the hosts: on one machine they must not share the file with the process id."""
    for host in hosts(layout, record):
        own = {"SlurmctldPidFile": host.folder / "slurmctld.pid", "SlurmctldLogFile": layout.log / f"{host.name}.log"}
        lines = [f"Include {layout.slurm_conf}", *(f"{key}={value}" for key, value in own.items()), ""]
        host.slurm_conf.write_text("\n".join(lines), encoding="utf-8")


def ledger_folder(layout: Layout) -> Path:
    """Return where the PostgreSQL of a lab is."""
    return layout.root / "postgres"


def configs(layout: Layout, record: Record, raw: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the product's configuration by file: one, or one for each host, of which the first is the lab's too."""
    if record.wishes.ledger == "postgres":
        raw = raw | {"ledger": {"url": postgres.url(ledger_folder(layout))}}
    if not is_pair(record):
        return {layout.config: raw}
    files = {}
    for host in hosts(layout, record):
        own = copy.deepcopy(raw)
        own["cluster"]["controller"] = host.name
        own["paths"] |= {"spool": str(host.spool), "runtime": str(host.folder)}
        own["logging"]["file"] = str(layout.log / f"aws-burst-{host.name}.log")
        files[host.config] = own
    return {layout.config: files[Host(layout, 1).config], **files}


def dump(raw: dict[str, Any]) -> str:
    """Return a configuration as the file's text."""
    head = "# Written by `asbx lab up`; the endpoint is the lab's emulator, so nothing here reaches AWS.\n"
    return head + yaml.safe_dump(raw, sort_keys=False)
