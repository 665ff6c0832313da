"""The published schema of plans: it holds for every plan there is, and refuses what the reader refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from scripts import docs_reference

from asbx.errors import PlanError
from asbx.model.plan import KEYS, parse_plan
from asbx.model.plan_schema import plan_schema

ROOT = Path(__file__).parents[2]
PLANS = [ROOT / "plan.json", *sorted((ROOT / "tests" / "recorded" / "plans").glob("*.json"))]
PAGE = "execution-plan.schema.json"


@pytest.fixture(scope="module")
def checker() -> jsonschema.Draft202012Validator:
    """Return a checker, after making sure that the schema is one."""
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_there_is_follows_it(checker: jsonschema.Draft202012Validator, path: Path) -> None:
    """What the advisor wrote, what it documents and what we ship: all of it, nulls and zeros too."""
    checker.validate(json.loads(path.read_text()))


def test_the_published_file_is_what_the_command_prints() -> None:
    """The file among the reference pages is up to date."""
    assert docs_reference.pages()[PAGE] == (ROOT / "docs" / "reference" / PAGE).read_text(encoding="utf-8")


def test_it_has_every_key_that_is_read(checker: jsonschema.Draft202012Validator) -> None:
    """Each key of each section has a place, and says what may stand there."""
    for section, keys in KEYS.items():
        place: Any = checker.schema
        for part in section.split(".") if section else ():
            place = place["properties"][part]
        for key in keys.split():
            assert place["properties"][key].keys() & {"type", "enum"}, (section, key)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("instance_specification", "instance_types", "m5.xlarge"),
        ("instance_specification", "instance_types", ["m5.xlarge; rm"]),
        ("instance_specification", "subnet_ids", ["vpc-1"]),
        ("instance_specification", "purchasing_option", "cheap"),
        ("instance_specification", "max_spot_price", -1),
        ("instance_specification", "max_spot_price", "0.85"),
        ("instance_specification", "instance_count", 1.5),
        ("mpi_configuration", "requires_efa", 1),
        ("network_configuration", "placement_group_type", "near"),
        ("cost_constraints", "max_total_cost", "much"),
        ("execution_metadata", "tags", ["a"]),
        ("performance_target", "expected_runtime", 1.5),
    ],
)
def test_it_refuses_what_the_reader_refuses(
    checker: jsonschema.Draft202012Validator, section: str, key: str, value: object
) -> None:
    """An editor that checks by the schema says no where a launch would."""
    plan = copy.deepcopy(json.loads(PLANS[0].read_text()))
    plan.setdefault(section, {})[key] = value
    with pytest.raises(jsonschema.ValidationError):
        checker.validate(plan)
    with pytest.raises(PlanError):
        parse_plan(json.dumps(plan))
