"""What the analyzer makes of a job's own script at launch time: as a plan that adds what is safe, and nothing else.

The script does not tell what stood on sbatch's command line, so neither types nor amounts are taken from it: those stay
the node group's. What it does tell is whether the tasks wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asbx.config.schema import Mpi
from asbx.decide.script.coupling import Coupling, Finding, coupling
from asbx.decide.script.geometry import geometry
from asbx.decide.script.sbatch import read
from asbx.model.catalogue import TypeFacts
from asbx.model.plan import ExecutionPlan

# One hint alone, such as a loaded module, moves no launch.
_SURE = 0.5


@dataclass(frozen=True)
class Guess:
    """plan: None where nothing follows from the script. why: one sentence, the evidence in it."""

    plan: ExecutionPlan | None
    why: str


def guess(script: str, size: int, mpi: Mpi, types: Mapping[str, TypeFacts]) -> Guess:
    """Return what follows from a script for a job of so many nodes. types: of its node groups, as far as known."""
    submission = read(script, ("-N", str(size), "--", "script"))
    finding = coupling(submission.body, geometry(submission.components[0]))
    said = _said(finding)
    if not finding.coupling.is_tight or finding.confidence < _SURE or size < 2:
        return Guess(None, f"its script: {said}: nothing follows for the launch")
    plan = ExecutionPlan(
        should_burst=True,
        dialect="analyzer",
        text="",
        is_mpi=finding.coupling is Coupling.MPI,
        is_gang=True,
        mpi_implementation=finding.library,
        placement="cluster" if size >= mpi.placement_group_threshold else "",
        prefers_efa=size >= mpi.hpc_instances_threshold and any(one.efa for one in types.values()),
        reasons=tuple(dict.fromkeys(one.text for one in finding.evidence if one.says is finding.coupling)),
    )
    return Guess(plan, f"its script: {said}: its nodes belong together")


def _said(finding: Finding) -> str:
    seen = "; ".join(dict.fromkeys(one.text for one in finding.evidence if one.says is finding.coupling))
    return f"{finding.coupling} ({finding.confidence:.0%} sure)" + (f": {seen}" if seen else "")
