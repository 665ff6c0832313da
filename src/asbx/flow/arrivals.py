"""Wait for launched gangs to come up, all in one look, and hand each over as soon as it is complete.

Bare metal takes minutes to run: a gang of it must not hold up one whose instances run already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import (
    ADDRESS_DEADLINE,
    DESCRIBE_BATCH,
    DESCRIBE_FIRST_PAUSE,
    DESCRIBE_LONGEST_PAUSE,
    DESCRIBE_PAUSE_FACTOR,
    RUNNING_SHARE_OF_RESUME_TIMEOUT,
)
from asbx.flow.doors import Doors
from asbx.flow.run import GangRun
from asbx.model.job import Request
from asbx.model.market import Instance, InstanceState, Verdict
from asbx.ports import CloudError


@dataclass
class Arrival:
    """Instances that are waited for together. run: the gang they are of, None for none.

    must_run: an address is not enough, all have to run. ready: those that are as they should be by now. spare: how many
    may die before the others are of no use.
    """

    run: GangRun | None
    missing: set[str]
    must_run: bool
    give_up: datetime
    give_up_running: datetime
    ready: dict[str, Instance] = field(default_factory=dict)
    nameless: set[str] = field(default_factory=set)
    spare: int = 0
    is_broken: bool = False

    def is_over(self, now: datetime) -> bool:
        """Whether there is nothing to wait for: complete, not whole any more, or too late."""
        if not self.missing or (self.is_broken and self.must_run):
            return True
        return now >= (self.give_up if self.nameless else self.give_up_running)

    def see(self, instance: Instance) -> None:
        """Take note of how an instance is."""
        one = instance.instance_id
        if not instance.state.is_alive:
            self.missing.discard(one)
            self.nameless.discard(one)
            self.spare -= 1
            self.is_broken = self.spare < 0
        elif instance.private_ip:
            self.nameless.discard(one)
            if not self.must_run or instance.state is InstanceState.RUNNING:
                self.missing.discard(one)
                self.ready[one] = instance


class Arrivals:
    """Everything that is waited for."""

    def __init__(self, doors: Doors, request: Request | None = None) -> None:
        self._doors, self._request = doors, request
        self._waiting: list[Arrival] = []
        self.pause = DESCRIBE_FIRST_PAUSE

    @property
    def is_empty(self) -> bool:
        """Whether nothing is waited for."""
        return not self._waiting

    def add(self, runs: Iterable[GangRun]) -> None:
        """Wait for these gangs too. Half of a gang is no use to anybody, so all of its instances must run."""
        for run in runs:
            ids = [i.instance_id for i in run.launched if i.instance_id not in run.gone]
            spare = max(len(ids) - len(run.nodes), 0)
            self.expect(ids, run, must_run=run.whole and len(run.nodes) > 1, spare=spare)

    def expect(
        self, instance_ids: Iterable[str], run: GangRun | None = None, *, must_run: bool = False, spare: int = 0
    ) -> None:
        """Wait for some instances together."""
        now, missing = self._doors.clock.now(), set(instance_ids)
        give_up = now + ADDRESS_DEADLINE
        received = self._request.received_at if self._request is not None else now
        patience = self._doors.config.resume_deadline * RUNNING_SHARE_OF_RESUME_TIMEOUT
        running = max(received + patience, now + timedelta(seconds=1))
        late = running if must_run else give_up
        arrival = Arrival(run, missing, must_run, give_up, late, nameless=set(missing), spare=spare)
        self._waiting.append(arrival)
        self.pause = DESCRIBE_FIRST_PAUSE

    def look(self) -> list[Arrival]:
        """Ask EC2 once for all that is missing; return what is over. Raises CloudError for what does not pass."""
        missing = sorted({one for arrival in self._waiting for one in arrival.missing})
        seen = _describe(self._doors, missing) if missing else ()
        for arrival in self._waiting:
            for instance in seen:
                if instance.instance_id in arrival.missing:
                    arrival.see(instance)
        now = self._doors.clock.now()
        over = [arrival for arrival in self._waiting if arrival.is_over(now + self.pause)]
        self._waiting = [arrival for arrival in self._waiting if arrival not in over]
        return over

    def rest(self) -> None:
        """Pause before the next look; the pauses grow."""
        calls = -(-sum(len(arrival.missing) for arrival in self._waiting) // DESCRIBE_BATCH)
        # Each gang that is launched starts the pauses anew; with thousands of instances a look is many calls.
        self._doors.clock.sleep(max(self.pause, DESCRIBE_FIRST_PAUSE * calls))
        self.pause = min(self.pause * DESCRIBE_PAUSE_FACTOR, DESCRIBE_LONGEST_PAUSE)


def come_up(doors: Doors, instance_ids: Sequence[str]) -> dict[str, Instance]:
    """Wait until every instance has an address; return those that are alive and have one."""
    arrivals = Arrivals(doors)
    arrivals.expect(instance_ids)
    while not arrivals.is_empty:
        over = arrivals.look()
        if over:
            return over[0].ready
        arrivals.rest()
    return {}


def _describe(doors: Doors, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
    try:
        return doors.cloud.describe(instance_ids)
    except CloudError as error:
        if error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED):
            return ()  # the deadline of the wait bounds this
        raise
