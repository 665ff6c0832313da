"""What EC2's answers mean: one table from code to verdict, and fleets, instances and prices as values.

Codes are matched, never texts. Sources: EC2 API reference, "Error codes for the Amazon EC2 API"; the unions that
Karpenter and ParallelCluster keep; botocore's throttle list. A code that is not here is UNKNOWN and shown loudly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from asbx.model.health import InstanceHealth, ScheduledEvent
from asbx.model.market import FleetAnswer, Instance, InstanceState, Launched, Market, Refusal, Verdict

_CODES: dict[Verdict, str] = {
    Verdict.CAPACITY: """InsufficientInstanceCapacity UnfulfillableCapacity InsufficientHostCapacity
        InsufficientReservedInstanceCapacity ReservationCapacityExceeded InsufficientVolumeCapacity
        InsufficientCapacity InsufficientReservedInstancesCapacity InsufficientCapacityOnHost
        InvalidCapacityReservationState.PendingActivation InvalidCapacityReservationState.Unavailable
        InvalidCapacityReservationState UnavailableHostRequirements""",
    # CreateFleet says InvalidFleetConfiguration of a pool whose type is not sold in its zone (hashicorp/packer #9946).
    Verdict.NOT_OFFERED: """Unsupported UnsupportedOperation UnsupportedException InvalidFleetConfiguration
        VolumeTypeNotAvailableInZone""",
    Verdict.PRICE: "SpotMaxPriceTooLow",
    Verdict.ADDRESSES: "InsufficientFreeAddressesInSubnet InsufficientAddressCapacity",
    Verdict.QUOTA: "VcpuLimitExceeded MaxSpotInstanceCountExceeded InstanceLimitExceeded PendingVerification",
    Verdict.LIMIT: """MaxFleetCountExceeded VolumeLimitExceeded PlacementGroupLimitExceeded MaxTemplateLimitExceeded
        MaxTemplateVersionLimitExceeded MaxIOPSLimitExceeded NetworkInterfaceLimitExceeded ResourceLimitExceeded
        MaxConfigLimitExceededException TargetCapacityLimitExceededException""",
    Verdict.THROTTLED: """RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled
        RequestThrottledException TooManyRequestsException BandwidthLimitExceeded LimitExceededException SlowDown
        EC2ThrottledException ProvisionedThroughputExceededException PriorRequestNotComplete""",
    Verdict.TRANSIENT: """InternalError InternalFailure ServiceUnavailable Unavailable RequestTimeout
        RequestTimeoutException ServerInternal RetryableError""",
    Verdict.INVALID: """InvalidParameterValue InvalidParameterCombination InvalidParameter MissingParameter
        ValidationError InvalidAMIID.Malformed InvalidUserData.Malformed InvalidInstanceType
        InvalidInstanceType.NotFound IdempotentParameterMismatch RequestResourceCountExceeded InvalidAction
        InvalidFleetConfig TagLimitExceeded InvalidClientToken InvalidRequest InvalidInput MissingInput
        InvalidParameterDependency InvalidPermission.Malformed InvalidBlockDeviceMapping InvalidAMIID.Unavailable
        InvalidLaunchTemplateId.Malformed InvalidLaunchTemplateName.MalformedException InvalidSubnetID.Malformed
        InvalidGroupId.Malformed InvalidSecurityGroupId.Malformed InvalidPlacementGroupId.Malformed
        InvalidCapacityReservationId.Malformed InvalidIamInstanceProfileArn.Malformed
        InvalidInterface.IpAddressLimitExceeded PrivateIpAddressLimitExceeded SecurityGroupsPerInstanceLimitExceeded
        SecurityGroupsPerInterfaceLimitExceeded
        VolumeIOPSLimit ResourceCountExceeded InvalidFilter InvalidNextToken InvalidMaxResults NoSuchVersion""",
    Verdict.PERMISSION: """UnauthorizedOperation AccessDenied AccessDeniedException AuthFailure
        AuthFailure.ServiceLinkedRoleCreationNotPermitted OptInRequired ExpiredToken ExpiredTokenException
        RequestExpired Blocked OperationNotPermitted InvalidClientTokenId
        UnrecognizedClientException SignatureDoesNotMatch""",
    Verdict.NOT_FOUND: """InvalidInstanceID.NotFound InvalidInstanceID.Malformed InvalidLaunchTemplateId.NotFound
        InvalidLaunchTemplateName.NotFoundException InvalidLaunchTemplateId.VersionNotFound InvalidSubnetID.NotFound
        InvalidAMIID.NotFound InvalidCapacityReservationId.NotFound InvalidPlacementGroup.Unknown QueueDoesNotExist
        NoSuchEntity ParameterNotFound InvalidGroup.NotFound InvalidID InvalidSubnetId.NotFound
        InvalidSecurityGroupID.NotFound InvalidKeyPair.NotFound InvalidSnapshot.NotFound InvalidLaunchTargets
        InvalidZone.NotFound NoSuchResourceException AWS.SimpleQueueService.NonExistentQueue""",
    Verdict.EXISTS: """InvalidPlacementGroup.Duplicate InvalidPlacementGroup.InUse
        InvalidLaunchTemplateName.AlreadyExistsException EntityAlreadyExists""",
    Verdict.DRY_RUN: "DryRunOperation",
}
_WHEN = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")
_EFA = ("efa", "efa-only")
_SHADOW = "UnfulfillableCapacity"
VERDICTS: dict[str, Verdict] = {code: verdict for verdict, codes in _CODES.items() for code in codes.split()}


def verdict_of(code: str, status: int = 400) -> Verdict:
    """Return what a code means. An unknown code of a server error (5xx) is transient."""
    known = VERDICTS.get(code)
    if known is not None:
        return known
    return Verdict.TRANSIENT if status >= 500 else Verdict.UNKNOWN


def fleet_answer(raw: Mapping[str, Any]) -> FleetAnswer:
    """Read CreateFleet's answer. One item of `Instances` holds SEVERAL ids; all of them are ours."""
    return FleetAnswer(
        fleet_id=str(raw.get("FleetId", "")),
        launched=tuple(_launched(raw.get("Instances") or [])),
        refusals=_own_refusals([_refusal(item) for item in raw.get("Errors") or []]),
    )


