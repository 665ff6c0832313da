"""Policies and stack: the least for a configuration, in text that other parsers take for what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import cfnlint.api
import hcl2
import pytest
import yaml
from moto import mock_aws
from tests.fakes.site import config

from asbx.aws.hcl import terraform_policy, terraform_stack
from asbx.aws.notices_parse import event_patterns
from asbx.aws.policy import Names, policy, source_policy
from asbx.aws.stack import RULES, cloudformation
from asbx.cli.main import main
from asbx.config.schema import Config

NAMES = Names("123456789012", ("arn:aws:iam::123456789012:role/nodes",))
# Characters a managed policy may have, white space aside (IAM user guide, "IAM and AWS STS quotas").
MOST_CHARACTERS = 6144
ENDING = {"ec2:TerminateInstances", "ec2:DeletePlacementGroup", "ec2:DeleteLaunchTemplate", "ec2:GetConsoleOutput"}
ROLE = "arn:aws:iam::210987654321:role/burst"
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "instance_profile": {},
    "profile": {"profile": "burst"},
    "sso": {"sso": {"profile_name": "burst"}},
    "web_identity": {"web_identity": {"role_arn": ROLE, "token_file": "/run/token"}},
    "assume_role": {"assume_role": {"role_arn": ROLE, "external_id": "s3cret"}},
    "cross_account": {"cross_account": {"target_role_arn": ROLE, "external_id": "s3cret"}},
    "access_keys": {"access_keys": {"access_key_id": "AKIAX", "secret_access_key": "s3cret"}},
}


def site(method: str = "default", region: str = "us-east-2", **cpu: Any) -> Config:
    """Return a site with an authentication method; `cpu` changes a node group."""
    plain = config(**cpu)
    raw = json.loads(plain.model_dump_json(exclude_unset=True))
    raw["aws"] = {"region": region, "authentication_method": method} | METHODS[method]
    for partition in raw["slurm"]["partitions"]:
        for group in partition["node_groups"]:
            group["region"] = region
    return Config.model_validate(raw)


def actions(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return action -> the statements that allow it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        named = statement["Action"]
        for action in [named] if isinstance(named, str) else named:
            found.setdefault(action, []).append(statement)
    return found


def test_no_action_is_a_wildcard_and_all_fits_one_managed_policy() -> None:
    """Every action is spelled out; with every feature on it is still one policy."""
    document = policy(site(), NAMES, every=True)
    assert not any("*" in action for action in actions(document))
    assert len(re.sub(r"\s", "", json.dumps(document))) <= MOST_CHARACTERS


def test_what_ends_or_reads_an_instance_asks_for_both_of_our_tags() -> None:
    """An instance of another cluster, or of nobody's, cannot be touched."""
    found = actions(policy(site(), NAMES, every=True))
    for action in ENDING:
        (statement,) = found[action]
        assert statement["Condition"]["StringEquals"] == {
            "aws:ResourceTag/asbx:cluster": "lab",
            "aws:ResourceTag/ManagedBy": "aws-slurm-burst",
        }
        assert statement["Resource"] != "*"


def test_what_a_launch_makes_must_carry_our_tags() -> None:
    """An instance without them cannot be launched, so none can be lost."""
    for action in ("ec2:CreateFleet", "ec2:RunInstances"):
        use, make = actions(policy(site(), NAMES))[action]
        assert not any(":instance/" in arn or ":volume/" in arn for arn in use["Resource"])
        assert any(":instance/" in arn for arn in make["Resource"])
        assert make["Condition"]["StringEquals"]["aws:RequestTag/asbx:cluster"] == "lab"


def test_tags_can_be_set_while_making_and_names_on_our_own_only() -> None:
    """Nobody can put our cluster's tag onto a foreign instance and end it then."""
    new, own = actions(policy(site(), NAMES, every=True))["ec2:CreateTags"]
    assert set(new["Condition"]["StringEquals"]["ec2:CreateAction"]) == {
        "CreateFleet",
        "CreateLaunchTemplate",
        "CreatePlacementGroup",
        "RunInstances",
    }
    keys = own["Condition"]["ForAllValues:StringLike"]["aws:TagKeys"]
    assert not {"asbx:cluster", "ManagedBy", "asbx:*", "*"} & set(keys)
    assert own["Condition"]["StringEquals"]["aws:ResourceTag/asbx:cluster"] == "lab"


