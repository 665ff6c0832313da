"""The lab's slurm.conf: the product's own lines, and what many nodes on one machine need besides."""

from __future__ import annotations

import getpass
from collections.abc import Mapping

from asbx.lab import pair, programs
from asbx.lab.layout import Layout
from asbx.lab.record import Record

# Settings whose values are comma lists; the product's and the lab's words are joined.
_LISTS = ("SlurmctldParameters", "SchedulerParameters", "CommunicationParameters", "AccountingStoreFlags")


def lab_settings(layout: Layout, record: Record) -> dict[str, str]:
    """Return what the lab itself puts into slurm.conf."""
    user = getpass.getuser()
    slot = record.slot
    settings = {
        "ClusterName": record.cluster,
        "SlurmctldHost": f"localhost({slot.address})",
        "SlurmctldPort": str(slot.slurmctld_port),
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "SlurmUser": user,
        "SlurmdUser": user,
        "StateSaveLocation": str(layout.root / "slurm"),
        "SlurmctldPidFile": str(layout.run / "slurmctld.pid"),
        "SlurmctldLogFile": str(layout.log / "slurmctld.log"),
        "SlurmdSpoolDir": str(layout.root / "nodes" / "%n"),
        "SlurmdPidFile": str(layout.run / "%n.pid"),
        "SlurmdLogFile": str(layout.log / "%n.log"),
        # The PMIx plugin's folder lies here; one for all nodes of a host makes `srun --mpi=pmix` fail.
        "TmpFS": str(layout.root / "tmp" / "%n"),
        "ProctrackType": "proctrack/pgid",
        "TaskPlugin": "task/none",
        "TaskProlog": str(layout.bin / "task-prolog"),
        "MpiDefault": "pmix",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        # Slurm's daemons listen on every interface without these (seen on 22.05.8).
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        # Nodes claim more than this machine has.
        "SlurmdParameters": "config_overrides",
        "SlurmctldParameters": "idle_on_node_suspend,power_save_interval=2,power_save_min_interval=0",
        "SchedulerParameters": "sbatch_wait_nodes,sched_interval=5,bf_interval=5",
        "ReturnToService": "2",
        "JobRequeue": "1",
        "MailProg": "/bin/true",
        "SlurmctldTimeout": "30",
        "SlurmdTimeout": "60",
        "KillWait": "5",
    }
    if pair.is_pair(record):
        del settings["SlurmctldPidFile"], settings["SlurmctldLogFile"]  # those of each host are in a file of its own
        settings |= pair.settings(layout, record)
    if record.wishes.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": slot.address,
            "AccountingStoragePort": str(slot.slurmdbd_port),
            "AccountingStoragePass": str(layout.munge_socket),
            "AccountingStoreFlags": "job_comment",
            "JobAcctGatherType": "jobacct_gather/linux",
            # A lab's jobs are over before the first sample of the usual 30 s.
            "JobAcctGatherFrequency": "task=1",
            "EpilogSlurmctld": str(layout.bin / "epilog"),
        }
    return settings


def slurm_conf(product_lines: str, settings: Mapping[str, str]) -> str:
    """Return the whole slurm.conf. Where both speak of a setting, lists are joined and else the lab decides."""
    lines, told = [], dict(settings)
    for line in product_lines.splitlines():
        key, sign, value = line.partition("=")
        known = next((name for name in told if name.lower() == key.strip().lower()), None) if sign else None
        if known is None:
            lines.append(line)
        elif known in _LISTS:
            told[known] = _joined(value.strip(), told[known])
    ours = [f"{key}={value}" for key, value in told.items()]
    return "\n".join(["# A lab of aws-slurm-burst.", *ours, "", *lines, ""])


def _joined(product: str, lab: str) -> str:
    """Join two comma lists; the lab's word counts where both give the same parameter another value."""
    words = {word.partition("=")[0]: word for text in (product, lab) for word in text.split(",") if word}
    return ",".join(words.values())


def task_prolog(disguise: Mapping[str, str]) -> str:
    """Return the program whose output sets the environment of every task and batch script (slurm.conf(5)).

    MPI between "nodes" of one host goes over libfabric on the loopback interface, the road EFA takes on real
    instances: Open MPI's own TCP part would listen on every interface, and its shared memory takes ranks of
    different nodes for neighbours. The PMIx plugin's direct connections would bypass the instances' addresses.
    """
    values = {
        "OMPI_MCA_pml": "cm",
        "OMPI_MCA_mtl": "ofi",
        "OMPI_MCA_mtl_ofi_provider_include": "tcp;ofi_rxm",
        "OMPI_MCA_btl": "self",
        "FI_TCP_IFACE": "lo",
        "SLURM_PMIX_DIRECT_CONN": "false",
        **disguise,
    }
    lines = [f'[ -n "${{{key}+set}}" ] || echo "export {key}={value}"' for key, value in values.items()]
    return "\n".join(["#!/bin/sh", *lines, ""])


def clean_environment(layout: Layout, record: Record) -> dict[str, str]:
    """Return the environment of the lab's daemons: nothing of the caller's but the time zone."""
    return {
        "PATH": programs.SYSTEM_PATH,
        "LC_ALL": "C.UTF-8",
        "SLURM_CONF": str(layout.slurm_conf),
        "ASBX_LAB": str(layout.root),
        **record.disguise,
    }
