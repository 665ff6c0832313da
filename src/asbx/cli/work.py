"""`asbx work`."""

from __future__ import annotations

import typer

from asbx.cli import site

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def work(config: site.ConfigOption = None) -> None:
    """Work off the spool and leave. The hooks start this where no daemon answers.

    Example: asbx work
    """
    from asbx.daemon.loop import work as work_off

    settings = site.load(config, here=False).config
    work_off(settings, settings.resume_deadline)
