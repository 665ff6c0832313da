"""Put the real doors together for a configuration."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Callable, Sequence
from functools import partial

from asbx.aws.catalogue import Ec2Catalogue
from asbx.aws.cloud import Ec2
from asbx.aws.notices import SqsNotices
from asbx.aws.price_file import read_table
from asbx.aws.price_list import Ec2PriceList
from asbx.aws.prices import Ec2Prices
from asbx.config.schema import Config, NodeGroup
from asbx.daemon.clock import RealClock
from asbx.daemon.guard import make_folders, owners
from asbx.daemon.plan_folder import PlanFolder
from asbx.daemon.threads import Threads
from asbx.errors import AsbxError
from asbx.flow.doors import Doors, PriceSources, UsageSources
from asbx.flow.price_refresh import learn_from_ledger
from asbx.ledger.budgets import BudgetBooks
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.market import Market, Template
from asbx.model.price import PriceChange
from asbx.ports import BudgetService, Catalogue
from asbx.slurm.process import SlurmCommands
from asbx.slurm.scontrol import Slurm
from asbx.slurm.topology import topology_file
from asbx.slurm.usage import SlurmJobs
from asbx.telemetry.recorder import EventStore, LedgerAndLogRecorder


def doors(
    config: Config, clock: RealClock | None = None, audit: Callable[[SqlLedger], EventStore] | None = None
) -> Doors:
    """Open everything. Raises LedgerError when the ledger cannot serve; EC2 and Slurm are met when first used.

    audit: makes the store for audit rows; the ledger itself where none is given.
    """
    config = with_cluster_name(config)
    make_folders(config)
    clock = clock or RealClock()
    ledger = open_ledger(config.ledger_url)
    price_list = Ec2PriceList(config.aws, clock)
    commands, cloud = SlurmCommands(config.slurm.bin_path, config.slurm.config_path), Ec2(config.aws)
    return Doors(
        config=config,
        cloud=cloud,
        scheduler=Slurm(commands, topology_file(config.slurm)),
        ledger=ledger,
        prices=Ec2Prices(price_list, clock, config.prices),
        clock=clock,
        recorder=LedgerAndLogRecorder(
            audit(ledger) if audit else ledger,
            config.logging.file,
            clock,
            level=config.logging.level,
            format=config.logging.format,
        ),
        catalogue=Ec2Catalogue(config.aws, clock),
        workers=Threads(),
        notices=SqsNotices(config.aws, config.interruptions, clock) if config.interruptions.queue else None,
        plans=PlanFolder(config.paths.plans, owners(config)),
        usage=UsageSources(ledger, SlurmJobs(commands), cloud),
        price_sources=PriceSources(ledger, price_list, partial(_table, config)),
        budgets=BudgetBooks(ledger),
        service=_budget_service(config, clock),
    )


def _budget_service(config: Config, clock: RealClock) -> BudgetService | None:
    if not config.asbb.is_used:
        return None
    # What speaks HTTP takes a tenth of a second to load, and few sites have the service.
    from asbx.budget.service import AsbbService  # noqa: PLC0415

    return AsbbService(config.asbb, clock)


def _table(config: Config) -> tuple[PriceChange, ...]:
    return read_table(config.prices.file, config.aws.region) if config.prices.file is not None else ()


def with_cluster_name(config: Config) -> Config:
    """Take ClusterName from slurm.conf where the configuration leaves cluster.name at its default."""
    if config.cluster.name != "slurm":
        return config
    try:
        text = config.slurm.config_path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return config
    match = re.search(r"(?im)^\s*ClusterName\s*=\s*([A-Za-z0-9][A-Za-z0-9._-]{0,62})\s*$", text)
    if match is None:
        return config
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"name": match[1]})})


def warm(doors: Doors) -> None:
    """Pay start-up costs before the first request: clients, facts and prices. Never raises for AWS."""
    if isinstance(doors.cloud, Ec2):
        with contextlib.suppress(AsbxError):  # said when the first request needs it
            doors.cloud.warm()
    with contextlib.suppress(AsbxError):
        learn_from_ledger(doors)  # the rest is asked for by the first pass
    groups = [group for partition in doors.config.slurm.partitions for group in partition.node_groups]
    _learn(doors.catalogue, groups)
    # The SDK's models are a million objects that never die. Left to the collector, each full pass over them stops a
    # launch for about 0.1 s (measured: a describe of 500 took 60 or 150 ms); frozen, it never looks at them again.
    gc.collect()
    gc.freeze()


def _learn(catalogue: Catalogue, groups: Sequence[NodeGroup]) -> None:
    """Ask for the facts that launches of these groups need, so that the first launch finds them."""
    overrides = [override for group in groups for override in group.launch_template_overrides]
    types = {override.instance_type for override in overrides}
    subnets = {override.subnet_id for override in overrides if override.subnet_id}
    catalogue.types(types)
    catalogue.zones(types)
    catalogue.subnets(subnets.union(*(group.subnet_ids for group in groups)))
    catalogue.reservations({name for group in groups for name in group.capacity_reservations})
    for spec in {group.launch_template_specification for group in groups}:
        catalogue.template(Template(spec.launch_template_id, spec.launch_template_name, spec.version))
    for name in types:
        for market in (Market.ON_DEMAND, Market.SPOT):
            catalogue.quota(market, name)
