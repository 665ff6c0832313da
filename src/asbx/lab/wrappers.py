"""Small shell programs in the state folder: what slurmctld starts, and how an emulated machine powers off."""

from __future__ import annotations

import shlex
from pathlib import Path

from asbx.lab.conf import task_prolog
from asbx.lab.layout import Layout
from asbx.lab.record import Record

HOOKS = ("resume", "suspend", "resume-fail")


def product_environment(layout: Layout, record: Record) -> dict[str, str]:
    """Return what the product's programs need to serve this lab and nothing else."""
    return {
        "ASBX_CONFIG": str(layout.config),
        "ASBX_SPOOL": str(layout.root / "spool"),
        "ASBX_SOCKET": str(layout.daemon_socket),
        "AWS_ENDPOINT_URL": record.emulator_url,
        "AWS_DEFAULT_REGION": record.wishes.region,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        # The credentials above are the emulator's; a real metadata service must not be asked for others.
        "AWS_EC2_METADATA_DISABLED": "true",
        "SLURM_CONF": str(layout.slurm_conf),
    }


def write_wrappers(layout: Layout, record: Record, commands: Path) -> None:
    """Write all wrappers. slurmctld starts its programs with an almost empty environment, so they bring it.

    commands: the folder that holds the product's programs.
    """
    # By ASBX_LAB `asbx lab down` knows what is the lab's own.
    environment = product_environment(layout, record) | {"ASBX_LAB": str(layout.root)}
    for hook in HOOKS:
        words = [f"{key}={value}" for key, value in environment.items()]
        command = ["exec", "/usr/bin/env", *words, str(commands / f"aws-slurm-burst-{hook}")]
        _program(layout, f"{hook}-program", f'{shlex.join(command)} "$@"\n')
    _program(layout, "machine-poweroff", ': > "$ASBX_MACHINE/poweroff"\n')
    path = layout.bin / "task-prolog"
    path.write_text(task_prolog(record.disguise), encoding="utf-8")
    path.chmod(0o755)


def _program(layout: Layout, name: str, body: str) -> None:
    path = layout.bin / name
    path.write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
    path.chmod(0o755)
