"""Rules over several keys: refused, warned about, or fine."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from asbx.config import rules
from asbx.config.problem import key_text
from asbx.config.schema import Config

BASE: dict[str, Any] = {
    "aws": {"region": "us-east-2"},
    "slurm": {
        "partitions": [
            {
                "partition_name": "aws",
                "node_groups": [
                    {
                        "node_group_name": "cpu",
                        "max_nodes": 20,
                        "region": "us-east-2",
                        "purchasing_option": "spot",
                        "launch_template_specification": {"launch_template_name": "slurm-cpu"},
                        "launch_template_overrides": [{"instance_type": "c5.large"}, {"instance_type": "c6i.large"}],
                        "subnet_ids": ["subnet-1", "subnet-2"],
                    }
                ],
            }
        ]
    },
}
PHYSICS = {"name": "physics", "limit_usd": "100"}
GROUP = "slurm.partitions.0.node_groups.0"


def changed(changes: dict[str, Any]) -> Config:
    """Return the base with values replaced: dotted keys, numbers for list items."""
    data: Any = deepcopy(BASE)
    for dotted, value in changes.items():
        *way, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
        place = data
        for step in way:
            place = place[step] if isinstance(step, int) else place.setdefault(step, {})
        place[last] = value
    return Config.model_validate(data)


def said(findings: tuple[Any, ...]) -> list[str]:
    """Return findings as text."""
    return [f"{key_text(finding.key)} {finding.text}" for finding in findings]


def test_the_base_is_clean() -> None:
    """A plain configuration has neither problems nor warnings."""
    findings = rules.check(changed({}))
    assert said(findings.problems) == []
    assert said(findings.warnings) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"aws.authentication_method": "assume_role"}, "so the section aws.assume_role is required"),
        ({"aws.authentication_method": "profile"}, "so aws.profile is required"),
        ({"aws.authentication_method": "sso", "aws.sso": {"start_url": "x"}}, "SSO sessions belong to a profile"),
        ({"aws.endpoint_url": "localhost:80"}, "must begin with http://"),
        ({"budgets.rules": [PHYSICS, PHYSICS]}, "both would share one book"),
        ({"budgets.rules": [PHYSICS | {"period": "once"}]}, "is required for a budget that is for once"),
        ({"budgets.rules": [PHYSICS | {"ends": "2026-12-31"}]}, "whose period is `once`"),
        (
            {"budgets.rules": [PHYSICS | {"period": "once", "starts": "2026-02-01", "ends": "2026-01-01"}]},
            "before it starts",
        ),
        ({"budgets.rules": [PHYSICS | {"carry_over_percent": 10}]}, "nothing is, from before it"),
        (
            {"budgets.rules": [PHYSICS | {"period": "once", "starts": "2026-02-01", "carry_over_percent": 10}]},
            "needs a period that comes again",
        ),
        ({"budgets.rules": [PHYSICS | {"alerts_percent": [0, 50]}]}, "levels from 1 to"),
        ({f"{GROUP}.region": "eu-west-1"}, "this version bursts into one region"),
        ({f"{GROUP}.launch_template_specification": {}}, "one of them is required"),
        ({f"{GROUP}.launch_template_specification.launch_template_id": "lt-1"}, "not both"),
        ({f"{GROUP}.first_number": 999_999_999}, "more than nine digits"),
        ({f"{GROUP}.launch_template_overrides.0.weighted_capacity": "2"}, "a gang counts instances"),
        ({f"{GROUP}.launch_template_overrides.0.spot_price": "0.0001"}, "EC2 takes no price below 0.001"),
        ({f"{GROUP}.launch_template_overrides.1.instance_type": "c5.large"}, "again (as item 0)"),
        (
            {
                f"{GROUP}.launch_template_overrides.1": {"instance_type": "c5.large", "subnet_id": "subnet-2"},
            },
            "offers c5.large in subnet-2 again",
        ),
        ({f"{GROUP}.subnet_ids": ["subnet-1", "subnet-1"]}, "is in the list twice"),
        ({f"{GROUP}.subnet_ids": ["vpc-1"]}, "must be a subnet id"),
        ({f"{GROUP}.spot_options": {"AllocationStrategy": "cheapest"}}, "must be one of price-capacity-optimized"),
        ({f"{GROUP}.spot_options": {"MaxTotalPrice": "1"}}, "state spot_price"),
        ({f"{GROUP}.on_demand_options": {"AllocationStrategy": "diversified"}}, "must be one of lowest-price"),
        ({f"{GROUP}.slurm_specifications": {"State": "UP"}}, "is written by asbx itself"),
        ({f"{GROUP}.slurm_specifications": {"CPUs": "4\nNodeName=x"}}, "line ends"),
        ({f"{GROUP}.slurm_specifications": {"CPUs 4": "x"}}, "is not a key of slurm.conf"),
        ({f"{GROUP}.slurm_specifications": {"CPUs": 4, "cpus": 5}}, "twice in different spelling"),
        ({"slurm.partitions.0.partition_options": {"Nodes": "ALL"}}, "is written by asbx itself"),
        ({f"{GROUP}.tags": [{"key": "asbx:job", "value": "1"}]}, "is set by asbx or reserved"),
        ({f"{GROUP}.tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}, "in the list twice"),
        ({f"{GROUP}.tags": [{"key": f"k{n}", "value": ""} for n in range(31)]}, "EC2 leaves room for 30"),
        ({"slurm.resume_program": "bin/resume"}, "must be an absolute path"),
        ({f"{GROUP}.capacity_reservations": ["lab-1"]}, "must be the id of a reservation"),
        ({f"{GROUP}.capacity_reservations": ["cr-0a1b", "cr-0a1b"]}, "cr-0a1b is in the list twice"),
        ({f"{GROUP}.reservations_only": True}, "capacity_reservations is empty"),
        (
            {"mpi.force_cluster_placement_group": True, f"{GROUP}.placement": "spread"},
            "is spread, but mpi.force_cluster_placement_group",
        ),
        ({"slurm.topology_file": "topology.conf", "slurm.topology": "conf"}, "must be an absolute path"),
        (
            {"slurm.partitions": [*BASE["slurm"]["partitions"], *BASE["slurm"]["partitions"]]},
            "as of a partition above",
        ),
        (
            {"slurm.partitions.0.node_groups": BASE["slurm"]["partitions"][0]["node_groups"] * 2},
            "as of a group above",
        ),
    ],
)
def test_what_cannot_work_is_a_problem(changes: dict[str, Any], text: str) -> None:
    """Each rule finds its case, and nothing else is found."""
    problems = said(rules.check(changed(changes)).problems)
    assert len(problems) == 1
    assert text in problems[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"slurm.resume_rate": 100}, "the nodes of a job arrive in parts; use 0"),
        ({"slurm.suspend_rate": 100}, "use 0"),
        ({"asbb.enabled": "true"}, "no budget service is asked"),
        ({"asbb.url": "http://127.0.0.1:8080"}, "while the service does not answer, every job waits"),
        (
            {
                "asbb.url": "http://127.0.0.1:8080",
                "asbb.policy": "fail-open",
                "learning.formats": ["asbb-reconciliation"],
            },
            "would charge what it is told and what it imports",
        ),
        ({"slurm.suspend_time": 300}, "slurm.conf(5) advises at least their sum"),
        (
            {
                "aws.authentication_method": "access_keys",
                "aws.access_keys": {"access_key_id": "a", "secret_access_key": "b"},
            },
            "a role is safer",
        ),
        ({"aws.sso": {"profile_name": "x"}}, "authentication_method is default"),
        ({f"{GROUP}.security_group_ids": ["sg-1"]}, "only where the launch template names none"),
        ({f"{GROUP}.iam_instance_profile": "x"}, "the launch template's own applies"),
        ({f"{GROUP}.spot_options": {"InstancePoolsToUseCount": 2}}, "AllocationStrategy is what can be set"),
        ({f"{GROUP}.on_demand_options": {"AllocationStrategy": "prioritized"}}, "purchasing_option is spot"),
        ({f"{GROUP}.launch_template_overrides.0.subnet_id": "subnet-9"}, "not among subnet_ids"),
        ({"mpi.enable_enhanced_networking": True}, "every current instance type has it"),
        ({f"{GROUP}.placement": "none", f"{GROUP}.placement_group_name": "mine"}, "is not used: placement is none"),
        ({f"{GROUP}.efa": "disabled", f"{GROUP}.efa_interfaces": "separate"}, "efa is disabled"),
        ({"mpi.efa_default": "disabled", f"{GROUP}.efa_interfaces": "efa"}, "mpi.efa_default is disabled"),
        (
            {f"{GROUP}.mixed_types": True, f"{GROUP}.launch_template_overrides": [{"instance_type": "c5.large"}]},
            "has one type",
        ),
        ({f"{GROUP}.most_extra_nodes": 2, f"{GROUP}.strategy": "greedy"}, "strategy is greedy"),
        ({f"{GROUP}.market": {"on_demand_base": 2}}, "market.on_demand_base is not used: purchasing_option is spot"),
        ({f"{GROUP}.market": {"fallback_after_seconds": 9}}, "is not used: purchasing_option is spot"),
        (
            {f"{GROUP}.purchasing_option": "on-demand", f"{GROUP}.market": {"max_spot_percent": 70}},
            "is not used: purchasing_option is on-demand",
        ),
        (
            {
                f"{GROUP}.purchasing_option": "mixed",
                f"{GROUP}.market": {"critical_nodes": 1},
                f"{GROUP}.strategy": "greedy",
            },
            "serves only jobs that ask for strategy=gang",
        ),
        ({"slurm.topology_file": "/etc/slurm/topology.conf"}, "slurm.topology is none"),
        ({"reservations.drain_before_end_seconds": 1800}, "leaves jobs no time"),
        ({"logging.compress": False}, "logrotate"),
        ({"limits.rules": [{"name": "a", "partitions": ["nope"], "max_nodes": 1}]}, "no partition of this"),
        ({"limits.rules": [{"name": "a", "each": "user"}]}, "states no limit"),
        ({"limits.rules": [{"name": "a", "each": "user", "max_nodes": 1}]}, "no limit ends in _at_once"),
        ({"policy.rules": [{"name": "a", "users": ["ada"]}]}, "states nothing that jobs may have"),
        ({"policy.rules": [{"name": "a", "instance_types": ["p9.*"]}]}, "no instance type of this"),
    ],
)
def test_what_may_disappoint_is_a_warning(changes: dict[str, Any], text: str) -> None:
    """Each warning finds its case; the configuration stays usable."""
    findings = rules.check(changed(changes))
    assert said(findings.problems) == []
    assert len(findings.warnings) == 1
    assert text in said(findings.warnings)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {f"{GROUP}.purchasing_option": "mixed", f"{GROUP}.on_demand_options": {"AllocationStrategy": "prioritized"}},
        {f"{GROUP}.market": {"max_spot_percent": 60, "interruption_history": False}},
        {f"{GROUP}.purchasing_option": "mixed", f"{GROUP}.market": {"critical_nodes": 1, "on_demand_percent": 20}},
        {f"{GROUP}.launch_template_overrides.0.spot_price": "0"},
        {f"{GROUP}.launch_template_overrides.0.weighted_capacity": "1"},
        {f"{GROUP}.launch_template_overrides.0.subnet_id": "subnet-2"},
        {f"{GROUP}.tags": [{"key": "Project", "value": "x"}]},
        {"slurm.suspend_time": 660},
        {"asbb.enabled": "auto-detect", "asbb.reconciliation_dir": "/var/spool/asbb/costs", "asbb.timeout_seconds": 30},
        {"asbb.url": "http://127.0.0.1:8080", "asbb.policy": "fail-open"},
        {"budgets.rules": [PHYSICS | {"starts": "2026-01-31", "carry_over_percent": 50}]},
        {"mpi.hpc_instances_threshold": 4, "mpi.efa_default": "required"},
        {f"{GROUP}.capacity_reservations": ["cr-0123456789abcdef0", "cr-1"], f"{GROUP}.reservations_only": True},
        {"mpi.force_cluster_placement_group": True, f"{GROUP}.placement_group_name": "mine"},
        {f"{GROUP}.efa": "required", f"{GROUP}.efa_interfaces": "separate", "mpi.efa_default": "disabled"},
        {f"{GROUP}.mixed_types": True, f"{GROUP}.most_extra_nodes": 4},
        {"slurm.topology": "yaml", "slurm.topology_file": "/etc/slurm/cloud.yaml"},
        {"aws.endpoint_url": "http://127.0.0.1:5000"},
        {"limits.rules": [{"name": "a", "partitions": ["*"], "each": "user", "max_nodes_at_once": 1}]},
        {"policy.rules": [{"name": "a", "instance_types": ["*"], "max_nodes": 3}]},
    ],
)
def test_sensible_choices_are_silent(changes: dict[str, Any]) -> None:
    """A warning nobody needs would teach people not to read them."""
    findings = rules.check(changed(changes))
    assert said(findings.problems + findings.warnings) == []


# The five shapes the predecessor ships, in this project's words: authentication method and what each needs.
UPSTREAM: list[dict[str, Any]] = [
    {"aws.authentication_method": "instance_profile", "aws.retry_max_attempts": 3},
    {
        "aws.authentication_method": "sso",
        "aws.sso": {"profile_name": "uni", "start_url": "https://x", "account_id": "123456789012", "role_name": "R"},
        "ecosystem": {"auto_detect": True, "enable_cross_project": True, "shared_config_path": "/etc/x.yaml"},
    },
    {
        "aws.authentication_method": "web_identity",
        "aws.web_identity": {"role_arn": "arn:x", "token_file": "/var/run/token", "session_name": "pod"},
        "ecosystem": {"auto_detect": True, "data_exchange_dir": "/var/spool/x"},
        "logging": {"level": "info", "format": "json"},
    },
    {
        "aws.authentication_method": "cross_account",
        "aws.cross_account": {"source_profile": "main", "target_role_arn": "arn:x", "external_id": "e"},
        f"{GROUP}.purchasing_option": "mixed",
    },
    {
        "aws.authentication_method": "access_keys",
        "aws.access_keys": {"access_key_id": "AKIA...", "secret_access_key": "..."},
        "slurm.partitions.0.partition_name": "aws-dev",
        "logging": {"level": "debug", "format": "text"},
    },
]


@pytest.mark.parametrize("shape", UPSTREAM)
def test_files_of_the_predecessor_validate_unchanged(shape: dict[str, Any]) -> None:
    """Every shape of file the predecessor ships is accepted; what it lacks now is a warning."""
    shape = {
        **shape,
        "slurm.bin_path": "/usr/bin/",
        "slurm.resume_rate": 100,
        "slurm.suspend_rate": 100,
        "slurm.resume_timeout": 300,
        "slurm.suspend_time": 350,
        f"{GROUP}.security_group_ids": ["sg-12345678"],
        f"{GROUP}.iam_instance_profile": "Role",
        f"{GROUP}.launch_template_specification.version": "$Latest",
        f"{GROUP}.subnet_ids": ["subnet-university-private-1a", "subnet-university-private-1b"],
    }
    findings = rules.check(changed(shape))
    assert said(findings.problems) == []
    assert len(findings.warnings) >= 4
