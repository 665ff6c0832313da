"""Values to test with: each function returns a plausible one, every field open to change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from asbx.model.boot import BootFailure, BootTrouble
from asbx.model.job import Request, RequestKind
from asbx.model.job_plan import FilledValue, JobPlan, PlannedRung
from asbx.model.market import (
    FleetAnswer,
    FleetOrder,
    Instance,
    InstanceState,
    Launched,
    Market,
    Pool,
    Refusal,
    Template,
    Verdict,
)
from asbx.model.names import GroupName
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import Attempt, InstanceRow, Intent, Resource, ResourceKind, Setback, Shortage

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
CPU = GroupName("aws", "cpu")
POOLS = (
    Pool("c7i.large", "subnet-a", "us-east-2a"),
    Pool("c7i.large", "subnet-b", "us-east-2b"),
    Pool("m7i.large", "subnet-a", "us-east-2a", max_price="0.5"),
)


def node_names(count: int, group: GroupName = CPU) -> tuple[str, ...]:
    """Return the first nodes of a group."""
    return tuple(f"{group}-{number:03d}" for number in range(count))


def request(request_id: str = "r-1", *, nodes: tuple[str, ...] = (), received_at: datetime = NOON) -> Request:
    """Return a resume request."""
    return Request(request_id, RequestKind.RESUME, nodes or node_names(2), received_at)


def order(
    token: str = "token-1",
    *,
    count: int = 2,
    minimum: int = 0,
    pools: tuple[Pool, ...] = POOLS,
    market: Market = Market.ON_DEMAND,
    single_zone: bool = False,
    tags: tuple[tuple[str, str], ...] = (("asbx:cluster", "slurm"), ("asbx:intent", "int-1")),
) -> FleetOrder:
    """Return an order for two instances from three pools."""
    template = Template(template_id="lt-1", version="3")
    return FleetOrder(token, market, count, minimum, pools, template, tags, "lowest-price", single_zone)


def answer(ids: tuple[str, ...] = ("i-1", "i-2")) -> FleetAnswer:
    """Return an answer with instances beside a refusal."""
    return FleetAnswer(
        "fleet-1",
        tuple(Launched(name, "c7i.large", "us-east-2a", "subnet-a", Market.ON_DEMAND) for name in ids),
        (
            Refusal(
                "InsufficientInstanceCapacity",
                "no room",
                Verdict.CAPACITY,
                "m7i.large",
                "us-east-2a",
                "subnet-a",
            ),
        ),
    )


def intent(
    intent_id: str = "int-1",
    *,
    request_id: str = "r-1",
    jobs: tuple[int, ...] = (12,),
    created_at: datetime = NOON,
) -> Intent:
    """Return an intent for two nodes of one job."""
    return Intent(intent_id, request_id, "job-12", jobs, CPU, node_names(2), "ada", "physics", created_at)


def attempt(intent_id: str = "int-1", number: int = 1, *, asked_at: datetime = NOON) -> Attempt:
    """Return a call that has not been answered."""
    return Attempt(intent_id, number, order(f"{intent_id}-{number}"), asked_at)


def instance(instance_id: str = "i-1", *, launch_index: int = 0, launched_at: datetime = NOON) -> Instance:
    """Return a running instance as EC2 describes it."""
    return Instance(
        instance_id,
        "c7i.large",
        "us-east-2a",
        "subnet-a",
        InstanceState.RUNNING,
        Market.ON_DEMAND,
        f"10.0.0.{launch_index + 4}",
        f"ip-10-0-0-{launch_index + 4}.ec2.internal",
        "r-1",
        launch_index,
        launched_at,
    )


def instance_row(
    instance_id: str = "i-1",
    *,
    intent_id: str = "int-1",
    jobs: tuple[int, ...] = (12,),
    launched_at: datetime = NOON,
    price: Decimal | None = Decimal("0.0850"),
) -> InstanceRow:
    """Return the record of an instance just launched."""
    return InstanceRow(
        instance_id,
        intent_id,
        "job-12",
        jobs,
        CPU,
        "ada",
        "physics",
        "c7i.large",
        "us-east-2a",
        "subnet-a",
        Market.ON_DEMAND,
        launched_at,
        price,
    )


def shortage(key: str = "capacity/on-demand/c7i.large/us-east-2a", *, least: int = 4) -> Shortage:
    """Return a pool that refused once, a minute closed from noon on."""
    return Shortage(key, "InsufficientInstanceCapacity", least, 1, NOON, NOON + timedelta(minutes=1))


def resource(
    name: str = "asbx-job-12", *, kind: ResourceKind = ResourceKind.PLACEMENT_GROUP, at: datetime = NOON
) -> Resource:
    """Return a placement group just made for a gang."""
    return Resource(kind, name, "job-12", at, at)


def setback(job_id: int = 12, *, count: int = 1, next_at: datetime | None = NOON) -> Setback:
    """Return a job whose launch failed."""
    return Setback(job_id, count, "InsufficientInstanceCapacity", "no room in us-east-2", NOON, next_at)


def boot_failure(
    instance_id: str = "i-1", *, group: GroupName = CPU, launched_at: datetime = NOON, failed_at: datetime = NOON
) -> BootFailure:
    """Return an instance whose slurmd never registered."""
    return BootFailure(
        instance_id,
        group,
        node_names(1, group)[0],
        BootTrouble.NEVER_REGISTERED,
        "ResumeTimeout reached",
        (12,),
        "c7i.large",
        "us-east-2a",
        launched_at,
        failed_at,
    )


def price_change(usd: str = "0.0890", since: datetime = NOON, **other: object) -> PriceChange:
    """Return an on-demand price AWS told when it began."""
    told = PriceChange("c7i.large", "", Market.ON_DEMAND, since, Decimal(usd), PriceSource.PRICING, since)
    return replace(told, **other)  # type: ignore[arg-type]


def spot_change(usd: str, since: datetime = NOON, zone: str = "us-east-2a", **other: object) -> PriceChange:
    """Return a spot price AWS told when it began."""
    told = PriceChange("c7i.large", zone, Market.SPOT, since, Decimal(usd), PriceSource.SPOT_HISTORY, since)
    return replace(told, **other)  # type: ignore[arg-type]


def job_plan(job_id: int, request_id: str = "r-1", **fields: Any) -> JobPlan:
    """Return the plan a job went by."""
    filled = (FilledValue("aws-cpu", "placement", "cluster", "analyzer"), FilledValue("aws-cpu", "efa", "é", "plan"))
    told: dict[str, Any] = {
        "decided_at": NOON,
        "origin": "plan file 7.json of an administrator",
        "plan": '{"should_burst": true}',
        "why": "its script: mpi",
        "filled": filled,
        "rungs": (PlannedRung("aws-cpu", "spot+cluster", "spot: c7i.large in us-east-2a"),),
        "label": f"{job_id}_1",
        "name": "ocean",
        "user": "ada",
        "account": "physics",
        "partition": "aws",
        "nodes": 4,
        "price": Decimal("0.0850"),
        "time_limit": timedelta(hours=4),
    }
    return JobPlan(job_id, request_id, **told | fields)
