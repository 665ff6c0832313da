"""What the analyzer reads in the corpus of job scripts is what a real sbatch and slurmctld make of them.

The lab's nodes are declared big enough, with GPUs, for every script to be taken: 22.05 refuses what no node could hold.
Jobs are held and cancelled at once, nothing is launched. `salloc` lines are given to sbatch, which counts alike.
Not compared, for scontrol does not show it: how many nodes Slurm takes where the script leaves that to it, GPUs that
follow from --ntasks-per-gpu and --ntasks alone, and the type of GPUs (only that it is taken).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.corpus.cases import TABLES, Case, cases, shown
from tests.e2e.cluster import Cluster, cluster, run

from asbx.decide.script.geometry import Geometry, geometry

pytestmark = pytest.mark.slurm

_SHAPE = "Sockets=2 CoresPerSocket=96 ThreadsPerCore=2 RealMemory=1500000 Gres=gpu:a100:8,gpu:v100:8"
ODD = (
    "--gpus=2 --ntasks-per-gpu=2",
    "--gpus=2 --ntasks-per-gpu=2 -n 8",
    "--gpus=2 --ntasks-per-gpu=3 -N 2",
    "-n 4 --gpus-per-task=1",
    "--gpus=4 --gpus-per-task=2",
    "-n 4 --gpus-per-task=1 --gpus=4",
    "-B 2:4 -N 2",
    "-B 2:4:1",
    "-B *:4 -N 2",
    "--sockets-per-node=2 -N 2",
    "--threads-per-core=2 -N 2",
    "--threads-per-core=2 --ntasks-per-node=3 -N 2",
    "-N 2-8",
    "-N 2-8 -n 4",
    "-N 4-8 -n 2",
    "-n 2 : -n 3 -t 10 : -n 4 -t 20",
    "-N 2-8 --ntasks-per-node=4",
    "-N 4 -n 2",
    "-N 2 -n 5 --ntasks-per-node=2",
    "--mem=0",
    "--mem-per-cpu=0 -n 2",
    "--gpus=2 --mem-per-gpu=1G",
    "--mem=4096K",
    "--mem=4GB",
    "-t 2-",
    "-t 0",
    "-t 61:61",
    "-t infinite",
    "-a 1-3,2",
    "-a [0-9:3]%2",
    "--exclusive",
    "-n 2 -t 10 : -n 3",
    "-n 2 : -n 3 -N 2 --mem=1G",
    "SBATCH_MEM_PER_CPU=1G --mem=2G",
    "SBATCH_MEM_PER_CPU=1G",
    "SBATCH_NO_REQUEUE=1 -n 2 --mem=1G --gpus=2 -t 5 : -n 3",
    "SBATCH_GPUS=4 --ntasks-per-gpu=1 --gpus=2",
    "SBATCH_GRES=gpu:3 -N 2",
    "SBATCH_TIMELIMIT=5 SBATCH_ARRAY_INX=0-3",
)
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
    said = run(words, lab.environ | dict(case.env), cwd=lab.out)
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
        "NtasksPerN:B:S:C": str(found.tasks_per_node),
        "TimeLimit": "UNLIMITED" if found.time_limit in (None, timedelta.max) else shown(found.time_limit) or "",
        "array": str(found.array_tasks),
        "memory": str(found.memory_per_cpu_mib or found.memory_mib),
        "memory of a GPU": str(found.memory_per_gpu_mib),
        "GPUs of a node": str(found.gpus_per_node),
        "GPUs": str(found.gpus),
        "OverSubscribe": "NO" if found.is_exclusive else "OK",
    }
    theirs = {name: row.get(name, "") for name in ours} | {
        "NtasksPerN:B:S:C": row["NtasksPerN:B:S:C"].partition(":")[0],
        "array": str(_indexes(row.get("ArrayTaskId", "0"))),
        "memory": _mib(row.get("MinMemoryCPU") or row["MinMemoryNode"]),
        "memory of a GPU": row.get("MemPerTres", "gres:gpu:0").rpartition(":")[2],
        "GPUs of a node": _gpus(row.get("TresPerNode", "")),
        # What is stated for a task shows as such.
        "GPUs": str(int(_gpus(row.get("TresPerJob", ""))) or int(_gpus(row.get("TresPerTask", ""))) * found.tasks),
    }
    if found.nodes_stated:
        ours["NumNodes"] = f"{low}-{high}"
        theirs["NumNodes"] = row["NumNodes"]
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def _mib(text: str) -> str:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    assert match, text
    return str(round(float(match[1]) * _UNITS[match[2]]))


def _gpus(text: str) -> str:
    """Count `gres:gpu:a100:8`, `gres:gpu:4`, `gres:gpu`."""
    numbers = [word.rpartition(":")[2] for word in text.split(",") if word]
    return str(sum(int(number) if number.isdecimal() else 1 for number in numbers))


def _indexes(text: str) -> int:
    """Count `0,3,6-9%2`."""
    spans = [part.split("-") for part in text.partition("%")[0].split(",")]
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def test_the_real_sbatch_counts_alike(lab: Cluster) -> None:
    """Every well-formed script: tasks, processors, nodes where stated, memory, GPUs, time limit, array tasks."""
    wrong: dict[str, object] = {}
    for case in [one for table in TABLES for one in cases(table) if one.label["well_formed"]]:
        rows, said = _submitted(lab, case)
        found = [geometry(one) for one in case.read().components]
        if len(rows) != len(found):
            wrong[case.name] = said or f"{len(rows)} components"
            continue
        differs = [_differs(one, row) for one, row in zip(found, rows, strict=True)]
        if any(differs):
            wrong[case.name] = differs
    assert wrong == {}


def test_the_real_sbatch_refuses_what_is_labelled_broken(lab: Cluster) -> None:
    """So that a label is no opinion."""
    broken = [one for table in TABLES for one in cases(table) if not one.label["well_formed"]]
    assert {one.name for one in broken if _submitted(lab, one)[0]} == set()


@pytest.mark.parametrize("words", [words.split() for words in ODD], ids=ODD)
def test_options_that_work_upon_each_other(lab: Cluster, words: list[str], tmp_path: Path) -> None:
    """Tasks from GPUs, sockets and threads; odd times, nodes and arrays; components; variables beside the script."""
    env = dict(word.split("=", 1) for word in words if word.startswith("SBATCH_"))
    script = tmp_path / "odd.sbatch"
    script.write_text("#!/bin/sh\n#SBATCH --time=30\n", encoding="utf-8")
    options = [word for word in words if not word.startswith("SBATCH_")]
    case = Case("odd", {"env": env}, script, (*options, str(script)))
    rows, said = _submitted(lab, case)
    assert rows, said
    found = [geometry(one) for one in case.read().components]
    assert [_differs(one, row) for one, row in zip(found, rows, strict=True)] == [{}] * len(rows)
