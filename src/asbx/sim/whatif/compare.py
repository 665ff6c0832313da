"""Outcomes side by side: figures over seeds, and in words what is different, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from asbx.sim.whatif.outcome import Outcome


def _usd(value: float) -> str:
    return f"{value:.4f}" if 0 < value < 1 else f"{value:,.2f}"


def _fine_usd(value: float) -> str:
    return f"{value:.4f}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _tenth(value: float) -> str:
    return f"{value:,.1f}"


def _hundredth(value: float) -> str:
    return f"{value:,.2f}"


def length(seconds: float) -> str:
    """Return a length of time as people say it: `45 s`, `12 min`, `3.4 h`, `5.2 d`."""
    for unit, size, least in (("d", 86_400, 2 * 86_400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


@dataclass(frozen=True)
class Row:
    """A line of the table. key: of an outcome's figures."""

    label: str
    key: str
    say: Callable[[float], str]


SECTIONS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "cost",
        (
            Row("total, USD", "cost_usd", _usd),
            Row("per job done, USD", "usd_per_job", _fine_usd),
            Row("per core-hour of work, USD", "usd_per_core_hour", _fine_usd),
            Row("spot, share of cost", "spot_usd_share", _share),
            Row("spot, share of time", "spot_hours_share", _share),
            Row("boot, USD", "boot_usd", _usd),
            Row("idle, USD", "idle_usd", _usd),
            Row("waste, USD", "waste_usd", _usd),
        ),
    ),
    (
        "wait",
        (
            Row("median", "wait_median_s", length),
            Row("90 of 100 within", "wait_p90_s", length),
            Row("99 of 100 within", "wait_p99_s", length),
            Row("longest", "wait_most_s", length),
            Row("bounded slowdown, mean", "slowdown_mean", _hundredth),
            Row("bounded slowdown, median", "slowdown_median", _hundredth),
        ),
    ),
    (
        "nodes",
        (
            Row("utilisation", "utilisation", _share),
            Row("instances", "instances", _count),
            Row("instance-hours", "instance_hours", _tenth),
            Row("taken back by EC2", "interruptions", _count),
            Row("requeues", "requeues", _count),
            Row("core-hours done again", "lost_core_hours", _tenth),
        ),
    ),
    ("jobs", (Row("done", "jobs_done", _count), Row("not done", "jobs_not_done", _count))),
)
# What differences are told of: figure, what it is called, how amounts of it are said.
_TOLD = (
    ("cost_usd", "cost", lambda value: f"{_usd(value)} USD"),
    ("wait_mean_s", "mean wait", length),
    ("wait_p99_s", "wait of 99 of 100", length),
    ("lost_core_hours", "core-hours done again", _tenth),
    ("jobs_not_done", "jobs not done", _count),
)
_ALIKE = 0.005  # below half a per cent two figures are called alike


def spread(outcomes: Sequence[Outcome], key: str) -> tuple[float, float, float]:
    """Return least, median and most of a figure over seeds."""
    values = [one.figures[key] for one in outcomes]
    return min(values), median(values), max(values)


def differences(results: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Yield what each policy changes against the first, pair by pair of equal seeds."""
    (base, first), *others = results.items()
    for name, outcomes in others:
        parts = [part for told in _TOLD if (part := _difference(first, outcomes, *told))]
        yield f"{name} against {base}: " + ("; ".join(parts) if parts else "no difference in cost, waits or jobs done")


def _difference(
    first: Sequence[Outcome], other: Sequence[Outcome], key: str, name: str, say: Callable[[float], str]
) -> str:
    pairs = [(a.figures[key], b.figures[key]) for a, b in zip(first, other, strict=True)]
    deltas = [b - a for a, b in pairs]
    middle, before = median(deltas), median(a for a, _ in pairs)
    if all(say(abs(b - a)) == say(0.0) or abs(b - a) <= _ALIKE * max(abs(a), abs(b)) for a, b in pairs):
        return ""
    sign = "+" if middle >= 0 else "-"
    text = f"{name} {sign}{say(abs(middle))}" + (f" ({middle / before:+.0%})" if before else "")
    if len(deltas) == 1:
        return text
    if min(deltas) > 0 or max(deltas) < 0:
        return f"{text}, so in all {len(deltas)} seeds (by chance alone once in {2 ** (len(deltas) - 1)})"
    return f"{text}, but not in the same direction in all {len(deltas)} seeds: may be chance"


def as_dict(results: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Return all of it for machines."""
    keys = list(next(iter(results.values()))[0].figures)
    return {
        "policies": [
            {
                "name": name,
                "runs": [one.as_dict() for one in outcomes],
                "over_seeds": {
                    key: dict(zip(("least", "median", "most"), spread(outcomes, key), strict=True)) for key in keys
                },
            }
            for name, outcomes in results.items()
        ],
        "differences": list(differences(results)),
    }
