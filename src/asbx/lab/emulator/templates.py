"""Launch templates: kept in moto's store, made and listed by EC2's rules.

What moto does otherwise: it files the call's tags in the template's data, knows no ClientToken, checks no name, lists
only fifteen, and cannot delete versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.utils import parse_user_data

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_value, missing
from asbx.lab.emulator.listing import attribute, filtered, page
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.resolve import Store, live_versions
from asbx.lab.emulator.tagging import check_tags, tags_by_resource
from asbx.lab.emulator.world import World

# EC2 API reference, CreateLaunchTemplate, LaunchTemplateName.
_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
# EC2 API reference, LaunchTemplateTagSpecificationRequest: what a template may tag.
_TAGGABLE = {"instance", "volume", "elastic-gpu", "network-interface", "spot-instances-request"}
_MOST_DELETED = 200
_LARGEST_PAGE = 200


def create_launch_template(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Make a template with its version 1; the same token and parameters make nothing new."""
    name = str(params.get("LaunchTemplateName") or "")
    if not _NAME.fullmatch(name):
        text = "Launch template names have 3 to 128 characters: letters, numbers and ( ) . - / _"
        raise Ec2Error("InvalidLaunchTemplateName.MalformedException", text)
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    check_tags(tags)
    if set(tags) - {"launch-template"}:
        raise invalid_value("Only launch-template is a valid taggable resource type for this operation.")
    data = _data(params)
    earlier = _earlier(world, owner, "CreateLaunchTemplate", params)
    if earlier is None:
        if params.get("DryRun"):
            raise DryRunClientError
        backend = ec2_backends[owner.account][owner.region]
        earlier = backend.create_launch_template(name, params.get("VersionDescription"), data, tags).id
        _remember(world, owner, "CreateLaunchTemplate", params, earlier)
    return {"LaunchTemplate": _description(Store(owner).named_template({"LaunchTemplateId": earlier}))}


