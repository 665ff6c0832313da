"""`asbx` and its siblings: find the command, run it, and turn whatever goes wrong into words and an exit status."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback

import click
import typer
from typer.core import TyperGroup

from asbx import __version__
from asbx.errors import AsbxError, ExitCode

# name -> (module that holds a Typer `app`, one line of help); a module is imported when its command is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "resume": ("asbx.cli.resume", "Bring up instances behind nodes (what ResumeProgram does)."),
    "suspend": ("asbx.cli.suspend", "End the instances behind nodes (what SuspendProgram does)."),
    "resume-fail": (
        "asbx.cli.resume_fail",
        "Clean up nodes that did not register (what ResumeFailProgram does).",
    ),
    "daemon": ("asbx.cli.daemon", "Serve the spool until stopped."),
    "work": ("asbx.cli.work", "Work off the spool once, where no daemon runs."),
    "reconcile": (
        "asbx.cli.reconcile",
        "Compare Slurm, EC2 and the ledger once and undo what must not last.",
    ),
    "status": ("asbx.cli.status", "Show daemon, nodes, launches under way and cost per hour."),
    "nodes": ("asbx.cli.nodes", "Show the nodes that have an instance."),
    "events": ("asbx.cli.events", "Show what happened, by job, node or request."),
    "cost": ("asbx.cli.cost", "Show what jobs cost."),
    "config": (
        "asbx.cli.config",
        "Print lines for slurm.conf and gres.conf, the schema, and where values come from.",
    ),
    "validate": ("asbx.cli.validate", "Check a configuration, a plan, or the companions."),
    "lab": ("asbx.cli.lab", "A real Slurm and an emulated EC2 on this machine."),
}


class Lazy(TyperGroup):
    """A group whose commands are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        command.short_help = summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(
    cls=Lazy,
    name="asbx",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:  # noqa: FBT003
    """Let an existing Slurm cluster burst into EC2. Start with `asbx lab demo`."""
    if version:
        typer.echo(f"asbx {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        result = typer.main.get_command(app).main(arguments, prog_name="asbx", standalone_mode=False)
    except AsbxError as error:
        return _say(error, as_json=as_json)
    except click.exceptions.Abort:
        return 130
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.UsageError as error:
        hint = f"`{error.ctx.command_path} --help` shows what there is" if error.ctx else "`asbx --help`"
        return _say(
            AsbxError("usage", error.format_message(), "", hint), as_json=as_json, status=ExitCode.USAGE
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # noqa: BLE001  the edge: nobody is shown a traceback
        return _say(_internal(error), as_json=as_json)
    return int(result) if isinstance(result, int) else 0


def validate() -> int:
    """`aws-slurm-burst-validate`."""
    return main(["validate", *sys.argv[1:]])


def state_manager() -> int:
    """`aws-slurm-burst-state-manager`: one reconcile pass."""
    return main(["reconcile", *sys.argv[1:]])


def _say(error: AsbxError, *, as_json: bool, status: ExitCode | None = None) -> int:
    if as_json:
        text = json.dumps({"error": error.as_dict()})
    else:
        text = f"error: {error.what} [{error.code}]"
        text += f"\n  why:  {error.why}" if error.why else ""
        text += f"\n  do:   {error.hint}" if error.hint else ""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass  # Slurm 22.05 starts its programs with stderr closed
    return int(error.exit_code if status is None else status)


def _internal(error: Exception) -> AsbxError:
    """Keep the traceback in a file and name it."""
    try:
        handle, path = tempfile.mkstemp(prefix="asbx-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"asbx {__version__}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    except OSError:
        path = "nowhere: the temporary folder is not writable"
    return AsbxError(
        "internal", f"{type(error).__name__}: {error}", f"details are in {path}", "please report this"
    )
