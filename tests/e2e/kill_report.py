"""Judge a lab after a kill test: what should be there, what is, and a table of both."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.e2e.cluster import Cluster, Row, run

Jobs = Mapping[str, tuple[str, int]]
_OPEN = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "STOPPED")


@dataclass
class Verdict:
    """What was counted. wrong: each promise that was not kept, with an example."""

    counts: dict[str, object]
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether all promises were kept."""
        return not self.wrong

    def number(self, index: int) -> int:
        """Return one of the figures."""
        return int(str(list(self.counts.values())[index]))

    def table(self) -> str:
        """Return the figures, one a line."""
        width = max(len(name) for name in self.counts)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.counts.items())

    def facts(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return {"counts": {name: str(value) for name, value in self.counts.items()}, "wrong": self.wrong}


def judge(
    lab: Cluster,
    sizes: Mapping[int, int],
    look: Callable[[], Jobs],
    kills: Counter[tuple[str, str]],
    bursts: int,
    patience: float,
) -> Verdict:
    """Wait until nothing moves any more, or the patience ends, and count. sizes: job -> nodes it asked for."""
    began = time.monotonic()
    while True:
        jobs = look()
        left = [job for job, (state, _) in jobs.items() if state in _OPEN]
        is_still = not left and not lab.alive() and not _running(lab)
        # The sweep removes groups after the last of their instances is gone.
        if is_still and not (stuck := _stuck(lab)) and not lab.ask("GET", "groups"):
            break
        if time.monotonic() - began > patience:
            stuck = _stuck(lab)
            break
        time.sleep(0.5)
    settled = time.monotonic() - began
    rows, billed = lab.instances(), lab.billed()
    verdict = Verdict({"bursts": bursts, "kills": sum(kills.values())})
    verdict.counts |= {f"  {target}: {phase}": count for (target, phase), count in sorted(kills.items())}
    _jobs(verdict, jobs, sizes)
    _instances(verdict, rows, billed)
    _check(verdict, "nodes stuck", stuck)
    _check(verdict, "instances launched twice for one node or gang", _twice(rows, sizes))
    _check(verdict, "requests left open", _running(lab))
    names = [one.name for one in (lab.root / "spool" / "requests").iterdir()]
    _check(verdict, "requests left in the spool", [name for name in names if not name.startswith(".")])
    verdict.counts["half-written files, until the sweep removes them"] = len(names) - verdict.number(-1)
    _check(verdict, "placement groups left", [one["name"] for one in lab.ask("GET", "groups")])
    _money(verdict, lab, rows)
    verdict.counts["seconds until nothing moved"] = f"{settled:.0f}"
    return verdict


def _check(verdict: Verdict, name: str, found: Iterable[str]) -> None:
    some = sorted(found)
    verdict.counts[name] = len(some)
    if some:
        verdict.wrong.append(f"{name}: {', '.join(some[:6])}")


def _running(lab: Cluster) -> list[str]:
    running: list[str] = lab.asbx("status")["daemon"]["running_requests"]
    return running


def _stuck(lab: Cluster) -> list[str]:
    """Return the nodes that are not idle and off, as a job finds them usable, with their state."""
    text = run(["scontrol", "-o", "show", "node"], lab.environ).out
    found = []
    for line in text.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if set(fields["State"].split("+")) != {"IDLE", "CLOUD", "POWERED_DOWN"}:
            found.append(f"{fields['NodeName']} ({fields['State']})")
    return found


def _jobs(verdict: Verdict, jobs: Jobs, sizes: Mapping[int, int]) -> None:
    states = Counter(state for state, _ in jobs.values())
    verdict.counts["jobs (array tasks each)"] = len(jobs)
    verdict.counts["  completed"] = states.pop("COMPLETED", 0)
    verdict.counts["  requeued on the way"] = sum(restarts > 0 for _, restarts in jobs.values())
    lost = [f"{job} {state}" for job, (state, _) in jobs.items() if state != "COMPLETED"]
    lost += [f"{job} never seen" for job in sizes if str(job) not in jobs]
    _check(verdict, "  lost", lost)


def _instances(verdict: Verdict, rows: list[Row], billed: Mapping[str, Row]) -> None:
    verdict.counts["instances launched"] = len(rows)
    _check(verdict, "  orphans (alive at the end)", [one["id"] for one in rows if one["state"] != "terminated"])
    _check(verdict, "  unknown to the ledger", {one["id"] for one in rows} - set(billed))
    _check(verdict, "  in the ledger without an end", [one for one, row in billed.items() if row["running"]])
    _check(verdict, "  in the ledger alone", set(billed) - {one["id"] for one in rows})


def _twice(rows: list[Row], sizes: Mapping[int, int]) -> list[str]:
    """Return nodes with two instances at a time, and gangs with more instances at a time than nodes."""
    of_node: dict[str, list[Row]] = defaultdict(list)
    of_gang: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["node"]:
            of_node[row["node"]].append(row)
        if row["gang"].startswith("job-") and row["gang"][4:].isdigit():
            of_gang[row["gang"]].append(row)
    found = [f"{node}: {_most_at_once(some)} at once" for node, some in of_node.items() if _most_at_once(some) > 1]
    for gang, some in of_gang.items():
        size = sizes.get(int(gang[4:]), len(some))
        if _most_at_once(some) > size:
            found.append(f"{gang}: {_most_at_once(some)} instances at once for {size} nodes")
    return found


def _most_at_once(rows: list[Row]) -> int:
    """Return how many of these lived at the same time. An end comes before a beginning of the same moment."""
    moments = [(datetime.fromisoformat(one["launched_at"]), 1) for one in rows]
    moments += [(datetime.fromisoformat(one["terminated_at"]), -1) for one in rows if one["terminated_at"]]
    most = now = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def _money(verdict: Verdict, lab: Cluster, rows: list[Row]) -> None:
    """Compare the two bills. The ledger hears of an end when EC2 has answered, or when it is next looked at."""
    ours = Decimal(lab.asbx("cost")["total_usd"])
    lived = {one["id"]: Decimal(str(one["seconds"])) for one in lab.ask("GET", "bill")["instances"]}
    theirs = sum((Decimal(one["price"]) * lived[one["id"]] / 3600 for one in rows), Decimal(0))
    verdict.counts["USD in the ledger"] = f"{ours:.6f}"
    verdict.counts["USD by the emulator's clock"] = f"{theirs:.6f}"
    share = abs(ours - theirs) / theirs if theirs else Decimal(0)
    verdict.counts["  apart"] = f"{share:.2%}"
    if share > Decimal("0.05"):
        verdict.wrong.append(f"the bills are {share:.1%} apart")
