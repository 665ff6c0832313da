"""A scenario: which cluster, which work, which market, and what goes wrong. Read from TOML, strictly.

The keys are described by the strings below them; docs/reference/scenario.md is generated from these.
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from asbx.config.problem import key_text
from asbx.config.schema import Config
from asbx.errors import ConfigError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def _seconds(value: object) -> object:
    """Read `90s`, `5m`, `2h`, `1.5d`, or a bare number of seconds."""
    if not isinstance(value, str):
        return value
    match = _LENGTH.fullmatch(value.strip())
    if match is None:
        raise ValueError("is not a length of time such as 90s, 5m, 2h or 1.5d")
    return float(match[1]) * _UNITS[match[2]]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Span = tuple[Seconds, Seconds]


class Part(BaseModel):
    """Frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Group(Part):
    """Nodes of one kind, and what is launched for them."""

    partition: str = "aws"
    """Slurm's partition."""
    name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    """The middle part of the node names."""
    nodes: int = Field(gt=0, le=100_000)
    """How many there are."""
    cpus: int = Field(default=8, gt=0)
    """CPUs of a node, for jobs that share nodes."""
    types: tuple[str, ...] = Field(min_length=1)
    """Instance types, in the order of preference."""
    buys: Literal["spot", "on-demand", "mixed"] = "mixed"
    """What is bought: the configuration's `purchasing_option`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keys of the node group in the configuration, such as `strategy` or `placement`."""


class Cluster(Part):
    """The pretend Slurm."""

    power_save_interval: Seconds = 10.0
    """How often slurmctld calls ResumeProgram and SuspendProgram (slurm.conf(5), SlurmctldParameters)."""
    schedule_interval: Seconds = 5.0
    """Time between two passes of the scheduler, at least."""
    schedule_depth: int = Field(default=100, gt=0)
    """How many jobs of a group that cannot start a pass looks at."""
    slurmd_timeout: Seconds = 300.0
    """How long a node may be silent before it is DOWN and its jobs are requeued (SlurmdTimeout)."""
    requeue_delay: Seconds = 121.0
    """How long a requeued job waits before it may start again."""
    completing: Seconds = 3.0
    """How long a job is COMPLETING before a requeue makes it PENDING."""
    scontrol: Span = (0.01, 0.05)
    """How long a call of scontrol takes."""
    users: Literal["release", "cancel"] = "release"
    """What users do with a job that was held: have it released, or cancel it."""
    users_release_after: Seconds = 14_400.0
    """How long a user takes to release a job that was held."""


class Stock(Part):
    """How much a capacity pool has."""

    type: str = "*"
    """Instance type; `*` for every type."""
    zone: str = "*"
    """Availability zone; `*` for every zone."""
    market: Literal["spot", "on-demand", "*"] = "*"
    """Which market."""
    capacity: int = Field(ge=0)
    """How many instances it holds."""
    in_group: int | None = Field(default=None, ge=0)
    """How many of them one cluster placement group holds; not stated: no bound."""


class Price(Part):
    """What a capacity pool costs at the beginning, instead of the pretend figure."""

    type: str
    """Instance type."""
    zone: str = "*"
    """Availability zone; `*` for every zone."""
    market: Literal["spot", "on-demand"]
    """Which market."""
    usd: Decimal = Field(ge=0)
    """USD an hour."""


class Ec2(Part):
    """The pretend EC2."""

    zones: tuple[str, ...] = ("us-east-2a", "us-east-2b", "us-east-2c")
    """Availability zones, with one subnet each."""
    stock: tuple[Stock, ...] = ()
    """Pools that run out; a later entry wins. Pools that no entry names have no bound."""
    launch: Span = (0.8, 2.5)
    """How long CreateFleet takes."""
    call: Span = (0.05, 0.3)
    """How long any other call takes."""
    pending: Span = (5.0, 25.0)
    """From the launch until an instance runs."""
    visible: Span = (0.0, 2.0)
    """From the launch until EC2 shows an instance: it is eventually consistent."""
    boot: Span = (30.0, 90.0)
    """From running until slurmd is about to register."""
    launch_bucket: int = Field(default=1000, ge=0)
    """Instances that may be launched at once before EC2 throttles; 0: no bound. The default is AWS's."""
    launch_rate: float = Field(default=2.0, ge=0)
    """Instances a second by which the bucket fills up again."""
    prices: tuple[Price, ...] = ()
    """Prices that are known; a later entry wins. All others are pretend figures of the right size."""
    spot_price_every: Seconds = 3600.0
    """How often spot prices move; 0: never."""
    spot_price_step: Share = 0.05
    """By how much at most, as a share of the price."""
    tells_end: bool = True
    """Whether EC2 tells when an instance ended that it took back. For those its user ended it does."""


