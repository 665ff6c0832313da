"""The same document without anybody in it.

Names become keyed hashes (HMAC-SHA256, RFC 2104, 80 bits of it): the same user has the same pseudonym in every document
of a site, and without the site's key nobody can try out names. What may tell who it was and teaches nothing is left
out: the job's name, what its plan calls things, and the minutes of its start and end.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import Any

from asbx.model.plan import KEYS

_DIGITS = 20
# Sections of a plan that speak of the job's shape, and keys in them that name things of the site.
_SHAPE = (
    "instance_specification",
    "instance_specification.spot_instance_config",
    "mpi_configuration",
    "network_configuration",
    "cost_constraints",
    "performance_target",
)
_NAMES = frozenset(
    {
        *("subnet_ids", "launch_template_name", "launch_template_id", "security_group_ids", "iam_instance_profile"),
        *("user_data", "placement_group_name", "budget_account", "mpi_tuning_params"),
    }
)
_TYPE = re.compile(
    r"(?:[a-z]{1,5}-?|mac-m)[0-9][a-z0-9-]{0,12}\.(?:nano|micro|small|medium|(?:[0-9]{0,3}x)?large|metal(?:-[0-9]{1,3}xl)?)"
)
_ZONE = re.compile(
    r"[a-z]{2}(?:-gov|-iso[a-z]?)?-(?:north|south|east|west|central|northeast|southeast|northwest|southwest)-[0-9][a-z]"
)
_FORMS = {"instance_types": _TYPE, "availability_zones": _ZONE}
# What the advisor's plans say in words.
WORDS = frozenset(
    {
        *("spot", "on-demand", "mixed", "cluster", "partition", "spread", "ultra-low", "low", "standard", "medium"),
        *("high", "very_high", "openmpi", "intelmpi", "mpich", "OpenMPI", "NCCL", "linear", "nearest_neighbor"),
        *("all_reduce", "all_to_all", "unknown"),
    }
)


class Pseudonyms:
    """Names for names. key: the site's secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, name: str) -> str:
        """Return the pseudonym of a name; kinds (user, account) are kept apart. "" stays ""."""
        if not name:
            return ""
        made = hmac.new(self._key, f"{kind}\0{name}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}-{made.hexdigest()[:_DIGITS]}"


def anonymized(document: dict[str, Any], names: Pseudonyms) -> dict[str, Any]:
    """Return a document without anybody in it. Only keys that are known to be harmless are taken over."""
    job, cost, context = (document[name] for name in ("job_metadata", "cost_analysis", "execution_context"))
    execution = job["actual_execution"]
    times = {name: _hour(execution[name]) for name in ("start_time", "end_time")}
    mine = {
        "job_id": names.of("job", job["job_id"]),
        "job_name": None,
        "user_id": names.of("user", job["user_id"]),
        "project_id": names.of("account", job["project_id"]),
        "partition": names.of("partition", job["partition"]),
        "actual_execution": execution | times,
    }
    if "original_asba_prediction" in job:
        mine["original_asba_prediction"] = _plan(job["original_asba_prediction"])
    lines = [one | {"instance_id": names.of("instance", one["instance_id"])} for one in cost["instance_cost_breakdown"]]
    told = {"asba_version": _version(context["asba_version"])} if "asba_version" in context else {}
    return document | {
        "job_metadata": mine,
        "cost_analysis": cost | {"instance_cost_breakdown": lines},
        "execution_context": context | {"configuration_used": {}, "environment_variables": {}} | told,
        "notes": document["notes"] | {"job_metadata": "anonymized: names are keyed hashes, times are cut to the hour"},
    }


def _hour(text: str | None) -> str | None:
    if text is None:
        return None
    return datetime.fromisoformat(text).replace(minute=0, second=0, microsecond=0).isoformat().replace("+00:00", "Z")


def _version(text: str) -> str:
    """Return a version; a plan is user input, and may say anything there."""
    found = re.match(r"v?\d{1,4}\.\d{1,4}(?:\.\d{1,4})?(?:-dev)?(?![\w.-])", text)
    return found[0] if found and found[0] == text else ""


def _plan(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a plan says of the job's shape: known keys only, numbers and known words only."""
    found: dict[str, Any] = {"should_burst": bool(plan.get("should_burst"))}
    for section in _SHAPE:
        outer, _, inner = section.partition(".")
        part = plan.get(outer)
        part = part.get(inner) if inner and isinstance(part, dict) else part
        if not isinstance(part, dict):
            continue
        kept = {key: _harmless(key, part[key]) for key in KEYS[section].split() if key in part and key not in _NAMES}
        if inner:
            found[outer][inner] = kept
        else:
            found[outer] = {key: value for key, value in kept.items() if key != "spot_instance_config"}
    return found


def _harmless(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [one for one in (_harmless(key, part) for part in value) if one]
    if isinstance(value, str):
        form = _FORMS.get(key)
        return value if (form.fullmatch(value) if form else value in WORDS) else ""
    return value if isinstance(value, bool | int | float) else None
