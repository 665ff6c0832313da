"""slurmdbd on a MariaDB of the lab's own, for `sacct`; both listen on loopback and write to the state folder only."""

from __future__ import annotations

import getpass
import secrets
import socket
import subprocess

from asbx.lab import programs
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, start, wait_until
from asbx.lab.record import Record
from asbx.lab.trouble import LabBroken

_PATIENCE_S = 30.0
_DATABASE = "slurm_acct"


def start_database(layout: Layout, record: Record, environ: dict[str, str]) -> tuple[Process, str]:
    """Make and start a MariaDB; return it and the password of its user `slurm`. Raises LabBroken (`lab-database`)."""
    folder, password = layout.root / "database", secrets.token_urlsafe(16)
    folder.mkdir(exist_ok=True)
    log = layout.log / "mariadb.log"
    # --no-defaults: the system's own settings name the system's own folders and sockets.
    common = ["--no-defaults", f"--datadir={folder}", f"--user={getpass.getuser()}"]
    made = subprocess.run(
        [programs.find("mariadb-install-db"), *common, "--skip-test-db", "--auth-root-authentication-method=normal"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise LabBroken("lab-database", "MariaDB's folder cannot be made", _words(made), f"see {folder}")
    first = layout.run / "first.sql"
    first.touch(mode=0o600)
    first.write_text(
        f"CREATE DATABASE {_DATABASE};\n"
        f"CREATE USER 'slurm'@'%' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON {_DATABASE}.* TO 'slurm'@'%';\n",
        encoding="utf-8",
    )
    command = [str(programs.find("mariadbd")), *common]
    command += [f"--bind-address={record.slot.address}", f"--port={record.slot.database_port}"]
    command += [f"--socket={layout.run / 'db.sock'}", f"--pid-file={layout.run / 'mariadb.pid'}"]
    command += [f"--init-file={first}", "--skip-name-resolve", "--innodb-buffer-pool-size=64M"]
    process = start("mariadb", command, log, environ)
    _await(process, record.slot.address, record.slot.database_port, "lab-database", "MariaDB", str(log))
    return process, password


def start_slurmdbd(layout: Layout, record: Record, password: str, environ: dict[str, str]) -> Process:
    """Start slurmdbd and register the cluster. Raises LabBroken (`lab-slurmdbd`)."""
    conf = layout.root / "slurm" / "slurmdbd.conf"
    log = layout.log / "slurmdbd.log"
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "DbdHost": "localhost",
        "DbdAddr": record.slot.address,
        "DbdPort": record.slot.slurmdbd_port,
        "SlurmUser": getpass.getuser(),
        "LogFile": log,
        "PidFile": layout.run / "slurmdbd.pid",
        "CommunicationParameters": "NoInAddrAny",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": record.slot.address,
        "StoragePort": record.slot.database_port,
        "StorageUser": "slurm",
        "StoragePass": password,
        "StorageLoc": _DATABASE,
    }
    conf.touch(mode=0o600)  # slurmdbd refuses one that others can read
    conf.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    # slurmdbd looks for slurmdbd.conf beside the file SLURM_CONF names.
    process = start(
        "slurmdbd",
        [str(programs.find("slurmdbd")), "-D"],
        layout.log / "slurmdbd.out",
        environ | {"SLURM_CONF": str(conf.with_name("slurm.conf"))},
    )
    _await(process, record.slot.address, record.slot.slurmdbd_port, "lab-slurmdbd", "slurmdbd", str(log))
    return process


def register_cluster(layout: Layout, record: Record, environ: dict[str, str]) -> None:
    """Make the cluster known before slurmctld's first start, which refuses to run under another id later.

    Raises LabBroken (`lab-slurmdbd`).
    """
    done = subprocess.run(
        [programs.find("sacctmgr"), "-i", "add", "cluster", record.cluster],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        log = layout.log / "slurmdbd.log"
        raise LabBroken("lab-slurmdbd", "the cluster cannot be registered", _words(done), f"see {log}")


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(f"{done.stderr} {done.stdout}".split())[:400]


def _await(process: Process, address: str, port: int, code: str, what: str, log: str) -> None:
    def listens() -> bool:
        with socket.socket() as line:
            return line.connect_ex((address, port)) == 0

    if not wait_until(lambda: listens() or not process.is_alive, _PATIENCE_S) or not process.is_alive:
        raise LabBroken(code, f"{what} does not listen on {address}:{port}", "", f"see {log}")
