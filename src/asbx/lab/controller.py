"""Start slurmctld and wait until it answers."""

from __future__ import annotations

import subprocess

from asbx.config.schema import Config, NodeGroup
from asbx.lab import conf, pair, programs
from asbx.lab.account import EFA_TYPES, HPC_TYPES
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, start, wait_until
from asbx.lab.record import Record
from asbx.lab.trouble import LabBroken
from asbx.lab.wrappers import write_wrappers
from asbx.slurm import writers

_PATIENCE_S = 20.0
_EFA = {*EFA_TYPES, *HPC_TYPES}


def _types(group: NodeGroup) -> set[str]:
    return {override.instance_type for override in group.launch_template_overrides}


def write_files(layout: Layout, record: Record, config: Config, nodes: list[str]) -> None:
    """Write slurm.conf, the wrappers and the folders of every node."""
    write_wrappers(layout, record, programs.own("aws-slurm-burst-resume").parent)
    product = writers.slurm_conf(config, has_efa=lambda group: bool(_EFA & _types(group)))
    text = conf.slurm_conf(product, conf.lab_settings(layout, record))
    layout.slurm_conf.write_text(text, encoding="utf-8")
    if pair.is_pair(record):
        pair.write_slurm_confs(layout, record)
    for node in nodes:
        for folder in layout.node_folders(node):
            folder.mkdir(parents=True, exist_ok=True)


def start_slurmctld(layout: Layout, record: Record, environ: dict[str, str], host: pair.Host | None = None) -> Process:
    """Start slurmctld, or that of one of two hosts. Raises LabBroken (`lab-slurmctld`) when it does not answer."""
    path, name, sign = layout.slurm_conf, "slurmctld", "is UP"
    if host is not None and pair.is_pair(record):
        path, name, sign = host.slurm_conf, host.process("slurmctld"), f"at {host.name} is UP"
        environ = environ | host.environment(record)
    command = [str(programs.find("slurmctld")), "-D", "-f", str(path)]
    out = layout.log / f"{name}.out"
    process = start(name, command, out, environ)

    def is_up() -> bool:
        return sign in scontrol(layout, record, "ping")

    wait_until(lambda: is_up() or not process.is_alive, _PATIENCE_S)
    if not is_up():
        said = out.read_text(encoding="utf-8", errors="replace").splitlines()
        why = next((line for line in said if "fatal" in line), "it was asked with `scontrol ping`")
        raise LabBroken("lab-slurmctld", "slurmctld does not answer", why, f"see {layout.log / 'slurmctld.log'}")
    return process


def answers(layout: Layout, record: Record) -> bool:
    """Return whether slurmctld is up."""
    return "is UP" in scontrol(layout, record, "ping")


def scontrol(layout: Layout, record: Record, *words: str) -> str:
    """Run scontrol against the lab and return what it printed, "" when it failed."""
    return client(layout, record, "scontrol", *words)


def client(layout: Layout, record: Record, program: str, *words: str) -> str:
    """Run one of Slurm's client programs against the lab and return what it printed, "" when it failed."""
    done = subprocess.run(
        [programs.find(program), *words],
        env=conf.clean_environment(layout, record),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout if done.returncode == 0 else ""
