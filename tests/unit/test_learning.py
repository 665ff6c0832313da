"""The learning document, the charge and the comment, from what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.fakes.past import account, evidence, launches
from tests.fakes.samples import NOON
from tests.unit.golden import golden

from asbx.decide.learn import measures, scores
from asbx.decide.learn.document import document
from asbx.decide.learn.figures import go_duration
from asbx.decide.learn.files import comment_text, export_file
from asbx.decide.learn.reconciliation import job_cost, joined, reconciliation
from asbx.errors import AsbxError
from asbx.model.account import StepUse
from asbx.model.plan import parse_plan

ROOT = Path(__file__).parents[2]
PLANS = ROOT / "tests" / "recorded" / "plans"
SCHEMA = json.loads((ROOT / "docs" / "reference" / "learning.schema.json").read_text(encoding="utf-8"))


def plan_text(name: str) -> str:
    """Return a plan the advisor really wrote."""
    return (PLANS / f"{name}.json").read_text(encoding="utf-8")


def nulls(value: Any, path: str = "") -> set[str]:
    """Return the paths of all nulls."""
    if isinstance(value, dict):
        return {one for name, part in value.items() for one in nulls(part, f"{path}.{name}" if path else name)}
    if isinstance(value, list):
        return {one for part in value for one in nulls(part, f"{path}[]")}
    return {path} if value is None else set()


def checked(made: dict[str, Any]) -> dict[str, Any]:
    """Hold a document to its schema, and every null in it to a note; return it as JSON has it."""
    made = json.loads(json.dumps(made, allow_nan=False))
    jsonschema.validate(made, SCHEMA)
    own = {path for path in nulls(made) if "original_asba_prediction" not in path}
    assert own <= set(made["notes"])
    return made


def test_the_document_of_a_planned_mpi_job() -> None:
    """Every figure of a job that went by a real plan of the advisor's, held to a golden file."""
    text = plan_text("mpi-job")
    golden("learning-mpi-job", checked(document(evidence(text, plan_data=json.loads(text)))))


def test_what_is_measured() -> None:
    """4.5 h of CPU time on 4 CPUs for 1.5 h are 75 %; 2 of 8 GiB 25 %; 60 of 80 minutes a task 75 %."""
    job = account()
    assert measures.cpu_utilization(job) == pytest.approx(0.75)
    assert measures.memory_utilization(job) == pytest.approx(0.25)
    assert measures.load_balance(job) == pytest.approx(0.75)
    assert measures.network_gbps(job) is None
    with_fabric = replace(job, steps=(StepUse("0", job.elapsed, 4, fabric=675_000_000_000),))
    assert measures.network_gbps(with_fabric) == pytest.approx(1.0)
    assert measures.provisioning(evidence()) == timedelta(seconds=71)


@pytest.mark.parametrize(
    ("actual", "predicted", "score"),
    [(1, 1, 1), (1, 2, 0.5), (2, 1, 0.5), (100, 1, 0.01), (1, None, None), (None, 1, None), (0, 1, None), (1, 0, None)],
)
def test_accuracy(actual: float | None, predicted: float | None, score: float | None) -> None:
    """1 - |actual - predicted| / max of both; nothing to compare is no score."""
    assert scores.accuracy(actual, predicted) == (None if score is None else pytest.approx(score))


def test_what_plans_foretell() -> None:
    """The advisor's limit is 1.2 times its estimate; documented plans state a limit; a guess foretells nothing."""
    real, documented = parse_plan(plan_text("mpi-job")), parse_plan(plan_text("documented-plan"))
    assert real.max_total_cost is not None
    assert scores.predicted_cost(real) == real.max_total_cost / Decimal("1.2")
    assert scores.predicted_runtime(real) == timedelta(hours=2)
    assert scores.predicted_cost(documented) is None
    assert scores.predicted_cost(None) is None
    assert scores.predicted_runtime(replace(real, dialect="analyzer")) is None


