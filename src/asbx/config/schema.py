"""The configuration, key by key. Upstream's sections and keys keep their meaning; ours are added beside them.

Sources: section and key names of the predecessor's YAML; slurm.conf(5) for what the values end up in.
Unknown keys are refused; loading and its error messages live in `load.py`, rules over several keys in `rules.py`.
The strings below the keys are the descriptions of `asbx config schema` and docs/reference/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from asbx.config.budgets import Budgets
from asbx.config.companions import Asba, Asbb, Ecosystem
from asbx.config.interruptions import Interruptions
from asbx.config.learning import Learning
from asbx.config.ledger_section import LedgerSection
from asbx.config.limits import BLOCK_CLOSES_BEFORE_END
from asbx.config.limits_section import Limits
from asbx.config.market import MarketRules
from asbx.config.policy import Analyzer, Policy
from asbx.config.prices import PriceSettings
from asbx.config.section import Section
from asbx.config.security import Security
from asbx.config.telemetry import Telemetry
from asbx.config.upkeep import Boots, Health, Reconcile
from asbx.model.names import GroupName


class AssumeRole(Section):
    """Credentials by sts:AssumeRole."""

    role_arn: str = Field(min_length=1)
    """The role to assume."""
    session_name: str = "asbx"
    """Name of the session, as CloudTrail shows it."""
    duration_seconds: int = Field(default=3600, ge=900, le=43200)
    """How long credentials last before they are renewed."""
    external_id: str = Field(default="", repr=False)
    """External id the role's trust policy asks for."""
    policy: str = ""
    """JSON policy that narrows the session further."""


class Sso(Section):
    """Credentials of an IAM Identity Center (SSO) profile."""

    profile_name: str = ""
    """Profile in ~/.aws/config of the user that runs slurmctld; `aws.profile` serves as well."""
    start_url: str = ""
    """Accepted from upstream; the profile's own start URL is used."""
    account_id: str = ""
    """Accepted from upstream; the profile's own account is used."""
    role_name: str = ""
    """Accepted from upstream; the profile's own role is used."""


class WebIdentity(Section):
    """Credentials by a web identity token (Kubernetes)."""

    role_arn: str = Field(min_length=1)
    """The role to assume."""
    token_file: Path
    """File that holds the token."""
    session_name: str = "asbx"
    """Name of the session, as CloudTrail shows it."""


class CrossAccount(Section):
    """A role in another account."""

    source_profile: str = ""
    """Profile whose credentials assume the role; empty means the default chain."""
    target_role_arn: str = Field(min_length=1)
    """The role in the account that pays for the nodes."""
    external_id: str = Field(default="", repr=False)
    """External id the role's trust policy asks for."""
    session_name: str = "asbx"
    """Name of the session, as CloudTrail shows it."""


class AccessKeys(Section):
    """Static keys. Discouraged: they do not expire."""

    access_key_id: str = Field(min_length=1)
    """Id of the key."""
    secret_access_key: str = Field(min_length=1, repr=False)
    """The secret."""
    session_token: str = Field(default="", repr=False)
    """Token of temporary keys."""


class TokenRefresh(Section):
    """Accepted from upstream; credentials renew themselves, so nothing here changes anything."""

    enabled: bool = True
    """Changes nothing."""
    refresh_interval_minutes: int = Field(default=30, gt=0)
    """Changes nothing."""
    pre_expire_buffer_minutes: int = Field(default=10, ge=0)
    """Changes nothing."""


