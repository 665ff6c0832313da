"""The lab's aws-burst.yaml: what a small site would write."""

from __future__ import annotations

from typing import Any

from asbx.config.schema import Config
from asbx.lab import pair, programs
from asbx.lab.account import CPU_TYPES, EFA_TYPES, HPC_TYPES, Account
from asbx.lab.emulation import BILLED_HOUR_S
from asbx.lab.layout import Layout
from asbx.lab.record import Record

HPC_NODES = 16
EFA_NODES = 16


def node_names(record: Record) -> list[str]:
    """Return every node of the lab's cluster in the order of their ports."""
    cpu = [f"aws-cpu-{number:03d}" for number in range(record.wishes.nodes)]
    hpc = [f"aws-hpc-{number:03d}" for number in range(1, HPC_NODES + 1)]
    efa = [f"hpc-efa-{number:03d}" for number in range(EFA_NODES)]
    return cpu + hpc + efa


def write_config(layout: Layout, record: Record, account: Account) -> Config:
    """Write the file and return it as the product understands it."""
    raw = _raw(layout, record, account)
    for path, one in pair.configs(layout, record, raw).items():
        path.write_text(pair.dump(one), encoding="utf-8")
    return Config.model_validate(raw)


def _raw(layout: Layout, record: Record, account: Account) -> dict[str, Any]:
    region = record.wishes.region
    return {
        "aws": {
            "region": region,
            "endpoint_url": record.emulator_url,
            "authentication_method": "access_keys",
            "access_keys": {"access_key_id": "lab", "secret_access_key": "lab"},
        },
        "cluster": {"name": record.cluster},
        "paths": {
            "spool": str(layout.root / "spool"),
            "state": str(layout.root / "state"),
            "runtime": str(layout.run),
        },
        "logging": {"file": str(layout.log / "aws-burst.log")},
        "telemetry": {"listen": f"127.0.0.1:{record.slot.telemetry_port}"},
        # A lab's instances live for seconds; EC2's minimum of 60 would hide what each second costs.
        "cost": {"minimum_seconds": 0, "spot_hour_seconds": BILLED_HOUR_S},
        "prices": {"spot_refresh_seconds": 10},
        # So that whoever watches sees a job tried again.
        "backoff": {"first_seconds": 5, "longest_seconds": 30},
        "reconcile": {"interval_seconds": 10, "orphan_grace_seconds": 20},
        "interruptions": {"queue": account.queue},
        "learning": {
            "output_dir": str(layout.root / "learning"),
            "formats": ["asba-learning", "slurm-comment", "asbb-reconciliation"],
        },
        "slurm": {
            "bin_path": str(programs.find("scontrol").parent),
            "config_path": str(layout.slurm_conf),
            "resume_program": str(layout.bin / "resume-program"),
            "suspend_program": str(layout.bin / "suspend-program"),
            "resume_fail_program": str(layout.bin / "resume-fail-program"),
            "resume_timeout": 90,
            # Short, so that a demo sees its nodes go down again.
            "suspend_time": 10,
            "suspend_timeout": 5,
            "partitions": _partitions(record, account),
        },
    }


def _partitions(record: Record, account: Account) -> list[dict[str, Any]]:
    cpu = _group(record, account, "cpu", record.wishes.nodes, 0, 0)
    hpc = _group(record, account, "hpc", HPC_NODES, 1, record.wishes.nodes)
    hpc |= {"launch_template_overrides": [{"instance_type": one} for one in HPC_TYPES]}
    efa = _group(record, account, "efa", EFA_NODES, 0, record.wishes.nodes + HPC_NODES)
    efa |= {
        "purchasing_option": "on-demand",
        "subnet_ids": [account.subnets[0]],
        "launch_template_specification": {"launch_template_id": account.templates["efa"]},
        "launch_template_overrides": [{"instance_type": one} for one in EFA_TYPES],
    }
    return [
        {"partition_name": "aws", "partition_options": {"Default": "YES"}, "node_groups": [cpu, hpc]},
        {"partition_name": "hpc", "node_groups": [efa]},
    ]


def _group(record: Record, account: Account, name: str, count: int, first: int, port_index: int) -> dict[str, Any]:
    first_port = record.slot.node_port(port_index)
    return {
        "node_group_name": name,
        "max_nodes": count,
        "first_number": first,
        "number_width": 3,
        "region": record.wishes.region,
        # Two CPUs whatever the type: many nodes share this machine.
        "slurm_specifications": {"CPUs": 2, "RealMemory": 1000, "Port": _ports(record, first_port, count)},
        "purchasing_option": "mixed",
        "launch_template_specification": {"launch_template_id": account.templates["cpu"]},
        "launch_template_overrides": [{"instance_type": one} for one in CPU_TYPES],
        "subnet_ids": list(account.subnets),
        "security_group_ids": [account.security_group],
    }


def _ports(record: Record, first: int, count: int) -> str | int:
    """Return a port for each node; one for all where no machine ever boots, so that any number of nodes fits."""
    if not record.wishes.machines:
        return record.slot.node_port(0)
    return f"[{first}-{first + count - 1}]" if count > 1 else first
