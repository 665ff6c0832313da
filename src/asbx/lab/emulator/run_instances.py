"""RunInstances, for clients that do not use fleets: one type in one zone, at least MinCount or none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.access import BLOCK, target_of, with_reservations
from asbx.lab.emulator.blueprint import Blueprint, blueprint
from asbx.lab.emulator.errors import (
    DryRunClientError,
    Ec2Error,
    ThrottledError,
    invalid_combination,
    invalid_value,
    missing,
)
from asbx.lab.emulator.instance_xml import document, reservation_members
from asbx.lab.emulator.launching import Order, free_addresses, launch
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.quotas import family_class
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.tagging import check_tags, merged, tags_by_resource
from asbx.lab.emulator.world import World
from asbx.sim.market import FleetSpec, Lifecycle, Limits, Offer

# The members RunInstances and a launch template have in common, and which a call may replace.
_MEMBERS = (
    "BlockDeviceMappings",
    "CapacityReservationSpecification",
    "EbsOptimized",
    "IamInstanceProfile",
    "ImageId",
    "InstanceMarketOptions",
    "InstanceType",
    "KeyName",
    "MetadataOptions",
    "NetworkInterfaces",
    "Placement",
    "SecurityGroupIds",
    "UserData",
)
_MOST = 1000


def run_instances(world: World, owner: Owner, params: Mapping[str, Any]) -> str:
    """Launch and return the whole XML answer; the same token and parameters launch nothing new."""
    token = str(params.get("ClientToken") or "")
    said = json.dumps({k: v for k, v in params.items() if k != "DryRun"}, sort_keys=True, default=str)
    earlier = world.tokens.get((owner, "RunInstances", token)) if token else None
    if earlier:
        if earlier[0] != said:
            raise Ec2Error("IdempotentParameterMismatch", "The client token was used with other parameters.")
        ids = earlier[1]
    else:
        ids = _launch(world, owner, params, token)
        if token:
            world.tokens[owner, "RunInstances", token] = (said, ids)
    machines = [world.machines[instance_id] for instance_id in ids]
    return document("RunInstances", reservation_members(machines, world.tags, world.now()), str(uuid.uuid4()))


def _launch(world: World, owner: Owner, params: Mapping[str, Any], token: str) -> list[str]:
    store = Store(owner)
    least, most = _counts(params)
    template = store.template(params["LaunchTemplate"]).data if params.get("LaunchTemplate") else {}
    data = {**template, **{name: params[name] for name in _MEMBERS if params.get(name)}}
    if params.get("SubnetId") and data.get("NetworkInterfaces"):
        raise invalid_combination(
            "Network interfaces and an instance-level subnet ID may not be specified on the same request"
        )
    placement = data.get("Placement") or {}
    override = {"SubnetId": params.get("SubnetId"), "AvailabilityZone": placement.get("AvailabilityZone")}
    plan = blueprint(world, store, data, override)
    tags = merged(template.get("TagSpecifications") or [], tags_by_resource(params.get("TagSpecifications") or []))
    check_tags(tags)
    if params.get("DryRun"):
        raise DryRunClientError
    market = _market(data)
    offer = with_reservations(world, owner, _offer(plan, market), data, market)
    if market is BLOCK:
        _check_started(world, target_of(data))
    spec = FleetSpec(market, most, (offer,), minimum=least)
    free = {plan.subnet.subnet_id: free_addresses(world, plan.subnet)}
    limits = Limits(free, quotas=world.quotas_left(owner, market))
    if not world.allows_launches(most):
        raise ThrottledError
    allocation = world.market.launch(spec, world.now(), limits)
    if not allocation.shares:
        refusal = allocation.refusals[0]
        raise Ec2Error(refusal.code, refusal.message)
    share = allocation.shares[0]
    launched = launch(world, store, plan, Order(tags, "", token), (market, share))
    world.spend_launches(len(launched))
    return [machine.instance_id for machine in launched]


def _market(data: Mapping[str, Any]) -> Lifecycle:
    asked = (data.get("InstanceMarketOptions") or {}).get("MarketType") or Lifecycle.ON_DEMAND.value
    if asked not in set(Lifecycle):
        raise Ec2Error("UnsupportedOperation", f"This pretend EC2 has no market of type {asked}.")
    return Lifecycle(asked)


def _check_started(world: World, target: str) -> None:
    """Refuse a block before its start (EC2 API reference, "Error codes")."""
    made = world.market.reservations.get(target)
    if made and world.now() < made.starts:
        raise Ec2Error("InvalidCapacityReservationState.PendingActivation", "Your Capacity Block is not active yet.")


def _counts(params: Mapping[str, Any]) -> tuple[int, int]:
    for name in ("MinCount", "MaxCount"):
        if params.get(name) is None:
            raise missing(name)
    least, most = int(params["MinCount"]), int(params["MaxCount"])
    if not 1 <= least <= most <= _MOST:
        raise invalid_value(f"Invalid value '{most}' for MaxCount or '{least}' for MinCount.")
    return least, most


def _offer(plan: Blueprint, market: Lifecycle) -> Offer:
    barred = plan.barred
    if barred and barred[0] == "InvalidFleetConfiguration":
        barred = ("Unsupported", barred[1])
    if not barred and market is not BLOCK and market.value not in catalogue.usage_classes(plan.instance_type):
        barred = ("Unsupported", f"{plan.instance_type} is not sold as {market.value}.")
    return Offer(
        position=0,
        instance_type=plan.instance_type,
        zone=plan.subnet.zone,
        subnet_id=plan.subnet.subnet_id,
        addresses=plan.addresses,
        vcpus=catalogue.vcpus(plan.instance_type),
        quota=family_class(plan.instance_type, market),
        barred=barred,
        cluster=plan.group_of("cluster"),
        spread=plan.group_of("spread"),
    )