def test_without_a_plan_nothing_is_scored() -> None:
    """Standalone jobs have no prediction, and the note says so."""
    made = checked(document(evidence()))
    assert set(made["prediction_validation"].values()) == {None}
    assert made["notes"]["prediction_validation.cost_accuracy"] == "the job went by no plan of the advisor's"
    assert made["execution_context"]["execution_mode"] == "standalone"
    assert "original_asba_prediction" not in made["job_metadata"]


def test_without_accounting_only_the_ledger_speaks() -> None:
    """Cost, types and launch times are there; what only Slurm knows is null, with the reason."""
    made = checked(document(evidence(account=None, no_account="this cluster keeps no accounting")))
    execution = made["job_metadata"]["actual_execution"]
    assert (execution["success"], execution["execution_duration"]) == (None, None)
    assert execution["actual_cost_usd"] == pytest.approx(0.1223, abs=0.001)
    assert made["notes"]["job_metadata.actual_execution.success"] == "this cluster keeps no accounting"
    assert made["notes"]["aws_performance_metrics.cpu_utilization"] == "this cluster keeps no accounting"
    assert made["job_metadata"]["user_id"] == "ada"


def test_without_the_ledger_only_accounting_speaks() -> None:
    """An ordinary user who may not read the ledger gets no cost, and no zero in its place."""
    blind = evidence(launches=(), bill=None, no_ledger="the ledger cannot be read here")
    made = checked(document(replace(blind, launches=None)))
    assert made["cost_analysis"]["total_cost_usd"] is None
    assert made["aws_performance_metrics"]["spot_interruptions"] is None
    assert made["notes"]["cost_analysis.total_cost_usd"].startswith("the ledger cannot be read")
    assert made["aws_performance_metrics"]["cpu_utilization"] == 0.75
    with pytest.raises(AsbxError) as caught:
        export_file(replace(blind, launches=None), "asbb-reconciliation")
    assert caught.value.exit_code == 10


def test_an_unknown_price_is_no_cost() -> None:
    """The sum of what is known would be an invented figure."""
    unpriced = evidence(launches=launches(price=None))
    made = checked(document(unpriced))
    assert made["cost_analysis"]["compute_cost_usd"] is None
    assert made["cost_analysis"]["instance_cost_breakdown"][0]["cost_usd"] is None
    assert "price" in made["notes"]["cost_analysis.instance_cost_breakdown[].cost_usd"]
    with pytest.raises(AsbxError) as caught:
        export_file(unpriced, "asbb-reconciliation")
    assert caught.value.code == "cost-unknown"


def test_nothing_gathered_is_null_not_zero() -> None:
    """Where jobacct_gather is off, use is unknown."""
    made = checked(document(evidence(account=account(cpu_time=None, steps=(StepUse("0", timedelta(hours=1), 4),)))))
    assert made["aws_performance_metrics"]["cpu_utilization"] is None
    assert made["aws_performance_metrics"]["memory_utilization"] is None
    assert "JobAcctGatherType" in made["notes"]["aws_performance_metrics.cpu_utilization"]
    assert made["mpi_optimization_results"]["load_balance"] is None


def test_a_job_of_one_task_has_no_mpi_results() -> None:
    """No section about MPI for what is none."""
    made = checked(document(evidence(account=account(nodes=1, steps=(StepUse("batch", timedelta(hours=1), 1),)))))
    assert "mpi_optimization_results" not in made


def test_what_still_runs_is_provisional() -> None:
    """Idle instances still cost: the document says how many there are."""
    made = checked(document(evidence(launches=launches(ended_at=None))))
    assert made["provisional"]
    assert made["notes"]["provisional"] == "2 instance(s) of the job still run, and cost"
    assert not checked(document(evidence()))["provisional"]


def test_what_spot_saved() -> None:
    """(0.0850 - 0.0306) USD an hour over what was billed; unknown without the other price; 0 without spot."""
    hours = Decimal(2 * 3600 - 3) / 3600
    assert evidence().savings == pytest.approx(2 * hours * Decimal("0.0544"), abs=Decimal("1E-8"))
    assert evidence(on_demand={}).savings is None
    assert evidence(launches=()).savings == 0


