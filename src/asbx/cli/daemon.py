"""`asbx daemon`."""

from __future__ import annotations

import typer

from asbx.cli import site

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def daemon(config: site.ConfigOption = None) -> None:
    """Serve the spool until SIGTERM. Run it as SlurmUser, from systemd.

    Example: asbx daemon --config /etc/slurm/aws-burst.yaml
    """
    from asbx.daemon.loop import run

    run(site.load(config, here=False).config)
