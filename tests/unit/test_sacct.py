"""What sacct prints becomes a job. Recorded on 22.05.8; shapes of later releases after their sacct(1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asbx.errors import SlurmError
from asbx.slurm.process import SlurmCommands
from asbx.slurm.sacct import FIELDS, Sacct, parse_account

RECORDED = Path(__file__).parent.parent / "recorded" / "sacct"
MARK = "@|@"


def recorded(name: str) -> str:
    """Return what a real sacct printed."""
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def row(**fields: str) -> str:
    """Return a row as sacct prints it; what is not named is empty."""
    assert set(fields) <= set(FIELDS)
    return MARK.join(fields.get(name, "") for name in FIELDS) + "\n"


def test_an_mpi_job_with_its_steps() -> None:
    """Run time, CPU time, memory and the balance of its tasks are there, to the byte."""
    job = parse_account(recorded("mpi"), MARK, "1")
    assert job is not None
    assert (job.job_id, job.label, job.state, job.is_success) == (1, "1", "COMPLETED", True)
    assert (job.nodes, job.cpus, job.gpus, job.memory) == (2, 2, 0, 2000 * 1024**2)
    assert (job.name, job.partition, job.node_list) == ("ocean", "aws", "aws-cpu-[000-001]")
    assert job.limit is None
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.ended_at - job.started_at == job.elapsed
    assert job.started_at.tzinfo is UTC
    assert job.cpu_time is not None
    assert timedelta(seconds=8) < job.cpu_time < timedelta(seconds=12)
    main = next(step for step in job.steps if step.name == "0")
    assert main.tasks == 2
    assert main.peak_memory is not None
    assert main.peak_memory > 2 * 50_000_000
    assert main.cpu_tasks is not None
    assert main.cpu_tasks[0] < main.cpu_tasks[1]


def test_a_task_of_an_array_by_both_its_names() -> None:
    """A task is found by label and by number; the array's own number is the task that bears it."""
    text = recorded("array")
    by_label = parse_account(text, MARK, "2_2")
    assert by_label is not None
    assert (by_label.job_id, by_label.state, by_label.exit_code) == (2, "FAILED", 1)
    assert parse_account(text, MARK, "2") == by_label
    assert by_label.siblings == ("2_1",)
    other = parse_account(text, MARK, "2_1")
    assert other is not None
    assert other.state == "COMPLETED"
    assert [step.name for step in other.steps] == ["batch"]
    assert parse_account(text, MARK, str(other.job_id)) == other


def test_a_name_cannot_forge_a_row() -> None:
    """A job's name with bars and newlines in it stays its name."""
    job = parse_account(recorded("odd-name"), MARK, "3")
    assert job is not None
    assert (job.name, job.state, job.exit_code) == ("a|b\n9|9|x", "FAILED", 3)


def test_a_job_cut_off_by_its_limit() -> None:
    """A time limit is minutes; a job over it is no success."""
    job = parse_account(recorded("timeout"), MARK, "4")
    assert job is not None
    assert (job.state, job.limit, job.is_success, job.is_over) == ("TIMEOUT", timedelta(minutes=1), False, True)


def test_a_job_that_never_ran() -> None:
    """Cancelled while pending: no nodes, no steps, nothing measured."""
    job = parse_account(recorded("cancelled"), MARK, "5")
    assert job is not None
    assert (job.state, job.node_list, job.steps, job.cpu_time, job.elapsed) == ("CANCELLED", "", (), None, timedelta())


def test_nothing_known_is_none() -> None:
    """Sacct prints nothing for a job it does not know."""
    assert parse_account("", MARK, "9") is None
    assert parse_account("\n", MARK, "9") is None


def test_shapes_of_later_releases() -> None:
    """GPUs and memory of the allocation in TRES, fabric counters, spans of days (sacct(1) of 23.11 and 25.05)."""
    usage = "cpu=1-00:00:00,fs/disk=7,gres/gpumem=1G,gres/gpuutil=90,ic/ofed=1000,mem=3221225472,pages=0"
    text = row(
        JobIDRaw="77", JobID="77", State="OUT_OF_MEMORY", ExitCode="0:125", NNodes="2", AllocCPUS="16", ReqMem="64G",
        AllocTRES="billing=16,cpu=16,gres/gpu:a100=4,gres/gpu=4,mem=65536M,node=2", Start="2026-03-01T00:00:00",
        End="2026-03-02T01:00:00", TimelimitRaw="2880", TotalCPU="12-01:02:03.500", ElapsedRaw="90000",
    )  # fmt: skip
    text += row(
        JobIDRaw="77.0", JobID="77.0", State="OUT_OF_MEMORY", NTasks="4", TotalCPU="12-01:00:00", ElapsedRaw="90000",
        TRESUsageInTot=usage, TRESUsageInMax="cpu=2-00:00:00", TRESUsageInAve="cpu=1-12:00:00",
        TRESUsageOutTot="energy=0,fs/disk=9,ic/ofed=234",
    )  # fmt: skip
    job = parse_account(text, MARK, "77")
    assert job is not None
    assert (job.gpus, job.memory, job.signal, job.limit) == (4, 64 * 1024**3, 125, timedelta(days=2))
    assert job.cpu_time == timedelta(days=12, hours=1, minutes=2, seconds=3.5)
    assert job.started_at == datetime(2026, 3, 1, tzinfo=UTC)
    (step,) = job.steps
    assert (step.fabric, step.peak_memory) == (1234, 3 * 1024**3)
    assert step.cpu_tasks == (timedelta(hours=36), timedelta(hours=48))


@pytest.mark.parametrize(("asked", "total"), [("4Gn", 8 << 30), ("1Gc", 16 << 30), ("2G", 2 << 30), ("0", None)])
def test_requested_memory_for_nodes_and_cpus(asked: str, total: int | None) -> None:
    """Before 21.08 requested memory was for each node or CPU; since then it is the sum."""
    text = row(JobIDRaw="7", JobID="7", State="COMPLETED", NNodes="2", AllocCPUS="16", ReqMem=asked, ElapsedRaw="1")
    job = parse_account(text, MARK, "7")
    assert job is not None
    assert job.memory == total


def test_components_of_a_heterogeneous_job() -> None:
    """Each component has its own number behind its label."""
    text = "".join(
        row(JobIDRaw=str(8 + part), JobID=f"8+{part}", State="COMPLETED", ElapsedRaw="1") for part in range(2)
    )
    job = parse_account(text, MARK, "8+1")
    assert job is not None
    assert job.job_id == 9


@pytest.mark.parametrize("text", ["no mark at all\n", f"1{MARK}2\n", row(JobIDRaw="7", JobID="7")[:-40], "\x00\n"])
def test_other_shapes_are_not_believed(text: str) -> None:
    """What is not rows of our fields is no job."""
    assert parse_account(text, MARK, "7") is None


def test_a_cluster_without_accounting_says_so(tmp_path: Path) -> None:
    """Sacct of such a cluster fails; that is an answer of its own, and other failures are not taken for it."""
    (tmp_path / "slurm.conf").touch()
    program = tmp_path / "sacct"
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SlurmError) as caught:
        Sacct(SlurmCommands(tmp_path, tmp_path / "slurm.conf")).account("1")
    assert caught.value.code == "slurm-no-accounting"
    program.write_text("#!/bin/sh\necho 'sacct: error: Connection refused' >&2\nexit 1\n")
    with pytest.raises(SlurmError) as caught:
        Sacct(SlurmCommands(tmp_path, tmp_path / "slurm.conf")).account("1")
    assert caught.value.code == "slurm-refused"
