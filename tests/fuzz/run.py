"""Run the fuzz: `python -m tests.fuzz.run [COUNT] [SEED]`. Prints a table, and every finding with what repeats it."""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from types import FrameType

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target

# No input may take longer; the machine may be busy, so this is process time.
PATIENCE_S = 2.0
# What all of it may use beyond what it had at the start.
MOST_MEMORY_MIB = 400


class TooSlowError(BaseException):
    """An input took too long. Not an Exception: nobody may take it for a refusal."""


@dataclass
class Tally:
    """What became of a target's inputs. findings: number of the input -> what escaped."""

    name: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0
    findings: dict[int, str] = field(default_factory=dict)


def fuzz(target: Target, count: int, seed: str, patience_s: float = PATIENCE_S) -> Tally:
    """Feed a target spoiled inputs."""
    tally = Tally(target.name)
    for number in range(count):
        text = mutate(Random(f"{seed}/{target.name}/{number}"), target.corpus)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, patience_s)
        try:
            taken = target.enter(text)
        except (Exception, TooSlowError):  # noqa: BLE001  this is the very thing that is looked for
            tally.findings[number] = f"{traceback.format_exc(limit=-4)}input: {text[:300]!r}"
            taken = False
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        tally.inputs += 1
        tally.taken += taken
        tally.refused += not taken
        tally.slowest = max(tally.slowest, time.process_time() - began)
    return tally


def run(
    count: int, seed: str = "1", targets: Sequence[Target] = TARGETS, patience_s: float = PATIENCE_S
) -> list[Tally]:
    """Share the inputs among the targets."""
    previous = signal.signal(signal.SIGPROF, _too_slow)
    try:
        whole = sum(target.share for target in targets)
        return [fuzz(target, max(1, round(count * target.share / whole)), seed, patience_s) for target in targets]
    finally:
        signal.signal(signal.SIGPROF, previous)


def memory_mib() -> int:
    """Return the most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def table(tallies: list[Tally]) -> str:
    """Return the figures as a table."""
    rows = [f"{'target':<34} {'inputs':>8} {'taken':>8} {'refused':>8} {'findings':>8} {'slowest':>9}"]
    rows += [
        f"{one.name:<34} {one.inputs:>8} {one.taken:>8} {one.refused:>8} {len(one.findings):>8} {one.slowest:>7.3f} s"
        for one in tallies
    ]
    totals = [sum(getattr(one, key) for one in tallies) for key in ("inputs", "taken", "refused")]
    found = sum(len(one.findings) for one in tallies)
    rows.append(f"{'all':<34} {totals[0]:>8} {totals[1]:>8} {totals[2]:>8} {found:>8}")
    return "\n".join(rows)


def main() -> int:
    """Run from the command line; the exit status says whether anything was found."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = sys.argv[2] if len(sys.argv) > 2 else "1"
    before, began = memory_mib(), time.monotonic()
    tallies = run(count, seed)
    print(table(tallies))
    more = memory_mib() - before
    print(f"seed {seed}, {time.monotonic() - began:.0f} s, {more} MiB more than at the start")
    for one in tallies:
        for number, what in list(one.findings.items())[:3]:
            print(f"\n{one.name}, seed {seed}, input {number}:\n{what}")
    return int(any(one.findings for one in tallies) or more > MOST_MEMORY_MIB)


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlowError


if __name__ == "__main__":
    sys.exit(main())
