"""Every plan there is, in a dry run: accepted, and for each value of the launch it is told who said so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from asbx.cli.main import main

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "recorded" / "plans"
REAL = ("mpi-job", "gpu_training", "single", "wrf")
FIELDS = {
    "instance_types",
    "markets",
    "max_spot_price",
    "subnets",
    "zones",
    "launch_template",
    "security_groups",
    "instance_profile",
    "user_data",
    "launch",
    "efa",
    "placement",
    "placement_group",
    "tags",
}


def dry_run(capsys: pytest.CaptureFixture[str], plan: Path, config: Path = ROOT / "config.yaml") -> Any:
    """Return what a dry run with a plan says."""
    words = ["resume", "aws-hpc-[001-004]", f"--execution-plan={plan}", f"--config={config}", "--dry-run", "--json"]
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", REAL)
def test_every_real_plan_is_filled_in(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What the advisor left out comes from the node group, and each value tells where from."""
    said = dry_run(capsys, RECORDED / f"{name}.json")
    (launch,) = said["launches"]
    rows = {row["field"]: row for row in launch["filled"]}
    assert rows.keys() == FIELDS
    assert all(row["source"] for row in rows.values())
    assert rows["subnets"]["source"] == "node group: subnet_ids"
    assert rows["instance_types"]["source"] == "node group: launch_template_overrides"
    assert rows["markets"]["source"] == "plan: instance_specification.purchasing_option"
    notes = " ".join(launch["notes"])
    assert "m5.xlarge" in notes
    assert said["plan"] == {"dialect": "real", "unknown": []}


def test_a_plan_not_to_burst_launches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It is accepted, and said to give the nodes back."""
    said = dry_run(capsys, RECORDED / "blast-idle.json")
    assert said["launches"] == []
    assert "given back" in " ".join(said["notes"])


def test_the_documented_plan_is_served_by_a_site_it_was_written_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its subnets, groups, profile and template are the group's, or granted: it is accepted and named as source."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    group = raw["slurm"]["partitions"][0]["node_groups"][1]
    raw["policy"] = {"rules": [{"name": "mpi", "launch_templates": ["aws-hpc-mpi-template"], "tags": ["*"]}]}
    group["subnet_ids"] = ["subnet-12345678", "subnet-87654321"]
    group["launch_template_overrides"] = [{"instance_type": "c6in.32xlarge"}]
    group["security_group_ids"] = ["sg-12345678"]
    group["iam_instance_profile"] = "SlurmComputeInstanceRole"
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(raw))
    (launch,) = dry_run(capsys, RECORDED / "documented-plan.json", path)["launches"]
    rows = {row["field"]: (row["value"], row["source"]) for row in launch["filled"]}
    assert rows["launch_template"] == ("aws-hpc-mpi-template", "plan: instance_specification, by rule 'mpi'")
    assert rows["subnets"][1] == "plan: instance_specification.subnet_ids"
    assert rows["max_spot_price"] == ("0.85", "plan: instance_specification.max_spot_price")
    assert rows["instance_profile"][1].startswith("plan: instance_specification.iam_instance_profile")
    assert rows["tags"][1] == "plan: execution_metadata.tags"
    assert launch["rules"] == ["mpi"]


def test_validate_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """For every node group that could serve the plan, each value and who said so."""
    plan = str(RECORDED / "wrf.json")
    assert main(["validate", "execution-plan", plan, "--config", str(ROOT / "config.yaml"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {row["field"] for row in said["filled"]["aws-hpc"]} == FIELDS


def test_validate_judges_as_the_user_would_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same plan is an administrator's word without --user, and refused with it."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["policy"] = {"rules": [{"name": "students", "users": ["stud*"], "max_nodes": 2}]}
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(raw))
    words = ["validate", "execution-plan", str(RECORDED / "wrf.json"), "--config", str(path)]
    assert main(words) == 0
    assert main([*words, "--user", "stud7"]) == 4
    assert "rule 'students': max_nodes 2" in capsys.readouterr().err
