"""The door to slurmctld: every verb we use, each in as few processes as Slurm allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from asbx.config.limits import SCONTROL_BATCH
from asbx.model.hostlist import fold
from asbx.model.job import JobFacts
from asbx.model.market import Instance
from asbx.model.node import NodeView
from asbx.slurm.parse import parse_jobs, parse_nodes_json, parse_nodes_text
from asbx.slurm.process import SlurmCommands

# One update with different instance ids for many nodes (Slurm change log, 25.11); before, all would get the same.
_INSTANCE_LISTS = (25, 11)
_NODE_JSON = (23, 2)
# TCP to the broadcast address fails at once with ENETUNREACH. A node's own name in its place makes slurmctld resolve it
# for every message, ten tries a second apart, holding its locks: 40 s for a killed job of four nodes (seen on 22.05.8).
PARKED = "255.255.255.255"
_Row = TypeVar("_Row")


class Slurm:
    """The Scheduler port over scontrol and squeue."""

    def __init__(self, commands: SlurmCommands) -> None:
        self._commands = commands
        self._version: tuple[int, int] | None = None

    @property
    def processes(self) -> dict[str, int]:
        """Return how many of each command were started."""
        return self._commands.calls

    def version(self) -> tuple[int, int]:
        """Return (major, minor) of the installed commands, asked once."""
        if self._version is None:
            match = re.search(r"(\d+)\.(\d+)", self._commands.run("scontrol", "--version"))
            self._version = (int(match[1]), int(match[2])) if match else (0, 0)
        return self._version

    def park(self, nodes: Sequence[str]) -> None:
        """Give nodes the parked address, so that nobody waits for the resolver while they have no instance."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", _parked(batch))

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Tell Slurm address and host name of each node (and instance id and type from 25.11 on)."""
        for batch in _batches(rows):
            arguments = [
                f"nodename={fold(node for node, _ in batch)}",
                f"nodeaddr={fold(instance.private_ip for _, instance in batch)}",
                f"nodehostname={fold(_host_name(node, instance) for node, instance in batch)}",
            ]
            if self.version() >= _INSTANCE_LISTS:
                arguments.append(f"instanceid={','.join(i.instance_id for _, i in batch)}")
                arguments.append(f"instancetype={','.join(i.instance_type for _, i in batch)}")
            self._commands.run("scontrol", "update", *arguments)

    def release(self, nodes: Sequence[str]) -> None:
        """Set address and host name back to the node name.

        A stale address has sent kill messages of one job to another's node (Azure cyclecloud-slurm PR 30).
        """
        for batch in _batches(nodes):
            names = fold(batch)
            self._commands.run("scontrol", "update", f"nodename={names}", f"nodeaddr={names}", f"nodehostname={names}")

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Park nodes, set them DOWN, which requeues their jobs, then power them down, which makes them usable again."""
        why = f"reason={_one_line(reason)}"
        for batch in _batches(nodes):
            names = f"nodename={fold(batch)}"
            self._commands.run("scontrol", "update", names, _parked(batch), "state=down", why)
            self._commands.run("scontrol", "update", names, "state=power_down")

    def power_up(self, nodes: Sequence[str]) -> None:
        """Ask Slurm to power nodes up."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=power_up")

    def tell_job(self, job_id: int, text: str) -> None:
        """Put a sentence into the job's AdminComment."""
        self._commands.run("scontrol", "update", f"jobid={job_id}", f"admincomment={_one_line(text)}")

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the node table; JSON where this Slurm has it (23.02), because text fields can be spoofed."""
        if self.version() >= _NODE_JSON:
            return parse_nodes_json(self._commands.run("scontrol", "show", "node", "--json"))
        return parse_nodes_text(self._commands.run("scontrol", "show", "node", "--oneliner"))

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return user, account, name and state of jobs still in the queue."""
        if not job_ids:
            return ()
        wanted = ",".join(str(job) for job in job_ids)
        # %A is unique for each task of an array; the name comes last because it may hold the separator (squeue(1)).
        text = self._commands.run("squeue", "--noheader", "--array", f"--jobs={wanted}", "--format=%A|%u|%a|%T|%j")
        return parse_jobs(text)

    def ping(self) -> None:
        """Raise SlurmError unless slurmctld answers."""
        self._commands.run("scontrol", "ping")


def _parked(nodes: Sequence[str]) -> str:
    return "nodeaddr=" + ",".join([PARKED] * len(nodes))


def _host_name(node: str, instance: Instance) -> str:
    return instance.private_dns.split(".")[0] or node


def _one_line(text: str) -> str:
    """Make a text safe as one scontrol value: no line breaks, no quotes, bounded."""
    return " ".join(text.replace('"', "'").split())[:500]


def _batches(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    for start in range(0, len(rows), SCONTROL_BATCH):
        yield rows[start : start + SCONTROL_BATCH]
