"""The ledger says when instances ended as EC2 does, not as we noticed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site

from asbx.flow.dating import Dating
from asbx.flow.giving import give_back
from asbx.model.market import Verdict
from asbx.ports import CloudError


@pytest.fixture
def site() -> Site:
    """Return a site with one node up."""
    site = Site()
    site.resume("aws-cpu-000", (1, "aws-cpu-000"))
    site.clock.advance(minutes=30)
    return site


def die_unnoticed(site: Site) -> None:
    """Let the instance die, and the ledger hear of it five minutes later."""
    (one,) = site.cloud.alive()
    site.cloud.kill(one.instance_id, "Server.SpotInstanceTermination")
    site.clock.advance(minutes=5)
    site.ledger.end_instances([one.instance_id], "gone", site.clock.now())


def test_what_died_unnoticed_ends_when_ec2_says(site: Site) -> None:
    """Five minutes nobody noticed are not charged."""
    die_unnoticed(site)
    noticed = site.clock.now()
    Dating(site.doors).run()
    (row,) = site.ledger.instances()
    assert row.ended_at == noticed - timedelta(minutes=5)
    assert row.end_reason == "gone"


def test_our_time_stays_where_ec2_names_none(site: Site) -> None:
    """Of instances it ended itself EC2 may tell no time: then it is when we noticed, never earlier."""
    site.cloud.tells_end = False
    die_unnoticed(site)
    Dating(site.doors).run()
    (row,) = site.ledger.instances()
    assert row.ended_at == site.clock.now()


def test_what_is_dated_is_not_asked_for_again(site: Site) -> None:
    """A later pass asks EC2 nothing where nothing was closed since."""
    die_unnoticed(site)
    dating = Dating(site.doors)
    dating.run()
    site.clock.advance(minutes=10)
    dating.run()
    asked = site.cloud.calls["DescribeInstances"]
    site.clock.advance(minutes=10)
    dating.run()
    assert site.cloud.calls["DescribeInstances"] == asked


def test_a_pass_that_failed_is_made_up_for(site: Site) -> None:
    """While EC2 does not answer nothing counts as asked."""
    die_unnoticed(site)
    noticed = site.clock.now()
    dating = Dating(site.doors)
    site.cloud.fail_next("describe", cloud_error("Unavailable", Verdict.TRANSIENT))
    with pytest.raises(CloudError):
        dating.run()
    site.clock.advance(minutes=10)
    dating.run()
    (row,) = site.ledger.instances()
    assert row.ended_at == noticed - timedelta(minutes=5)


def test_given_back_instances_are_dated_at_once(site: Site) -> None:
    """An instance that is given back is charged from its launch on, not from the answer that told us of it."""
    (one,) = site.cloud.alive()
    late = replace(one, launched_at=site.clock.now())
    site.ledger.date_instances([late])  # as if the answer had come only now
    give_back(site.doors, [one.instance_id], "not needed")
    (row,) = site.ledger.instances()
    assert row.launched_at == one.launched_at
    assert row.ended_at == site.clock.now()
