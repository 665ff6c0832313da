"""Work only beside the acting slurmctld: take over when it is ours, leave when it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import CONTROL_LEASE
from asbx.decide.duty import is_acting, may_take
from asbx.errors import AsbxError, LedgerError
from asbx.model.event import Event, EventKind
from asbx.ports import Clock, Controllers, Tenure


@dataclass
class Duty:
    """Whether this daemon works. Slurm decides who acts; the ledger sees to it that nobody else does.

    step() is called every few seconds, from one thread; acting and since may be read from any.
    """

    me: str
    tenure: Tenure
    controllers: Controllers
    clock: Clock
    say: Callable[[Event], None]
    acting: bool = False
    since: datetime = field(init=False)
    in_office_since: datetime = field(init=False)
    _seen: tuple[int, int] = (-1, -1)
    _seen_at: datetime = field(init=False)
    _trouble: str = ""

    def __post_init__(self) -> None:
        """Begin on standby."""
        self.since = self.in_office_since = self._seen_at = self.clock.now()

    def step(self) -> bool:
        """Look at Slurm and the ledger and return whether we work. What does not answer changes nothing."""
        try:
            if self.acting:
                self._stay()
            else:
                self._stand_by()
        except AsbxError as error:
            self._troubled(error)
        else:
            self._trouble = ""
        return self.acting

    def leave(self) -> None:
        """Stop working, so that the other one need not wait until we are silent long enough."""
        if self.acting:
            self._become(False, "this daemon stops")
            try:
                self.tenure.leave_control()
            except LedgerError as error:
                self._troubled(error)  # then the other one waits out the lease

    def _stay(self) -> None:
        try:
            self.tenure.beat()
        except LedgerError as error:
            if error.code != "ledger-relieved":
                raise
            self._become(False, error.why)
            return
        if is_acting(self.controllers.controllers(), self.me) is False:
            self._become(False, "another slurmctld is in control")
            self.tenure.leave_control()

    def _stand_by(self) -> None:
        now, control = self.clock.now(), self.tenure.control()
        if (control.epoch, control.beat) != self._seen:
            self._seen, self._seen_at = (control.epoch, control.beat), now
        if not is_acting(self.controllers.controllers(), self.me):
            return
        # A backup answers pings long before it takes control (SlurmctldTimeout): what is done for a slurmctld that does
        # not serve comes to nothing.
        may = may_take(control, self.me, self._seen_at, now, CONTROL_LEASE)
        if may and self.controllers.serves() and self.tenure.take_control(control, self.me, now):
            self.in_office_since = (control.since if control.holder == self.me else None) or now
            before = f"; {control.holder} did before" if control.holder not in ("", self.me) else ""
            self._become(True, f"its slurmctld is in control{before}")

    def _become(self, acting: bool, why: str) -> None:
        self.acting, self.since = acting, self.clock.now()
        kind = EventKind.CONTROL_TAKEN if acting else EventKind.CONTROL_LEFT
        self.say(Event(kind, f"{self.me} {'works' if acting else 'stands by'}: {why}"))

    def _troubled(self, error: AsbxError) -> None:
        """Say once what keeps us from knowing."""
        if error.code != self._trouble:
            self._trouble = error.code
            self.say(Event(EventKind.PASS_FAILED, f"who is in control cannot be told: {error}", level="warning"))
