"""The list of permissions and the calls in the code are the same: neither may grow without the other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from botocore import xform_name
from botocore.session import get_session

import asbx.aws
from asbx.aws.permissions import ALLOWED_BY, PERMISSIONS

PACKAGE = Path(asbx.aws.__file__).parent
# Modules that speak of actions without calling any.
_WORDS_ONLY = {"permissions.py", "policy.py", "stack.py", "hcl.py"}
# Client name -> prefix in IAM.
_SERVICES = {"ec2": "ec2", "pricing": "pricing", "service-quotas": "servicequotas", "sqs": "sqs", "sts": "sts"}
# What botocore calls for us.
_HELPERS = {"create_assume_role_refresher": "sts:AssumeRole"}
# Asked without a signature, so there is nobody a policy could allow it.
_UNSIGNED = {"sts:AssumeRoleWithWebIdentity"}


@cache
def operations() -> dict[str, str]:
    """Return method name and operation name -> IAM action, for the services we use."""
    known: dict[str, str] = {}
    session = get_session()
    for service, prefix in _SERVICES.items():
        for name in session.get_service_model(service).operation_names:
            known[name] = known[xform_name(name)] = f"{prefix}:{name}"
    return known


def words(tree: ast.AST) -> Iterator[str]:
    """Yield what could name a call: methods, texts, functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id


def called() -> dict[str, str]:
    """Return action -> the module that calls it."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.glob("*.py")):
        if path.name not in _WORDS_ONLY:
            for word in words(ast.parse(path.read_text(encoding="utf-8"))):
                action = _HELPERS.get(word) or operations().get(word)
                if action and action not in _UNSIGNED:
                    found.setdefault(ALLOWED_BY.get(action, action), path.name)
    return found


def test_every_call_in_the_code_is_in_the_list() -> None:
    """A new call without a permission would fail at a site, not here."""
    listed = {one.action for one in PERMISSIONS if one.called}
    missing = {action: module for action, module in called().items() if action not in listed}
    assert missing == {}, f"add to asbx/aws/permissions.py: {missing}"


def test_every_permission_is_called() -> None:
    """What is no longer called is no longer asked for."""
    listed = {one.action for one in PERMISSIONS if one.called}
    assert listed - set(called()) == set(), "take out of asbx/aws/permissions.py"


def test_the_scan_sees_calls_of_every_shape() -> None:
    """By method, by name through getattr, by a helper of botocore's."""
    seen = called()
    assert seen["ec2:CreateFleet"] == "cloud.py"
    assert seen["ec2:DescribeInstanceTypes"] == "catalogue.py"
    assert seen["servicequotas:GetAWSDefaultServiceQuota"] == "catalogue.py"
    assert seen["sts:AssumeRole"] == "client.py"


def test_every_permission_names_an_action_of_aws() -> None:
    """A typing error in a policy is found by nobody until a launch fails."""
    known = set(operations().values()) | {"iam:PassRole"}
    known |= {f"iam:{name}" for name in get_session().get_service_model("iam").operation_names}
    assert {one.action for one in PERMISSIONS} - known == set()
