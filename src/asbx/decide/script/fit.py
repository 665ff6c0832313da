"""Which instance types a job fits on, the smallest waste first.

A type fits when each node holds its share of tasks: processors, memory as Slurm will see it, GPUs. Tightly coupled jobs
count physical cores, because two ranks on one core halve each other; others, and those whose GPUs do the work, count
hardware threads. Among what fits,
tight jobs of several nodes prefer EFA, and EC2's hpc families where there are any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from asbx.config.limits import SLURM_SEES_OF_MEMORY
from asbx.decide.script.geometry import Geometry
from asbx.model.catalogue import TypeFacts


@dataclass(frozen=True)
class Need:
    """What one node must hold. cpus: cores where on_cores, else hardware threads. memory_mib, gpus: 0 for no matter."""

    nodes: int
    tasks: int
    cpus: int
    memory_mib: int
    gpus: int
    on_cores: bool


@dataclass(frozen=True)
class Fit:
    """A type that fits. unused: the share of its processors, memory and GPUs (the scarcest) nobody asked for, 0 to 1.

    usd_per_hour: of all nodes, None where the price is not known.
    """

    name: str
    need: Need
    unused: float
    efa: bool
    hpc: bool
    usd_per_hour: Decimal | None = None


def need(geometry: Geometry, facts: TypeFacts, *, tight: bool) -> Need | None:
    """Return what each node of a type must hold; None where no number of such nodes can hold the job.

    Where the job leaves the number of nodes to Slurm, it is as few as hold all tasks.
    """
    on_cores = (tight and not geometry.wants_gpus) or geometry.threads_per_core == 1
    cpus = _processors(facts, on_cores=on_cores)
    room = _tasks_that_fit(geometry, facts, cpus)
    if room < 1:
        return None
    most = min(room, geometry.tasks_per_node or room)
    nodes = geometry.nodes[0] if geometry.nodes_stated else -(-geometry.tasks // most)
    tasks = -(-geometry.tasks // nodes)  # with -n, --ntasks-per-node is the most there may be
    gpus = _gpus(geometry, nodes, tasks)
    if tasks > room or gpus > facts.gpus:
        return None
    memory = max(
        geometry.memory_mib,
        geometry.memory_per_cpu_mib * tasks * geometry.cpus_per_task,
        geometry.memory_per_gpu_mib * gpus,
    )
    if memory > facts.memory_mib * SLURM_SEES_OF_MEMORY:
        return None
    return Need(nodes, tasks, tasks * geometry.cpus_per_task, memory, gpus, on_cores)


def _processors(facts: TypeFacts, *, on_cores: bool) -> int:
    return facts.cores or facts.vcpus if on_cores else facts.vcpus


def _tasks_that_fit(geometry: Geometry, facts: TypeFacts, cpus: int) -> int:
    """Return how many tasks one node of a type holds."""
    limits = [cpus // geometry.cpus_per_task]
    seen = int(facts.memory_mib * SLURM_SEES_OF_MEMORY)
    if geometry.memory_mib > seen:
        return 0
    per_task = geometry.memory_per_cpu_mib * geometry.cpus_per_task
    if per_task:
        limits.append(seen // per_task)
    if geometry.gpus_per_node > facts.gpus or (geometry.gpus and not facts.gpus):
        return 0
    return min(limits)


def _gpus(geometry: Geometry, nodes: int, tasks: int) -> int:
    """Return the GPUs of the fullest node: what is stated for a node, else its share of the job's."""
    if geometry.gpus_per_node or not geometry.gpus:
        return geometry.gpus_per_node
    by_tasks = -(-geometry.gpus * tasks // geometry.tasks)
    return max(-(-geometry.gpus // nodes), min(by_tasks, geometry.gpus))


def of_gpu(wanted: str, types: Iterable[TypeFacts]) -> tuple[TypeFacts, ...]:
    """Return the types with the GPU a job names, () where none has one of that name.

    Sites name GPUs as they like: `a100`, `nvidia_a100`, `a100-sxm4-80gb`; one part is EC2's name, a size is memory.
    """
    parts = [part for part in re.split(r"[\W_]+", wanted.lower()) if part]
    named = tuple(facts for facts in types if facts.gpu_name and _name(facts) in (*parts, "".join(parts)))
    sizes = [int(part.rstrip("gib")) * 1024 for part in parts if re.fullmatch(r"\d{1,4}gi?b?", part)]
    big = tuple(facts for facts in named if all(abs(facts.gpu_memory_mib / size - 1) < 0.1 for size in sizes if size))
    return big or named


def _name(facts: TypeFacts) -> str:
    return re.sub(r"[\W_]+", "", facts.gpu_name.lower())


def fits(
    geometry: Geometry,
    types: Iterable[TypeFacts],
    *,
    tight: bool,
    prices: dict[str, Decimal] | None = None,
    arch: str = "",
) -> tuple[Fit, ...]:
    """Return the types a job fits on, best first. prices: USD an hour by type. arch: of the image, "" for any."""
    every = tuple(types)
    candidates = of_gpu(geometry.gpu_type, every) or every
    found = [
        _fit(facts, wanted, tight=tight, price=(prices or {}).get(facts.name))
        for facts in candidates
        if not arch or arch in facts.arch
        for wanted in [need(geometry, facts, tight=tight)]
        if wanted is not None
    ]
    return tuple(sorted(found, key=lambda fit: _rank(fit, tight=tight)))


def _fit(facts: TypeFacts, wanted: Need, *, tight: bool, price: Decimal | None) -> Fit:
    cpus = _processors(facts, on_cores=wanted.on_cores)
    used = [wanted.cpus / cpus]
    if wanted.memory_mib:
        used.append(wanted.memory_mib / (facts.memory_mib * SLURM_SEES_OF_MEMORY))
    # GPUs are what such a type is paid for: unused ones count, asked for or not.
    unused = 1 - (wanted.gpus / facts.gpus if facts.gpus else max(used))
    efa = bool(facts.efa) and tight and wanted.nodes > 1
    hourly = price * wanted.nodes if price is not None else None
    return Fit(facts.name, wanted, round(max(unused, 0.0), 4), efa, facts.name.startswith("hpc"), hourly)


def _rank(fit: Fit, *, tight: bool) -> tuple[object, ...]:
    """Order: EFA and hpc first where the job is tight, then few unused, then cheap, then few nodes."""
    several = tight and fit.need.nodes > 1
    price = fit.usd_per_hour if fit.usd_per_hour is not None else Decimal(10**9)
    return (
        not fit.efa if several else False,
        not fit.hpc if several else False,
        round(fit.unused, 2),
        price,
        fit.need.nodes,
        fit.need.cpus,
        fit.name,
    )


def best(found: Sequence[Fit], most: int) -> tuple[Fit, ...]:
    """Return the first few that are about as good as the best: alternatives where its pools are empty."""
    if not found:
        return ()
    first = found[0]
    alike = [one for one in found if (one.efa, one.need.nodes) == (first.efa, first.need.nodes)]
    return tuple(alike[:most])
