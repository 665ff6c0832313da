"""Instances that come to nothing: noted once each, their consoles kept, their groups closed and opened again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import BOOT_FAILURES_READ, CONSOLE_LIFE, CONSOLES_AT_ONCE, CONSOLES_MOST, REFUSED_AGAIN
from asbx.decide.boots import Failed, failed, presentable
from asbx.decide.breaker import Gate, after_boot, after_failure, describe, gate, streak
from asbx.errors import ExitCode
from asbx.flow.doors import Doors
from asbx.flow.failing import Lost, fail_many
from asbx.flow.outcome import Failure
from asbx.model.boot import BootFailure, BootTrouble, Breaker, Console
from asbx.model.event import Event, EventKind
from asbx.model.job import Request, RequestKind
from asbx.model.market import Verdict
from asbx.model.names import GroupName
from asbx.model.record import InstanceRow
from asbx.ports import CloudError

_WORDS = {
    BootTrouble.NEVER_REGISTERED: "its slurmd did not register within ResumeTimeout",
    BootTrouble.ENDED_ITSELF: "it ended by itself before its slurmd registered",
    BootTrouble.BAD_REGISTRATION: "its slurmd registered with less than slurm.conf promises",
}
_PRUNE_EVERY = timedelta(hours=6)


@dataclass
class Boots:
    """One pass after the other. troubles: what EC2 refuses to tell, by action."""

    doors: Doors
    troubles: dict[str, str] = field(default_factory=dict)
    _before: frozenset[str] = frozenset()  # instances that have registered badly on the look before
    _ask_again: datetime | None = None
    _pruned: datetime | None = None

    def run(self) -> None:
        """Look at the nodes that have not registered yet, and at closed groups. Raises AsbxError.

        What ended by itself or registered badly (on two looks) is given up before ResumeTimeout: its jobs are told and
        tried again. For nodes Slurm has given up itself, the sweep does the rest.
        """
        waiting = [one for one in self.doors.ledger.live_bindings() if one.registered_at is None]
        if waiting:
            seen = {i.instance_id: i for i in self.doors.cloud.describe([one.instance_id for one in waiting])}
            views = {view.name: view for view in self.doors.scheduler.nodes()}
            busy = {node for request in self.doors.ledger.open_requests() for node in request.nodes}
            found = failed(waiting, seen, views, busy)
            bad = frozenset(one.binding.instance_id for one in found if one.trouble is BootTrouble.BAD_REGISTRATION)
            ready = [one for one in found if one.binding.instance_id not in bad - self._before]
            self._before = bad
            self.note(ready)
            alive = {key for key, instance in seen.items() if instance.state.is_alive}
            self._give_up([one for one in ready if one.trouble is not BootTrouble.NEVER_REGISTERED], alive)
        self._open_again()
        self._prune()

    # -- failures

    def note(self, found: Iterable[Failed]) -> None:
        """Keep failures, once for each instance, with the consoles of a few; close groups that have too many in a row.

        Call it before the instances are ended: a console is best asked for while there is a machine.
        """
        by_instance = {one.binding.instance_id: one for one in found}
        if not by_instance:
            return
        now = self.doors.clock.now()
        rows = [row for row in self.doors.ledger.instances(live_only=True) if row.instance_id in by_instance]
        failures = [_failure(by_instance[row.instance_id], row, now) for row in rows]
        news = self.doors.ledger.add_boot_failures(failures)
        fresh = [failure for failure in failures if failure.instance_id in news]
        for failure in fresh:
            self._say(failure)
        for group in dict.fromkeys(failure.group for failure in fresh):
            mine = [failure for failure in fresh if failure.group == group]
            for failure in mine[:CONSOLES_AT_ONCE]:
                self._keep_console(failure, now)
            self._count(max(mine, key=lambda failure: failure.launched_at), now)

    def _say(self, failure: BootFailure) -> None:
        self.doors.say(
            Event(
                EventKind.BOOT_FAILED,
                f"{failure.node}: {failure.instance_id} never became a node: {_WORDS[failure.trouble]}",
                node=failure.node,
                instance_id=failure.instance_id,
                data={"trouble": failure.trouble.value, "detail": failure.detail, "group": str(failure.group)},
                level="warning",
                jobs=failure.jobs,
            )
        )

    def _count(self, failure: BootFailure, now: datetime) -> None:
        """Close the group where too many have failed in a row. failure: of those that are new, the last launched."""
        ledger, settings, group = self.doors.ledger, self.doors.config.boots, failure.group
        known, good = ledger.boot_failures(group=group, limit=BOOT_FAILURES_READ), ledger.last_boot(group)
        was: list[Breaker | None] = []

        def change(old: Breaker | None) -> Breaker | None:
            was.append(old)
            in_a_row = streak(known, good, now - settings.window, old.cleared_at if old else None)
            return after_failure(old, failure, in_a_row, now, settings)

        new = ledger.change_breaker(group, change)
        if new is not None and gate(new, now) is Gate.CLOSED and (was[0] is None or was[0].closed_at != new.closed_at):
            data: dict[str, object] = {"group": str(group), "streak": new.streak}
            text = f"{describe(new, now)}; `asbx explain {failure.node}` shows what it wrote"
            self.doors.say(Event(EventKind.GROUP_CLOSED, text, level="error", data=data))

    def _keep_console(self, failure: BootFailure, now: datetime) -> None:
        """Ask for a console and keep its end. What fails is said once: it only informs."""
        if not self.doors.config.boots.console or (self._ask_again is not None and now < self._ask_again):
            return
        try:
            text = self.doors.cloud.console(failure.instance_id)
        except CloudError as error:
            self._refused(error, now)
            return
        self.troubles.pop("GetConsoleOutput", None)
        if text:
            self.doors.ledger.add_console(Console(failure.instance_id, presentable(text), now))

    def _refused(self, error: CloudError, now: datetime) -> None:
        if error.verdict is Verdict.PERMISSION:
            self._ask_again = now + REFUSED_AGAIN
        if "GetConsoleOutput" not in self.troubles:
            text = f"console output cannot be kept: {error.code}: {error.why or error.what}"
            self.doors.say(Event(EventKind.REQUEST_ODD, text, level="warning"))
        self.troubles["GetConsoleOutput"] = f"{error.code}: {error.why}"

    def _give_up(self, found: Sequence[Failed], alive: set[str]) -> None:
        """End what still runs, and let Slurm try the jobs again with the reason told."""
        if not found:
            return
        doors, now = self.doors, self.doors.clock.now()
        rows = {row.instance_id: row for row in doors.ledger.instances(live_only=True)}
        ids = [one.binding.instance_id for one in found]
        running = [one for one in ids if one in alive]
        gone = set(ids) - set(running) | set(doors.cloud.terminate(running) if running else ())
        for one in found:
            if one.binding.instance_id in gone:
                doors.ledger.end_instances([one.binding.instance_id], _WORDS[one.trouble], now)
        doors.ledger.release([one.binding.node for one in found], now)
        nodes = tuple(one.binding.node for one in found)
        request = Request(f"boots-{ids[0]}", RequestKind.RESUME_FAIL, nodes, now)
        fail_many(doors, request, [_lost(one, rows) for one in found])

    # -- groups

    def _open_again(self) -> None:
        """Open the closed groups of which a later instance has registered."""
        ledger, settings = self.doors.ledger, self.doors.config.boots
        for breaker in ledger.breakers():
            if breaker.closed_at is None:
                continue
            group = breaker.group
            known, good = ledger.boot_failures(group=group, limit=BOOT_FAILURES_READ), ledger.last_boot(group)
            new = ledger.change_breaker(
                group,
                lambda old, known=known, good=good: after_boot(old, known, good, settings),  # type: ignore[misc]
            )
            if new is None or new.closed_at is None:
                self.doors.say(opened(group, "a node of it has registered"))

    def _prune(self) -> None:
        now = self.doors.clock.now()
        if self._pruned is None or now - self._pruned >= _PRUNE_EVERY:
            self._pruned = now
            self.doors.ledger.drop_consoles(now - CONSOLE_LIFE, CONSOLES_MOST)


def opened(group: GroupName, why: str) -> Event:
    """Return the event of a group that may launch again."""
    return Event(EventKind.GROUP_OPENED, f"{group} launches again: {why}", data={"group": str(group)})


def _failure(one: Failed, row: InstanceRow, now: datetime) -> BootFailure:
    return BootFailure(
        instance_id=row.instance_id,
        group=row.group,
        node=one.binding.node,
        trouble=one.trouble,
        detail=one.detail,
        jobs=row.jobs,
        instance_type=row.instance_type,
        zone=row.zone,
        launched_at=row.launched_at,
        failed_at=now,
    )


def _lost(one: Failed, rows: Mapping[str, InstanceRow]) -> Lost:
    row = rows.get(one.binding.instance_id)
    node = (one.binding.node,)
    reason = f"{one.binding.instance_id} never became a node: {_WORDS[one.trouble]} ({one.detail})"
    return Lost(node, node, row.jobs if row else (), Failure("boot-failed", reason, ExitCode.PARTLY))
