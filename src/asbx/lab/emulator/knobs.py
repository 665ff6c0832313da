"""How the pretend EC2 behaves: what can be turned while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from asbx.lab.emulator.quotas import Quota


@dataclass
class Knobs:
    """How the pretend EC2 behaves; durations in seconds. Changed over POST /_lab/knobs.

    pending: from launch to `running`. boot: from launch until the operating system would be up (the instance
    runner waits for it). ending: from shutting-down to terminated. unknown: how long nobody knows a new id.
    address: how long Describe shows no address. visible: how long a terminated instance is still described.
    block_end_notice: how long before its end a Capacity Block ends its instances (EC2 user guide, "Capacity Blocks
    for ML": 30 minutes). launch_bucket: how many instances may be launched at once, 0 for no limit, and launch_refill:
    how many more each second (EC2 API reference, "Request throttling", resource token buckets: 1000 and 2).
    billed_hour: how long a price holds for an instance from its launch on, and billed_least the least that is billed of
    one (EC2: 3600 and 60; here by default an hour, and what was used).
    topology_all: other than 0, DescribeInstanceTopology tells of every type. topology_leaf: how many instances share
    its lowest network node. vcpus_*: the account's quotas by market and class of families; None: none. The two
    without a class are those of the Standard families.
    """

    pending: float = 0.5
    boot: float = 2.0
    ending: float = 1.0
    unknown: float = 0.0
    address: float = 0.0
    visible: float = 3600.0
    block_end_notice: float = 1800.0
    launch_bucket: float = 0.0
    launch_refill: float = 2.0
    billed_hour: float = 3600.0
    billed_least: float = 0.0
    topology_all: float = 0.0
    topology_leaf: float = 4.0
    vcpus_on_demand: int | None = None
    vcpus_spot: int | None = None
    vcpus_on_demand_dl: int | None = None
    vcpus_on_demand_f: int | None = None
    vcpus_on_demand_g: int | None = None
    vcpus_on_demand_hpc: int | None = None
    vcpus_on_demand_high_memory: int | None = None
    vcpus_on_demand_inf: int | None = None
    vcpus_on_demand_p: int | None = None
    vcpus_on_demand_trn: int | None = None
    vcpus_on_demand_x: int | None = None
    vcpus_spot_dl: int | None = None
    vcpus_spot_f: int | None = None
    vcpus_spot_g: int | None = None
    vcpus_spot_inf: int | None = None
    vcpus_spot_p: int | None = None
    vcpus_spot_p5: int | None = None
    vcpus_spot_trn: int | None = None
    vcpus_spot_x: int | None = None

    def vcpus(self, quota: Quota) -> int | None:
        """Return what a quota is set to; None: no quota."""
        value: int | None = getattr(self, quota.knob)
        return value
