"""The labelled scripts of this folder, and what the analyzer makes of each in the words of the labels."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from asbx.decide.script.coupling import coupling
from asbx.decide.script.geometry import Geometry, geometry
from asbx.decide.script.sbatch import Submission, read

FOLDER = Path(__file__).parent
TABLES = ("labels.toml", "holdout.toml", "holdout2.toml", "holdout3.toml", "holdout4.toml")
_MIB = {"M": 1, "G": 1024}
Label = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One labelled script. words: as typed after sbatch, the script's path at their end (or --wrap)."""

    name: str
    label: Label
    path: Path
    words: tuple[str, ...]

    @property
    def env(self) -> Mapping[str, str]:
        """Return the variables that are set when it is submitted."""
        return dict(self.label.get("env", {}))

    @property
    def components(self) -> list[Label]:
        """Return the label of each component."""
        return list(self.label.get("components", [self.label]))

    @property
    def is_counted(self) -> bool:
        """Whether a reader of the script alone could tell MPI from what is not."""
        return not self.label.get("ambiguous", False)

    def read(self) -> Submission:
        """Read it as the analyzer does."""
        is_line = self.path.suffix == ".line"
        text = "" if is_line else self.path.read_bytes().decode("utf-8", "replace")
        return read(text, self.words, self.env)


def cases(table: str = "labels.toml") -> Iterator[Case]:
    """Yield all cases of a table of labels; its scripts are beside it."""
    place = FOLDER / table
    for name, label in tomllib.loads(place.read_text(encoding="utf-8"))["scripts"].items():
        line = place.parent / f"{name}.line"
        if line.exists():
            yield Case(name, label, line, _typed(line.read_text(encoding="utf-8")))
        else:
            path = place.parent / f"{name}.sbatch"
            yield Case(name, label, path, (*label.get("words", ()), str(path)))


def _typed(line: str) -> tuple[str, ...]:
    """Return the words of a line; what salloc runs is a script of one line to the analyzer."""
    words = shlex.split(line)[1:]
    command = read("#!/bin/sh\n", words).arguments
    if line.startswith("salloc"):
        options = words[: len(words) - len(command)]
        return (*options, f"--wrap={shlex.join(command) if command else 'bash'}")
    return tuple(words)


def found_coupling(submission: Submission) -> str:
    """Return the analyzer's word for how its tasks belong together."""
    return coupling(submission.body, geometry(submission.components[0])).coupling.value


def unlike(label: Label, found: Geometry) -> dict[str, tuple[object, object]]:
    """Return what a component's label and the analyzer's geometry say differently: (label, found) by name."""
    said = {name: label.get(name) for name in _READERS if name != "cpus_per_task" or name in label}
    seen = {name: reader(found) for name, reader in _READERS.items() if name in said}
    said |= {"memory": _memory(label.get("memory")), "gpus": label.get("gpus", 0), "array": label.get("array", 1)}
    return {name: (said[name], seen[name]) for name in said if said[name] != seen[name]}


def _nodes(found: Geometry) -> str | None:
    if not found.nodes_stated:
        return None
    low, high = found.nodes
    return str(low) if low == high else f"{low}-{high}"


def shown(limit: timedelta | None) -> str | None:
    """Return a time limit as scontrol prints it."""
    if limit is None:
        return None
    days, seconds = limit.days, limit.seconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{days}-{clock}" if days else clock


def _memory(text: str | None) -> tuple[int, str] | None:
    """Read `4G/node` as (MiB, what for)."""
    if text is None:
        return None
    size, _, per = text.partition("/")
    return (int(size[:-1]) * _MIB[size[-1]] if size != "0" else 0, per)


def _found_memory(found: Geometry) -> tuple[int, str] | None:
    for mib, per in (
        (found.memory_mib, "node"),
        (found.memory_per_cpu_mib, "cpu"),
        (found.memory_per_gpu_mib, "gpu"),
    ):
        if mib:
            return mib, per
    return (0, "node") if found.all_memory else None


_READERS: Mapping[str, Callable[[Geometry], object]] = {
    "nodes": _nodes,
    "tasks": lambda found: found.tasks,
    "cpus_per_task": lambda found: found.cpus_per_task,
    "tasks_per_node": lambda found: found.tasks_per_node or None,
    "memory": _found_memory,
    "gpus": lambda found: found.gpus or found.gpus_per_node * found.nodes[0],
    "gpu_type": lambda found: found.gpu_type or None,
    "time": lambda found: shown(found.time_limit),
    "array": lambda found: found.array_tasks,
}
