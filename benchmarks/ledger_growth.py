"""How large the ledger gets: bursts of a four-node job, up and down again, over fakes of EC2 and Slurm and a real file.

Prints MiB for 1,000 bursts, before and after what is old is forgotten. Run: python -m benchmarks.ledger_growth [BURSTS]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.fakes.site import Site

from asbx.config.limits import PRUNE_MOST
from asbx.flow.resume import Resume
from asbx.flow.suspend import suspend
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.ledger.upkeep import examine
from asbx.model.event import Event
from asbx.model.hostlist import expand
from asbx.model.job import JobAsk, Request, RequestKind

NODES = expand("aws-cpu-[000-003]")


class Audit:
    """Events go into the ledger, as the daemon's do."""

    def __init__(self, ledger: SqlLedger, site: Site) -> None:
        self._ledger, self._site = ledger, site

    def record(self, event: Event) -> None:
        """Keep an event."""
        self._ledger.add_event(event, self._site.clock.now())


def burst(site: Site, ledger: SqlLedger, number: int) -> None:
    """Bring a job's nodes up and down, a minute later."""
    doors = replace(site.doors, ledger=ledger, recorder=Audit(ledger, site))
    job = JobAsk(number + 1, NODES, NODES)
    for kind in (RequestKind.RESUME, RequestKind.SUSPEND):
        request = Request(f"{number:09d}-{kind}", kind, NODES, site.clock.now(), (job,) if kind == "resume" else ())
        ledger.add_request(request)
        if kind is RequestKind.RESUME:
            run = Resume(doors, request)
            outcome = run.run()
            run.tidy()
        else:
            outcome = suspend(doors, request)
        ledger.finish_request(request.request_id, failed=False, note=outcome.note(), at=site.clock.now())
        site.clock.advance(minutes=1)


def main() -> None:
    """Measure and print."""
    bursts = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/ledger.db"
        site, ledger = Site(), open_ledger(url)
        for number in range(bursts):
            burst(site, ledger, number)
        ledger.close()
        full = examine(url)
        ledger = open_ledger(url)
        while ledger.prune(site.clock.now() + timedelta(days=1), PRUNE_MOST):
            pass
        ledger.close()
        left = examine(url)
    each = 1000 / bursts / 2**20
    print(f"{bursts} bursts of {len(NODES)} nodes; MiB for 1,000: {full.size * each:.1f}")
    print(f"after forgetting, in use for good: {(left.size - left.free) * each:.1f}")
    print(f"rows: { ({name: count for name, count in full.rows.items() if count}) }")
    print(f"left: { ({name: count for name, count in left.rows.items() if count}) }")


if __name__ == "__main__":
    main()
