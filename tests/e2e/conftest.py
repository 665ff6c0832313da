"""The files that take longest come first, so that no worker begins one when the others are done."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.e2e.cluster import Cluster

# Seconds a file takes, roughly; one that is not named takes a minute.
_LONG = {
    "test_lab.py": 230,
    "test_burst_refused.py": 150,
    "test_gang_scale.py": 110,
    "test_blocks.py": 110,
    "test_crash.py": 100,
    "test_gangs.py": 95,
    "test_pair.py": 80,
    "test_reconcile_lab.py": 77,
    "test_interruptions.py": 75,
    "test_burst.py": 70,
    "test_boot_failures.py": 67,
    "test_ledger_lost.py": 47,
    "test_markets_lab.py": 45,
    "test_bill.py": 45,
    "test_corpus_slurm.py": 20,
    "test_burst_quick_start.py": 15,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; xdist hands files out in this order with --no-loadscope-reorder."""
    items.sort(key=lambda item: -_LONG.get(item.path.name, 60))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the program said last to the report of a test that failed: the lab is gone when somebody reads it."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.when == call.when == "call" and report.failed and isinstance(lab, Cluster):
        try:
            said = [f"{one['at']} {one['kind']} {one['text']}" for one in lab.events()[-80:]]
        except (AssertionError, OSError, KeyError, ValueError) as error:
            said = [f"no events: {error}"]
        report.sections.append(("events of the lab", "\n".join(said)))
    return report
