"""What the analyzer reads in the corpus of job scripts is what a real sbatch and slurmctld make of them.

The lab's nodes are declared big enough, with GPUs, for every script to be taken: 22.05 refuses what no node could hold.
Jobs are held and cancelled at once, nothing is launched. Not compared, because slurmctld shows it nowhere: GPUs of a
heterogeneous job's component that asks for none, and where a script leaves the number of nodes to Slurm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.corpus.cases import Case, cases, shown
from tests.e2e.cluster import Cluster, cluster, run

from asbx.decide.script.geometry import Geometry, geometry

pytestmark = pytest.mark.slurm

_SHAPE = "Sockets=2 CoresPerSocket=96 ThreadsPerCore=2 RealMemory=1500000 Gres=gpu:a100:8,gpu:v100:8"
_UNITS = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}


def _big(conf: str) -> str:
    """Return slurm.conf with nodes that hold every script of the corpus."""
    conf = re.sub(r"CPUs=\d+ RealMemory=\d+", _SHAPE, conf)
    return "GresTypes=gpu\nLicenses=matlab@lic:10\n" + conf.replace("Features=", "Features=hpc6a,")


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a slurmctld with big nodes up."""
    with cluster("--nodes", "70", "--no-daemon", "--no-machines") as one:
        one.restart_with(_big)
        yield one


def _submitted(lab: Cluster, case: Case) -> tuple[list[dict[str, str]], str]:
    """Submit a case held; return what scontrol shows of each component, and what sbatch said."""
    # Other partitions than the lab's would be refused before anything is counted.
    words = ["sbatch", "-H", "--parsable", "-p", "aws", *case.words]
    said = run(words, lab.environ | case.env, cwd=lab.out)
    if said.status:
        return [], said.err
    job = said.out.strip().partition(";")[0]
    text = run(["scontrol", "-o", "show", "job", job], lab.environ).out
    run(["scancel", job], lab.environ)
    return [dict(reversed(re.findall(r"(\S+?)=(\S*)", line))) for line in text.splitlines()], said.err


def _differs(found: Geometry, row: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what differs: name -> (the analyzer's, Slurm's)."""
    low, high = found.nodes
    ours = {
        "NumTasks": str(found.tasks),
        "CPUs/Task": str(found.cpus_per_task),
        "NtasksPerN:B:S:C": f"{found.tasks_per_node}:0:*",
        "TimeLimit": shown(found.time_limit) or "UNLIMITED",
        "ArrayTaskId": "",
        "memory": str(found.memory_per_cpu_mib or found.memory_mib),
        "gpus": str(found.gpus or found.gpus_per_node * low),
    }
    if found.nodes_stated:
        ours["NumNodes"] = str(low) if low == high else f"{low}-{high}"
    theirs = {name: row.get(name, "") for name in ours} | {
        "NtasksPerN:B:S:C": re.sub(r":\d+:(?=\S+$)", ":0:", row["NtasksPerN:B:S:C"]),
        "ArrayTaskId": "",
        "memory": _mib(row.get("MinMemoryCPU") or row.get("MinMemoryNode", "0")),
    }
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def _mib(text: str) -> str:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    assert match, text
    return str(round(float(match[1]) * _UNITS[match[2]]))
