"""What a job asks for, counted as sbatch counts it: nodes, tasks, processors, memory, GPUs, time, array tasks.

Sources: sbatch(1); the defaults sbatch works out before it sends a job (one task a node unless tasks are stated; nodes
from tasks and tasks per node). A test compares it with what a real slurmctld shows of the same scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from asbx.config.limits import MOST_ARRAY_INDEXES
from asbx.decide.script.sbatch import COMMAND_LINE, NO_OPTION, Stated, Stating, Submission

_SIZES = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_DAY_FORMS = (r"(\d+)-", r"(\d+)-(\d+)", r"(\d+)-(\d+):(\d+)", r"(\d+)-(\d+):(\d+):(\d+)")
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Geometry:
    """What one component of a job asks for.

    nodes: the least and the most; where -N is not stated (nodes_stated), Slurm finds as few as hold the tasks.
    tasks: of the whole component. tasks_per_node: 0 where it is left to Slurm. memory_mib: for each node, 0 where
    nothing is said; memory_per_cpu_mib and memory_per_gpu_mib alike; all_memory: `--mem=0`. gpus_per_node: of
    gpu_type, "" any. gpus: in all where only that is said. time_limit: None where nothing is said; timedelta.max: none.
    array_tasks: 1 for a job without `--array`; at_once: the most of them at a time, 0: all.
    """

    nodes: tuple[int, int]
    tasks: int
    nodes_stated: bool = True
    cpus_per_task: int = 1
    tasks_per_node: int = 0
    threads_per_core: int = 0
    memory_mib: int = 0
    memory_per_cpu_mib: int = 0
    memory_per_gpu_mib: int = 0
    all_memory: bool = False
    gpus_per_node: int = 0
    gpus: int = 0
    gpu_type: str = ""
    is_exclusive: bool = False
    time_limit: timedelta | None = None
    array_tasks: int = 1
    at_once: int = 0
    problems: tuple[str, ...] = ()

    @property
    def wants_gpus(self) -> bool:
        """Whether it asks for GPUs at all."""
        return bool(self.gpus or self.gpus_per_node)

    @property
    def cpus(self) -> int:
        """Return the processors of all tasks."""
        return self.tasks * self.cpus_per_task

    @property
    def most_tasks_on_a_node(self) -> int:
        """Return how many tasks the fullest node has when they are spread evenly over the fewest nodes."""
        return self.tasks_per_node or -(-self.tasks // max(self.nodes[0], 1))


def mistyped(submission: Submission) -> tuple[str, ...]:
    """Return what is wrong with the values on the command line; an option we do not know may be a site's plugin's."""
    found = [*submission.problems, *(one for stated in submission.components for one in geometry(stated).problems)]
    return tuple(one for one in found if one.startswith(f"{COMMAND_LINE}:") and NO_OPTION not in one)


class _Asked:
    """Reads values, and collects what cannot be read."""

    def __init__(self, stated: Mapping[str, Stated]) -> None:
        self._stated = stated
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        found = self._stated.get(name)
        return found.value if found is not None else ""

    def has(self, name: str) -> bool:
        return name in self._stated

    def number(self, name: str, least: int = 1) -> int:
        """Return a whole number, 0 where nothing or nonsense is stated."""
        text = self.text(name).strip()
        if not text:
            return 0
        if not re.fullmatch(r"\d{1,10}", text) or not least <= int(text) <= _MOST:
            self.complain(name)
            return 0
        return int(text)

    def complain(self, name: str) -> None:
        stated = self._stated[name]
        self.problems.append(f"{stated.source}: --{name} {stated.value!r} cannot be read")


def geometry(stated: Stating) -> Geometry:
    """Return what a component asks for."""
    asked = _Asked(stated)
    nodes, tasks, per_node = _layout(asked)
    gpus_per_node, gpus, gpu_type = _gpus(asked, tasks)
    tasks, gpus = _by_gpu(asked, tasks, gpus or gpus_per_node * nodes[0], gpus)
    count, at_once = _array(asked)
    cpus = asked.number("cpus-per-task") or 1
    return Geometry(
        nodes=nodes,
        tasks=tasks,
        nodes_stated=asked.has("nodes"),
        cpus_per_task=cpus,
        tasks_per_node=per_node,
        threads_per_core=asked.number("threads-per-core") or _extra(asked)[2] or int(_one_thread(asked)),
        memory_mib=_memory(asked, "mem"),
        memory_per_cpu_mib=_memory(asked, "mem-per-cpu"),
        memory_per_gpu_mib=_memory(asked, "mem-per-gpu"),
        all_memory=re.fullmatch("0[KMGT]?B?", asked.text("mem").strip().upper()) is not None,
        gpus_per_node=gpus_per_node,
        gpus=gpus,
        gpu_type=gpu_type,
        is_exclusive=asked.has("exclusive") and asked.text("exclusive") not in ("user", "mcs"),
        time_limit=_time(asked),
        array_tasks=count,
        at_once=at_once,
        problems=tuple(asked.problems),
    )


def _layout(asked: _Asked) -> tuple[tuple[int, int], int, int]:
    """Return (nodes, tasks, tasks per node)."""
    per_node, tasks = asked.number("ntasks-per-node"), asked.number("ntasks")
    nodes = _nodes(asked)
    if nodes is None:
        least = -(-tasks // per_node) if tasks and per_node else 1
        nodes = (least, least if per_node else 0)
    if not tasks:
        return (nodes[0], max(nodes)), nodes[0] * (per_node or _layout_of_a_node(asked)), per_node
    # sbatch warns and takes fewer nodes where there are fewer tasks than nodes.
    low, high = min(nodes[0], tasks), min(nodes[1], tasks)
    return (low, max(low, high)), tasks, per_node


def _layout_of_a_node(asked: _Asked) -> int:
    """Return the tasks of a node where neither they nor a number for each node are stated: one for each thread asked.

    22.05 makes one for each socket, core and thread that is stated, whether by name or by `-B sockets:cores:threads`.
    """
    count = 1
    for name, extra in zip(("sockets-per-node", "cores-per-socket", "threads-per-core"), _extra(asked), strict=True):
        count *= asked.number(name) or extra or 1
    return count


def _one_thread(asked: _Asked) -> bool:
    return "nomultithread" in asked.text("hint")


def _extra(asked: _Asked) -> tuple[int, int, int]:
    """Read `-B 2:8:1`; `*` and what is left out are 0."""
    words = [word if word.isdecimal() else "0" for word in asked.text("extra-node-info").split(":")]
    sockets, cores, threads = (*(int(word[:6]) for word in words), 0, 0, 0)[:3]
    return sockets, cores, threads


def _by_gpu(asked: _Asked, tasks: int, all_gpus: int, gpus: int) -> tuple[int, int]:
    """Return (tasks, GPUs of the job) where one of them is stated by the other.

    With --ntasks-per-gpu and GPUs their product counts, whatever -n says; with -n alone, GPUs follow from it.
    """
    per_gpu, per_task = asked.number("ntasks-per-gpu"), _gpu_words(asked, "gpus-per-task")[0]
    if per_gpu and all_gpus:
        return per_gpu * all_gpus, gpus
    if per_gpu:
        return tasks, -(-tasks // per_gpu)
    if per_task and asked.has("gpus") and not asked.has("ntasks"):
        return max(gpus // per_task, 1), gpus
    return tasks, gpus


def _nodes(asked: _Asked) -> tuple[int, int] | None:
    """Read `-N`: `4`, `2-4`, from 23.11 on also `2,4` or `2-8:2`; `k` and `m` multiply (sbatch(1))."""
    text = asked.text("nodes").strip().lower()
    if not text:
        return None
    numbers = [_count(part) for part in re.split(r"[-,]", text.partition(":")[0])]
    if any(number is None or number < 1 for number in numbers):
        asked.complain("nodes")
        return None
    found = [number for number in numbers if number is not None]
    if found[0] > found[-1]:
        asked.complain("nodes")
        return None
    return found[0], found[-1]


def _count(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,9})([km]?)", text)
    return int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[2]] if match else None


def _memory(asked: _Asked, name: str) -> int:
    """Return MiB; a bare number is in MiB (unless the site's SchedulerParameters say otherwise)."""
    text = asked.text(name).strip().upper()
    if not text:
        return 0
    match = re.fullmatch(r"(\d{1,12})(?:([KMGT])B?)?", text)
    if match is None:
        asked.complain(name)
        return 0
    return -(-int(int(match[1]) * _SIZES[match[2] or ""] * 1024) // 1024)


# -- GPUs


def _gpus(asked: _Asked, tasks: int) -> tuple[int, int, str]:
    """Return (for each node, in all, type): --gpus-per-node and --gres count a node's, --gpus the job's."""
    for name in ("gpus-per-node", "gres", "tres-per-node"):
        count, kind = _gpu_words(asked, name)
        if count:
            return count, 0, kind
    count, kind = _gpu_words(asked, "gpus")
    if count:
        return 0, count, kind
    count, kind = _gpu_words(asked, "gpus-per-task")
    return 0, count * tasks, kind


def _gpu_words(asked: _Asked, name: str) -> tuple[int, str]:
    """Read `2`, `a100:2`, of --gres and --tres-per-node `gpu:a100:2`, `gres/gpu=2`, other things beside it left out."""
    total, kind = 0, ""
    for word in asked.text(name).lower().split(","):
        parts = re.split(r"[:=]", word.strip().removeprefix("gres/").removeprefix("gres:").partition("(")[0])
        if name in ("gres", "tres-per-node"):
            if parts[0] != "gpu":
                continue
            parts = parts[1:] or ["1"]
        if not parts or parts == [""]:
            continue
        number = parts[-1] if parts[-1].isdecimal() else "1"
        if len(number) > 6:
            asked.complain(name)
            continue
        total += int(number)
        kind = kind or (parts[0] if not parts[0].isdecimal() else "")
    return total, kind


# -- time, arrays


def _time(asked: _Asked) -> timedelta | None:
    """Read `90`, `90:30`, `1:30:00`, `1-12`, `1-12:30`, `1-12:30:00`, UNLIMITED (sbatch(1), --time)."""
    text = asked.text("time").strip()
    if not text:
        return None
    if text.lower() in ("unlimited", "infinite", "-1", "0"):
        return timedelta.max
    for form in _DAY_FORMS:
        match = re.fullmatch(form, text)
        if match:
            days, hours, minutes, seconds = (*map(int, match.groups()), 0, 0, 0)[:4]
            return _span(asked, days, hours, minutes, seconds)
    match = re.fullmatch(r"(?:(\d+):)?(\d+)(?::(\d+))?", text)
    if match is None:
        asked.complain("time")
        return None
    numbers = [int(part) for part in text.split(":")]
    if len(numbers) == 3:
        return _span(asked, 0, *numbers)
    minutes, seconds = (*numbers, 0)[:2]
    return _span(asked, 0, 0, minutes, seconds)


def _span(asked: _Asked, days: int, hours: int, minutes: int, seconds: int) -> timedelta | None:
    try:  # Slurm counts in minutes, and begins a new one
        return timedelta(days=days, hours=hours, minutes=minutes + -(-seconds // 60))
    except OverflowError:
        asked.complain("time")
        return None


def _array(asked: _Asked) -> tuple[int, int]:
    """Return (how many tasks, how many at once): `0-9`, `1,3,5`, `0-15:4`, `0-99%10`. An index counts once."""
    text = asked.text("array").strip().replace("[", "").replace("]", "")
    if not text:
        return 1, 0
    indexes, _, most = text.partition("%")
    seen = bytearray(MOST_ARRAY_INDEXES)
    stated = 0
    for part in indexes.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", part.strip())
        if match is None:
            asked.complain("array")
            return 1, 0
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        size = (last - first) // step + 1 if step else 0
        stated += size
        if last < first or step < 1 or last >= MOST_ARRAY_INDEXES or stated > MOST_ARRAY_INDEXES:
            asked.complain("array")
            return 1, 0
        seen[first : last + 1 : step] = b"\1" * size
    return seen.count(1), int(most) if most.isdecimal() else 0
