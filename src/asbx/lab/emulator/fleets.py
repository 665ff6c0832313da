"""CreateFleet and its relatives."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, ThrottledError
from asbx.lab.emulator.faults import OVERRIDE_REFUSALS, Fault
from asbx.lab.emulator.fleet_request import Candidate, FleetRequest, read_request
from asbx.lab.emulator.launching import Order, free_addresses, launch
from asbx.lab.emulator.machine import BY_USER, Machine, Owner
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.tagging import check_tags, merged
from asbx.lab.emulator.world import Fleet, World
from asbx.sim.market import FleetSpec, Lifecycle, Limits, Offer, Share

# EC2 API reference: a ClientToken is at most 64 ASCII characters.
_LONGEST_TOKEN = 64


def create_fleet(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Launch an instant fleet; the same token and parameters give the same answer and nothing new."""
    token = str(params.get("ClientToken") or "")
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise Ec2Error("InvalidParameterValue", "ClientToken must be at most 64 ASCII characters.")
    said = json.dumps(
        {k: v for k, v in params.items() if k not in ("ClientToken", "DryRun")}, sort_keys=True, default=str
    )
    earlier = world.tokens.get((owner, "CreateFleet", token)) if token else None
    if earlier:
        return _replay(earlier, said)
    store = Store(owner)
    request = read_request(world, store, params)
    check_tags(request.tags)
    if params.get("DryRun"):
        raise DryRunClientError
    if not world.allows_launches(sum(spec.target for spec in request.specs)):
        raise ThrottledError
    answer = _perform(world, store, request, token, dict(params))
    if token:
        world.tokens[owner, "CreateFleet", token] = (said, answer)
    return answer


def _replay(earlier: tuple[str, Any], said: str) -> dict[str, Any]:
    if earlier[0] != said:
        raise Ec2Error(
            "IdempotentParameterMismatch",
            "The request uses the same client token as a previous, but non-identical request.",
        )
    answer: dict[str, Any] = earlier[1]
    return answer


def _perform(world: World, store: Store, request: FleetRequest, token: str, params: dict[str, Any]) -> dict[str, Any]:
    fleet_id = f"fleet-{uuid.uuid4()}"
    instances: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    machines: list[Machine] = []
    for spec in map(_as_ordered, request.specs):
        allocation = world.market.launch(spec, world.now(), _limits(world, store.owner, request, spec))
        for refusal in allocation.refusals:
            candidate = request.candidates[refusal.offer.position]
            errors.append(_error(candidate, spec.market, refusal.code, refusal.message))
        for share in allocation.shares:
            candidate = request.candidates[share.offer.position]
            order = Order(_tags(candidate, request, fleet_id), fleet_id, token)
            launched = launch(world, store, candidate.plan, order, (spec.market, share))
            machines.extend(launched)
            instances.append(_item(candidate, spec.market, share, launched))
    answer = {"FleetId": fleet_id, "Instances": instances, "Errors": errors}
    ids = tuple(machine.instance_id for machine in machines)
    world.spend_launches(len(ids))
    world.fleets[fleet_id] = Fleet(fleet_id, store.owner, world.now(), params, answer, ids)
    world.tags[fleet_id] = dict(request.tags.get("fleet", {}))
    return answer


def _as_ordered(spec: FleetSpec) -> FleetSpec:
    """Return the spec with the offers barred that a fault was ordered for, inside the answer."""
    refusals = OVERRIDE_REFUSALS.get()
    return replace(spec, offers=tuple(_barred(offer, refusals) for offer in spec.offers)) if refusals else spec


def _barred(offer: Offer, refusals: tuple[Fault, ...]) -> Offer:
    fault = next((f for f in refusals if f.bars(offer.instance_type, offer.zone)), None)
    return replace(offer, barred=(fault.code, fault.message)) if fault else offer


