"""A slice of the bench: how many calls and processes a burst costs. Times are the bench's own business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slurm
def test_a_burst_of_500_costs_few_calls(tmp_path: Path) -> None:
    """One CreateFleet, at most 4 describes, 2 tag calls on the critical path and 2 scontrol processes for 500 nodes."""
    bench = REPOSITORY / "benchmarks" / "burst.py"
    command = [sys.executable, str(bench), "--runs", "1", "--sizes", "500", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "burst.json").read_text())["burst"]["500"]
    assert figures["calls"]["CreateFleet"] == 1
    # A reconcile pass may fall into the time of the burst: one listing on either side is not the burst's.
    assert figures["calls"]["DescribeInstances"] <= 4
    assert 1 <= figures["critical_create_tags"] <= 2
    assert figures["slurm_processes"]["scontrol"] <= 2 + 1


@pytest.mark.slurm
def test_gangs_cost_few_calls(tmp_path: Path) -> None:
    """A ladder that fails makes a launch call a rung at most; ten gangs of ten at 55 make eight at most, five whole."""
    command = [sys.executable, "-m", "benchmarks.gang", "--runs", "1", "--only", "b,e", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "gang.json").read_text())
    # Spot pools above the cheapest on-demand price are left out, so how many there are hangs on the prices.
    assert 6 <= figures["b"]["rungs"]["max"] <= 12
    assert figures["b"]["calls"]["CreateFleet"] <= 12
    assert figures["e"]["calls"]["CreateFleet"] <= 8
    assert (figures["e"]["whole"]["min"], figures["e"]["launched"]["max"]) == (5, 50)