def test_only_the_roles_of_the_nodes_are_passed_and_only_to_ec2() -> None:
    """A role of an administrator cannot be given to an instance."""
    (statement,) = actions(policy(site(), NAMES))["iam:PassRole"]
    assert statement["Resource"] == NAMES.node_roles[0]
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({}, {"ec2:GetSpotPlacementScores", "ec2:DescribeCapacityReservations", "sqs:ReceiveMessage"}),
        ({"purchasing_option": "on-demand"}, {"iam:CreateServiceLinkedRole", "ec2:DescribeSpotPriceHistory"}),
    ],
)
def test_what_a_configuration_does_not_use_is_not_in_its_policy(changes: dict[str, Any], absent: set[str]) -> None:
    """Features bring their permissions, and take them away."""
    found = set(actions(policy(site(**changes), NAMES)))
    assert found & absent == set()
    assert absent <= set(actions(policy(site(**changes), NAMES, every=True)))


def test_without_placement_and_efa_nothing_is_made_beside_instances() -> None:
    """No placement groups, no launch templates, no look at security groups."""
    raw = json.loads(site().model_dump_json(exclude_unset=True))
    for group in raw["slurm"]["partitions"][0]["node_groups"]:
        group |= {"placement": "none", "efa": "disabled", "purchasing_option": "on-demand"}
    found = set(actions(policy(Config.model_validate(raw), NAMES)))
    for name in ("CreatePlacementGroup", "CreateLaunchTemplate", "DescribeSecurityGroups", "DescribeInstanceTopology"):
        assert f"ec2:{name}" not in found


def test_whoever_assumes_the_role_needs_that_one_action() -> None:
    """The role itself does not get it."""
    for method in ("assume_role", "cross_account"):
        document = source_policy(site(method))
        assert document is not None
        assert document["Statement"][0]["Resource"] == ROLE
        assert "sts:AssumeRole" not in actions(policy(site(method), NAMES, every=True))
    assert source_policy(site()) is None


def test_other_partitions_have_their_own_names() -> None:
    """China's and the government's ARNs begin with other words."""
    china = json.dumps(policy(site(region="cn-north-1"), Names()))
    assert "arn:aws:" not in china
    assert '"ec2.amazonaws.com.cn"' in china
    assert "arn:aws-us-gov:ec2:us-gov-west-1" in json.dumps(policy(site(region="us-gov-west-1"), Names()))


@pytest.mark.parametrize("method", ["default", "sso", "assume_role"])  # instance profile, no role, a role with a caller
def test_cloudformations_linter_finds_nothing(method: str, tmp_path: Path) -> None:
    """cfn-lint knows every property, and which IAM actions, resources and conditions there are."""
    file = tmp_path / "stack.yaml"
    template = cloudformation(site(method), NAMES)
    file.write_text(yaml.safe_dump(json.loads(json.dumps(template)), sort_keys=False), encoding="utf-8")
    found = cfnlint.api.lint_file(file)
    assert [f"{one.rule.id} {one.message}" for one in found if not one.rule.id.startswith("I")] == []
    assert "s3cret" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_terraforms_parser_takes_the_text_and_every_reference_is_declared(method: str) -> None:
    """The same resources as CloudFormation's, each named thing being there."""
    text = terraform_stack(site(method), NAMES)
    blocks = hcl2.loads(text)
    pairs = [(kind, name) for block in blocks["resource"] for kind, named in block.items() for name in named]
    made = {(json.loads(kind), json.loads(name)) for kind, name in pairs}
    assert ("aws_sqs_queue", "asbx") in made
    assert sum(kind == "aws_cloudwatch_event_target" for kind, _ in made) == len(RULES)
    for kind, name in re.findall(r"\b(aws_[a-z_]+)\.([a-z_]+)\.(?:arn|name|url)", text):
        assert (kind, name) in made
    for name in re.findall(r"\bvar\.([a-z_]+)", text):
        assert f'variable "{name}"' in text
    assert "s3cret" not in text
    assert hcl2.loads(terraform_policy(site(), policy(site(), NAMES)))["resource"]


