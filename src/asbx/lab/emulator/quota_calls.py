"""The Service Quotas API for service ec2: the vCPU quotas, answered from the knobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator.errors import Ec2Error
from asbx.lab.emulator.listing import page
from asbx.lab.emulator.machine import LAB_ACCOUNT
from asbx.lab.emulator.quotas import QUOTAS, UNLIMITED, Quota
from asbx.lab.emulator.world import World

SERVICE = "ec2"


class NoSuchResourceError(Exception):
    """Service Quotas' NoSuchResourceException."""


def get_service_quota(world: World, params: Mapping[str, Any]) -> dict[str, Any]:
    """Answer GetServiceQuota. Raises NoSuchResourceError for a code it does not have."""
    wanted = params.get("QuotaCode")
    for quota in QUOTAS:
        if quota.code == wanted:
            return {"Quota": _description(world, quota)}
    raise NoSuchResourceError(f"The quota {wanted} does not exist.")


def list_service_quotas(world: World, params: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ListServiceQuotas, in pages of at most 100."""
    try:
        rows, token = page(QUOTAS, params, most=100, usual=100)
    except Ec2Error as error:
        raise NoSuchResourceError(error.message) from error
    answer: dict[str, Any] = {"Quotas": [_description(world, quota) for quota in rows]}
    return {**answer, "NextToken": token} if token else answer


def _description(world: World, quota: Quota) -> dict[str, Any]:
    limit = world.knobs.vcpus(quota)
    return {
        "ServiceCode": SERVICE,
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{world.region}:{LAB_ACCOUNT}:{SERVICE}/{quota.code}",
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": float(UNLIMITED if limit is None else limit),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