class Aws(Section):
    """How EC2 is reached."""

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z0-9]+)+-[0-9]+$")
    """AWS region, for example us-east-2."""
    profile: str = ""
    """Profile in ~/.aws/config of the user that runs slurmctld; empty means the default chain."""
    retry_max_attempts: int = Field(default=3, ge=1, le=10)
    """Tries of one AWS call, the first included."""
    retry_mode: Literal["standard", "adaptive", "legacy"] = "standard"
    """botocore's retry mode."""
    authentication_method: Literal[
        "default",
        "instance_profile",
        "assume_role",
        "sso",
        "web_identity",
        "cross_account",
        "profile",
        "access_keys",
    ] = "default"
    """Where credentials come from. `default` is the SDK's own chain, which includes the instance profile."""
    assume_role: AssumeRole | None = None
    """Needed for `authentication_method: assume_role`."""
    sso: Sso | None = None
    """Needed for `authentication_method: sso`."""
    web_identity: WebIdentity | None = None
    """Needed for `authentication_method: web_identity`."""
    cross_account: CrossAccount | None = None
    """Needed for `authentication_method: cross_account`."""
    access_keys: AccessKeys | None = None
    """Needed for `authentication_method: access_keys`."""
    token_refresh: TokenRefresh | None = None
    """Accepted from upstream; changes nothing."""
    spot_placement_scores: bool = False
    """Let EC2's spot placement scores order the zones of spot gangs. Needs ec2:GetSpotPlacementScores and three types
    in the group."""
    endpoint_url: str = ""
    """Another address for all AWS services, such as the lab's emulator or a VPC endpoint."""


class Tag(Section):
    """One EC2 tag."""

    key: str = Field(min_length=1, max_length=128)
    """Name of the tag. `aws:` and `asbx:` are taken."""
    value: str = Field(max_length=256)
    """Its value."""


class LaunchTemplateSpecification(Section):
    """Which EC2 launch template: by id or by name, exactly one of them."""

    launch_template_name: str = ""
    """Name of the template."""
    launch_template_id: str = ""
    """Id of the template."""
    version: str = "$Default"
    """Version number, `$Default` or `$Latest`. A number makes launches reproducible."""


class LaunchTemplateOverride(Section):
    """One instance type the group may use, optionally only in one subnet."""

    instance_type: str = Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")
    """EC2 instance type, for example c6i.4xlarge."""
    spot_price: Decimal | None = Field(default=None, ge=0)
    """Most to pay for one spot instance of this type, USD an hour; not stated or 0 means no limit."""
    subnet_id: str = ""
    """Launch this type in this subnet only; empty means in all of the group's `subnet_ids`."""
    weighted_capacity: Decimal | None = None
    """Only 1 is accepted: one instance is one node."""


