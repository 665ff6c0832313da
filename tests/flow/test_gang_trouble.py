"""Gangs that met trouble on their way: each test is a story the random ones have found (tests/property)."""

from __future__ import annotations

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site, config

from asbx.flow.making import tidy
from asbx.flow.reconcile import Sweep
from asbx.model.market import Verdict

ICE = "InsufficientInstanceCapacity"


@pytest.fixture
def site() -> Site:
    """Return a fresh site."""
    return Site()


def test_a_group_that_a_living_gang_has_left_is_removed() -> None:
    """Refused in its group, a gang runs outside: the empty group goes, though the gang lives."""
    site = Site(config=config(placement_fallback=True))
    site.cloud.fail_next("launch", cloud_error(ICE, Verdict.CAPACITY))
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    tidy(site.doors, site.clock.now())
    assert site.cloud.groups == {}


def test_what_a_refused_call_launched_all_the_same_is_in_the_books() -> None:
    """EC2 refuses a spot call and launches for it: on demand serves, the sweep ends the rest, and its cost is known."""
    site = Site(config=config(purchasing_option="mixed"))
    site.cloud.fail_next("launch", cloud_error(ICE, Verdict.CAPACITY), after=True)
    assert len(site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]")).bound) == 2
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    sweep = Sweep(site.doors)
    for _ in range(2):
        sweep.run()
        site.clock.advance(minutes=5)
    rows = {row.instance_id: row for row in site.ledger.instances()}
    assert set(rows) == {one.instance_id for one in site.cloud.all()}
    assert {row.instance_id for row in rows.values() if row.ended_at is None} == set(site.bound().values())