def _limits(world: World, owner: Owner, request: FleetRequest, spec: FleetSpec) -> Limits:
    subnets = {c.plan.subnet.subnet_id: c.plan.subnet for c in request.candidates}
    free = {subnet_id: free_addresses(world, subnet) for subnet_id, subnet in subnets.items()}
    return Limits(free, quotas=world.quotas_left(owner, spec.market))


def _tags(candidate: Candidate, request: FleetRequest, fleet_id: str) -> dict[str, dict[str, str]]:
    tags = merged(candidate.plan.data.get("TagSpecifications") or [], request.tags)
    tags["instance"] = {
        **tags.get("instance", {}),
        "aws:ec2:fleet-id": fleet_id,
        "aws:ec2launchtemplate:id": candidate.template.template_id,
        "aws:ec2launchtemplate:version": str(candidate.template.version),
    }
    return tags


def _item(candidate: Candidate, market: Lifecycle, share: Share, launched: list[Machine]) -> dict[str, Any]:
    return {
        "LaunchTemplateAndOverrides": candidate.echo,
        "Lifecycle": market.value,
        "InstanceIds": [machine.instance_id for machine in launched],
        "InstanceType": share.offer.instance_type,
        "AvailabilityZone": candidate.plan.subnet.zone,
        "AvailabilityZoneId": candidate.plan.subnet.zone_id,
        "SubnetId": candidate.plan.subnet.subnet_id,
    }


def _error(candidate: Candidate, market: Lifecycle, code: str, message: str) -> dict[str, Any]:
    return {
        "LaunchTemplateAndOverrides": candidate.echo,
        "Lifecycle": market.value,
        "ErrorCode": code,
        "ErrorMessage": message,
    }


def describe_fleets(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Describe fleets by id; an instant fleet is only shown when it is named (EC2 API reference, DescribeFleets)."""
    fleets = [_owned(world, owner, fleet_id) for fleet_id in params.get("FleetIds") or []]
    return {"Fleets": [_description(world, fleet) for fleet in fleets]}


def _owned(world: World, owner: Owner, fleet_id: str) -> Fleet:
    fleet = world.fleets.get(fleet_id)
    if fleet is None or fleet.owner != owner:
        raise Ec2Error("InvalidFleetId.NotFound", f"The fleet ID '{fleet_id}' does not exist")
    return fleet


def _description(world: World, fleet: Fleet) -> dict[str, Any]:
    asked = fleet.request
    return {
        "FleetId": fleet.fleet_id,
        "FleetState": "active",
        "Type": "instant",
        "ActivityStatus": "fulfilled" if not fleet.answer["Errors"] else "error",
        "CreateTime": datetime.fromtimestamp(fleet.created_at, UTC),
        "ClientToken": asked.get("ClientToken", ""),
        "TargetCapacitySpecification": asked["TargetCapacitySpecification"],
        "FulfilledCapacity": float(len(fleet.instance_ids)),
        "LaunchTemplateConfigs": asked["LaunchTemplateConfigs"],
        "Instances": fleet.answer["Instances"],
        "Errors": fleet.answer["Errors"],
        "Tags": [{"Key": key, "Value": value} for key, value in world.tags[fleet.fleet_id].items()],
    }


def describe_fleet_instances(_world: World, _owner: Owner, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse: EC2 has no such list for instant fleets (boto3 issue 4005)."""
    raise Ec2Error("UnsupportedOperation", "DescribeFleetInstances does not support fleets of type instant.")


def delete_fleets(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Delete fleets; the instances of an instant fleet are terminated with it."""
    if not params.get("TerminateInstances"):
        raise Ec2Error(
            "NoTerminateInstancesNotSupported",
            "A fleet of type instant is deleted together with its instances.",
        )
    fleets = [_owned(world, owner, fleet_id) for fleet_id in params.get("FleetIds") or []]
    for fleet in fleets:
        for instance_id in fleet.instance_ids:
            world.end(world.machines[instance_id], BY_USER)
    states = {"CurrentFleetState": "deleted_terminating", "PreviousFleetState": "active"}
    return {"SuccessfulFleetDeletions": [{**states, "FleetId": fleet.fleet_id} for fleet in fleets]}
