"""Write a synthetic trace in the Standard Workload Format: made by chance from a seed, of no real machine.

Working days and nights, many small jobs and few large ones, requested times that are mostly too long, and the gaps
real logs have: unknown fields, cancelled jobs, jobs without processors.

Usage: python scripts/synthetic_trace.py [--jobs 400] [--days 4] [--seed 1] [--procs 8] > trace.swf
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator

_DAY = 86_400
_START = 1_767_225_600  # 2026-01-01 00:00 UTC
_REQUESTS = (900, 3600, 14_400, 43_200, 86_400)


def lines(jobs: int, days: float, seed: int, node: int) -> Iterator[str]:
    """Yield the lines. node: processors of a node; jobs of several nodes ask for multiples of it."""
    chance = random.Random(seed)  # noqa: S311  chance that repeats itself is the point
    yield "; Version: 2.2"
    yield "; Computer: none, this is a synthetic trace"
    yield f"; Note: written by scripts/synthetic_trace.py --jobs {jobs} --days {days:g} --seed {seed} --procs {node}"
    yield f"; MaxJobs: {jobs}"
    yield f"; UnixStartTime: {_START}"
    yield "; TimeZoneString: UTC"
    at = sorted(_moment(chance, days) for _ in range(jobs))
    for number, submit in enumerate(at, 1):
        yield _job(chance, number, submit - at[0], node)


def _moment(chance: random.Random, days: float) -> int:
    """Draw a moment: by day twice as many as by night."""
    while True:
        moment = chance.uniform(0, days * _DAY)
        if chance.random() < 0.65 - 0.35 * math.cos(2 * math.pi * moment / _DAY):
            return round(moment)


def _job(chance: random.Random, number: int, submit: int, node: int) -> str:
    small = [1, 1, 2, max(node // 2, 1), node, node]
    procs = chance.choice(small) if chance.random() < 0.8 else node * chance.choice([2, 2, 4, 4, 8, 16])
    run = max(round(1200 * math.exp(chance.gauss(0, 1.4))), 1)
    run = min(run, _DAY)
    asked = next((one for one in _REQUESTS if one >= run * chance.uniform(1, 4)), _DAY)
    status, wait, requested = 1, chance.randrange(5, 1800), procs
    luck = chance.random()
    if luck < 0.03:
        status, run = 5, 0
    elif luck < 0.04:
        status, run = 5, -1
    elif luck < 0.05:
        procs = requested = -1
    elif luck < 0.15:
        requested, asked = -1, -1
    elif luck < 0.18:
        status = 0
    user = chance.randrange(1, 25)
    fields = (number, submit, wait, run, procs, -1, -1, requested, asked, -1, status, user, user % 5, -1, 1, -1, -1, -1)
    return " ".join(str(one) for one in fields)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--days", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--procs", type=int, default=8)
    asked = parser.parse_args()
    for line in lines(asked.jobs, asked.days, asked.seed, asked.procs):
        print(line)


if __name__ == "__main__":
    _main()