def _own_refusals(refusals: list[Refusal]) -> tuple[Refusal, ...]:
    """Leave out the shadows: beside a true error EC2 repeats the other overrides as UnfulfillableCapacity.

    Those were not tried (their text only points at the other errors), so nothing may be learned from them.
    """
    own = tuple(refusal for refusal in refusals if refusal.code != _SHADOW)
    return own or tuple(refusals)


def _launched(items: list[dict[str, Any]]) -> Iterator[Launched]:
    for item in items:
        override = (item.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
        market = _market(item.get("Lifecycle"))
        for instance_id in item.get("InstanceIds") or []:
            yield Launched(
                instance_id=instance_id,
                instance_type=item.get("InstanceType") or override.get("InstanceType", ""),
                zone=item.get("AvailabilityZone") or override.get("AvailabilityZone", ""),
                subnet_id=item.get("SubnetId") or override.get("SubnetId", ""),
                market=market,
            )


def _market(lifecycle: str | None) -> Market:
    """Return the market of a life cycle; on-demand has none in DescribeInstances."""
    return {"spot": Market.SPOT, "capacity-block": Market.CAPACITY_BLOCK}.get(lifecycle or "", Market.ON_DEMAND)


def _refusal(item: Mapping[str, Any]) -> Refusal:
    override = (item.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
    code = str(item.get("ErrorCode", ""))
    return Refusal(
        code=code,
        message=str(item.get("ErrorMessage", ""))[:1000],
        verdict=verdict_of(code),
        instance_type=override.get("InstanceType", ""),
        zone=override.get("AvailabilityZone", ""),
        subnet_id=override.get("SubnetId", ""),
    )


def instances(raw: Mapping[str, Any]) -> Iterator[Instance]:
    """Read one page of DescribeInstances."""
    for reservation in raw.get("Reservations") or []:
        for item in reservation.get("Instances") or []:
            yield _instance(item, str(reservation.get("ReservationId", "")))


def topology(raw: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Read DescribeInstanceTopology: the first node is the top layer; instances that do not run have none."""
    return {
        item["InstanceId"]: tuple(item["NetworkNodes"])
        for item in raw.get("Instances") or []
        if item.get("NetworkNodes")
    }


# What the description of an event begins with that will not come any more: the first is documented (EC2 API reference,
# InstanceStatusEvent); the second is what scripts in the field look for, seen in no document.
_OVER = ("[Completed]", "[Canceled]")


def statuses(raw: Mapping[str, Any]) -> Iterator[InstanceHealth]:
    """Read one page of DescribeInstanceStatus."""
    for item in raw.get("InstanceStatuses") or []:
        yield InstanceHealth(
            instance_id=item["InstanceId"],
            instance_impaired=(item.get("InstanceStatus") or {}).get("Status") == "impaired",
            system_impaired=(item.get("SystemStatus") or {}).get("Status") == "impaired",
            events=tuple(_event(one) for one in item.get("Events") or []),
        )


def _event(item: Mapping[str, Any]) -> ScheduledEvent:
    description, starts = str(item.get("Description") or ""), item.get("NotBefore")
    return ScheduledEvent(
        event_id=str(item.get("InstanceEventId") or ""),
        code=str(item.get("Code") or ""),
        description=description,
        not_before=starts if isinstance(starts, datetime) else None,
        is_over=description.startswith(_OVER),
    )


def _instance(item: Mapping[str, Any], reservation: str) -> Instance:
    launched = item.get("LaunchTime")
    placement = item.get("Placement") or {}
    return Instance(
        instance_id=item["InstanceId"],
        instance_type=item.get("InstanceType", ""),
        zone=placement.get("AvailabilityZone", ""),
        subnet_id=item.get("SubnetId", ""),
        state=InstanceState((item.get("State") or {}).get("Name", "pending")),
        market=_market(item.get("InstanceLifecycle")),
        private_ip=_primary_address(item),
        private_dns=item.get("PrivateDnsName") or "",
        reservation_id=reservation,
        launch_index=int(item.get("AmiLaunchIndex") or 0),
        launched_at=launched if isinstance(launched, datetime) else datetime.fromtimestamp(0, UTC),
        tags={tag["Key"]: tag.get("Value", "") for tag in item.get("Tags") or []},
        placement_group=placement.get("GroupName") or "",
        efa=sum(one.get("InterfaceType") in _EFA for one in item.get("NetworkInterfaces") or []),
        state_reason=_ended(item),
        ended_at=_ended_at(item),
    )


def _ended(item: Mapping[str, Any]) -> str:
    """Return why an instance ended. One that starts has a reason too (`pending`), which tells nothing."""
    code = str((item.get("StateReason") or {}).get("Code") or "")
    return code if code.startswith(("Client.", "Server.")) else ""


def _ended_at(item: Mapping[str, Any]) -> datetime | None:
    """Return when an instance ended, where EC2 tells: `User initiated (2026-03-01 12:00:00 GMT)`.

    It does for what its user ended; of instances ended otherwise it may give the words alone (cloud-custodian #6924).
    """
    if not InstanceState(str((item.get("State") or {}).get("Name") or "pending")).is_ended:
        return None
    match = _WHEN.search(str(item.get("StateTransitionReason") or ""))
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None


def _primary_address(item: Mapping[str, Any]) -> str:
    """Return the address of device 0 on card 0; any other interface gave wrong host names to MPI (pcluster #5682)."""
    for interface in item.get("NetworkInterfaces") or []:
        attachment = interface.get("Attachment") or {}
        if attachment.get("DeviceIndex") == 0 and attachment.get("NetworkCardIndex", 0) == 0:
            return interface.get("PrivateIpAddress") or item.get("PrivateIpAddress") or ""
    return item.get("PrivateIpAddress") or ""
