"""A month of a cluster in a ledger: three accounts, both markets, shared nodes, volumes, idle, waste, no price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from tests.fakes import samples

from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Life
from asbx.decide.meter.sums import settlement
from asbx.flow.cost_report import Days
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun, Watch

EXAMPLE = Path(__file__).parents[2] / "examples" / "config.yaml"
# Long over, whatever the clock of the machine says.
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
MARCH = Days(date(2024, 3, 1), date(2024, 3, 31))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FORMULA = "=1+cmd|'x'<script>1</script>"
SPOT, ON_DEMAND = Decimal("0.0312"), Decimal("0.0892")


def site(folder: Path, **sections: Any) -> Path:
    """Write a configuration and a ledger of one month; return the configuration's path."""
    config: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    config["ledger"] = {"url": f"sqlite:///{folder}/ledger.db"}
    config |= sections
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    ledger = open_ledger(f"sqlite:///{folder}/ledger.db")
    fill(ledger)
    ledger.close()
    return path


def fill(ledger: SqlLedger) -> None:
    """Put the month into a ledger, all of it settled."""
    lives = month()
    ledger.add_request(samples.request(received_at=BEGIN - MINUTE))
    ledger.add_attempt(samples.attempt(), samples.intent())
    ledger.answer_attempt(samples.attempt(), [replace(one.row, ended_at=None) for one in lives])
    for one in lives:
        if one.row.bound_at is not None:
            ledger.bind(
                [(one.row.node, samples.instance(one.row.instance_id, launched_at=one.row.launched_at))],
                one.row.bound_at,
            )
            ledger.register([one.row.node], one.row.launched_at + 3 * MINUTE)
            ledger.release([one.row.node], one.row.ended_at or BEGIN)
        ledger.end_instances([one.row.instance_id], "done", one.row.ended_at or BEGIN)
    ledger.settle([settlement(meter(one, one.row.ended_at or BEGIN)) for one in lives])
    runs = [run for one in lives for run in one.runs]
    ledger.record_runs(runs, Watch(BEGIN - HOUR, BEGIN + timedelta(days=40)))
    ledger.add_price_changes(
        [PriceChange("c7i.large", "", Market.ON_DEMAND, BEGIN - HOUR, ON_DEMAND, PriceSource.PRICING, BEGIN)]
    )


def month() -> Sequence[Life]:
    """Return the lives of the month.

    physics: job 1 on spot, alone. chemistry: job 2 on demand, alone. Both: jobs 3 and 4 share a spot node. An account
    named like a formula: job 5. Nobody: an instance given back, one that stood idle, one without a price.
    """
    return (
        life("i-spot", 1, market=Market.SPOT, runs=[run(1, "ada", "physics")]),
        life("i-demand", 2, day=5, price=ON_DEMAND, runs=[run(2, "bob", "chemistry")]),
        life("i-shared", 3, day=9, market=Market.SPOT, runs=[run(3, "ada", "physics"), run(4, "bob", "chemistry")]),
        life("i-formula", 5, day=10, runs=[run(5, "@eve", FORMULA)]),
        life("i-back", 6, day=11, is_bound=False, runs=[]),
        life("i-idle", None, day=12, runs=[]),
        life("i-unpriced", 7, day=13, price=None, runs=[run(7, "ada", "physics")]),
    )


def run(job: int, user: str, account: str) -> JobRun:
    """Return a job of one hour of which neither day nor node is known yet."""
    return JobRun(job, 0, "", BEGIN, user=user, account=account, partition="aws", cpus=1)


def life(
    name: str,
    job: int | None,
    *,
    runs: Sequence[JobRun],
    day: int = 1,
    market: Market = Market.ON_DEMAND,
    price: Decimal | None = SPOT,
    is_bound: bool = True,
) -> Life:
    """Return an instance of two hours, five minutes of them boot, whose jobs run for one."""
    launched = BEGIN + timedelta(days=day - 1)
    node = f"aws-cpu-{day:03d}"
    row: InstanceRow = replace(
        samples.instance_row(name, jobs=() if job is None else (job,), launched_at=launched, price=price),
        market=market,
        node=node if is_bound else "",
        bound_at=launched if is_bound else None,
        ended_at=launched + 2 * HOUR,
        user=runs[0].user if runs else "",
        account=runs[0].account if runs else "",
    )
    begin = launched + 5 * MINUTE
    mine = tuple(replace(one, node=node, started_at=begin, ended_at=begin + HOUR) for one in runs)
    return Life(row, launched + 3 * MINUTE, mine, volumes_month=Decimal("2.4"), is_tracked=True)