class NodeGroup(Section):
    """Nodes of one kind: what to launch for `<partition>-<node_group_name>-<number>`."""

    node_group_name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    """The middle part of the node names: letters and digits only."""
    max_nodes: int = Field(gt=0, le=100_000)
    """How many nodes Slurm may power up at most."""
    region: str = Field(min_length=1)
    """AWS region of this group; must be the one of `aws.region` in this version."""
    slurm_specifications: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What the NodeName line says: CPUs, RealMemory, Features, Weight, Gres .. (slurm.conf(5))."""
    purchasing_option: Literal["spot", "on-demand", "mixed"] = "on-demand"
    """`spot`, `on-demand`, or `mixed`: spot first, then on-demand where there is no spot capacity."""
    on_demand_options: dict[str, Any] = Field(default_factory=dict)
    """CreateFleet's OnDemandOptions; `AllocationStrategy` is used: lowest-price or prioritized."""
    market: MarketRules = MarketRules()
    """Which nodes are bought in which market, and what spot may cost."""
    spot_options: dict[str, Any] = Field(default_factory=dict)
    """CreateFleet's SpotOptions; `AllocationStrategy` is used: price-capacity-optimized (the default),
    capacity-optimized, capacity-optimized-prioritized, lowest-price or diversified."""
    launch_template_specification: LaunchTemplateSpecification = LaunchTemplateSpecification()
    """The EC2 launch template of these nodes: image, security groups, instance profile, user data."""
    launch_template_overrides: tuple[LaunchTemplateOverride, ...] = Field(min_length=1)
    """The instance types to choose from. All must offer what `slurm_specifications` promises."""
    subnet_ids: tuple[str, ...] = Field(min_length=1)
    """Subnets to launch in, at most one for each availability zone."""
    security_group_ids: tuple[str, ...] = ()
    """Security groups of interfaces made for EFA, where the launch template names none; else the template's apply."""
    iam_instance_profile: str = ""
    """Accepted from upstream; the launch template's instance profile is used."""
    tags: tuple[Tag, ...] = ()
    """EC2 tags for instances and volumes, beside those ASBX sets."""
    first_number: int = Field(default=0, ge=0)
    """Number of the first node."""
    number_width: int = Field(default=0, ge=0, le=9)
    """Digits of the numbers, filled with zeros; 0 means as short as they are."""
    strategy: Literal["gang", "greedy", "best-effort"] = "gang"
    """How jobs of several nodes are launched. `gang`: all nodes at once, of one type and in one zone, or none.
    `greedy`: all or none, but from several types and zones. `best-effort`: whatever comes is kept."""
    mixed_types: bool = False
    """Let a gang be of several types in one zone. They must have equal cores and memory."""
    placement: Literal["auto", "cluster", "partition", "spread", "none"] = "auto"
    """Placement group made for each gang. `auto`: cluster, from `mpi.placement_group_threshold` nodes on."""
    placement_group_name: str = ""
    """Launch gangs into this existing placement group instead of making one for each."""
    placement_fallback: bool = False
    """Where no pool has room for a gang in a placement group, launch it without one."""
    efa: Literal["required", "preferred", "optional", "disabled"] | None = None
    """How much jobs of several nodes want EFA; not stated means `mpi.efa_default`."""
    efa_interfaces: Literal["efa-only", "efa", "separate"] = "efa-only"
    """Interfaces on types with several network cards. `efa-only`: further cards have no address. `efa`: each has one.
    `separate`: the address is on an interface of its own beside the EFA device."""
    capacity_reservations: tuple[str, ...] = ()
    """Capacity reservations and Capacity Blocks (cr-..) to launch into first, in this order."""
    reservations_only: bool = False
    """Launch nowhere but into `capacity_reservations`."""
    open_reservations: bool = True
    """Use matching open capacity reservations before other on-demand capacity."""
    most_extra_nodes: int = Field(default=0, ge=0, le=100)
    """How many instances more than nodes a job may ask for, to keep those that are connected best."""

    @property
    def last_number(self) -> int:
        """Return the number of the last node."""
        return self.first_number + self.max_nodes - 1


class Partition(Section):
    """A Slurm partition and its node groups."""

    partition_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Slurm's partition, and the first part of the node names."""
    node_groups: tuple[NodeGroup, ...] = Field(min_length=1)
    """The kinds of nodes in it."""
    partition_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What else the PartitionName line says: MaxTime, Default, OverSubscribe .. (slurm.conf(5))."""

    def node_range(self, group: NodeGroup) -> str:
        """Return all nodes of a group as a hostlist, as slurm.conf names them."""
        prefix = f"{self.partition_name}-{group.node_group_name}-"
        first, last = (f"{n:0{group.number_width}d}" for n in (group.first_number, group.last_number))
        return f"{prefix}{first}" if first == last else f"{prefix}[{first}-{last}]"


class Slurm(Section):
    """Where Slurm is and how it saves power."""

    bin_path: Path = Path("/usr/bin")
    """Folder of scontrol."""
    config_path: Path = Path("/etc/slurm/slurm.conf")
    """The cluster's slurm.conf."""
    private_data: Literal["CLOUD", "cloud"] = "CLOUD"
    """Makes powered-down cloud nodes visible (Slurm before 23.02)."""
    resume_program: str = ""
    """Absolute path of aws-slurm-burst-resume; empty means where this program is installed."""
    suspend_program: str = ""
    """Absolute path of aws-slurm-burst-suspend; empty means where this program is installed."""
    resume_fail_program: str = ""
    """Absolute path of aws-slurm-burst-resume-fail; empty means where this program is installed."""
    resume_rate: int = Field(default=0, ge=0, le=1000)
    """Nodes Slurm powers up a minute; 0 means all at once, which gangs need."""
    suspend_rate: int = Field(default=0, ge=0, le=1000)
    """Nodes Slurm powers down a minute; 0 means all at once."""
    resume_timeout: int = Field(default=600, gt=0)
    """Seconds from Slurm's request until a node must have registered: launch, boot and slurmd."""
    suspend_time: int = Field(default=350, gt=0)
    """Seconds a node stays idle before it is powered down."""
    suspend_timeout: int = Field(default=60, gt=0)
    """Seconds after a power-down until the node may be used again."""
    topology: Literal["none", "conf", "yaml"] = "none"
    """Tell Slurm's topology plugin where EC2 says the nodes are, in topology.conf (`topology/tree`) or topology.yaml
    (25.05 and later). Needs ec2:DescribeInstanceTopology; after a change Slurm is told to reconfigure."""
    topology_file: Path | None = None
    """The file to write. Not stated: the one beside `config_path`, with every node of the cluster. Another, such as one
    that topology.conf includes, has the nodes that burst only."""
    tree_width: int = Field(default=60000, ge=1, le=65533)
    """TreeWidth: a large value makes slurmctld talk to every node directly."""
    partitions: tuple[Partition, ...] = Field(min_length=1)
    """The partitions that burst."""


