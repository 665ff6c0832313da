"""Who is in control of a Slurm with several controllers, by `scontrol ping`."""

from __future__ import annotations

import re

from asbx.config.limits import CONTROL_ANSWER, CONTROL_PING
from asbx.errors import SlurmError
from asbx.model.control import Controller
from asbx.slurm.process import SlurmCommands

# `Slurmctld(primary) at ctl1 is UP`, then `Slurmctld(backup) at ..` or `(backup1)`; 22.05.8 and 26.05.3 alike.
# The names are those of SlurmctldHost, in its order.
_LINE = re.compile(r"Slurmctld\([^)]*\) at (\S+) is (UP|DOWN)")


class SlurmControllers:
    """The Controllers port over scontrol."""

    def __init__(self, commands: SlurmCommands) -> None:
        self._commands = commands

    def controllers(self) -> tuple[Controller, ...]:
        """Return every slurmctld in the order of slurm.conf. A backup on standby answers too (seen on 22.05.8)."""
        try:
            said = self._commands.run("scontrol", "ping", patience=CONTROL_PING)
        except SlurmError as error:
            if error.code != "slurm-refused":
                raise
            said = error.why  # with none up it says so, and exits with 1
        return tuple(Controller(name, state == "UP") for name, state in _LINE.findall(said))

    def serves(self) -> bool:
        """Return whether somebody answers more than a ping.

        While only a backup on standby is there, Slurm's commands wait for it to take control (seen on 22.05.8).
        """
        try:
            self._commands.run("scontrol", "show", "config", patience=CONTROL_ANSWER)
        except SlurmError:
            return False
        return True
