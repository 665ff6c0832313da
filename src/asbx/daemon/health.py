"""Whether the daemon does its work, check by check.

A check is vital when its failure means that this daemon does not do its work, so that starting it anew, or looking at
it, is right: those make /healthz answer 503. EC2 or slurmctld not answering is somebody else's trouble, which a restart
would not mend and the daemon waits out: then it is degraded, and /healthz still answers 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asbx.config.limits import LOOP_PATIENCE, SPOOL_PATIENCE


@dataclass(frozen=True)
class Check:
    """A thing that must be so, whether it is, and a sentence."""

    name: str
    good: bool
    says: str
    vital: bool = True


@dataclass(frozen=True)
class Try:
    """How the last call to a side ended. why: code and text of its error, "" for none."""

    at: datetime
    why: str = ""


@dataclass(frozen=True)
class Signs:
    """What the checks look at. turned: end of the loop's last turn. passed: of the last pass, None before the first.

    ledger: why it cannot be written, "" when it can. ec2, slurm: None before the first call. started: the daemon, or
    its time in office. on_standby: another daemon does the work.
    """

    now: datetime
    started: datetime
    turned: datetime
    passed: datetime | None
    interval: timedelta
    stuck: Sequence[str]
    spool: tuple[int, timedelta]
    ledger: str
    ec2: Try | None
    slurm: Try | None
    on_standby: bool = False


def checks(signs: Signs) -> tuple[Check, ...]:
    """Return every check."""
    turn, last = signs.now - signs.turned, signs.now - (signs.passed or signs.started)
    files, oldest = signs.spool
    # A pass may take as long as EC2 takes to answer: what does not move at all is stuck, and that has its own check.
    late = last > 3 * signs.interval + 10 * LOOP_PATIENCE and not signs.on_standby
    lies = oldest > SPOOL_PATIENCE and not signs.on_standby
    return (
        Check("loop", turn <= LOOP_PATIENCE, f"last turn {_ago(turn)} ago"),
        Check("work", not signs.stuck, f"no sign of life from {', '.join(signs.stuck)}" if signs.stuck else "moves"),
        Check("pass", not late, f"last reconcile pass {_ago(last)} ago" if signs.passed else "none yet"),
        Check("spool", not lies, f"{files} request(s) wait, the oldest for {_ago(oldest)}"),
        Check("ledger", not signs.ledger, signs.ledger or "can be written"),
        _side("ec2", signs.ec2, signs.now),
        _side("slurm", signs.slurm, signs.now),
    )


def _side(name: str, last: Try | None, now: datetime) -> Check:
    if last is None:
        return Check(name, good=True, says="not asked yet", vital=False)
    return Check(name, not last.why, f"{last.why or 'answered'}, {_ago(now - last.at)} ago", vital=False)


def report(found: Sequence[Check]) -> tuple[bool, dict[str, Any]]:
    """Return whether the daemon does its work, and the answer of /healthz."""
    failing = [check.name for check in found if check.vital and not check.good]
    degraded = [check.name for check in found if not check.vital and not check.good]
    status = "failing" if failing else "degraded" if degraded else "ok"
    rows = {one.name: {"ok": one.good, "vital": one.vital, "says": one.says} for one in found}
    return not failing, {"status": status, "failing": failing, "degraded": degraded, "checks": rows}


def _ago(age: timedelta) -> str:
    return f"{max(age.total_seconds(), 0):.0f} s"
