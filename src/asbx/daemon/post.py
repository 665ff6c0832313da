"""The post of the working daemon: one of two where the ledger is shared, and simply ours where it is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from asbx.config.limits import CONTROL_EVERY
from asbx.config.schema import Config
from asbx.errors import ConfigError
from asbx.flow.doors import Doors
from asbx.flow.duty import Duty
from asbx.ledger.store import SqlLedger
from asbx.slurm.controllers import SlurmControllers
from asbx.slurm.process import SlurmCommands


def is_pair(config: Config) -> bool:
    """Return whether several daemons may share the ledger: a file serves one host, a database server any number."""
    return not config.ledger_url.startswith("sqlite")


def duty_of(doors: Doors) -> Duty | None:
    """Return the duty of one of a pair, None where this is the only controller: then nobody is asked."""
    config, ledger = doors.config, doors.ledger
    if not is_pair(config):
        return None
    assert isinstance(ledger, SqlLedger), "the ledger itself, not what watches it: else both would work"
    commands = SlurmCommands(config.slurm.bin_path, config.slurm.config_path)
    me = config.cluster.controller or socket.gethostname()
    return Duty(me, ledger, SlurmControllers(commands), doors.clock, doors.say)


class Post:
    """Keeps a duty in a thread of its own: a ping of a host that is off takes seconds.

    on_change: called when this process begins or ceases to work.
    """

    def __init__(self, duty: Duty | None, on_change: Callable[[], None] = lambda: None) -> None:
        self.duty = duty
        self._on_change = on_change
        self._over = threading.Event()
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="duty", daemon=True)
        if duty is not None:
            self._thread.start()

    @property
    def is_ours(self) -> bool:
        """Whether this process works."""
        return self.duty is None or self.duty.acting

    @property
    def in_office_since(self) -> datetime | None:
        """Since when this host works, restarts of its daemon included; None: always."""
        return None if self.duty is None else self.duty.in_office_since

    def look(self) -> None:
        """Look at once: a hook was called here, so our slurmctld is in control."""
        self._look.set()

    def await_turn(self, patience: timedelta) -> bool:
        """Wait until this process works; False when it does not within the patience."""
        ends = threading.Event()
        waited = timedelta(0)
        while not self.is_ours and waited < patience:
            ends.wait(CONTROL_EVERY.total_seconds() / 4)
            waited += CONTROL_EVERY / 4
        return self.is_ours

    def close(self) -> None:
        """Leave. Whoever worked here has ended before: the other one may begin at once."""
        self._over.set()
        self._look.set()
        if self.duty is not None:
            self._thread.join()
            self.duty.leave()

    def _keep(self) -> None:
        assert self.duty is not None, "started only with one"
        while not self._over.is_set():
            before = self.duty.acting
            if self.duty.step() != before:
                self._on_change()
            self._look.wait(CONTROL_EVERY.total_seconds())
            self._look.clear()

    def facts(self) -> dict[str, str]:
        """Return what `asbx status` shows: the role, and of a pair also the name and since when."""
        if self.duty is None:
            return {"role": "alone"}
        role = "acting" if self.duty.acting else "standby"
        return {"role": role, "role_since": self.duty.since.isoformat(), "controller": self.duty.me}


@contextmanager
def held(doors: Doors, patience: timedelta) -> Iterator[Post]:
    """Work in the block as the one that works. Raises ConfigError (`not-acting`) where the other controller does."""
    post = Post(duty_of(doors))
    try:
        if not post.await_turn(patience):
            raise ConfigError(
                "not-acting",
                "the daemon beside the other slurmctld works, or none is in control",
                "two must never work at the same time",
                "do this on the host whose slurmctld is in control (`scontrol ping`)",
            )
        yield post
    finally:
        post.close()
