"""`asbx resume`, also what `aws-slurm-burst-resume` becomes when a person wants an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asbx.cli import requesting, site

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def resume(
    nodes: site.NodesArgument,
    config: site.ConfigOption = None,
    execution_plan: Annotated[Path | None, typer.Option("--execution-plan", help="A plan of ASBA (JSON).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be asked of EC2; needs neither AWS nor Slurm.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With a daemon: wait until the nodes have instances.")] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Bring up instances behind nodes, as ResumeProgram does.

    Example: asbx resume 'aws-cpu-[001-004]' --config=config.yaml --dry-run
    """
    loaded = site.load(config)
    plan = requesting.read_plan(execution_plan)
    if dry_run:
        from asbx.cli.rehearsal import rehearse_resume

        raise typer.Exit(rehearse_resume(loaded, nodes, plan, as_json=as_json))
    raise typer.Exit(requesting.carry_out("resume", nodes, loaded.config, plan=plan, wait=wait, as_json=as_json))
