"""The suspend flow over behaving fakes: instances ended, addresses reset, books closed."""

from __future__ import annotations

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site

from asbx.errors import ExitCode, SlurmError
from asbx.flow.outcome import Outcome
from asbx.flow.suspend import suspend
from asbx.model.hostlist import expand
from asbx.model.job import Request, RequestKind
from asbx.model.market import Verdict
from asbx.ports import CloudError


@pytest.fixture
def site() -> Site:
    """Return a site with four nodes up."""
    site = Site()
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    return site


def off(site: Site, nodes: str, kind: RequestKind = RequestKind.SUSPEND) -> Outcome:
    """Power nodes off."""
    return suspend(site.doors, Request("s-1", kind, expand(nodes), site.clock.now()))


def test_instances_end_and_addresses_are_reset(site: Site) -> None:
    """Afterwards nothing runs, nothing is bound, the nodes' addresses are their names and the ledger has an end."""
    outcome = off(site, "aws-cpu-[000-003]")
    assert outcome.exit_code == ExitCode.DONE
    assert site.cloud.alive() == ()
    assert site.bound() == {}
    assert {site.scheduler.node(name).address for name in expand("aws-cpu-[000-003]")} == set(
        expand("aws-cpu-[000-003]")
    )
    assert all(row.ended_at == site.clock.now() for row in site.ledger.instances())
    assert (site.cloud.calls["TerminateInstances"], site.scheduler.calls["release"]) == (1, 1)


def test_a_part_leaves_the_rest_alone(site: Site) -> None:
    """Only the named nodes' instances end."""
    off(site, "aws-cpu-[000-001]")
    assert set(site.bound()) == {"aws-cpu-002", "aws-cpu-003"}
    assert len(site.cloud.alive()) == 2


def test_twice_is_once(site: Site) -> None:
    """A second call finds nothing to end and does not fail."""
    off(site, "aws-cpu-[000-003]")
    calls = site.cloud.calls["TerminateInstances"]
    assert off(site, "aws-cpu-[000-003]").exit_code == ExitCode.DONE
    assert site.cloud.calls["TerminateInstances"] == calls


def test_instances_of_a_ledger_that_is_not_ours_are_left_alone(site: Site) -> None:
    """Another cluster of the same name: its instances are none of our business, whatever their tags say."""
    site.ledger = type(site.ledger)()
    off(site, "aws-cpu-[000-003]")
    assert len(site.cloud.alive()) == 4


def test_an_instance_without_binding_is_found_by_its_tags(site: Site) -> None:
    """A launch that crashed before the binding was written: the node's tags lead to it."""
    site.ledger.forget_bindings()
    off(site, "aws-cpu-[000-003]")
    assert site.cloud.alive() == ()


def test_nodes_that_are_not_ours_are_not_touched(site: Site) -> None:
    """An on-premises node in the list is reported, never changed."""
    outcome = off(site, "login,aws-cpu-000")
    assert list(outcome.failed) == ["login"]
    assert outcome.exit_code == ExitCode.PARTLY
    assert "aws-cpu-000" not in site.bound()


def test_ec2_down_closes_no_book(site: Site) -> None:
    """What could not be ended stays bound, so that the next run ends it."""
    site.cloud.fail_next("terminate", cloud_error("Unavailable", Verdict.TRANSIENT))
    with pytest.raises(CloudError):
        off(site, "aws-cpu-[000-003]")
    assert len(site.bound()) == 4
    assert off(site, "aws-cpu-[000-003]").exit_code == ExitCode.DONE
    assert site.cloud.alive() == ()


def test_slurm_down_still_ends_the_instances(site: Site) -> None:
    """Money stops while slurmctld is away, and the addresses are reset when it is back."""
    site.scheduler.fail_next("release", SlurmError("slurm-silent", "no answer"))
    with pytest.raises(SlurmError):
        off(site, "aws-cpu-[000-003]")
    assert site.cloud.alive() == ()
    assert site.bound() == {}
    off(site, "aws-cpu-[000-003]")
    assert site.scheduler.node("aws-cpu-000").address == "aws-cpu-000"


def test_a_node_that_never_came_is_cleaned_and_usable_again(site: Site) -> None:
    """ResumeFailProgram: its instance ends and the node is powered down out of DOWN."""
    site.scheduler.time_out(["aws-cpu-002"])
    off(site, "aws-cpu-002", RequestKind.RESUME_FAIL)
    assert "aws-cpu-002" not in site.bound()
    assert len(site.cloud.alive()) == 3
    assert "POWERING_DOWN" in site.scheduler.node("aws-cpu-002").flags
    assert "boot-timeout" in site.scheduler.node("aws-cpu-002").reason
