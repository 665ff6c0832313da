"""Random sites, jobs and trouble for the tests of gangs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from tests.fakes.fragile import VERDICTS, Happening
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import Site, group

from asbx.config.schema import Config
from asbx.model.hostlist import expand
from asbx.model.market import Market, Verdict

CPU = expand("aws-cpu-[00-59]")
GPU = expand("aws-gpu-[00-11]")
# Two plain types, one with EFA, one with EFA on demand only: what there is to choose from differs by market.
KINDS = ("c7i.large", "m7i.large", "c6in.32xlarge", "hpc7a.96xlarge")
SUBNETS = ("subnet-a", "subnet-b", "subnet-c")
HINTS = ("", "", "", "efa", "no-efa", "pg-none", "pg-spread", "pg-cluster", "greedy", "best-effort", "gang")
_ROOMS = (None, 0, 1, 8, 20, 40)
_REFUSALS = tuple(verdict for verdict in VERDICTS if verdict not in (Verdict.CAPACITY, Verdict.DRY_RUN))
_AFTER = (0, 0, 0, 1, 8, 40)


@dataclass(frozen=True)
class Job:
    """A job to come. cpu, gpu: its nodes of either group that must be launched. up: nodes that are up, if there are.

    shared: it has the last node of the job before as well. hetjob: it is a component of the job before.
    asked: as constraint of the resume file.
    """

    cpu: int
    gpu: int = 0
    up: int = 0
    shared: bool = False
    hetjob: bool = False
    asked: str = ""
    priority: int | None = None


@dataclass(frozen=True)
class Setup:
    """What a site has: fields of its node groups, and of the fake EC2. room: of pools that `rooms` does not name."""

    fields: dict[str, Any]
    mpi: dict[str, Any]
    kinds: tuple[str, ...]
    room: int | None
    rooms: dict[tuple[str, str, Market], int]
    groups: dict[tuple[str, str, Market], int]
    refusing: dict[tuple[str, str, Market], tuple[str, Verdict]]
    not_offered: frozenset[tuple[str, str]]
    delays: tuple[int, int, int]
    group_limit: int = 500

    def config(self) -> Config:
        """Return the site's configuration."""
        overrides = [{"instance_type": kind} for kind in self.kinds]
        common = self.fields | {"launch_template_overrides": overrides, "subnet_ids": list(SUBNETS)}
        groups = [group("cpu", 60, **common), group("gpu", 12, **common)]
        return Config.model_validate(
            {
                "aws": {"region": "us-east-2"},
                "cluster": {"name": "lab"},
                "slurm": {"partitions": [{"partition_name": "aws", "node_groups": groups}]},
                "mpi": self.mpi,
                "paths": {"spool": "/nonexistent/s", "state": "/nonexistent/t", "runtime": "/nonexistent/r"},
                "logging": {"file": "/nonexistent/log"},
            }
        )

    def site(self) -> Site:
        """Return the site."""
        site = Site(config=self.config(), scheduler=FakeScheduler((*CPU, *GPU)))
        cloud = site.cloud
        cloud.capacity |= dict.fromkeys(EVERY_POOL, self.room) if self.room is not None else {}
        cloud.capacity |= self.rooms
        cloud.group_capacity |= self.groups
        cloud.refusing |= self.refusing
        cloud.not_offered = self.not_offered
        cloud.group_limit = self.group_limit
        show, address, boot = (timedelta(seconds=seconds) for seconds in self.delays)
        cloud.show_after, cloud.address_after, cloud.boot_after = show, show + address, show + address + boot
        return site


_POOLS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from([f"us-east-2{subnet[-1]}" for subnet in SUBNETS]),
    st.sampled_from([Market.ON_DEMAND, Market.SPOT]),
)


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """Draw a site."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
    fields = {
        "strategy": draw(st.sampled_from(["gang", "gang", "gang", "greedy", "best-effort"])),
        "mixed_types": draw(st.booleans()),
        "placement": draw(st.sampled_from(["auto", "auto", "none", "cluster", "partition", "spread"])),
        "placement_fallback": draw(st.booleans()),
        "purchasing_option": draw(st.sampled_from(["on-demand", "spot", "mixed"])),
        "efa": draw(st.sampled_from([None, "required", "preferred", "optional", "disabled"])),
        "efa_interfaces": draw(st.sampled_from(["efa-only", "efa", "separate"])),
    }
    refusals = st.sampled_from([(f"Refused.{verdict}", verdict) for verdict in _REFUSALS])
    return Setup(
        fields,
        {
            "force_cluster_placement_group": draw(st.booleans()) and fields["placement"] in ("auto", "cluster"),
            "topology_order": draw(st.sampled_from(["auto", "always", "never"])),
        },
        tuple(kinds),
        draw(st.sampled_from(_ROOMS)),
        draw(st.dictionaries(_POOLS, st.integers(0, 40), max_size=6)),
        draw(st.dictionaries(_POOLS, st.integers(0, 12), max_size=3)),
        draw(st.dictionaries(_POOLS, refusals, max_size=2)),
        draw(st.frozensets(_POOLS.map(lambda pool: pool[:2]), max_size=2)),
        (draw(st.sampled_from(_AFTER)), draw(st.sampled_from(_AFTER)), draw(st.sampled_from((0, 20, 90)))),
        draw(st.sampled_from([500, 500, 500, 1, 0])),
    )


def _every_pool() -> list[tuple[str, str, Market]]:
    zones = [f"us-east-2{subnet[-1]}" for subnet in SUBNETS]
    return [(kind, zone, market) for kind in KINDS for zone in zones for market in (Market.ON_DEMAND, Market.SPOT)]


EVERY_POOL = _every_pool()
JOBS = st.builds(
    Job,
    cpu=st.one_of(st.integers(1, 6), st.integers(1, 40)),
    gpu=st.sampled_from((0, 0, 0, 1, 4)),
    up=st.sampled_from((0, 0, 0, 1, 3)),
    shared=st.sampled_from((False, False, False, True)),
    hetjob=st.sampled_from((False, False, False, True)),
    asked=st.sampled_from(HINTS),
    priority=st.none() | st.integers(0, 3),
)
HAPPENINGS = st.builds(
    Happening,
    at=st.integers(1, 70),
    what=st.sampled_from(
        ("error", "error", "error", "crash", "stop", "kill", "reclaim", "sweep", "other", "room", "wait")
    ),
    which=st.integers(0, 40),
    after=st.booleans(),
)
SCRIPTS: st.SearchStrategy[list[Happening]] = st.one_of(st.just([]), st.lists(HAPPENINGS, max_size=4))


@dataclass(frozen=True)
class Fault:
    """Calls of one method that fail in a row. at: door and method."""

    at: tuple[str, str]
    which: int
    times: int
    after: bool


_METHODS: dict[str, str] = {
    "cloud": "launch describe owned launched_for terminate tag make_group remove_group make_template topology",
    "scheduler": "park bind release fail tell_job notify make_requeueable postpone nodes ping jobs",
    "ledger": """add_attempt answer_attempt bind live_bindings end_instances release shortages change_shortage
        add_resource finish_request intents open_requests""",
}
FAULTS = st.lists(
    st.builds(
        Fault,
        st.sampled_from([(door, method) for door, methods in _METHODS.items() for method in methods.split()]),
        st.integers(0, 12),
        st.sampled_from((1, 1, 2, 4, 9, 30)),
        st.booleans(),
    ),
    max_size=2,
)
