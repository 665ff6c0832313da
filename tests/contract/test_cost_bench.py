"""A slice of the bench of costs: that it runs, and that its report is whole. Times are the bench's own business."""

import pytest
from benchmarks.cost import bench_meter, bench_report


def test_the_bench_of_costs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The meter over some intervals, and a year's report from a ledger as the bench writes it."""
    assert bench_meter(900) > 0
    assert bench_report(300, 1) > 0
    out = capsys.readouterr().out
    assert "of 81 instances" in out
    assert "a year of 300 jobs by job" in out
