"""How the processes of a job belong together: alone, a farm of independent tasks, MPI, or another collective run.

Found from evidence in the script, each piece with its line and weight, never from the number of nodes: two nodes may as
well run two programs that do not know each other. Evidence only ever comes from the script's own text, which is user
input: it narrows a launch and changes no limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from asbx.decide.script.evidence import Coupling, Evidence, library, observed
from asbx.decide.script.geometry import Geometry

__all__ = ["Coupling", "Evidence", "Finding", "coupling"]


@dataclass(frozen=True)
class Finding:
    """What the evidence amounts to. confidence: 0 to 1. library: openmpi, intelmpi, nccl, ... or ""."""

    coupling: Coupling
    confidence: float
    evidence: tuple[Evidence, ...]
    library: str = ""


def coupling(body: str, geometry: Geometry) -> Finding:
    """Return how the processes of a script belong together. geometry: of its first component."""
    evidence = tuple(_unique(observed(body, geometry)))
    named = library(body)
    scores = {kind: _together(one.weight for one in evidence if one.says is kind) for kind in Coupling}
    # A workflow that names MPI somewhere hands it to jobs of its own; a farm that starts mpirun is many MPI runs.
    kind = max(scores, key=lambda kind: scores[kind])
    if scores[kind] <= 0:
        return Finding(Coupling.ALONE, 0.9 if geometry.tasks == 1 else 0.5, evidence, named)
    if kind is Coupling.MPI and geometry.tasks == 1 and not _starts_several(evidence, geometry):
        # One task is no MPI run, whatever is loaded: the launcher starts one process.
        return Finding(Coupling.ALONE, 0.7, evidence, named)
    return Finding(kind, round(scores[kind], 2), evidence, named)


def _starts_several(evidence: Sequence[Evidence], geometry: Geometry) -> bool:
    """Whether a job of one task (as Slurm counts) starts several ranks: by number, or on nodes it has for itself."""
    launched = [one for one in evidence if one.launches]
    return any(one.launches > 1 for one in launched) or (bool(launched) and geometry.nodes_stated)


def _together(weights: Iterable[float]) -> float:
    """Return the certainty of independent pieces of evidence: what is left of the doubt of each, multiplied."""
    doubt = 1.0
    for weight in weights:
        doubt *= 1 - weight
    return 1 - doubt


def _unique(evidence: Iterable[Evidence]) -> Iterator[Evidence]:
    """Leave out what repeats: ten lines with mpirun convince no more than one."""
    seen: set[tuple[Coupling, str]] = set()
    for one in evidence:
        if (one.says, one.text) not in seen:
            seen.add((one.says, one.text))
            yield one
