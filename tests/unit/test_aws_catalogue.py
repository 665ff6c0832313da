"""The catalogue over a client that behaves: what is asked, what is kept, what a refusal does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.fakes.clock import FakeClock

from asbx.aws.catalogue import Ec2Catalogue
from asbx.config.limits import SPOT_SCORE_EVERY
from asbx.config.schema import Aws
from asbx.model.market import Market, Template


def refused(code: str) -> ClientError:
    """Return EC2's refusal."""
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Some")


class Client:
    """EC2 and Service Quotas with a few things in them. closed: actions that are not permitted."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.closed: set[str] = set()
        self.reservations = {"cr-1": 3, "cr-2": 0}

    def __getattr__(self, action: str) -> Callable[..., dict[str, Any]]:
        """Return an action that is counted and may be closed."""
        work: Callable[..., dict[str, Any]] = getattr(type(self), f"_{action}")

        def call(**asked: Any) -> dict[str, Any]:
            self.calls[action] += 1
            if action in self.closed:
                raise refused("UnauthorizedOperation")
            return work(self, **asked)

        return call

    def _describe_instance_type_offerings(self, **asked: Any) -> dict[str, Any]:
        """Answer in pages of one."""
        rows = [("c7i.large", "us-east-2a"), ("c7i.large", "us-east-2b")]
        number = int(asked.get("NextToken", 0))
        kind, zone = rows[number]
        page: dict[str, Any] = {"InstanceTypeOfferings": [{"InstanceType": kind, "Location": zone}]}
        return page if number else page | {"NextToken": "1"}

    def _describe_subnets(self, **asked: Any) -> dict[str, Any]:
        ids = asked["Filters"][0]["Values"]
        known = {"subnet-a": "use2-az1", "subnet-b": "use2-az2"}
        return {
            "Subnets": [
                {"SubnetId": name, "AvailabilityZone": f"us-east-2{name[-1]}", "AvailabilityZoneId": known[name]}
                for name in ids
                if name in known
            ]
        }

    def _describe_launch_template_versions(self, **asked: Any) -> dict[str, Any]:
        if asked["LaunchTemplateName"] != "nodes":
            raise refused("InvalidLaunchTemplateName.NotFoundException")
        image = "ami-1" if asked["Versions"] == ["1"] else "resolve:ssm:/images/node"
        data = {"ImageId": image, "SecurityGroupIds": ["sg-1"]}
        return {"LaunchTemplateVersions": [{"VersionNumber": 1, "LaunchTemplateData": data}]}

    def _describe_images(self, **asked: Any) -> dict[str, Any]:
        return {"Images": [{"ImageId": name, "Architecture": "arm64"} for name in asked["ImageIds"]]}

    def _describe_capacity_reservations(self, **asked: Any) -> dict[str, Any]:
        ids = asked["CapacityReservationIds"]
        if not set(ids) <= set(self.reservations):
            raise refused("InvalidCapacityReservationId.NotFound")
        rows = [{"CapacityReservationId": one, "AvailableInstanceCount": self.reservations[one]} for one in ids]
        return {"CapacityReservations": rows}

    def _get_service_quota(self, **asked: Any) -> dict[str, Any]:
        if asked["QuotaCode"] != "L-1216C47A":
            raise refused("NoSuchResourceException")
        return {"Quota": {"Value": 640.0}}

    def _get_aws_default_service_quota(self, **asked: Any) -> dict[str, Any]:
        if asked["QuotaCode"] != "L-34B43A08":
            raise refused("NoSuchResourceException")
        return {"Quota": {"Value": 5.0}}

    def _get_spot_placement_scores(self, **asked: Any) -> dict[str, Any]:
        assert asked["SingleAvailabilityZone"] is True
        zones = {"use2-az1": 9, "use2-az2": 3, "use2-az3": 1}
        return {"SpotPlacementScores": [{"AvailabilityZoneId": zone, "Score": score} for zone, score in zones.items()]}


@pytest.fixture
def client() -> Client:
    """Return a fresh EC2."""
    return Client()


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock."""
    return FakeClock()


@pytest.fixture
def catalogue(client: Client, clock: FakeClock) -> Ec2Catalogue:
    """Return the adapter over them."""
    made = Ec2Catalogue(Aws(region="us-east-2"), clock)
    made._clients.update({"ec2": client, "service-quotas": client})
    return made


def test_pages_are_read_to_the_end(catalogue: Ec2Catalogue) -> None:
    """And a type that no zone offers says so."""
    found = catalogue.zones(["c7i.large", "made.up"])
    assert found == {"c7i.large": frozenset({"us-east-2a", "us-east-2b"}), "made.up": frozenset()}


def test_a_template_is_pinned_and_tells_its_architecture(catalogue: Ec2Catalogue, client: Client) -> None:
    """An image behind a parameter is known at launch only; its architecture is not guessed."""
    facts = catalogue.template(Template(name="nodes", version="1"))
    assert facts is not None
    assert (facts.fixed, facts.arch) == (Template(name="nodes", version="1"), "arm64")
    later = catalogue.template(Template(name="nodes", version="$Latest"))
    assert later is not None
    assert (later.fixed.version, later.arch) == ("1", "")
    assert client.calls["describe_images"] == 1