def create_launch_template_version(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Add a version; it begins with what SourceVersion says."""
    store, data = Store(owner), _data(params)
    template = store.named_template(params)
    number = _earlier(world, owner, "CreateLaunchTemplateVersion", params)
    if number is None:
        if params.get("SourceVersion"):
            data = {**store.template(_spec(params, params["SourceVersion"])).data, **data}
        if params.get("DryRun"):
            raise DryRunClientError
        number = template.create_version(data, params.get("VersionDescription")).number
        _remember(world, owner, "CreateLaunchTemplateVersion", params, number)
    return {"LaunchTemplateVersion": _version(owner, template, template.versions[number - 1])}


def _data(params: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(params.get("LaunchTemplateData") or {})
    for spec in data.get("TagSpecifications") or []:
        if spec.get("ResourceType") not in _TAGGABLE:
            raise invalid_value(f"'{spec.get('ResourceType')}' is not a valid taggable resource type in a template.")
    if data.get("UserData"):
        data["UserData"] = parse_user_data(data["UserData"])
    return data


def _said(params: Mapping[str, Any]) -> str:
    return json.dumps(
        {k: v for k, v in params.items() if k not in ("ClientToken", "DryRun")}, sort_keys=True, default=str
    )


def _earlier(world: World, owner: Owner, action: str, params: Mapping[str, Any]) -> Any:
    earlier = world.tokens.get((owner, action, str(params.get("ClientToken") or "")))
    if earlier and earlier[0] != _said(params):
        raise Ec2Error("IdempotentParameterMismatch", "The client token was used with other parameters.")
    return earlier[1] if earlier else None


def _remember(world: World, owner: Owner, action: str, params: Mapping[str, Any], made: object) -> None:
    if params.get("ClientToken"):
        world.tokens[owner, action, str(params["ClientToken"])] = (_said(params), made)


def _spec(params: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {name: params.get(name) for name in ("LaunchTemplateId", "LaunchTemplateName")} | {"Version": version}


def delete_launch_template(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Delete a template with all its versions."""
    template = Store(owner).named_template(params)
    if params.get("DryRun"):
        raise DryRunClientError
    shown = _description(template)
    ec2_backends[owner.account][owner.region].delete_launch_template("", template.id)
    return {"LaunchTemplate": shown}


def delete_launch_template_versions(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Delete versions, each for itself; the default version stays."""
    template = Store(owner).named_template(params)
    numbers = list(params.get("Versions") or [])
    if not numbers:
        raise missing("Versions")
    if len(numbers) > _MOST_DELETED:
        raise invalid_value(f"At most {_MOST_DELETED} versions can be deleted at once.")
    if params.get("DryRun"):
        raise DryRunClientError
    answer: dict[str, Any] = {"SuccessfullyDeletedLaunchTemplateVersions": []}
    failed: list[dict[str, Any]] = []
    for number in numbers:
        shown = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "VersionNumber": int(number)}
        code = _delete_version(template, int(number))
        if code:
            failed.append({**shown, "ResponseError": {"Code": code, "Message": f"Version {number}: {code}"}})
        else:
            answer["SuccessfullyDeletedLaunchTemplateVersions"].append(shown)
    answer["UnsuccessfullyDeletedLaunchTemplateVersions"] = failed
    return answer


def _delete_version(template: Any, number: int) -> str:
    """Return why a version was not deleted (EC2 API reference, LaunchTemplateErrorCode)."""
    found = next((v for v in live_versions(template) if v.number == number), None)
    if found is None:
        return "launchTemplateVersionDoesNotExist"
    if number == template.default_version_number:
        return "unexpectedError"
    found.is_deleted = True
    return ""


def describe_launch_templates(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List templates by id, name, tag; an unknown id or name fails the call."""
    store = Store(owner)
    chosen = [store.named_template({"LaunchTemplateId": i}) for i in params.get("LaunchTemplateIds") or []]
    chosen += [store.named_template({"LaunchTemplateName": n}) for n in params.get("LaunchTemplateNames") or []]
    if not chosen:
        chosen = list(ec2_backends[owner.account][owner.region].launch_templates.values())
    rows = filtered([_description(template) for template in chosen], params.get("Filters"), _texts)
    rows, token = page(rows, params, most=_LARGEST_PAGE)
    return {"LaunchTemplates": rows, **({"NextToken": token} if token else {})}


def _texts(row: Mapping[str, Any], name: str) -> Sequence[str]:
    tags = {tag["Key"]: tag["Value"] for tag in row["Tags"]}
    return attribute(name, {"launch-template-name": row["LaunchTemplateName"]}, tags)


def describe_launch_template_versions(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List versions of one template, or the latest or default ones of all."""
    wanted = [str(version) for version in params.get("Versions") or []]
    if params.get("LaunchTemplateId") or params.get("LaunchTemplateName"):
        found = [(t, v) for t in [Store(owner).named_template(params)] for v in _chosen(owner, t, params, wanted)]
    elif wanted and {version.lower() for version in wanted} <= {"$latest", "$default"}:
        templates = ec2_backends[owner.account][owner.region].launch_templates.values()
        found = [(t, v) for t in templates for v in _chosen(owner, t, {}, wanted)]
    else:
        text = "Name a launch template, or specify the versions $Latest, $Default or both, to see those of all."
        raise Ec2Error("MissingParameter", text)
    rows, token = page([_version(owner, t, v) for t, v in found], params, most=_LARGEST_PAGE)
    return {"LaunchTemplateVersions": rows, **({"NextToken": token} if token else {})}


def _chosen(owner: Owner, template: Any, params: Mapping[str, Any], wanted: list[str]) -> list[Any]:
    if wanted:
        spec = {"LaunchTemplateId": template.id}
        numbers = [Store(owner).template({**spec, "Version": version}).version for version in wanted]
        return [template.versions[number - 1] for number in numbers]
    least, most = int(params.get("MinVersion") or 1), int(params.get("MaxVersion") or len(template.versions))
    return [v for v in live_versions(template) if least <= v.number <= most]


def _description(template: Any) -> dict[str, Any]:
    tags = template.ec2_backend.tags.get(template.id) or {}
    return {
        "CreateTime": template.create_time,
        "CreatedBy": f"arn:aws:iam::{template.ec2_backend.account_id}:root",
        "DefaultVersionNumber": template.default_version_number,
        "LatestVersionNumber": live_versions(template)[-1].number,
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def _version(owner: Owner, template: Any, version: Any) -> dict[str, Any]:
    return {
        "CreateTime": version.create_time,
        "CreatedBy": f"arn:aws:iam::{owner.account}:root",
        "DefaultVersion": template.is_default(version),
        "LaunchTemplateData": version.data,
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionDescription": version.description,
        "VersionNumber": version.number,
    }
