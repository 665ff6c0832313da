"""Execution plans of the advisor: every dialect into one value. A plan is user input: bounded, checked, never trusted.

Dialect `documented` has execution_metadata, dialect `real` (what the advisor writes) has job_metadata, dialect
`environment` is lines of ASBA_ variables.
null, 0, "", [] and a missing key all mean "not stated"; unknown keys are listed, not refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from asbx.model.market import Market, Template
from asbx.model.plan_environment import from_text
from asbx.model.plan_json import INSTANCE_TYPE, SUBNET, ZONE, Reader, read_json

Placement = Literal["cluster", "partition", "spread", ""]
Dialect = Literal["documented", "real", "environment", "analyzer"]

# Every key of the two JSON dialects: section -> keys.
KEYS = {
    "": "should_burst asba_version generated_at confidence_level optimization_applied recommendation_reasoning",
    "instance_specification": "instance_types instance_count purchasing_option max_spot_price subnet_ids "
    "launch_template_name launch_template_id security_group_ids iam_instance_profile user_data placement_group "
    "availability_zones",
    "instance_specification.spot_instance_config": "enable_spot spot_fleet_request max_spot_price "
    "spot_interruption_tolerance fallback_to_on_demand",
    "mpi_configuration": "is_mpi_job process_count processes_per_node requires_gang_scheduling mpi_implementation "
    "mpi_library communication_pattern requires_efa efa_generation mpi_tuning_params",
    "network_configuration": "placement_group_type placement_group_name enhanced_networking availability_zones "
    "single_az_required network_latency_class bandwidth_requirement enable_efa enable_sr_iov",
    "cost_constraints": "max_total_cost max_duration_hours max_cost_per_hour prefer_spot allow_mixed_pricing "
    "cost_alert_threshold auto_terminate_hours budget_account cost_tolerance",
    "execution_metadata": "job_id user_id project_id priority analysis_timestamp asba_version decision_factors "
    "expected_performance tags",
    "execution_metadata.expected_performance": "onpremise_wait_time aws_provision_time network_latency storage_latency",
    "job_metadata": "job_name script_path script_hash user account detected_domain workload_type",
    "performance_target": "expected_runtime scaling_efficiency network_utilization cpu_efficiency_target "
    "memory_efficiency_target performance_model",
}
_KNOWN = frozenset(f"{section}.{key}" if section else key for section, keys in KEYS.items() for key in keys.split())
# Sections whose keys are the user's own.
_FREE = ("mpi_configuration.mpi_tuning_params", "execution_metadata.tags")


@dataclass(frozen=True)
class Origin:
    """Where a plan comes from. privileged: an administrator gave it, so rules may grant it more than a user."""

    where: str
    privileged: bool = False


NOWHERE = Origin("no plan")


@dataclass(frozen=True)
class ExecutionPlan:
    """What a plan states. Empty tuples, "" and None: not stated.

    markets: in order of preference. max_spot_price: USD an hour and instance. max_total_cost, max_cost_per_hour: USD,
    all nodes together. node_count, job_id: what the plan believes; Slurm's word counts.
    privileged: keys stated that only a site may decide (user data and the like). unknown: keys nobody reads.
    prefers_efa: with EFA where there is some, else without. stated: every key that says something.
    """

    should_burst: bool
    dialect: Dialect
    text: str
    instance_types: tuple[str, ...] = ()
    node_count: int | None = None
    markets: tuple[Market, ...] = ()
    max_spot_price: Decimal | None = None
    subnet_ids: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    single_zone: bool = False
    template: Template | None = None
    security_group_ids: tuple[str, ...] = ()
    instance_profile: str = ""
    is_mpi: bool = False
    is_gang: bool = False
    needs_efa: bool = False
    efa_generation: int | None = None
    process_count: int | None = None
    processes_per_node: int | None = None
    mpi_implementation: str = ""
    placement: Placement = ""
    placement_group: str = ""
    max_total_cost: Decimal | None = None
    max_cost_per_hour: Decimal | None = None
    max_duration: timedelta | None = None
    auto_terminate: timedelta | None = None
    cost_alert: Decimal | None = None
    expected_runtime: timedelta | None = None
    job_id: int | None = None
    user: str = ""
    account: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    reasons: tuple[str, ...] = ()
    privileged: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    prefers_efa: bool = False
    stated: tuple[str, ...] = ()

    @property
    def is_guess(self) -> bool:
        """Whether nobody stated it: the analyzer's, which stands below what the node group says."""
        return self.dialect == "analyzer"


