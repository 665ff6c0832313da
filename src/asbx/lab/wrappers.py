"""Small shell programs in the state folder: what slurmctld starts, and how an emulated machine powers off."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

from asbx.lab import pair
from asbx.lab.conf import task_prolog
from asbx.lab.layout import Layout
from asbx.lab.record import Record

_EPILOG = "epilog-asbx.sh"
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
        program = str(commands / f"aws-slurm-burst-{hook}")
        if not pair.is_pair(record):
            _program(layout, f"{hook}-program", f'{_call(environment, program)} "$@"\n')
            continue
        # Which slurmctld called is told by the slurm.conf it was given (slurm.conf(5), ResumeProgram: SLURM_CONF).
        cases = [
            f'{host.slurm_conf}) {_call(environment | host_environment(host), program)} "$@" ;;\n'
            for host in pair.hosts(layout, record)
        ]
        _program(layout, f"{hook}-program", f'case "$SLURM_CONF" in\n{"".join(cases)}esac\n')
    _program(layout, "machine-poweroff", ': > "$ASBX_MACHINE/poweroff"\n')
    if record.wishes.accounting:
        log = {"ASBX_PROGRAM": str(commands / "asbx"), "ASBX_EPILOG_LOG": str(layout.log / "epilog.log")}
        _program(layout, "epilog", f"{_call(environment | log, str(_epilog()))}\n")
    path = layout.bin / "task-prolog"
    path.write_text(task_prolog(record.disguise), encoding="utf-8")
    path.chmod(0o755)


def _epilog() -> Path:
    """Return the epilog that is shipped to sites: in the package, or in a checkout."""
    shipped = Path(str(resources.files("asbx").joinpath("_contrib", _EPILOG)))
    return shipped if shipped.is_file() else Path(__file__).resolve().parents[3] / "contrib" / _EPILOG


def host_environment(host: pair.Host) -> dict[str, str]:
    """Return what differs for the product's programs on one of two hosts."""
    return {"ASBX_CONFIG": str(host.config), "ASBX_SPOOL": str(host.spool), "ASBX_SOCKET": str(host.socket)}


def _call(environment: dict[str, str], program: str) -> str:
    words = [f"{key}={value}" for key, value in environment.items()]
    return shlex.join(["exec", "/usr/bin/env", *words, program])


def _program(layout: Layout, name: str, body: str) -> None:
    path = layout.bin / name
    path.write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
    path.chmod(0o755)
