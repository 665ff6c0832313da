"""A slice of the kill test (`make kill`): eight processes die by SIGKILL at random moments, and nothing is lost."""

from __future__ import annotations

import pytest
from tests.e2e.cluster import cluster
from tests.e2e.kill_lab import kill_test

# Hooks that die before their request is kept cost a wait for ResumeTimeout: they are in the full test.
TARGETS = {"daemon": 75, "worker": 25}


@pytest.mark.slurm
def test_eight_kills_lose_nothing() -> None:
    """Jobs complete, instances are ended and in the ledger with their end, no node is stuck, nothing comes twice."""
    said: list[str] = []
    with cluster("--nodes", "40", "--boot", "1.5") as lab:
        verdict = kill_test(lab, 8, 20261125, said.append, patience=120, targets=TARGETS)
    assert verdict.is_good, "\n".join([*said, verdict.table(), *verdict.wrong])
