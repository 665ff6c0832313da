"""`asbx export-due`: export the jobs that the epilog has noted."""

from __future__ import annotations

from datetime import timedelta

import typer

from asbx.cli import site
from asbx.cli.export import Wish, past_doors
from asbx.decide.learn.files import COST_PATTERN, PATTERNS
from asbx.flow.due import Outcome, export_due

# No job is called like this.
_LOCK = ".exports"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def due(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Export the jobs that the epilog has noted, each once its instances have ended, as the section `learning` says.

    Waits for them, no longer than learning.settle_seconds after a job's end, and deletes documents that are old. Where
    another one is at it, nothing is left to do: it takes later notes too.

    Example: asbx export-due --config /etc/slurm/aws-burst.yaml
    """
    from asbx.daemon.due import Due
    from asbx.daemon.lock import worker_lock
    from asbx.daemon.outbox import Outbox

    settings = site.load(config, here=False).config
    learning = settings.learning
    if not settings.paths.due.is_dir():  # no epilog has ever run; made by root it would be closed to the epilog
        _tell(Outcome(), 0, as_json=as_json)
        return
    wish = Wish(settings, learning.output_dir, learning.anonymize, learning.admin_comment)
    with worker_lock(settings.paths.due, timedelta(0), _LOCK) as held, past_doors(settings) as doors:
        if not held:  # a job's cost that is written by both may be charged twice
            _tell(Outcome(), 0, as_json=as_json)
            site.warn("another `asbx export-due` works on the noted jobs")
            return
        before = doors.clock.now() - learning.retention
        removed = Outbox(learning.output_dir).clean(PATTERNS, before)
        removed += Outbox(settings.paths.spool).clean((COST_PATTERN,), before)
        outcome = export_due(
            doors,
            Due(settings.paths.due),
            lambda evidence: wish.write(doors, evidence, learning.formats),
            settle=learning.settle,
        )
    _tell(outcome, removed, as_json=as_json)


def _tell(outcome: Outcome, removed: int, *, as_json: bool) -> None:
    if as_json:
        site.show({"exported": outcome.exported, "failed": outcome.failed, "removed": removed})
        return
    typer.echo(f"{len(outcome.exported)} job(s) exported, {removed} old file(s) removed")
    for job, why in outcome.failed.items():
        site.warn(f"job {job} is given up: {why}")
