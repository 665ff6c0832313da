"""The configuration, key by key. Upstream's sections and keys keep their meaning; ours are added beside them.

Sources: section and key names of the predecessor's YAML; slurm.conf(5) for what the values end up in.
Unknown keys are refused; loading and its error messages live in `load.py`.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from asbx.model.names import GroupName


class Section(BaseModel):
    """Frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AssumeRole(Section):
    """Credentials by sts:AssumeRole."""

    role_arn: str
    session_name: str = "asbx"
    duration_seconds: int = Field(default=3600, ge=900, le=43200)
    external_id: str = ""
    policy: str = ""


class Sso(Section):
    """Credentials of an SSO profile."""

    profile_name: str = ""
    start_url: str = ""
    account_id: str = ""
    role_name: str = ""


class WebIdentity(Section):
    """Credentials by a web identity token."""

    role_arn: str
    token_file: Path
    session_name: str = "asbx"


class CrossAccount(Section):
    """A role in another account."""

    source_profile: str = ""
    target_role_arn: str
    external_id: str = ""
    session_name: str = "asbx"


class AccessKeys(Section):
    """Static keys. Discouraged: they do not expire."""

    access_key_id: str
    secret_access_key: str = Field(repr=False)
    session_token: str = Field(default="", repr=False)


class TokenRefresh(Section):
    """Accepted from upstream; botocore refreshes by itself, so nothing here changes anything."""

    enabled: bool = True
    refresh_interval_minutes: int = Field(default=30, gt=0)
    pre_expire_buffer_minutes: int = Field(default=10, ge=0)


class Aws(Section):
    """How EC2 is reached."""

    region: str = Field(min_length=1)
    profile: str = ""
    retry_max_attempts: int = Field(default=3, ge=1, le=10)
    retry_mode: Literal["standard", "adaptive", "legacy"] = "standard"
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
    assume_role: AssumeRole | None = None
    sso: Sso | None = None
    web_identity: WebIdentity | None = None
    cross_account: CrossAccount | None = None
    access_keys: AccessKeys | None = None
    token_refresh: TokenRefresh | None = None
    endpoint_url: str = ""


class Tag(Section):
    """One EC2 tag."""

    key: str = Field(min_length=1, max_length=128)
    value: str = Field(max_length=256)


class LaunchTemplateSpecification(Section):
    """Which launch template: id or name."""

    launch_template_name: str = ""
    launch_template_id: str = ""
    version: str = "$Default"


class LaunchTemplateOverride(Section):
    """One instance type the group may use, optionally only in one subnet."""

    instance_type: str = Field(min_length=1)
    spot_price: Decimal | None = Field(default=None, ge=0)
    subnet_id: str = ""
    weighted_capacity: Decimal | None = None


class NodeGroup(Section):
    """Nodes of one kind: what to launch for `<partition>-<node_group_name>-<number>`."""

    node_group_name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    max_nodes: int = Field(gt=0, le=100_000)
    region: str = Field(min_length=1)
    slurm_specifications: dict[str, str | int | float | bool] = Field(default_factory=dict)
    purchasing_option: Literal["spot", "on-demand", "mixed"] = "on-demand"
    on_demand_options: dict[str, Any] = Field(default_factory=dict)
    spot_options: dict[str, Any] = Field(default_factory=dict)
    launch_template_specification: LaunchTemplateSpecification = LaunchTemplateSpecification()
    launch_template_overrides: tuple[LaunchTemplateOverride, ...] = Field(min_length=1)
    subnet_ids: tuple[str, ...] = Field(min_length=1)
    security_group_ids: tuple[str, ...] = ()
    iam_instance_profile: str = ""
    tags: tuple[Tag, ...] = ()
    # How the numbers of this group are written: first number and digits (0 = unpadded, like upstream).
    first_number: int = Field(default=0, ge=0)
    number_width: int = Field(default=0, ge=0, le=9)


