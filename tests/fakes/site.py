"""A whole site in memory: configuration, fakes behind every door, and the flows' Doors over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.catalogue import FakeCatalogue
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import FakeCloud
from tests.fakes.ledger import FakeLedger
from tests.fakes.notices import FakeNotices
from tests.fakes.plans import FakePlans
from tests.fakes.prices import FakePrices
from tests.fakes.recorder import FakeRecorder
from tests.fakes.scheduler import FakeScheduler

from asbx.config.schema import Config
from asbx.daemon.threads import Threads
from asbx.flow.doors import Doors
from asbx.flow.outcome import Outcome
from asbx.flow.resume import Resume
from asbx.model.hostlist import expand
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.ports import BudgetService, Workers
from asbx.sim.budgets import MemoryBudgets

NODES = (*expand("aws-cpu-[000-999]"), *expand("aws-gpu-[0-9]"), *expand("aws-big-[0000-2999]"))


def group(name: str, count: int, **fields: Any) -> dict[str, Any]:
    """Return the configuration of a node group with two types in two subnets."""
    return {
        "node_group_name": name,
        "max_nodes": count,
        "region": "us-east-2",
        "launch_template_specification": {"launch_template_name": "asbx"},
        "launch_template_overrides": [{"instance_type": "c7i.large"}, {"instance_type": "m7i.large"}],
        "subnet_ids": ["subnet-a", "subnet-b"],
    } | fields


def config(tmp: Path = Path("/nonexistent"), **cpu: Any) -> Config:
    """Return a site with groups cpu, gpu and big; `cpu` overrides fields of the first."""
    groups = [
        group("cpu", 1000, **({"number_width": 3} | cpu)),
        group("gpu", 10),
        group("big", 3000, number_width=4),
    ]
    return Config.model_validate(
        {
            "aws": {"region": "us-east-2"},
            "cluster": {"name": "lab"},
            "slurm": {"partitions": [{"partition_name": "aws", "node_groups": groups}]},
            "paths": {"spool": tmp / "spool", "state": tmp / "state", "runtime": tmp / "run"},
            "logging": {"file": tmp / "log"},
        }
    )


@dataclass
class Site:
    """Fakes and the doors over them."""

    config: Config = field(default_factory=config)
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    prices: FakePrices = field(default_factory=FakePrices)
    catalogue: FakeCatalogue = field(default_factory=FakeCatalogue)
    workers: Workers = field(default_factory=Threads)
    notices: FakeNotices | None = None
    plans: FakePlans = field(default_factory=FakePlans)
    cloud: FakeCloud = field(init=False)
    scheduler: FakeScheduler = field(default_factory=lambda: FakeScheduler(NODES))
    budgets: MemoryBudgets = field(default_factory=MemoryBudgets)
    service: BudgetService | None = None

    def __post_init__(self) -> None:
        """Start the cloud on the site's clock."""
        self.cloud = FakeCloud(self.clock)

    @property
    def doors(self) -> Doors:
        """Return the doors."""
        return Doors(
            self.config,
            self.cloud,
            self.scheduler,
            self.ledger,
            self.prices,
            self.clock,
            self.recorder,
            self.catalogue,
            self.workers,
            self.notices,
            self.plans,
            budgets=self.budgets,
            service=self.service,
        )

    def ask(self, nodes: str, *jobs: tuple[int, str] | tuple[int, str, str], request_id: str = "r-1") -> Request:
        """Return a resume request now. jobs: (id, nodes) or (id, all nodes of the job, nodes to resume)."""
        asks = tuple(JobAsk(job[0], expand(job[1]), expand(job[-1])) for job in jobs)
        request = Request(request_id, RequestKind.RESUME, expand(nodes), self.clock.now(), asks)
        self.ledger.add_request(request)
        return request

    def resume(self, nodes: str, *jobs: tuple[int, str] | tuple[int, str, str], request_id: str = "r-1") -> Outcome:
        """Ask and work it off."""
        return Resume(self.doors, self.ask(nodes, *jobs, request_id=request_id)).run()

    def bound(self) -> dict[str, str]:
        """Return node -> instance of the live bindings."""
        return {binding.node: binding.instance_id for binding in self.ledger.live_bindings()}
