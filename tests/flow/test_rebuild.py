"""A lost ledger: nothing begins as if nothing were there, and a rebuild knows again what runs, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.ledger import FakeLedger
from tests.fakes.site import Site, config

from asbx.daemon.lost import refuse_lost
from asbx.decide.rebuild import Fate
from asbx.errors import ExitCode, LedgerError
from asbx.flow.doors import Doors
from asbx.flow.rebuild import look, rebuild
from asbx.flow.reconcile import Sweep
from asbx.flow.suspend import suspend
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.hostlist import expand
from asbx.model.job import Request, RequestKind
from asbx.model.record import InstanceRow

GRACE = timedelta(seconds=config().reconcile.orphan_grace_seconds)


@pytest.fixture
def site() -> Site:
    """Return a site where job 7 runs on four nodes, and one loose node is up."""
    one = Site()
    one.scheduler.power_up(list(expand("aws-cpu-[000-004]")))
    one.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    one.resume("aws-cpu-004", request_id="r-2")
    one.scheduler.register(list(expand("aws-cpu-[000-004]")))
    return one


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return the ledger that follows the lost one."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        yield opened


def after(site: Site, ledger: SqlLedger | FakeLedger) -> Doors:
    """Return the doors of the site with another ledger."""
    return replace(site.doors, ledger=ledger)


def present(row: InstanceRow) -> InstanceRow:
    """Return a row without what is learned beside the launch: when it was bound, and the price."""
    return replace(row, bound_at=None, price=None)


def test_a_rebuilt_ledger_knows_all_that_lives(site: Site, fresh: SqlLedger) -> None:
    """Every live instance with intent, gang, jobs, group and node, with a price; every binding."""
    doors = after(site, fresh)
    rebuild(doors, look(doors))
    before = {row.instance_id: present(row) for row in site.ledger.instances(live_only=True)}
    assert {row.instance_id: present(row) for row in fresh.instances(live_only=True)} == before
    assert {b.node: b.instance_id for b in fresh.live_bindings()} == site.bound()
    assert all(row.price is not None for row in fresh.instances())
    assert fresh.known_intents(row.intent_id for row in before.values()) == {row.intent_id for row in before.values()}


def test_a_rebuild_again_changes_nothing(site: Site, fresh: SqlLedger) -> None:
    """What is known is no stranger."""
    doors = after(site, fresh)
    rebuild(doors, look(doors))
    kept = fresh.instances(), fresh.live_bindings()
    assert look(doors) == ()
    rebuild(doors, ())
    assert (fresh.instances(), fresh.live_bindings()) == kept


def test_after_a_rebuild_a_suspend_ends_the_instance(site: Site, fresh: SqlLedger) -> None:
    """Without it the instance would be a stranger that nobody ends."""
    doors = after(site, fresh)
    rebuild(doors, look(doors))
    suspend(doors, Request("s-1", RequestKind.SUSPEND, expand("aws-cpu-[000-004]"), site.clock.now()))
    assert site.cloud.alive() == ()
    assert fresh.live_bindings() == ()


def test_what_serves_nobody_is_ended_by_the_sweep(site: Site, fresh: SqlLedger) -> None:
    """Slurm had powered a node down while the ledger was gone: its instance is spare, and ends after the grace."""
    site.scheduler.power_down(["aws-cpu-004"])
    doors = after(site, fresh)
    found = look(doors)
    assert [one.node for one in found if one.fate is Fate.SPARE] == ["aws-cpu-004"]
    rebuild(doors, found)
    sweep = Sweep(doors)
    sweep.run()
    site.clock.advance(seconds=GRACE.total_seconds())
    sweep.run()
    assert len(site.cloud.alive()) == 4
    assert len(fresh.instances(live_only=True)) == 4


def test_what_is_not_ours_is_left_alone(site: Site, fresh: SqlLedger) -> None:
    """Another cluster under our name: its nodes are not in our Slurm, or its groups not in our configuration."""
    doors = after(site, fresh)
    site.scheduler._table.pop("aws-cpu-000")
    (left,) = [one for one in look(doors) if one.fate is Fate.LEAVE]
    assert left.node == "aws-cpu-000"
    rebuild(doors, look(doors))
    assert left.instance.instance_id not in {row.instance_id for row in fresh.instances()}


def test_of_two_for_a_node_the_one_slurm_knows_serves(site: Site, fresh: SqlLedger) -> None:
    """The address decides, not the tag."""
    views = {view.name: view for view in site.scheduler.nodes()}
    doors = after(site, fresh)
    (serving,) = [one for one in look(doors) if one.node == "aws-cpu-001"]
    assert views["aws-cpu-001"].address == serving.instance.private_ip
    site.cloud.tag([site.bound()["aws-cpu-002"]], {"asbx:node": "aws-cpu-001"})
    fates = {one.instance.instance_id: one.fate for one in look(doors)}
    assert fates[serving.instance.instance_id] is Fate.BIND
    assert fates[site.bound()["aws-cpu-002"]] is Fate.SPARE


def test_an_empty_ledger_does_not_begin_over_living_instances(site: Site, fresh: SqlLedger) -> None:
    """The daemon refuses, and names the command; after the rebuild it starts."""
    doors = after(site, fresh)
    with pytest.raises(LedgerError) as caught:
        refuse_lost(doors)
    assert caught.value.code == "ledger-lost"
    assert caught.value.exit_code == ExitCode.LEDGER
    assert "asbx ledger rebuild" in caught.value.hint
    rebuild(doors, look(doors))
    refuse_lost(doors)


def test_a_first_start_is_no_loss(fresh: SqlLedger) -> None:
    """Where EC2 runs nothing of ours, an empty ledger is a new one."""
    refuse_lost(after(Site(), fresh))
