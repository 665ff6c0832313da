"""`asbx resume-fail`."""

from __future__ import annotations

from typing import Annotated

import typer

from asbx.cli import requesting, site

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="resume-fail")
def resume_fail(
    nodes: site.NodesArgument,
    config: site.ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which instances would be ended.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With a daemon: wait until the instances are ended.")] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Clean up behind nodes that did not register in time, as ResumeFailProgram does.

    Example: asbx resume-fail 'aws-cpu-[001-004]' --dry-run
    """
    loaded = site.load(config)
    if dry_run:
        from asbx.cli.rehearsal import rehearse_suspend

        raise typer.Exit(rehearse_suspend(loaded, nodes, as_json=as_json))
    raise typer.Exit(requesting.carry_out("resume-fail", nodes, loaded.config, plan=None, wait=wait, as_json=as_json))