class Stream(Part):
    """Jobs that come by chance, evenly spread over the time."""

    name: str = "jobs"
    """What they are called; user and account are made of it."""
    group: str
    """`partition-group` they run in."""
    count: int = Field(gt=0)
    """How many jobs."""
    nodes: tuple[int, ...] = (1,)
    """Sizes to choose from; name one several times to make it likelier."""
    array: tuple[int, ...] = (1,)
    """How many jobs are submitted at once, to choose from."""
    cpus: int = Field(default=0, ge=0)
    """CPUs of a job of one node that shares its node; 0: whole nodes."""
    runtime: Seconds = 1800.0
    """The median of the run times."""
    runtime_spread: float = Field(default=2.0, ge=1)
    """Two thirds of the run times are within this factor of the median (log-normal)."""
    priority: tuple[int, ...] = (1000,)
    """Priorities to choose from."""
    no_requeue: Share = 0.0
    """Share of the jobs that forbid a requeue."""
    extra: str = ""
    """The jobs' `--extra`, for hints such as `asbx:market=spot`."""
    begins: Seconds = 0.0
    """When the first may come."""
    ends: Seconds | None = None
    """When the last has come; not stated: a quarter of the time before the end, or 12 hours, whichever is less."""


class OneJob(Part):
    """A job that is named."""

    at: Seconds = 0.0
    """When it is submitted."""
    group: str
    """`partition-group` it runs in."""
    nodes: int = Field(default=1, gt=0)
    """How many nodes it needs."""
    cpus: int = Field(default=0, ge=0)
    """CPUs on a node that it shares; 0: whole nodes."""
    runtime: Seconds = 600.0
    """How long it runs."""
    requeue: bool = True
    """Whether it may be requeued."""
    priority: int = 1000
    """Its priority."""
    extra: str = ""
    """Its `--extra`."""


class Window(Part):
    """Something that begins and ends."""

    at: Seconds
    """When it begins."""
    lasts: Seconds
    """How long it lasts."""


class ZoneOutage(Window):
    """A zone is gone: its instances die and none can be launched."""

    zone: str
    """Which zone."""
    kills: Share = 1.0
    """Share of its instances that die."""


class ApiOutage(Window):
    """EC2 refuses every call."""

    code: str = "ServiceUnavailable"
    """EC2's code, for example ServiceUnavailable, RequestLimitExceeded or ExpiredToken."""


class Crash(Part):
    """The daemon stops at a moment, wherever it is."""

    at: Seconds
    """When."""
    pause: Seconds = 20.0
    """How long until it is started again."""
    kill: bool = True
    """SIGKILL; else it is stopped in order."""


class Kills(Part):
    """Programs die by SIGKILL at random calls of a door: the daemon, and the hooks while they write."""

    count: int = Field(default=0, ge=0)
    """How many deaths."""
    apart: Span = (120.0, 900.0)
    """Time from one to the next."""
    calls: tuple[int, int] = (1, 60)
    """At which call, counted from then on, the daemon dies; half of the deaths come after the call has its effect."""
    hooks: Share = 0.25
    """Share of the deaths that hit a hook of Slurm instead of the daemon."""
    pause: Span = (1.0, 60.0)
    """How long until the daemon is started again."""


class Incidents(Part):
    """What goes wrong."""

    spot_reclaims_per_day: float = Field(default=0.0, ge=0)
    """Share of the running spot instances that EC2 takes back in a day, two minutes after a warning."""
    never_boots: Share = 0.0
    """Share of the instances that run and never become a node."""
    dies_early: Share = 0.0
    """Share of the instances that die while they boot."""
    lost_answers: Share = 0.0
    """Share of the calls that EC2 does and whose answer is lost."""
    zone_outages: tuple[ZoneOutage, ...] = ()
    """Zones that are gone for a while."""
    api_outages: tuple[ApiOutage, ...] = ()
    """Times in which EC2 refuses every call."""
    controller_restarts: tuple[Window, ...] = ()
    """Times in which slurmctld is away."""
    crashes: tuple[Crash, ...] = ()
    """Ends of the daemon."""
    kills: Kills = Kills()
    """Deaths at random calls."""
    strangers: int = Field(default=0, ge=0)
    """Instances of somebody else that carry our cluster's name."""