def test_a_missing_template_is_told_from_one_that_cannot_be_read(catalogue: Ec2Catalogue, client: Client) -> None:
    """Only what EC2 said counts."""
    gone = Template(name="gone", version="1")
    assert catalogue.template(gone) is None
    assert catalogue.missing_template(gone)
    assert catalogue.troubles == {}
    client.closed.add("describe_launch_template_versions")
    unread = Template(name="unread", version="1")
    assert catalogue.template(unread) is None
    assert not catalogue.missing_template(unread)
    assert catalogue.troubles == {"DescribeLaunchTemplateVersions": "UnauthorizedOperation: no"}


def test_a_template_whose_image_cannot_be_read_is_known(catalogue: Ec2Catalogue, client: Client) -> None:
    """Only its architecture is not."""
    client.closed.add("describe_images")
    facts = catalogue.template(Template(name="nodes", version="1"))
    assert facts is not None
    assert (facts.image_id, facts.arch) == ("ami-1", "")


def test_quotas_fall_back_on_the_default(catalogue: Ec2Catalogue) -> None:
    """One that was never raised has no applied value; one nobody knows is unknown."""
    assert catalogue.quota(Market.ON_DEMAND, "c7i.large") == 640
    assert catalogue.quota(Market.SPOT, "c7i.large") == 5
    assert catalogue.quota(Market.ON_DEMAND, "hpc7a.96xlarge") is None
    assert catalogue.quota(Market.CAPACITY_BLOCK, "p5.48xlarge") is None
    assert catalogue.troubles == {}


def test_families_share_a_quota(catalogue: Ec2Catalogue, client: Client) -> None:
    """It is asked for once."""
    for name in ("c7i.large", "m7i.large", "r7i.large"):
        catalogue.quota(Market.ON_DEMAND, name)
    assert client.calls["get_service_quota"] == 1


def test_one_unknown_reservation_does_not_hide_the_others(catalogue: Ec2Catalogue) -> None:
    """EC2 fails the whole call for it. A group of reservations is not asked for."""
    found = catalogue.reservations(["cr-1", "cr-none", "cr-2", "arn:aws:resource-groups:us-east-2:1:group/g"])
    assert {name: facts.available for name, facts in found.items()} == {"cr-1": 3, "cr-2": 0}
    assert catalogue.troubles == {}


def test_a_reservation_that_is_gone_is_told_from_one_that_cannot_be_read(
    catalogue: Ec2Catalogue, client: Client
) -> None:
    """A fence is moved for the first only."""
    assert [catalogue.missing_reservation(name) for name in ("cr-1", "cr-none")] == [False, True]
    client.closed.add("describe_capacity_reservations")
    assert not catalogue.missing_reservation("cr-unread")


def test_scores_name_the_zones_of_our_subnets(catalogue: Ec2Catalogue, client: Client) -> None:
    """EC2 answers by zone id; fewer than three types are not worth a call."""
    catalogue.subnets(["subnet-a", "subnet-b", "subnet-none"])
    three = ["c7i.large", "m7i.large", "r7i.large"]
    assert catalogue.spot_scores(three, 7) == {}
    assert client.calls["get_spot_placement_scores"] == 0  # a launch waits for nobody
    catalogue.ask_spot_scores()
    assert catalogue.spot_scores(three, 7) == {"us-east-2a": 9, "us-east-2b": 3}
    assert catalogue.spot_scores(three[:2] * 2, 8) == {}
    assert catalogue.spot_scores(list(reversed(three)), 8)
    catalogue.ask_spot_scores()
    assert client.calls["get_spot_placement_scores"] == 1


def test_scores_are_asked_for_one_by_one(catalogue: Ec2Catalogue, client: Client, clock: FakeClock) -> None:
    """One configuration in five minutes, the one wanted last before others; a refusal is not repeated sooner."""
    catalogue.subnets(["subnet-a", "subnet-b"])
    three = ["c7i.large", "m7i.large", "r7i.large"]
    for count in (1, 30, 500):
        catalogue.spot_scores(three, count)
        clock.advance(seconds=1)
    catalogue.ask_spot_scores()
    catalogue.ask_spot_scores()
    assert client.calls["get_spot_placement_scores"] == 1
    assert catalogue.spot_scores(three, 512)
    assert catalogue.spot_scores(three, 32) == {}
    client.closed.add("get_spot_placement_scores")
    for _ in range(3):
        clock.advance(seconds=SPOT_SCORE_EVERY.total_seconds())
        catalogue.ask_spot_scores()
    assert client.calls["get_spot_placement_scores"] == 4
    assert not catalogue.spot_scores(three, 1)


def test_a_refusal_makes_a_fact_unknown_and_is_told(catalogue: Ec2Catalogue, client: Client, clock: FakeClock) -> None:
    """It is not repeated for a while, and forgotten once EC2 answers again."""
    client.closed.add("describe_subnets")
    assert catalogue.subnets(["subnet-a"]) == {}
    assert catalogue.subnets(["subnet-a"]) == {}
    assert client.calls["describe_subnets"] == 1
    assert catalogue.troubles == {"DescribeSubnets": "UnauthorizedOperation: no"}
    client.closed.clear()
    clock.advance(seconds=31)
    assert set(catalogue.subnets(["subnet-a"])) == {"subnet-a"}
    assert catalogue.troubles == {}


def test_free_addresses_are_asked_for_every_minute_and_after_forgetting(
    catalogue: Ec2Catalogue, client: Client, clock: FakeClock
) -> None:
    """Other facts live longer."""
    catalogue.subnets(["subnet-a"])
    clock.advance(seconds=61)
    catalogue.subnets(["subnet-a"])
    catalogue.forget()
    catalogue.subnets(["subnet-a"])
    assert client.calls["describe_subnets"] == 3
