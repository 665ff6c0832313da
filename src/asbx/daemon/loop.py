"""The daemon: wake on a knock or every other second, take in, start what may start, sweep now and then."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from asbx import __version__
from asbx.config.limits import CONFIRM_GRACE, SPOOL_POLL
from asbx.config.schema import Config
from asbx.daemon import post
from asbx.daemon.clock import RealClock, StoppingError
from asbx.daemon.compose import doors as open_doors
from asbx.daemon.compose import warm
from asbx.daemon.engine import Engine
from asbx.daemon.guard import admit, owners
from asbx.daemon.listen import Listener
from asbx.daemon.lock import worker_lock
from asbx.daemon.lost import refuse_lost
from asbx.daemon.notify import Notifier
from asbx.daemon.socket import ControlSocket, Guests, ask
from asbx.errors import AsbxError, ConfigError, LedgerError
from asbx.flow.doors import Doors
from asbx.flow.price_refresh import learn_from_ledger
from asbx.ledger.store import SqlLedger
from asbx.model.event import Event, EventKind
from asbx.ports import CloudError
from asbx.telemetry.behind import WriteBehind

# A daemon that runs does not leave; one that is just ending does.
RUN_PATIENCE = timedelta(seconds=2)


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises AsbxError when it cannot start."""
    warnings = admit(config)
    with worker_lock(config.paths.runtime, _patience(config)) as held:
        if not held:
            raise ConfigError(
                "daemon-running",
                "another daemon or worker serves this spool",
                f"it holds {config.paths.runtime / 'worker.lock'}",
                "stop it first, or give this one its own paths",
            )
        clock = RealClock()
        behind: list[WriteBehind] = []

        def audit(ledger: SqlLedger) -> WriteBehind:
            behind.append(WriteBehind(ledger.add_events))
            return behind[0]

        try:
            doors = open_doors(config, clock, audit)
            warn(doors, warnings)
            Daemon(doors, clock).serve()
        finally:
            for store in behind:
                store.close()


def _patience(config: Config) -> timedelta:
    """Return how long to wait for the spool: another daemon stays, but a hook's worker leaves when its work is done."""
    return RUN_PATIENCE if ask(config.paths.socket, "status") is not None else config.resume_deadline


def work(config: Config, patience: timedelta) -> bool:
    """Work off the spool in this process, without a daemon; False when somebody else holds it all the time.

    SIGTERM and Ctrl-C end it at the next pause of a request; what is open then stays open for the next worker.
    """
    warnings = admit(config)
    with worker_lock(config.paths.runtime, patience) as held:
        if held:
            clock = RealClock()
            signal.signal(signal.SIGTERM, lambda *_: clock.stop())
            doors = open_doors(config, clock)
            warn(doors, warnings)
            learn_from_ledger(doors)
            with post.held(doors, patience) as mine:
                refuse_lost(doors)
                engine = Engine(doors)
                engine.in_office_since = mine.in_office_since
                try:
                    engine.drain(patience)
                except StoppingError:
                    pass
                finally:
                    clock.stop()
                    engine.close()
        return held


def warn(doors: Doors, warnings: tuple[str, ...]) -> None:
    """Say what the start-up checks let pass."""
    for text in warnings:
        doors.say(Event(EventKind.SECURITY_WARNING, text, level="warning"))