class Scenario(Part):
    """The whole file."""

    name: str = Field(min_length=1)
    """What it is called."""
    seed: int = 1
    """Where chance begins; the same seed gives the same run."""
    lasts: Seconds
    """How long the work goes on."""
    settles: Seconds = 43_200.0
    """How long to wait for the rest at most, once the last job has come and nothing goes wrong any more."""
    shuffle: bool = True
    """Let flows that could go on at the same moment do so in random order."""
    groups: tuple[Group, ...] = Field(min_length=1)
    """The nodes."""
    cluster: Cluster = Cluster()
    """The pretend Slurm."""
    ec2: Ec2 = Ec2()
    """The pretend EC2."""
    streams: tuple[Stream, ...] = ()
    """Work that comes by chance."""
    jobs: tuple[OneJob, ...] = ()
    """Work that is named."""
    incidents: Incidents = Incidents()
    """What goes wrong."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Further sections of the ASBX configuration, such as `config.reconcile.interval_seconds`."""

    @model_validator(mode="after")
    def _knows_its_names(self) -> Scenario:
        known = {f"{group.partition}-{group.name}" for group in self.groups}
        for name in [*(stream.group for stream in self.streams), *(job.group for job in self.jobs)]:
            if name not in known:
                raise ValueError(f"no group is called {name!r}; there are {', '.join(sorted(known))}")
        for outage in self.incidents.zone_outages:
            if outage.zone not in self.ec2.zones:
                raise ValueError(f"no zone is called {outage.zone!r}; there are {', '.join(self.ec2.zones)}")
        return self

    def site(self, folder: Path) -> Config:
        """Return the configuration of the site. Raises ConfigError for what ASBX would not accept."""
        partitions: dict[str, list[dict[str, Any]]] = {}
        for group in self.groups:
            partitions.setdefault(group.partition, []).append(self._group(group))
        raw = {
            "aws": {"region": self.ec2.zones[0][:-1]},
            "cluster": {"name": "sim"},
            "slurm": {
                "partitions": [{"partition_name": name, "node_groups": rows} for name, rows in partitions.items()]
            },
            "paths": {"spool": folder / "spool", "state": folder / "state", "runtime": folder / "run"},
            "logging": {"file": folder / "log"},
        }
        try:
            return Config.model_validate(_merged(raw, self.config))
        except ValidationError as error:
            raise refused("config", error) from None

    def _group(self, group: Group) -> dict[str, Any]:
        return {
            "node_group_name": group.name,
            "max_nodes": group.nodes,
            "number_width": len(str(group.nodes - 1)),
            "region": self.ec2.zones[0][:-1],
            "purchasing_option": group.buys,
            "launch_template_specification": {"launch_template_name": "sim", "version": "1"},
            "launch_template_overrides": [{"instance_type": kind} for kind in group.types],
            "subnet_ids": [f"subnet-{zone}" for zone in self.ec2.zones],
        } | group.options


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Raises ConfigError (`scenario-file`, `scenario-invalid`) with every fault found."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "scenario-file",
            f"{path} cannot be read",
            str(error.strerror or error),
            "name a scenario file, such as examples/scenarios/day.toml",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("scenario-file", f"{path} is not TOML", str(error), "see docs/how-to/simulate.md") from None
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        raise refused(str(path), error) from None


def refused(where: str, error: ValidationError) -> ConfigError:
    """Return what is said of a file that breaks the rules of its keys, every fault of it."""
    faults = [f"{where}: {key_text(each['loc'])} {_words(each)}".replace(":  ", ": ") for each in error.errors()]
    what = faults[0] if len(faults) == 1 else f"{where} has {len(faults)} faults"
    return ConfigError(
        "scenario-invalid",
        what,
        "" if len(faults) == 1 else "\n".join(faults),
        "docs/reference/scenario.md lists every key",
    )


def _words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "is no key of a scenario"
    return str(fault["msg"]).removeprefix("Value error, ")