def parse_plan(text: str) -> ExecutionPlan:
    """Read a plan: JSON, or lines of ASBA_ variables.

    Raises PlanError (`plan-invalid`) with field and line where they can be told.
    """
    variables = from_text(text)
    reader = Reader(read_json(text) if variables is None else variables, text)
    nodes = reader.count("instance_specification.instance_count")
    placement = _placement(reader, nodes)
    needs_efa = reader.flag("mpi_configuration.requires_efa") or reader.flag("network_configuration.enable_efa")
    zones = reader.names("network_configuration.availability_zones", ZONE)
    name = reader.text("instance_specification.launch_template_name")
    template_id = reader.text("instance_specification.launch_template_id")
    return ExecutionPlan(
        should_burst=_should_burst(reader),
        dialect=_dialect(reader, is_environment=variables is not None),
        text=text,
        instance_types=reader.names("instance_specification.instance_types", INSTANCE_TYPE),
        node_count=nodes,
        markets=_markets(reader),
        max_spot_price=_spot_price(reader),
        subnet_ids=reader.names("instance_specification.subnet_ids", SUBNET),
        zones=zones or reader.names("instance_specification.availability_zones", ZONE),
        single_zone=reader.flag("network_configuration.single_az_required") or needs_efa or placement == "cluster",
        template=Template(template_id, "" if template_id else name) if template_id or name else None,
        security_group_ids=reader.names("instance_specification.security_group_ids"),
        instance_profile=reader.text("instance_specification.iam_instance_profile"),
        is_mpi=reader.flag("mpi_configuration.is_mpi_job"),
        is_gang=reader.flag("mpi_configuration.requires_gang_scheduling") or (nodes or 0) > 1,
        needs_efa=needs_efa,
        efa_generation=reader.count("mpi_configuration.efa_generation"),
        process_count=reader.count("mpi_configuration.process_count"),
        processes_per_node=reader.count("mpi_configuration.processes_per_node"),
        mpi_implementation=reader.text("mpi_configuration.mpi_implementation")
        or reader.text("mpi_configuration.mpi_library"),
        placement=placement,
        placement_group=reader.text("network_configuration.placement_group_name"),
        max_total_cost=reader.money("cost_constraints.max_total_cost"),
        max_cost_per_hour=reader.money("cost_constraints.max_cost_per_hour"),
        max_duration=reader.hours("cost_constraints.max_duration_hours"),
        auto_terminate=reader.hours("cost_constraints.auto_terminate_hours"),
        cost_alert=reader.money("cost_constraints.cost_alert_threshold"),
        expected_runtime=reader.duration("performance_target.expected_runtime"),
        job_id=reader.job_id("execution_metadata.job_id"),
        user=reader.text("execution_metadata.user_id") or reader.text("job_metadata.user"),
        account=reader.text("cost_constraints.budget_account")
        or reader.text("job_metadata.account")
        or reader.text("execution_metadata.project_id"),
        tags=reader.tags("execution_metadata.tags"),
        reasons=reader.names("recommendation_reasoning") or reader.names("execution_metadata.decision_factors"),
        privileged=_privileged(reader),
        unknown=reader.unknown(_KNOWN, _FREE),
        stated=reader.stated(_KNOWN),
    )


def _dialect(reader: Reader, *, is_environment: bool) -> Dialect:
    if is_environment:
        return "environment"
    return "real" if reader.has("job_metadata") else "documented"


def _should_burst(reader: Reader) -> bool:
    """Return whether to burst. The one key every plan has; without it the text is some other JSON."""
    if not reader.has("should_burst"):
        raise reader.error("should_burst", "is required: true or false")
    return reader.flag("should_burst")


def _placement(reader: Reader, nodes: int | None) -> Placement:
    stated = reader.choice("network_configuration.placement_group_type", ("cluster", "partition", "spread"))
    stated = stated or reader.choice("instance_specification.placement_group", ("cluster", "partition", "spread"))
    return "" if nodes == 1 else stated  # a single node gains nothing and may find less capacity


def _markets(reader: Reader) -> tuple[Market, ...]:
    """Return the markets in order; mixed pricing has three spellings."""
    option = reader.choice("instance_specification.purchasing_option", ("spot", "on-demand", "mixed"))
    prefers_spot = reader.flag("cost_constraints.prefer_spot")
    is_mixed = (
        option == "mixed"
        or reader.flag("cost_constraints.allow_mixed_pricing")
        or (option != "on-demand" and reader.flag("instance_specification.spot_instance_config.fallback_to_on_demand"))
    )
    if is_mixed and option == "on-demand" and not prefers_spot:
        return (Market.ON_DEMAND, Market.SPOT)
    if is_mixed:
        return (Market.SPOT, Market.ON_DEMAND)
    if option == "on-demand":
        return (Market.ON_DEMAND,)
    return (Market.SPOT,) if option == "spot" or prefers_spot else ()


def _spot_price(reader: Reader) -> Decimal | None:
    limits = (
        reader.money("instance_specification.max_spot_price"),
        reader.money("instance_specification.spot_instance_config.max_spot_price"),
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _privileged(reader: Reader) -> tuple[str, ...]:
    keys = ("user_data", "iam_instance_profile", "security_group_ids")
    return tuple(key for key in keys if reader.is_stated(f"instance_specification.{key}"))
