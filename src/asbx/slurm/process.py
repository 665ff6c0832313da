"""Start one of Slurm's commands. The only place of the product that starts a process it waits for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from asbx.config.limits import SCONTROL_TIMEOUT, SLURM_MAX_OUTPUT
from asbx.errors import SlurmError


@contextmanager
def suppress_refusal(*words: str) -> Iterator[None]:
    """Let a refusal pass that says one of these (any refusal without them). Slurm's commands give no codes."""
    try:
        yield
    except SlurmError as error:
        if error.code != "slurm-refused" or (words and not any(word in error.why for word in words)):
            raise


class SlurmCommands:
    """Runs scontrol, squeue and friends with a plain environment; counts them by name."""

    def __init__(self, bin_path: Path, slurm_conf: Path) -> None:
        self._bin = bin_path
        self._conf = slurm_conf
        # Slurm's programs get an almost empty environment (no PATH, no locale), so it is built here in full.
        self._environ = {
            "SLURM_CONF": str(slurm_conf),
            "PATH": f"{bin_path}:/usr/bin:/bin",
            "LC_ALL": "C",
            "TZ": "UTC",
        }
        if socket := os.environ.get("MUNGE_SOCKET"):
            self._environ["MUNGE_SOCKET"] = socket
        self.calls: dict[str, int] = {}

    def run(self, name: str, *arguments: str, patience: timedelta = SCONTROL_TIMEOUT) -> str:
        """Run a command and return what it printed.

        Raises SlurmError: `slurm-conf` (no slurm.conf), `slurm-missing` (no such program), `slurm-silent` (no answer
        in time), `slurm-refused` (exit status other than 0; the text says why), `slurm-output` (too much of it).
        """
        path = self._bin / name
        if not os.path.exists(self._conf):  # noqa: PTH110  one that may not be read counts as absent, and does not raise
            raise SlurmError(
                "slurm-conf",
                f"there is no readable {self._conf}",
                "without it Slurm's commands do not know the cluster; they would try for a minute each",
                "set slurm.config_path in the configuration",
            )
        self.calls[name] = self.calls.get(name, 0) + 1
        try:
            done = subprocess.run(
                [str(path), *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=patience.total_seconds(),
                check=False,
                start_new_session=True,
            )
        except OSError as error:
            raise SlurmError(
                "slurm-missing",
                f"{path} cannot be run",
                str(error.strerror or error),
                "install Slurm's client commands here or set slurm.bin_path in the configuration",
            ) from None
        except subprocess.TimeoutExpired:
            raise SlurmError(
                "slurm-silent",
                f"`{name} {arguments[0] if arguments else ''}` got no answer in {patience.seconds} s",
                "slurmctld is down, overloaded or unreachable",
                "run `scontrol ping` on this machine",
            ) from None
        if done.returncode != 0:
            shown = " ".join(arguments)
            said = " ".join((done.stderr or done.stdout).split())
            raise SlurmError(
                "slurm-refused",
                f"`{name} {shown[:200]}{'…' if len(shown) > 200 else ''}` failed",
                said or f"exit status {done.returncode}",
                "run `scontrol ping`; the program must run as SlurmUser or root",
            )
        if len(done.stdout) > SLURM_MAX_OUTPUT:
            raise SlurmError(
                "slurm-output",
                f"`{name}` printed more than {SLURM_MAX_OUTPUT} characters",
                "no cluster this is made for has so much to tell",
                "run it by hand to see what it prints",
            )
        return done.stdout
