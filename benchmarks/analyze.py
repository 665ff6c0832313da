"""How fast job scripts are judged: the labelled corpus over and over, read, understood, and types found.

Prints scripts, wall and CPU seconds of one process with a warm catalogue, and what starting `asbx analyze` once takes.
Fails where 1,000 scripts take LIMIT_S or more. Run: python -m benchmarks.analyze [SCRIPTS]
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from tests.corpus.cases import TABLES, Case, cases

from asbx.aws.bundled import bundled
from asbx.decide.script.advice import Site, advise

# What issue 5 of the project asks for, of two processors; one is used here.
LIMIT_S = 10.0
STARTS = 7


def judge(case: Case, site: Site) -> int:
    """Read and advise one script; return its components."""
    submission = case.read()
    return len([advise(submission, site, index) for index in range(len(submission.components))])


def starts(case: Case) -> list[tuple[float, float]]:
    """Return (wall, CPU) seconds of starting the command on one script, several times."""
    command = [str(Path(sys.executable).parent / "asbx"), "analyze", *case.words]
    found = []
    for _ in range(STARTS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        # Away from any site's configuration: all types of EC2 are candidates.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", env={"HOME": "/nonexistent"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - began, cpu))
    return found


def main(count: int) -> int:
    """Measure and print; return the exit status."""
    corpus = [case for table in TABLES for case in cases(table)]
    site = Site(bundled(), 8, 2, {}, {})
    for case in corpus:  # files and tables are read once beforehand
        judge(case, site)
    began, cpu_began = time.perf_counter(), time.process_time()
    components = sum(judge(case, site) for case in islice(cycle(corpus), count))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(
        f"{count} scripts, {components} components, {len(site.types)} types: {wall:.2f} s wall, {cpu:.2f} s CPU,"
        f" {cpu / count * 1000:.2f} ms CPU a script"
    )
    walls, cpus = zip(*starts(corpus[0]), strict=True)
    typical = [f"{statistics.median(one):.2f}" for one in (walls, cpus)]
    print(f"asbx analyze, median of {STARTS} starts: {typical[0]} s wall, {typical[1]} s CPU")
    return int(cpu * 1000 / count >= LIMIT_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