class Mpi(Section):
    """Defaults for tightly coupled jobs."""

    efa_default: Literal["required", "preferred", "optional", "disabled"] = "preferred"
    """How much an MPI job wants EFA when nothing says so."""
    hpc_instances_threshold: int = Field(default=8, ge=1)
    """Jobs of so many nodes prefer HPC instance types."""
    placement_group_threshold: int = Field(default=2, ge=1)
    """Jobs of so many nodes get a placement group."""
    force_cluster_placement_group: bool = False
    """Refuse to launch an MPI job outside a cluster placement group."""
    topology_order: Literal["auto", "always", "never"] = "auto"
    """Name a gang's nodes by their place in EC2's network, so that neighbouring ranks are neighbours there. `auto`: for
    gangs with EFA. Needs ec2:DescribeInstanceTopology."""
    enable_enhanced_networking: bool = True
    """Accepted from upstream; every current instance type has it."""


class Logging(Section):
    """The log. Rotation is left to the system's logrotate."""

    level: Literal["debug", "info", "warn", "error", "fatal"] = "info"
    """Least important level that is written."""
    format: Literal["json", "text"] = "json"
    """JSON lines, or text for people."""
    file: Path = Path("/var/log/slurm/aws-burst.log")
    """The log file; its folder must be writable for the user that runs slurmctld."""
    max_size_mb: int = Field(default=100, gt=0)
    """Accepted from upstream; logrotate decides."""
    max_age_days: int = Field(default=30, gt=0)
    """Accepted from upstream; logrotate decides."""
    compress: bool = True
    """Accepted from upstream; logrotate decides."""


class Cluster(Section):
    """Which cluster this is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = "slurm"
    """Value of the tag `asbx:cluster` on everything in AWS. Two clusters in one account need two names."""
    controller: str = ""
    """With two controllers: this host's name in SlurmctldHost of slurm.conf; empty means the host's own name."""


class Paths(Section):
    """Where ASBX keeps things."""

    spool: Path = Path("/var/spool/asbx")
    """Requests of Slurm's programs, until they are worked off."""
    state: Path = Path("/var/lib/asbx")
    """The ledger."""
    runtime: Path = Path("/run/asbx")
    """The daemon's socket."""

    @property
    def requests(self) -> Path:
        """Return the folder the hooks write to."""
        return self.spool / "requests"

    @property
    def plans(self) -> Path:
        """Return where execution plans of jobs are looked for."""
        return self.spool / "plans"

    @property
    def due(self) -> Path:
        """Return where the epilog notes jobs that are to be exported."""
        return self.spool / "learning"

    @property
    def set_aside(self) -> Path:
        """Return where unreadable spool files are kept."""
        return self.spool / "set-aside"

    @property
    def socket(self) -> Path:
        """Return the daemon's socket."""
        return self.runtime / "asbx.sock"


