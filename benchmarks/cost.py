"""How fast costs are worked out: the meter over many intervals, and a year's report over many jobs.

The meter: instances with four job runs each (nine spans: boot, runs, gaps, tail), on two days, with a price change.
The report: a ledger of settled instances, one for each job, read by `asbx cost --period 1y` as a program of its own.
Prints seconds of CPU and of the clock; fails above the limits. Run: python -m benchmarks.cost [INTERVALS] [JOBS]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Life, spans
from asbx.ledger import tables as t
from asbx.ledger.store import open_ledger
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun

# What issue 6 of the project asks for.
METER_LIMIT_S, REPORT_LIMIT_S = 30.0, 5.0
BEGIN = datetime(2026, 1, 1, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
_CHUNK = 20_000


def lives() -> Iterator[Life]:
    """Yield instances for ever."""
    number = 0
    changes = (
        PriceChange("c7i.large", "us-east-2a", Market.SPOT, BEGIN, Decimal("0.031"), PriceSource.SPOT_HISTORY, BEGIN),
    )
    while True:
        number += 1
        begin = BEGIN + number * timedelta(seconds=7)
        row = InstanceRow(
            f"i-{number:017x}", "int", "gang", (number,), GroupName("aws", "cpu"), "ada", "physics", "c7i.large",
            "us-east-2a", "subnet-a", Market.SPOT, begin, Decimal("0.0312"), node="aws-cpu-001",
            bound_at=begin + MINUTE, ended_at=begin + 240 * MINUTE,
        )  # fmt: skip
        runs = tuple(
            JobRun(
                number * 4 + k, 0, "aws-cpu-001", begin + (3 + 50 * k) * MINUTE, begin + (43 + 50 * k) * MINUTE, cpus=2
            )
            for k in range(4)
        )
        yield Life(row, begin + 2 * MINUTE, runs, changes, Decimal("2.4"), is_tracked=True)


def bench_meter(intervals: int) -> float:
    """Meter so many intervals; return CPU seconds."""
    source = lives()
    each = len(spans(next(source), BEGIN, BEGIN + timedelta(days=9)))
    some = [next(source) for _ in range(max(1, intervals // each))]
    until = BEGIN + timedelta(days=400)
    began, wall = time.process_time(), time.perf_counter()
    charged = sum(meter(life, until).nanos for life in some)
    cpu = time.process_time() - began
    print(
        f"meter: {len(some) * each:,} intervals of {len(some):,} instances, {charged / 1e9:,.2f} USD:"
        f" {cpu:.2f} s CPU, {time.perf_counter() - wall:.2f} s wall"
    )
    return cpu


def fill(url: str, jobs: int) -> None:
    """Write settled instances, one for each job, spread over a year, 200 users, 20 accounts."""
    ledger = open_ledger(url)
    year = timedelta(days=364) / jobs
    with ledger.transaction("write") as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    for start in range(0, jobs, _CHUNK):
        rows, settled, charges = [], [], []
        for number in range(start, min(start + _CHUNK, jobs)):
            name, begin = f"i-{number:017x}", BEGIN + number * year
            user, account = f"user{number % 200}", f"account{number % 20}"
            market = ("spot", "on-demand")[number % 2]
            common = {"instance_id": name, "user": user, "account": account, "partition": "aws", "node_group": "cpu"}
            common |= {"instance_type": "c7i.large", "zone": "us-east-2a", "market": market}
            rows.append(common | {
                "intent_id": "int", "gang_id": "g", "jobs": (number + 1,), "subnet_id": "s", "launched_at": begin,
                "price": Decimal("0.0892"), "private_ip": "", "reservation_id": "", "launch_index": 0,
                "node": "aws-cpu-001", "bound_at": begin, "ended_at": begin + 60 * MINUTE, "end_reason": "",
            })  # fmt: skip
            settled.append(
                {
                    "instance_id": name,
                    "ended_at": begin + 60 * MINUTE,
                    "seconds": 3600,
                    "nanos": 89_200_000,
                    "has_price": True,
                }
            )
            for kind, job, seconds in (("run", number + 1, 3000), ("idle", 0, 600)):
                amount = 89_200_000 * seconds // 3600
                charges.append(
                    common
                    | {
                        "day": begin.date().isoformat(),
                        "kind": kind,
                        "job_id": job,
                        "seconds": seconds,
                        "compute": amount,
                        "volumes": 0,
                    }
                )
        with ledger.transaction("write-lazily") as connection:
            if start == 0:
                _parents(connection)
            connection.execute(t.instances.insert(), rows)
            connection.execute(t.settlements.insert(), settled)
            connection.execute(t.charges.insert(), charges)
    ledger.close()


def _parents(connection: object) -> None:
    connection.execute(  # type: ignore[attr-defined]
        t.intents.insert(),
        [
            {
                "intent_id": "int",
                "request_id": "r",
                "gang_id": "g",
                "jobs": (1,),
                "partition": "aws",
                "node_group": "cpu",
                "nodes": ("aws-cpu-001",),
                "user": "ada",
                "account": "physics",
                "created_at": BEGIN,
            }
        ],
    )


def bench_report(jobs: int, repeats: int = 3) -> float:
    """Fill a ledger and ask for a year; return the slowest answer in wall seconds, each the median of some."""
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        example = Path(__file__).parent.parent / "examples" / "config.yaml"
        url = f"sqlite:///{folder}/ledger.db"
        began = time.perf_counter()
        fill(url, jobs)
        size = (Path(folder) / "ledger.db").stat().st_size / 2**20
        print(f"report: {jobs:,} jobs written in {time.perf_counter() - began:.1f} s, {size:,.0f} MiB")
        config.write_text(example.read_text(encoding="utf-8") + f"\nledger:\n  url: {url}\n", encoding="utf-8")
        asbx = str(Path(sys.executable).parent / "asbx")
        for by in ("account", "day", "job"):
            walls = []
            for _ in range(repeats):
                before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                period = f"{BEGIN.date()}..{(BEGIN + timedelta(days=365)).date()}"
                command = [asbx, "cost", "--period", period, "--by", by, "--config", str(config)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                walls.append(time.perf_counter() - wall)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            wall = sorted(walls)[repeats // 2]
            print(f"report: a year of {jobs:,} jobs by {by}: {wall:.2f} s wall (median of {repeats}), {cpu:.2f} s CPU")
            slowest = max(slowest, wall)
    return slowest


def main(intervals: int = 1_000_000, jobs: int = 1_000_000) -> int:
    """Measure and print; return the exit status."""
    cpu, wall = bench_meter(intervals), bench_report(jobs)
    if cpu > METER_LIMIT_S or wall > REPORT_LIMIT_S:
        print(f"above the limits of {METER_LIMIT_S:.0f} s for the meter or {REPORT_LIMIT_S:.0f} s for a report")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