def test_boot_scripts_leave_no_trace() -> None:
    """A plan is repeated without its user data."""
    plan = json.loads(plan_text("documented-plan"))
    plan["instance_specification"]["user_data"] = "export TOKEN=hunter2"
    made = checked(document(evidence(plan_text("documented-plan"), plan_data=plan)))
    assert "hunter2" not in json.dumps(made)
    assert "user_data" not in json.dumps(made)
    assert made["execution_context"]["environment_variables"] == {}


def test_the_charge_is_the_bill_digit_for_digit() -> None:
    """Amounts are JSON numbers with the bill's digits, and parts add up."""
    found = evidence()
    _, text = export_file(found, "asbb-reconciliation")
    charge = json.loads(text, parse_float=Decimal)
    assert charge["actual_cost"] == found.usd
    assert charge["compute_cost"] == found.usd
    assert (charge["account"], charge["user_id"], charge["provisional"]) == ("physics", "ada", False)
    assert charge["duration_hours"] == Decimal("1.5")
    lines = document(found)["cost_analysis"]["instance_cost_breakdown"]
    assert sum(Decimal(repr(line["cost_usd"])) for line in lines) == found.usd
    assert set(reconciliation(found)) - {"provisional"} == {
        *("job_id", "account", "user_id", "partition", "actual_cost", "compute_cost", "storage_cost", "network_cost"),
        *("spot_savings", "instance_types", "duration_hours", "success", "export_time", "plugin_version"),
    }


@pytest.mark.parametrize(
    ("changes", "state", "where"),
    [
        ({}, "COMPLETED", "AWS"),
        ({"state": "NODE_FAIL"}, "FAILED", "AWS"),
        ({"state": "CANCELLED"}, "CANCELLED", "AWS"),
        ({"nodes": 5}, "COMPLETED", "HYBRID"),
    ],
)
def test_what_the_budget_service_imports(changes: dict[str, Any], state: str, where: str) -> None:
    """Its own four states, its own words for where a job ran, wall times it reads rightly."""
    cost = job_cost(evidence(account=account(**changes)))
    assert (cost["job_state"], cost["burst_decision"]) == (state, where)
    assert (cost["wall_time_limit"], cost["actual_wall_time"]) == ("02:00:00", "01:30:00")
    assert cost["actual_cost"] == cost["cost_breakdown"]["compute"]
    assert job_cost(evidence(burst_nodes=()))["burst_decision"] == "LOCAL"


def test_the_comment() -> None:
    """What upstream puts behind aws_meta, in one line."""
    text = comment_text(evidence())
    assert text.startswith("aws_meta:{")
    found = json.loads(text.removeprefix("aws_meta:"))
    assert found["instances"] == ["c7i.large"]
    assert (found["duration"], found["success"]) == ("1h30m0s", True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "aws_meta:{}"),
        ("asbx:capacity no room", "asbx:capacity no room; aws_meta:{}"),
        ("mine; aws_meta:{`cost`:1}", "mine; aws_meta:{}"),
        ("aws_meta:{`cost`:1}", "aws_meta:{}"),
    ],
)
def test_nobodys_comment_is_lost(before: str, after: str) -> None:
    """What stands in AdminComment stays; our own part is there once."""
    assert joined(before, "aws_meta:{}") == after
    assert joined(after, "aws_meta:{}") == after


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (90, "1m30s"),
        (7200, "2h0m0s"),
        (3661.5, "1h1m1.5s"),
        (90000, "25h0m0s"),
    ],
)
def test_durations_as_go_writes_them(seconds: float, text: str) -> None:
    """The plan reader, which knows Go's form, reads back what is written."""
    assert go_duration(timedelta(seconds=seconds)) == text
    plan = json.loads(plan_text("documented-plan"))
    plan["performance_target"] = {"expected_runtime": text}
    assert parse_plan(json.dumps(plan)).expected_runtime == (timedelta(seconds=seconds) or None)


def test_times_are_as_they_were() -> None:
    """Start and end are RFC 3339 in UTC."""
    execution = document(evidence())["job_metadata"]["actual_execution"]
    assert execution["start_time"] == (NOON + timedelta(minutes=2)).isoformat().replace("+00:00", "Z")
