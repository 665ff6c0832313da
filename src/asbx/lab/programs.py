"""Find the programs a lab is made of, and say in one sentence which package brings a missing one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from asbx.lab.trouble import LabError

# Debian keeps daemons in /usr/sbin, which is not in an ordinary user's PATH.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "scontrol": "slurm-client",
    "slurmdbd": "slurmdbd",
    "sacctmgr": "slurm-client",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mpicc": "libopenmpi-dev",
    "gcc": "gcc",
}


def find(name: str) -> Path:
    """Return the full path of a system program. Raises LabError (`lab-program-missing`)."""
    found = shutil.which(name, path=f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}")
    if found is None:
        package = _PACKAGES.get(name, name)
        raise LabError(
            "lab-program-missing",
            f"{name} is not installed",
            f"Debian's package {package} has it",
            "run `make setup`",
        )
    return Path(found)


def own(name: str) -> Path:
    """Return the full path of one of our own commands, beside the running interpreter.

    Raises LabError (`lab-program-missing`) where the package is not installed as commands.
    """
    # Not resolved: a virtual environment's python is a link, and its commands lie beside the link.
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise LabError(
            "lab-program-missing",
            f"the command {name} is not installed",
            f"looked for {path}",
            "run `make setup`",
        )
    return path
