"""What is really called, seen by the pretend EC2, is what the policy allows: no more, no less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract import emulator
from tests.fakes import samples

from asbx.aws.catalogue import Ec2Catalogue
from asbx.aws.cloud import Ec2
from asbx.aws.notices import SqsNotices
from asbx.aws.permissions import ALLOWED_BY, PERMISSIONS
from asbx.aws.price_list import Ec2PriceList
from asbx.aws.prices import Ec2Prices
from asbx.config.interruptions import Interruptions
from asbx.config.schema import Aws
from asbx.daemon.clock import RealClock
from asbx.model.catalogue import TemplateChange
from asbx.model.market import Market, Pool, Template

TYPES = ("c7i.large", "c6i.large", "m7i.large")
# Made by whoever assumes a role, before any door is used.
_ELSEWHERE = {"AssumeRole"}
# Calls that another action allows, without the names of services.
_SAME = {name.partition(":")[2]: action.partition(":")[2] for name, action in ALLOWED_BY.items()}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[emulator.Emulator]:
    """Return a pretend EC2."""
    made = emulator.start(tmp_path / "emulator")
    yield made
    made.stop()


def test_every_door_together_makes_exactly_the_calls_of_the_policy(machine: emulator.Emulator) -> None:
    """Each method of the four doors, once: an action the policy lacks, and one nobody calls, both fail here."""
    ground = emulator.prepare(machine.client())
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    settings = Aws.model_validate(
        {
            "region": "us-east-2",
            "endpoint_url": machine.url,
            "authentication_method": "access_keys",
            "access_keys": keys,
            "retry_max_attempts": 1,
        }
    )
    sqs = machine.client("sqs")
    url = sqs.create_queue(QueueName="asbx-lab")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    machine.lab("DELETE", "calls")
    # A quota that nobody ever changed has a default only.
    machine.lab("POST", "faults", {"action": "GetServiceQuota", "code": "NoSuchResourceException", "times": 1})
    template = Template(template_id=ground.template, version="1")
    use_cloud(Ec2(settings), template, ground)
    use_catalogue(Ec2Catalogue(settings, RealClock()), template, ground)
    prices = Ec2Prices(Ec2PriceList(settings, RealClock()), RealClock())
    assert prices.hourly("c7i.large", "", Market.ON_DEMAND)
    prices.hourly("c7i.large", "us-east-2a", Market.SPOT)
    use_notices(SqsNotices(settings, Interruptions(queue="asbx-lab"), RealClock()))
    made = {_SAME.get(name, name) for name in machine.lab("GET", "calls")}
    allowed = {one.action.partition(":")[2] for one in PERMISSIONS if one.called}
    assert made - allowed == set(), "the policy would forbid these"
    assert allowed - made - _ELSEWHERE == set(), "nobody calls these"


def use_cloud(cloud: Ec2, template: Template, ground: emulator.Ground) -> None:
    """Do with instances all that can be done with them."""
    tags = {"asbx:cluster": "lab", "ManagedBy": "aws-slurm-burst"}
    cloud.make_group("asbx-group", "cluster", tags)
    cloud.remove_group("asbx-group")
    cloud.make_template("asbx-derived", template, TemplateChange(reservation="cr-0123456789abcdef0"), tags)
    cloud.remove_template("asbx-derived")
    pools = (Pool("c7i.large", ground.subnets["us-east-2a"], "us-east-2a"),)
    order = replace(samples.order("t-1", count=1, pools=pools, tags=tuple(tags.items())), template=template)
    ids = [one.instance_id for one in cloud.launch(order).launched]
    assert ids
    cloud.describe(ids)
    cloud.owned("lab")
    cloud.launched_for("int-1")
    cloud.tag(ids, {"Name": "aws-cpu-000"})
    cloud.topology(ids)
    cloud.volumes(ids)
    cloud.unwell()
    cloud.console(ids[0])
    cloud.terminate(ids)


def use_notices(notices: SqsNotices) -> None:
    """Read a message and delete it."""
    (message,) = notices.receive()
    notices.done([message.handle])


def use_catalogue(catalogue: Ec2Catalogue, template: Template, ground: emulator.Ground) -> None:
    """Ask all that can be asked."""
    catalogue.types(TYPES)
    catalogue.zones(TYPES)
    catalogue.subnets(ground.subnets.values())
    catalogue.template(template)
    catalogue.quota(Market.ON_DEMAND, "c7i.large")
    catalogue.quota(Market.SPOT, "x2idn.32xlarge")
    catalogue.reservations(["cr-0123456789abcdef0"])
    catalogue.without_self_rule([ground.group])
    catalogue.spot_scores(TYPES, 4)
    catalogue.ask_spot_scores()
