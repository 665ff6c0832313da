"""`asbx work`."""

from __future__ import annotations

import syslog

import typer

from asbx.cli import site
from asbx.errors import AsbxError, ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def work(config: site.ConfigOption = None) -> None:
    """Work off the spool and leave. The hooks start this where no daemon answers.

    Example: asbx work
    """
    from asbx.daemon.loop import work as work_off

    try:
        settings = site.load(config, here=False).config
        if not work_off(settings, settings.resume_deadline):
            raise ConfigError("worker-busy", "another worker holds the spool", "", "see `asbx status`")
    except AsbxError as error:
        # A hook started this and nobody reads its streams: the system log is where an administrator looks.
        syslog.openlog("asbx", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"{error} {error.hint}")
        raise
