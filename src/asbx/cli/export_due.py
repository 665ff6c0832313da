"""`asbx export-due`: export the jobs that the epilog has noted."""

from __future__ import annotations

import typer

from asbx.cli import site
from asbx.cli.export import Wish, past_doors
from asbx.decide.learn.files import COST_PATTERN, PATTERNS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def due(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Export the jobs that the epilog has noted, each once its instances have ended, as the section `learning` says.

    Waits for them, no longer than learning.settle_seconds after a job's end, and deletes documents that are old.

    Example: asbx export-due --config /etc/slurm/aws-burst.yaml
    """
    from asbx.daemon.due import Due
    from asbx.daemon.outbox import Outbox
    from asbx.flow.due import export_due

    settings = site.load(config, here=False).config
    learning = settings.learning
    wish = Wish(settings, learning.output_dir, learning.anonymize, learning.admin_comment)
    with past_doors(settings) as doors:
        before = doors.clock.now() - learning.retention
        removed = Outbox(learning.output_dir).clean(PATTERNS, before)
        removed += Outbox(settings.paths.spool).clean((COST_PATTERN,), before)
        outcome = export_due(
            doors,
            Due(settings.paths.due),
            lambda evidence: wish.write(doors, evidence, learning.formats),
            settle=learning.settle,
        )
    if as_json:
        site.show({"exported": outcome.exported, "failed": outcome.failed, "removed": removed})
        return
    typer.echo(f"{len(outcome.exported)} job(s) exported, {removed} old file(s) removed")
    for job, why in outcome.failed.items():
        site.warn(f"job {job} is given up: {why}")