def test_a_template_sign_in_a_name_is_a_plain_text() -> None:
    """`${` in a description or name is no expression of Terraform's."""
    text = terraform_policy(site(), {"Statement": [{"Sid": 'a"${b}%{c}'}]})
    assert r"a\"$${b}%%{c}" in text


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be in an account."""
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-2")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        yield boto3


MESSAGES = {
    "EC2 Spot Instance Interruption Warning": ("aws.ec2", {"instance-id": "i-1", "instance-action": "terminate"}),
    "EC2 Instance Rebalance Recommendation": ("aws.ec2", {"instance-id": "i-1"}),
    "EC2 Instance State-change Notification": ("aws.ec2", {"instance-id": "i-1", "state": "terminated"}),
    "AWS Health Event": ("aws.health", {"service": "EC2", "eventTypeCategory": "scheduledChange"}),
    "EC2 Capacity Reservation Instance Interruption Warning": ("aws.ec2", {"instance-id": "i-1"}),
}


def test_each_kind_of_message_reaches_the_queue_and_no_other(aws: Any) -> None:
    """The rules, put into an EventBridge, let the five through to a queue made as the stack says."""
    resources = cloudformation(site(), NAMES)["Resources"]
    sqs, events = aws.client("sqs"), aws.client("events")
    properties = resources["InterruptionQueue"]["Properties"]
    attributes = {name: str(value).lower() for name, value in properties.items() if name != "QueueName"}
    url = sqs.create_queue(QueueName=properties["QueueName"], Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for name, made in resources.items():
        if made["Type"] == "AWS::Events::Rule":
            events.put_rule(Name=name, EventPattern=json.dumps(made["Properties"]["EventPattern"]))
            events.put_targets(Rule=name, Targets=[{"Id": "Queue", "Arn": arn}])
    others = {
        "EC2 Instance State-change Notification": ("aws.ec2", {"state": "running"}),
        "AWS Health Event": ("aws.health", {"service": "RDS"}),
        "EC2 Instance Launch Successful": ("aws.autoscaling", {}),
    }
    for kind, (source, detail) in [*MESSAGES.items(), *others.items()]:
        events.put_events(Entries=[{"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}])
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    assert sorted(json.loads(message["Body"])["detail-type"] for message in found) == sorted(MESSAGES)


def test_the_rules_let_through_what_is_read() -> None:
    """The stack's rules and the parser of messages speak of the same events."""
    patterns = event_patterns()
    read = {(source, kind) for one in patterns.values() for source in one["source"] for kind in one["detail-type"]}
    rules = [rule.pattern for rule in RULES]
    made = {(source, kind) for one in rules for source in one["source"] for kind in one["detail-type"]}
    assert made == read


def test_iam_takes_the_policies(aws: Any) -> None:
    """The pretend IAM checks the grammar of a policy document as the real one does."""
    iam = aws.client("iam")
    for number, method in enumerate(METHODS):
        document = json.dumps(policy(site(method), NAMES, every=True))
        iam.create_policy(PolicyName=f"asbx-{number}", PolicyDocument=document)


def test_the_commands_print_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`asbx iam policy` and `stack`, as JSON, YAML and Terraform; a missing role is said beside the answer."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(site().model_dump_json(exclude_unset=True))), encoding="utf-8")
    assert main(["iam", "policy", "--config", str(file)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["Version"] == "2012-10-17"
    assert "--node-role" in said.err
    role = ["--node-role", NAMES.node_roles[0]]
    assert main(["iam", "stack", "--config", str(file), *role]) == 0
    said = capsys.readouterr()
    assert yaml.safe_load(said.out)["Resources"]["InterruptionQueue"]
    assert "&id" not in said.out
    assert said.err == ""
    assert main(["iam", "stack", "--format", "terraform", "--config", str(file), *role]) == 0
    assert hcl2.loads(capsys.readouterr().out)["resource"]
    assert main(["iam", "policy", "--node-role", "nodes", "--config", str(file)]) == 2
    assert main(["iam", "policy", "--source", "--config", str(file)]) == 3