class Daemon:
    """The loop around one engine."""

    def __init__(self, doors: Doors, clock: RealClock) -> None:
        # Only the daemon counts, and what it counts with takes a tenth of a second to load.
        from asbx.daemon.instruments import Instruments  # noqa: PLC0415

        self._raw = doors
        self._instruments = Instruments(doors)
        self._doors = doors = self._instruments.doors
        self._systemd = Notifier(os.environ)
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = False
        self._engine = Engine(doors, self._wake.set, self._instruments.pulse, self._instruments.passed)
        self._post: post.Post | None = None
        self._sure = False
        self._listener = Listener(doors, self._engine.interruptions)
        self._started = clock.now()
        self._swept: timedelta | None = None  # what an earlier daemon left undone is looked at when this one starts

    @property
    def _unwatched(self) -> Doors:
        """Return the doors themselves, for what asks a ledger what it is; their events are counted all the same."""
        return replace(self._raw, recorder=self._doors.recorder)

    def serve(self) -> None:
        """Run until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        paths = self._doors.config.paths
        if not post.is_pair(self._doors.config):
            self._is_sure()  # before anybody can knock; one of a pair asks when its turn comes
        guests = Guests.of(owners(self._doors.config), self._doors.config)
        control = ControlSocket(paths.socket, self._knocked, self.status, guests)
        # A request's threads mostly wait; the default of 5 ms lets one that computes hold up the others noticeably.
        sys.setswitchinterval(0.0005)
        self._doors.say(Event(EventKind.DAEMON_STARTED, f"ASBX {__version__} serves {paths.requests}"))
        threading.Thread(target=warm, args=[self._raw], name="warm-up", daemon=True).start()
        self._instruments.open()
        self._systemd.ready()
        self._post = post.Post(post.duty_of(self._unwatched), self._wake.set)
        self._listener.start()
        try:
            while not self._stopping:
                self._turn(self._post)
                self._tell_systemd()
                self._wake.wait(SPOOL_POLL.total_seconds())
                self._wake.clear()
        finally:
            self._systemd.stopping()
            self._instruments.close()
            control.close()
            self._clock.stop()
            self._listener.close()
            self._engine.close()
            self._post.close()
            self._doors.say(Event(EventKind.DAEMON_STOPPED, "stopped; open requests are in the ledger"))

    def _knocked(self) -> None:
        """Wake up; a hook's knock says that the slurmctld beside us is in control."""
        if self._post is not None:
            self._post.look()
        self._wake.set()

    def _turn(self, mine: post.Post) -> None:
        """Work where it is ours to work. On standby the spool is left alone, and nothing is swept."""
        is_ours = mine.is_ours and self._is_sure()
        self._listener.work(is_ours=is_ours)
        if is_ours:
            self._engine.in_office_since = mine.in_office_since
            self._pass()
        else:
            self._engine.sweep.sightings = {}  # what is seen after a takeover is a first sighting

    def _is_sure(self) -> bool:
        """Whether the ledger is the right one, as far as we know. Raises LedgerError (`ledger-lost`): then we end."""
        if not self._sure:
            try:
                refuse_lost(self._unwatched)
            except CloudError as error:
                self._doors.say(
                    Event(EventKind.PASS_FAILED, f"the ledger is empty, and EC2 must be asked first: {error}")
                )
            except LedgerError as error:
                if error.code == "ledger-lost":
                    raise
                self._doors.say(Event(EventKind.PASS_FAILED, str(error), level="error"))
            else:
                self._sure = True
        return self._sure

    def _pass(self) -> None:
        """Do one turn. Each part that fails is recorded, and the next turn tries again."""
        self._isolated(self._engine.intake)
        self._isolated(self._engine.dispatch)
        if self._sweep_is_due(self._clock.elapsed()):
            self._isolated(self._engine.sweep_soon)

    def _tell_systemd(self) -> None:
        """Feed the watchdog while everything moves: it starts a daemon anew whose loop or whose work hangs."""
        standby = self._post is not None and not self._post.is_ours
        self._instruments.turned(on_standby=standby)
        if self._instruments.is_alive():
            self._systemd.alive()
        self._systemd.status("on standby" if standby else f"{len(self._engine.running())} request(s) in work")

    def _isolated(self, part: Callable[[], object]) -> None:
        try:
            part()
        except AsbxError as error:
            self._doors.say(Event(EventKind.PASS_FAILED, str(error), level="error"))
        except Exception as error:  # noqa: BLE001  the daemon's loop: log, go on
            self._doors.say(Event(EventKind.PASS_FAILED, f"{type(error).__name__}: {error}", level="error"))

    def _sweep_is_due(self, now: timedelta) -> bool:
        interval = timedelta(seconds=self._doors.config.reconcile.interval_seconds)
        if self._engine.sweep.is_confirming:
            interval = min(interval, CONFIRM_GRACE)
        due = self._swept is None or now - self._swept >= interval
        if due:
            self._swept = now
        return due

    def _stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stopping = True
        self._wake.set()

    def _slurm_processes(self) -> dict[str, int]:
        """Return how many of each of Slurm's commands were started, where the door counts them."""
        return dict(getattr(self._doors.scheduler, "processes", {}))

    def status(self) -> dict[str, Any]:
        """Return what the control socket answers.

        unread_facts: what EC2 refuses to tell, by action. peak_rss_mib: the most memory this process has held.
        """
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started": self._started.isoformat(),
            **(self._post.facts() if self._post is not None else {}),
            "running_requests": self._engine.running(),
            "slurm_processes": self._slurm_processes(),
            "unread_facts": dict(getattr(self._doors.catalogue, "troubles", {})) | self._engine.troubles,
            "interruptions": self._listener.state(),
            "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            **self._instruments.status(),
        }
