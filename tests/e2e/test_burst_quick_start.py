"""The command lines of the project's Quick Start, word for word, from the repository's root, with a lab's account."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, Said, cluster, run, until

from asbx.model.hostlist import expand

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up whose machines never boot: what is launched is the point."""
    with cluster("--nodes", "8", "--no-machines") as one:
        yield one


def _typed(lab: Cluster, line: str) -> Said:
    """Run a command line in a shell that stands in the repository's root, inside `asbx lab env`."""
    return run(["/bin/bash", "-c", line], lab.environ, cwd=ROOT)


def test_validate_config(lab: Cluster) -> None:
    """The annotated example is a usable configuration."""
    said = _typed(lab, "aws-slurm-burst-validate config examples/config.yaml")
    assert said.status == 0, said
    assert "usable, no warnings" in said.out


def test_dry_run_with_the_small_configuration(lab: Cluster) -> None:
    """The dry run names the four nodes and the calls it would make, and makes none."""
    said = _typed(lab, "aws-slurm-burst-resume aws-cpu-[001-004] --config=config.yaml --dry-run")
    assert said.status == 0, said
    assert "aws-cpu-[001-004]  4 node(s)" in said.out
    assert "nothing was launched" in said.out
    assert lab.instances() == []


def test_resume_with_an_execution_plan(lab: Cluster) -> None:
    """Sixteen nodes come up as the plan has it: one type with EFA, one placement group; what is not done is told."""
    said = _typed(lab, "aws-slurm-burst-resume aws-hpc-[001-016] --execution-plan=plan.json")
    assert said.status == 0, said

    rows = until("launched", lambda: lab.of_nodes(expand("aws-hpc-[001-016]")), 30, lambda rows: len(rows) == 16)
    assert sorted(lab.bound()) == sorted(row["node"] for row in rows)
    assert len(lab.instances()) == 16
    assert len({(row["type"], row["subnet"], row["placement_group"]) for row in rows}) == 1
    assert rows[0]["type"] in ("c6in.32xlarge", "c6i.32xlarge")
    planned = next(event for event in lab.events() if event["kind"] == "ladder-planned")
    (estimate,) = [row for row in planned["data"]["filled"]["aws-hpc"] if row["field"] == "estimate"]
    assert "max_total_cost 480" in estimate["source"]
    assert "16 node(s)" in estimate["value"]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="`make build` makes .venv, which is not in use here")
def test_make_build_may_be_repeated(lab: Cluster) -> None:
    """`make build` where everything is built already works, and the programs are those that run here."""
    for _ in range(2):
        said = _typed(lab, "make build")
        assert said.status == 0, said
        assert ".venv/bin" in said.out
    assert _typed(lab, "asbx --version && asbx lab status").status == 0
