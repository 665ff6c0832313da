"""Nothing that was launched is given back on one sighting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from tests.fakes.cloud import FakeCloud, cloud_error
from tests.fakes.site import Site

from asbx.model.market import Instance, Verdict

NODES = "aws-cpu-[000-003]"


@dataclass
class LateCloud(FakeCloud):
    """Leaves the subnet out of its first answers, as an eventually consistent EC2 may."""

    incomplete: int = 1

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Return what can be seen of these, the first times without subnets."""
        seen = super().describe(instance_ids)
        if seen and self.incomplete:
            self.incomplete -= 1
            return tuple(replace(instance, subnet_id="") for instance in seen)
        return seen


def site_with(incomplete: int) -> Site:
    """Return a site whose EC2 shows instances incompletely at first."""
    site = Site()
    site.cloud = LateCloud(site.clock, incomplete=incomplete, boot_after=timedelta(0))
    return site


def test_what_is_shown_late_is_kept() -> None:
    """Without a subnet on the first look and as ordered on the second: nothing is given back."""
    site = site_with(1)
    outcome = site.resume(NODES, (7, NODES))
    assert (len(outcome.bound), outcome.failed) == (4, {})
    assert site.cloud.calls["TerminateInstances"] == 0


def test_what_is_wrong_twice_is_given_back() -> None:
    """Not as ordered on both looks: the gang is given back, whole."""
    site = site_with(2)
    outcome = site.resume(NODES, (7, NODES))
    assert (outcome.bound, len(outcome.failed)) == ([], 4)
    assert site.cloud.alive() == ()


@pytest.mark.parametrize("times", [1, 3])
def test_a_second_look_that_fails_is_tried_again(times: int) -> None:
    """EC2 does not answer the second look: a further one is tried, and when none is answered the first one counts."""
    site = site_with(1)
    describe = site.cloud.describe

    def once_seen(instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        seen = describe(instance_ids)
        if seen and not seen[0].subnet_id:
            site.cloud.fail_next("describe", cloud_error("Unavailable", Verdict.TRANSIENT), times=times)
        return seen

    site.cloud.describe = once_seen  # type: ignore[method-assign]
    outcome = site.resume(NODES, (7, NODES))
    assert len(outcome.bound) == (4 if times == 1 else 0)
