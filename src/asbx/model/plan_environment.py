"""The environment form of a plan: ASBA_ variables, as the advisor's documentation proposes them.

slurmctld starts ResumeProgram with an empty environment, so these reach a launch only as a plan's text, from whoever
submits the job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from asbx.errors import PlanError

# variable -> (section, key, kind), of the advisor's documentation.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "ASBA_SHOULD_BURST": ("", "should_burst", "flag"),
    "ASBA_INSTANCE_TYPES": ("instance_specification", "instance_types", "list"),
    "ASBA_PURCHASING_OPTION": ("instance_specification", "purchasing_option", "text"),
    "ASBA_MAX_SPOT_PRICE": ("instance_specification", "max_spot_price", "number"),
    "ASBA_REQUIRES_EFA": ("mpi_configuration", "requires_efa", "flag"),
    "ASBA_PLACEMENT_GROUP": ("network_configuration", "placement_group_type", "text"),
    "ASBA_MPI_PROCESSES": ("mpi_configuration", "process_count", "number"),
    "ASBA_GANG_SCHEDULING": ("mpi_configuration", "requires_gang_scheduling", "flag"),
}
_PREFIX = "ASBA_"
_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,100})=(.*)")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_MOST_LINES = 1000


def text_of(environment: Mapping[str, str]) -> str | None:
    """Return the plan of an environment as its text, None where it has none."""
    found = {name: value for name, value in environment.items() if name.startswith(_PREFIX)}
    if "ASBA_SHOULD_BURST" not in found:
        return None
    return "".join(f"{name}={value}\n" for name, value in sorted(found.items()))


def from_text(text: str) -> dict[str, Any] | None:
    """Return the sections of a plan that is lines of `NAME=value`, None where the text is something else.

    Raises PlanError for a variable with a value of the wrong kind, or stated twice.
    """
    lines = [line.strip() for line in text[: 1024 * 1024].splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or len(lines) > _MOST_LINES or not re.match(rf"(export[ \t]+)?{_PREFIX}", lines[0]):
        return None
    data: dict[str, Any] = {}
    seen: set[str] = set()
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            _refuse(f"{line[:60]!a} is not NAME=value")
        name, value = match[1], _unquoted(match[2].strip())
        if name in seen:
            _refuse(f"{name} is stated twice")
        seen.add(name)
        section, key, kind = VARIABLES.get(name, ("", name, "text"))
        place = data.setdefault(section, {}) if section else data
        place[key] = _value(name, value, kind)
    return data


def _value(name: str, value: str, kind: str) -> Any:
    if kind == "list":
        return [item.strip() for item in value.split(",") if item.strip()]
    if kind == "flag":
        if value.lower() not in _FLAGS:
            _refuse(f"{name} must be true or false, not {value[:60]!a}")
        return _FLAGS[value.lower()]
    if kind == "number":
        if value and not _NUMBER.fullmatch(value):
            _refuse(f"{name} must be a number, not {value[:60]!a}")
        return Decimal(value) if value else None
    return value


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _refuse(why: str) -> NoReturn:
    hint = "docs/reference/execution-plan.md lists the variables"
    raise PlanError("plan-invalid", "the execution plan is not usable", why, hint)
