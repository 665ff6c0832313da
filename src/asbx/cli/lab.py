"""`asbx lab`: a real Slurm and an emulated EC2 on this machine."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from asbx.cli.lab_bill import app as bill_app
from asbx.cli.lab_world import world
from asbx.errors import UsageError
from asbx.lab.layout import Layout

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="A real Slurm and an emulated EC2 on this machine.",
)
StateOption = Annotated[
    Path | None, typer.Option("--state-dir", help="The lab's folder; else a folder in your cache (~/.cache/asbx/lab).")
]

app.add_typer(world)  # without a name: its commands stand beside ours
app.add_typer(bill_app)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _show(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _layout(state_dir: Path | None) -> Layout:
    return Layout.at(state_dir)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@app.command()
def up(  # noqa: PLR0913, PLR0917  one parameter an option
    state_dir: StateOption = None,
    nodes: Annotated[int, typer.Option(help="Nodes of the group aws-cpu.")] = 64,
    boot: Annotated[
        float, typer.Option(help="Seconds an instance takes to boot, from 1.5 on: Slurm counts whole ones.")
    ] = 2.0,
    accounting: Annotated[bool, typer.Option("--accounting", help="Run MariaDB and slurmdbd too, for sacct.")] = False,
    region: Annotated[str, typer.Option(help="The region that is emulated.")] = "us-east-2",
    no_machines: Annotated[
        bool, typer.Option("--no-machines", help="Instances are launched but never boot (benchmarks).")
    ] = False,
    no_daemon: Annotated[
        bool, typer.Option("--no-daemon", help="Start no ASBX daemon; the hooks do the work.")
    ] = False,
    controllers: Annotated[
        int, typer.Option(min=1, max=2, help="slurmctld and daemon once, or a pair of each; a pair needs postgres.")
    ] = 1,
    ledger: Annotated[str, typer.Option(metavar="sqlite|postgres", help="Where the ledger is.")] = "sqlite",
    as_json: JsonOption = False,
) -> None:
    """Start everything on loopback; if it is up already, say so.

    Example: asbx lab up --nodes 8 && eval "$(asbx lab env)" && sbatch -N 2 --wrap 'srun hostname'
    """
    from asbx.lab.record import Wishes
    from asbx.lab.up import up as start

    layout = _layout(state_dir)
    if ledger not in ("sqlite", "postgres"):
        raise UsageError("usage", f"'{ledger}' is no ledger", "", "say sqlite or postgres")
    wishes = Wishes(
        nodes=nodes,
        boot_s=boot,
        accounting=accounting,
        region=region,
        machines=not no_machines,
        daemon=not no_daemon,
        controllers=controllers,
        ledger=ledger,
    )
    record, is_new = start(layout, wishes, _say)
    if as_json:
        facts = {"state_dir": str(layout.root), "cluster": record.cluster, "endpoint": record.emulator_url}
        _show({**facts, "slurm_conf": str(layout.slurm_conf), "config": str(layout.config), "started": is_new})
        return
    where = f" --state-dir {shlex.quote(str(layout.root))}" if state_dir else ""
    typer.echo("The lab is up." if is_new else "The lab is up already.")
    typer.echo(f'  eval "$(asbx lab env{where})"    then use sbatch, squeue, sinfo as on any cluster')
    typer.echo(f"  http://127.0.0.1:{record.slot.telemetry_port}/metrics    what Prometheus reads of the daemon")
    typer.echo(f"  asbx lab down{where}    ends it")


@app.command()
def env(state_dir: StateOption = None) -> None:
    """Print export lines for your shell: Slurm, the emulated AWS and ASBX of this lab.

    Example: eval "$(asbx lab env)"
    """
    from asbx.lab.record import require
    from asbx.lab.wrappers import product_environment

    layout = _layout(state_dir)
    record = require(layout)
    exports = product_environment(layout, record) | record.disguise | {"ASBX_LAB_STATE": str(layout.root)}
    for key, value in exports.items():
        typer.echo(f"export {key}={shlex.quote(value)}")
    typer.echo(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')


@app.command()
def status(state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what runs.

    Example: asbx lab status
    """
    from asbx.lab.record import load
    from asbx.lab.status import lab_status

    layout = _layout(state_dir)
    facts = lab_status(layout, load(layout))
    if as_json:
        _show(facts)
        return
    typer.echo(f"lab        {'up' if facts['up'] else 'not up'}, {facts['state_dir']}")
    for name, process in facts["processes"].items():
        typer.echo(f"{name:<10} {'pid ' + str(process['pid']) if process['alive'] else 'DEAD'}")
    if facts["up"]:
        typer.echo(f"slurm      {'answers' if facts['slurm'] else 'does not answer'}, cluster {facts['cluster']}")
        typer.echo(f"instances  {facts['instances']} alive at {facts['endpoint']}")


@app.command()
def daemon(
    action: Annotated[str, typer.Argument(metavar="start|stop|kill", help="kill is SIGKILL, for crash tests.")],
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start, stop or kill the ASBX daemon of the lab.

    Example: asbx lab daemon kill
    """
    from asbx.lab import daemon as of_lab
    from asbx.lab.record import require
    from asbx.lab.up import locked

    if action not in ("start", "stop", "kill"):
        raise UsageError("usage", f"'{action}' is no action", "", "say start, stop or kill")
    layout = _layout(state_dir)
    with locked(layout):
        record = require(layout)
        if action == "start":
            record = of_lab.start_daemon(layout, record)
        else:
            record = of_lab.stop_daemon(layout, record, kill=action == "kill")
    process = of_lab.running(record)
    if as_json:
        _show({"daemon": process.pid if process else None})
        return
    typer.echo(f"daemon     {'pid ' + str(process.pid) if process else 'not running'}")


@app.command()
def host(
    action: Annotated[str, typer.Argument(metavar="start|kill", help="kill is SIGKILL for slurmctld and daemon.")],
    number: Annotated[int, typer.Argument(metavar="1|2", min=1, max=2, help="Which of the two controllers.")],
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let one of the two hosts of a pair die, or come back.

    Example: asbx lab host kill 1
    """
    from asbx.lab import hosts
    from asbx.lab.record import require
    from asbx.lab.up import locked

    if action not in ("start", "kill"):
        raise UsageError("usage", f"'{action}' is no action", "", "say start or kill")
    layout = _layout(state_dir)
    with locked(layout):
        record = require(layout)
        record = (
            hosts.start_host(layout, record, number) if action == "start" else hosts.kill_host(layout, record, number)
        )
    if as_json:
        _show({one.name: one.pid for one in record.processes if one.is_alive})
        return
    typer.echo(f"host {number}     {'up' if action == 'start' else 'dead'}")


@app.command()
def down(state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """End everything this lab started, and only that. Logs stay in the folder.

    Example: asbx lab down
    """
    from asbx.lab.up import down as end

    layout = _layout(state_dir)
    had = end(layout, _say)
    if as_json:
        _show({"ended": had})
        return
    where = layout.root
    typer.echo(f"The lab is down; its logs and ledger stay in {where}" if had else f"No lab is up in {where}")


@app.command()
def demo(
    state_dir: StateOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab up afterwards.")] = False,
    accounting: Annotated[bool, typer.Option("--accounting", help="Run MariaDB and slurmdbd too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines, the summary last.")] = False,
) -> None:
    """Watch a 4-node MPI job go from sbatch to billing. Succeeds only if all of it happened and nothing is left.

    Example: asbx lab demo
    """
    from asbx.lab.demo import run_demo

    raise typer.Exit(run_demo(_layout(state_dir), keep=keep, accounting=accounting, as_json=as_json))