class Backoff(Section):
    """When Slurm tries a job again whose launch failed."""

    first_seconds: int = Field(default=120, ge=5, le=3600)
    """Pause after the first failure; it doubles with each further one in a row."""
    longest_seconds: int = Field(default=1800, ge=5, le=86_400)
    """The longest pause."""


class Reservations(Section):
    """How Capacity Blocks are used."""

    drain_before_end_seconds: int = Field(default=int(BLOCK_CLOSES_BEFORE_END.total_seconds()), ge=0, le=86_400)
    """How long before a block's end its nodes are drained, and jobs kept off that would run so long. EC2 ends a block's
    instances from 1800 seconds before its end on."""

    @property
    def drain_before_end(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.drain_before_end_seconds)


class Cost(Section):
    """How instances are billed."""

    minimum_seconds: int = Field(default=60, ge=0)
    """The least that is charged for one start of an instance; EC2 bills 60 seconds."""
    spot_hour_seconds: int = Field(default=3600, ge=1)
    """How long a price holds for an instance: EC2 charges what is in effect when each hour of its life begins."""
    free_first_hour: bool = True
    """EC2 charges nothing for a Spot instance that it takes back within its first hour."""
    billing_account: str = Field(default="", pattern=r"^([0-9]{12})?$")
    """The AWS account that is billed, for exports to FinOps tools (`asbx cost --format focus`)."""


class Config(Section):
    """The whole file."""

    aws: Aws
    """How EC2 is reached."""
    slurm: Slurm
    """Where Slurm is, how it saves power, and the partitions that burst."""
    cluster: Cluster = Cluster()
    """Which cluster this is."""
    paths: Paths = Paths()
    """Where ASBX keeps things."""
    security: Security = Security()
    """Whom the daemon listens to."""
    ledger: LedgerSection = LedgerSection()
    """Where the ledger is."""
    reconcile: Reconcile = Reconcile()
    """How patient the sweep for stray instances is."""
    backoff: Backoff = Backoff()
    """When Slurm tries a job again whose launch failed."""
    boots: Boots = Boots()
    """What becomes of node groups whose instances do not become nodes."""
    health: Health = Health()
    """What is done about instances that EC2 says are unwell."""
    reservations: Reservations = Reservations()
    """How Capacity Blocks are used."""
    interruptions: Interruptions = Interruptions()
    """What is done when EC2 announces that an instance will go."""
    cost: Cost = Cost()
    """How instances are billed."""
    prices: PriceSettings = PriceSettings()
    """How prices are learned."""
    policy: Policy = Policy()
    """Who may launch what, and what a plan may ask for."""
    budgets: Budgets = Budgets()
    """What the jobs of accounts, users and partitions may cost in a period."""
    limits: Limits = Limits()
    """How much may be spent and run."""
    analyzer: Analyzer = Analyzer()
    """Reading job scripts at launch time."""
    asba: Asba = Asba()
    """The advisor."""
    asbb: Asbb = Asbb()
    """The budget service."""
    ecosystem: Ecosystem = Ecosystem()
    """The companion projects."""
    learning: Learning = Learning()
    """What becomes of what jobs teach."""
    mpi: Mpi = Mpi()
    """Defaults for tightly coupled jobs."""
    logging: Logging = Logging()
    """The log."""
    telemetry: Telemetry = Telemetry()
    """Where the daemon answers for itself."""

    def groups(self) -> Iterator[tuple[Partition, NodeGroup]]:
        """Yield every node group with its partition, in the file's order."""
        for partition in self.slurm.partitions:
            for group in partition.node_groups:
                yield partition, group

    def group(self, name: GroupName) -> NodeGroup | None:
        """Return a node group by name, or None."""
        for partition, group in self.groups():
            if (partition.partition_name, group.node_group_name) == (name.partition, name.group):
                return group
        return None

    @property
    def ledger_url(self) -> str:
        """Return the SQLAlchemy URL of the ledger."""
        return self.ledger.url or f"sqlite:///{self.paths.state / 'ledger.db'}"

    @property
    def resume_deadline(self) -> timedelta:
        """Return how long a node may take from Slurm's call to its registration."""
        return timedelta(seconds=self.slurm.resume_timeout)