class Partition(Section):
    """A Slurm partition and its node groups."""

    partition_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    node_groups: tuple[NodeGroup, ...] = Field(min_length=1)
    partition_options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Slurm(Section):
    """Where Slurm is and how it saves power."""

    bin_path: Path = Path("/usr/bin")
    config_path: Path = Path("/etc/slurm/slurm.conf")
    private_data: Literal["CLOUD", "cloud"] = "CLOUD"
    resume_program: str = ""
    suspend_program: str = ""
    resume_fail_program: str = ""
    resume_rate: int = Field(default=0, ge=0, le=1000)
    suspend_rate: int = Field(default=0, ge=0, le=1000)
    resume_timeout: int = Field(default=600, gt=0)
    suspend_time: int = Field(default=350, gt=0)
    suspend_timeout: int = Field(default=60, gt=0)
    tree_width: int = Field(default=60000, ge=1, le=65533)
    partitions: tuple[Partition, ...] = Field(min_length=1)


class Asba(Section):
    """The advisor."""

    enabled: Literal["auto-detect", "true", "false"] | bool = "auto-detect"
    command: str = "asba"
    config_path: str = ""
    timeout_seconds: int = Field(default=30, gt=0)


class Asbb(Section):
    """The budget service."""

    enabled: Literal["auto-detect", "true", "false"] | bool = "auto-detect"
    command: str = "asbb"
    reconciliation_dir: str = "/var/spool/asbb/costs"
    timeout_seconds: int = Field(default=30, gt=0)


class Ecosystem(Section):
    """The companion projects."""

    auto_detect: bool = True
    shared_config_path: str = ""
    data_exchange_dir: str = "/var/spool/asbx/ecosystem"
    enable_cross_project: bool = True


class Mpi(Section):
    """Defaults for tightly coupled jobs."""

    efa_default: Literal["required", "preferred", "optional", "disabled"] = "preferred"
    hpc_instances_threshold: int = Field(default=8, ge=1)
    placement_group_threshold: int = Field(default=2, ge=1)
    force_cluster_placement_group: bool = False
    enable_enhanced_networking: bool = True


class Logging(Section):
    """The log: JSON lines. Rotation is left to the system's logrotate."""

    level: Literal["debug", "info", "warn", "error", "fatal"] = "info"
    format: Literal["json", "text"] = "json"
    file: Path = Path("/var/log/slurm/aws-burst.log")
    max_size_mb: int = Field(default=100, gt=0)
    max_age_days: int = Field(default=30, gt=0)
    compress: bool = True


class Cluster(Section):
    """Which cluster this is; the value of the tag `asbx:cluster` on everything in AWS."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = "slurm"


class Paths(Section):
    """Where ASBX keeps things."""

    spool: Path = Path("/var/spool/asbx")
    state: Path = Path("/var/lib/asbx")
    runtime: Path = Path("/run/asbx")

    @property
    def requests(self) -> Path:
        """Return the folder the hooks write to."""
        return self.spool / "requests"

    @property
    def set_aside(self) -> Path:
        """Return where unreadable spool files are kept."""
        return self.spool / "set-aside"

    @property
    def socket(self) -> Path:
        """Return the daemon's socket."""
        return self.runtime / "asbx.sock"


class LedgerSection(Section):
    """Where the ledger is: an SQLAlchemy URL, or "" for SQLite under paths.state."""

    url: str = Field(default="", repr=False)


class Reconcile(Section):
    """How patient the sweep is."""

    interval_seconds: int = Field(default=60, gt=0)
    orphan_grace_seconds: int = Field(default=120, ge=0)


class Config(Section):
    """The whole file."""

    aws: Aws
    slurm: Slurm
    cluster: Cluster = Cluster()
    paths: Paths = Paths()
    ledger: LedgerSection = LedgerSection()
    reconcile: Reconcile = Reconcile()
    asba: Asba = Asba()
    asbb: Asbb = Asbb()
    ecosystem: Ecosystem = Ecosystem()
    mpi: Mpi = Mpi()
    logging: Logging = Logging()

    def group(self, name: GroupName) -> NodeGroup | None:
        """Return a node group by name, or None."""
        for partition in self.slurm.partitions:
            if partition.partition_name == name.partition:
                for group in partition.node_groups:
                    if group.node_group_name == name.group:
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
