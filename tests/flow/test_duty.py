"""Two daemons, one ledger: only the one beside the slurmctld in control works, whatever dies, sleeps or comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.clock import FakeClock
from tests.fakes.recorder import FakeRecorder

from asbx.config.limits import CONTROL_LEASE
from asbx.decide.duty import is_acting, same_host
from asbx.errors import LedgerError, SlurmError
from asbx.flow.duty import Duty
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.control import Controller
from asbx.model.event import EventKind


@dataclass
class FakeControllers:
    """The door `Controllers`: which slurmctld are up, and which is in control."""

    up: dict[str, bool] = field(default_factory=lambda: {"ctl1": True, "ctl2": True})
    in_control: bool = True
    silent: bool = False

    def controllers(self) -> tuple[Controller, ...]:
        """Return both."""
        if self.silent:
            raise SlurmError("slurm-silent", "no answer")
        return tuple(Controller(name, up) for name, up in self.up.items())

    def serves(self) -> bool:
        """Say whether one answers more than a ping."""
        return self.in_control


@dataclass
class World:
    """Two hosts, each with its own clock, on one ledger."""

    slurm: FakeControllers
    ledgers: tuple[SqlLedger, SqlLedger]
    clocks: tuple[FakeClock, FakeClock]
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    duties: list[Duty] = field(default_factory=list)

    def start(self, number: int) -> Duty:
        """Start the daemon of a host, again after a crash."""
        ledger = self.ledgers[number - 1]
        return Duty(f"ctl{number}", ledger, self.slurm, self.clocks[number - 1], self.recorder.record)

    def pass_time(self, time: timedelta) -> None:
        """Let time pass on both hosts."""
        for clock in self.clocks:
            clock.moment += time


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return two hosts; the second's clock is an hour slow."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledgers = (open_ledger(url), open_ledger(url))
    slow = FakeClock()
    slow.moment -= timedelta(hours=1)
    yield World(FakeControllers(), ledgers, (FakeClock(), slow))
    for ledger in ledgers:
        ledger.close()


def test_the_one_beside_the_primary_works(world: World) -> None:
    """Both slurmctld are up: the first in Slurm's order acts, and so does its daemon alone."""
    one, two = world.start(1), world.start(2)
    assert [duty.step() for duty in (two, one, two, one)] == [False, True, False, True]
    assert world.recorder.kinds == [EventKind.CONTROL_TAKEN]


def test_a_dead_host_is_followed_after_the_lease(world: World) -> None:
    """Its slurmctld and daemon are gone: the other takes over once the daemon has been silent long enough."""
    one, two = world.start(1), world.start(2)
    one.step()
    two.step()
    world.slurm.up["ctl1"] = False
    world.pass_time(CONTROL_LEASE - timedelta(seconds=1))
    assert not two.step()
    world.pass_time(timedelta(seconds=1))
    assert two.step()


def test_a_backup_that_does_not_serve_yet_is_waited_for(world: World) -> None:
    """It answers pings long before it takes control: what is done for it then comes to nothing."""
    world.start(1).step()
    two = world.start(2)
    two.step()
    world.slurm.up["ctl1"] = world.slurm.in_control = False
    world.pass_time(CONTROL_LEASE)
    assert not two.step()
    world.slurm.in_control = True
    assert two.step()


def test_a_living_daemon_gives_way_at_once(world: World) -> None:
    """Only its slurmctld died: it leaves by itself, and nobody waits for a lease."""
    one, two = world.start(1), world.start(2)
    one.step()
    world.slurm.up["ctl1"] = False
    assert not one.step()
    assert two.step()


def test_control_returns_to_the_primary(world: World) -> None:
    """It comes back: the other leaves when it sees that, and the first takes over."""
    world.slurm.up["ctl1"] = False
    two = world.start(2)
    two.step()
    world.slurm.up["ctl1"] = True
    one = world.start(1)
    assert not one.step()
    assert not two.step()
    assert one.step()


def test_a_restarted_daemon_goes_on_at_once(world: World) -> None:
    """It finds its own name: the lease is for others."""
    first = world.start(1)
    first.step()
    world.pass_time(timedelta(minutes=1))
    again = world.start(1)
    assert again.step()
    assert again.in_office_since == first.in_office_since < again.since


def test_who_slept_through_a_takeover_learns_of_it(world: World) -> None:
    """A stopped process wakes up: nothing it does is recorded, and its next step puts it on standby."""
    one, two = world.start(1), world.start(2)
    one.step()
    two.step()
    world.slurm.up["ctl1"] = False
    world.pass_time(CONTROL_LEASE)
    assert two.step()
    with pytest.raises(LedgerError) as caught:
        world.ledgers[0].add_intent(samples.intent())
    assert caught.value.code == "ledger-relieved"
    world.slurm.up["ctl1"] = True  # even where it believes that its slurmctld acts
    assert not one.step()


def test_a_view_that_is_split_lets_one_work(world: World) -> None:
    """Cut off from the primary, the backup's ping calls it down; its daemon beats on, so nobody takes over."""
    one, two = world.start(1), world.start(2)
    one.step()
    for _ in range(30):
        world.slurm.up["ctl1"] = False  # as host 2 sees it
        assert not two.step()
        world.slurm.up["ctl1"] = True  # as host 1 sees it
        assert one.step()
        world.pass_time(timedelta(seconds=2))


@pytest.mark.parametrize("trouble", ["silent", "all down"])
def test_without_an_answer_nothing_changes(world: World, trouble: str) -> None:
    """Slurmctld restarts: who worked works on, who stood by stands by, and it is said once."""
    one, two = world.start(1), world.start(2)
    one.step()
    if trouble == "silent":
        world.slurm.silent = True
    else:
        world.slurm.up = {"ctl1": False, "ctl2": False}
    for _ in range(3):
        assert one.step()
        assert not two.step()
    assert len(world.recorder.of(EventKind.PASS_FAILED)) == (2 if trouble == "silent" else 0)


def test_who_stops_is_followed_at_once(world: World) -> None:
    """A daemon that is told to stop leaves, so that the other need not wait."""
    one, two = world.start(1), world.start(2)
    one.step()
    world.slurm.up["ctl1"] = False
    one.leave()
    assert two.step()


def test_hosts_are_known_with_and_without_domain() -> None:
    """SlurmctldHost has the short name or the full one, and so has the host."""
    assert same_host("ctl1", "CTL1.example.org")
    assert same_host("ctl1.example.org", "ctl1")
    assert not same_host("ctl1.a.org", "ctl1.b.org")
    assert not same_host("ctl1", "ctl10")


def test_nobody_up_is_no_answer() -> None:
    """None is not False: a daemon does not leave its work over it."""
    assert is_acting([Controller("a", False), Controller("b", False)], "a") is None
    assert is_acting([], "a") is None
    assert is_acting([Controller("a", False), Controller("b", True)], "b") is True
