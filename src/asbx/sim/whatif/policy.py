"""A policy: what a site's configuration would be with some keys changed. YAML, in the configuration's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asbx.config import rules
from asbx.config.expectation import problems_of
from asbx.config.limits import CONFIG_MAX_BYTES
from asbx.config.problem import Problem, key_text
from asbx.config.schema import Config
from asbx.config.yaml_text import read_document
from asbx.errors import ConfigError

CURRENT = "current"
_HINT = "see docs/how-to/what-if.md"


@dataclass(frozen=True)
class Policy:
    """Changes. sections: of the configuration. groups: `*`, partition or partition-group -> keys of its node groups."""

    name: str
    sections: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load_policy(text: str) -> Policy:
    """Read a policy file; the word `current` is the configuration as it is. Raises ConfigError."""
    if text == CURRENT:
        return Policy(CURRENT)
    path = Path(text)
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_MAX_BYTES + 1)
        if len(content) > CONFIG_MAX_BYTES:
            raise ConfigError("policy-file", f"{path} is larger than {CONFIG_MAX_BYTES // 1024**2} MiB", "", _HINT)
        document = read_document(content.decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError("policy-file", f"{path} cannot be read", why, f"name a policy file, or {CURRENT}") from None
    if document.problems:
        raise _invalid(str(path), [_said(one) for one in document.problems])
    data = dict(document.data)
    name, groups = str(data.pop("name", None) or path.stem), data.pop("groups", None) or {}
    if not isinstance(groups, dict) or not all(isinstance(keys, dict) for keys in groups.values()):
        raise _invalid(name, ["groups: must be groups with their keys, such as groups: {aws-cpu: {strategy: greedy}}"])
    # It is printed on a terminal and stands in charts.
    return Policy("".join(letter for letter in name if letter.isprintable())[:40], data, groups)


def applied(base: Config, policy: Policy) -> Config:
    """Return the configuration under a policy. Raises ConfigError (`policy-invalid`) with every fault found."""
    config = _checked(policy, merged(base.model_dump(mode="json", exclude_unset=True), policy.sections))
    raw = config.model_dump(mode="json", exclude_unset=True)
    places = [
        (partition["partition_name"], group)
        for partition in raw["slurm"]["partitions"]
        for group in partition["node_groups"]
    ]
    known = {"*", *(name for name, _ in places), *(f"{name}-{one['node_group_name']}" for name, one in places)}
    odd = sorted(policy.groups.keys() - known)
    if odd:
        raise _invalid(
            policy.name, [f"groups.{one}: there is no such group; there are {', '.join(sorted(known))}" for one in odd]
        )
    for name, group in places:
        for key in ("*", name, f"{name}-{group['node_group_name']}"):
            _change(group, policy.groups.get(key, {}))
    config = _checked(policy, raw)
    faults = rules.check(config).problems
    if faults:
        raise _invalid(policy.name, [_said(one) for one in faults])
    return config


def _checked(policy: Policy, raw: Mapping[str, Any]) -> Config:
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise _invalid(policy.name, [_said(one) for one in problems_of(error, raw)]) from None


def _change(group: dict[str, Any], keys: Mapping[str, Any]) -> None:
    more = dict(keys)
    if "types" in more:  # short for the list of types alone
        more["launch_template_overrides"] = [{"instance_type": one} for one in more.pop("types")]
    group.update(merged(group, more))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with another laid over it; lists are replaced as a whole."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def _said(problem: Problem) -> str:
    return f"{key_text(problem.key)} {problem.text}".strip()


def _invalid(name: str, faults: Sequence[str]) -> ConfigError:
    what = f"policy {name}: {faults[0]}" if len(faults) == 1 else f"policy {name} has {len(faults)} faults"
    return ConfigError("policy-invalid", what, "" if len(faults) == 1 else "\n".join(faults), _HINT)
