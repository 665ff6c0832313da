"""A limit worked out from the on-demand price is what EC2 is told, and what the emulator holds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from tests.contract import emulator
from tests.fakes import samples

from asbx.aws.cloud import Ec2
from asbx.config.market import MarketRules
from asbx.config.schema import Aws
from asbx.decide.preflight import Known
from asbx.decide.spot_price import capped
from asbx.model.market import Market, Pool, Template, Verdict

ZONE = "us-east-2a"
ON_DEMAND = Decimal("0.0892")


def test_spot_is_launched_up_to_its_part_of_on_demand_and_not_above(tmp_path: Path) -> None:
    """Half of on-demand: at that price there is an instance, a thousandth of a cent above there is none."""
    machine = emulator.start(tmp_path)
    try:
        ground = emulator.prepare(machine.client())
        keys = {"access_key_id": "test", "secret_access_key": "test"}
        settings = {"region": "us-east-2", "endpoint_url": machine.url, "access_keys": keys}
        cloud = Ec2(Aws.model_validate(settings | {"authentication_method": "access_keys"}))
        known = Known(prices={("c7i.large", ZONE, Market.ON_DEMAND): ON_DEMAND})
        pool = capped(Pool("c7i.large", ground.subnets[ZONE], ZONE), MarketRules(max_spot_percent=50), known)
        assert isinstance(pool, Pool)
        assert pool.max_price == "0.0446"
        order = replace(
            samples.order("one", count=2, pools=(pool,)),
            market=Market.SPOT,
            template=Template(template_id=ground.template, version="1"),
            strategy="",
        )
        for token, usd, launched in (("high", "0.04461", 0), ("even", "0.0446", 2)):
            machine.lab("POST", "prices", {"type": "c7i.large", "zone": ZONE, "market": "spot", "usd": usd})
            answer = cloud.launch(replace(order, token=token))
            assert len(answer.launched) == launched
            assert {refusal.verdict for refusal in answer.refusals} == (set() if launched else {Verdict.PRICE})
    finally:
        machine.stop()
