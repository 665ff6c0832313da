"""A budget in virtual time: whatever dies, it is charged what the jobs' launches cost, and holds nothing in the end."""

from __future__ import annotations

from decimal import Decimal

from tests.sim.test_simulator import scenario

from asbx.decide.cost import bill, total
from asbx.model.budget import HoldState
from asbx.sim.run import world_of

WORK = [{"group": "aws-cpu", "count": 90, "nodes": [1, 1, 4], "array": [1, 5], "runtime": "10m"}]
KILLS = {"kills": {"count": 20, "apart": ["20s", "4m"], "pause": ["1s", "30s"]}}


def test_what_is_charged_is_what_the_jobs_cost_through_twenty_deaths() -> None:
    """To the billionth of a dollar; a limit that is too small for all is not passed by spent and held money."""
    for limit in (Decimal(1000), Decimal(3)):
        rule = {"name": "all", "limit_usd": str(limit), "period": "once", "starts": "2000-01-01"}
        config = {"slurm": {"suspend_time": 120}, "budgets": {"rules": [rule]}}
        with world_of(scenario(lasts="10h", seed=2, streams=WORK, incidents=KILLS, config=config)) as world:
            world.play()
            (book,) = world.budgets.books()
            holds = world.budgets.holds()
            jobs = bill(world.ledger.instances(), world.hub.now()).jobs
        assert sum(world.deaths.values()) == 20
        assert {one.state for one in holds} <= {HoldState.SETTLED, HoldState.RELEASED}
        assert book.held == 0
        assert book.spent == total(one.spent for one in holds) == total(job.usd for job in jobs)
        assert 0 < book.spent <= limit
