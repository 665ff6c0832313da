"""`asbx` and its siblings: find the command, run it, and turn whatever goes wrong into words and an exit status."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping

import typer

from asbx import __version__
from asbx.errors import AsbxError, ExitCode, UsageError, without_passwords

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
    "analyze": ("asbx.cli.analyze", "Say what a job script asks of EC2, as text, JSON or execution plan."),
    "submit": ("asbx.cli.submit", "Analyze a job, check it against the site's policy, attach its plan, call sbatch."),
    "status": ("asbx.cli.status", "Show daemon, nodes, launches under way and cost per hour."),
    "explain": ("asbx.cli.explain", "Explain a job or a node: why this plan, what EC2 said, what comes next."),
    "boots": ("asbx.cli.boots", "Show node groups whose instances do not become nodes, and let them try again."),
    "nodes": ("asbx.cli.nodes", "Show the nodes that have an instance."),
    "events": ("asbx.cli.events", "Show what happened, by job, node or request."),
    "forget": ("asbx.cli.forget", "Forget shortages, so that EC2 is asked at once."),
    "cost": ("asbx.cli.cost", "Show what jobs cost."),
    "budget": ("asbx.cli.budget", "Show budgets and what is held of them; grant and release."),
    "limits": ("asbx.cli.limits", "Show limits of cost and size, and what is left of them."),
    "prices": ("asbx.cli.prices", "Show what instance types cost, on demand and spot, how old that is, who said so."),
    "ledger": ("asbx.cli.ledger", "Check the ledger, back it up, rebuild it from EC2's tags."),
    "config": (
        "asbx.cli.config",
        "Print lines for slurm.conf and gres.conf, the schema, and where values come from.",
    ),
    "iam": ("asbx.cli.iam", "Print the least IAM policy, and the stack for interruption messages."),
    "export-performance": ("asbx.cli.export", "Write what a job that is over teaches, for advisor and budget service."),
    "export-due": ("asbx.cli.export_due", "Export the jobs that the epilog has noted."),
    "validate": ("asbx.cli.validate", "Check a configuration, a plan, or the companions."),
    "simulate": ("asbx.cli.simulate", "Play a scenario in virtual time: a week in a minute."),
    "lab": ("asbx.cli.lab", "A real Slurm and an emulated EC2 on this machine."),
}


# Parts of the names of variables nobody may read in a report: AWS's own, and ours that set keys of the configuration.
_SECRET_NAMES = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY", "EXTERNAL_ID", "LEDGER__URL")
# Shorter ones would take letters out of words.
_SHORTEST_SECRET = 6

# typer 0.2x carries click inside itself and names only this one of its usage errors; its base is what all share. Its
# format_message() names the option a value is wrong of, which str() does not.
_UsageError = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  one return for each way to end
    """Run a command line and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        return _run(arguments)
    except AsbxError as error:
        return _say(error, as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.Exit as stop:
        return int(stop.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # noqa: BLE001  the edge: nobody is shown a traceback
        if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands by itself: its message is its help
            print(error, file=sys.stderr)
            return int(ExitCode.USAGE)
        if isinstance(error, _UsageError):
            return _say(_usage(_told(error)), as_json=as_json)
        return _say(_internal(error), as_json=as_json)


def _run(arguments: list[str]) -> int:
    """Import and run the one command that is named."""
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h"):
        print(overview())
        return 0
    if name == "--version":
        print(f"asbx {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise _usage(f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    command = typer.main.get_command(importlib.import_module(COMMANDS[name][0]).app)
    result = command.main(arguments[1:], prog_name=f"asbx {name}", standalone_mode=False)
    return result if isinstance(result, int) else 0


def overview() -> str:
    """Return the help of `asbx` itself."""
    width = max(len(name) for name in COMMANDS)
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return (
        "Usage: asbx COMMAND [OPTIONS]\n\n"
        "Let an existing Slurm cluster burst into EC2. Start with `asbx lab demo`.\n\n"
        f"Commands (each has --help with an example):\n{rows}\n\n"
        "Options:\n  --version  Print the version.\n  --help     Show this."
    )


def _told(error: Exception) -> str:
    format_message = getattr(error, "format_message", None)
    return str(format_message() if format_message else error)


def _usage(text: str) -> UsageError:
    return UsageError("usage", text, "", "--help shows what there is, with an example")


def validate() -> int:
    """`aws-slurm-burst-validate`."""
    return main(["validate", *sys.argv[1:]])


def export_performance() -> int:
    """`aws-slurm-burst-export-performance`."""
    return main(["export-performance", *sys.argv[1:]])


def state_manager() -> int:
    """`aws-slurm-burst-state-manager`: one reconcile pass."""
    return main(["reconcile", *sys.argv[1:]])


def _say(error: AsbxError, *, as_json: bool) -> int:
    if as_json:
        text = json.dumps({"error": error.as_dict()})
    else:
        text = f"error: {error.what} [{error.code}]"
        text += "\n  why:  " + error.why.replace("\n", "\n        ") if error.why else ""
        text += f"\n  do:   {error.hint}" if error.hint else ""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # Slurm 22.05 starts its programs without stderr
        print(text, file=sys.stderr, flush=True)
    return int(error.exit_code)


def _without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """Leave out passwords in URLs and what the environment holds under a name that says secret: reports are sent on."""
    for name, value in environ.items():
        if len(value) >= _SHORTEST_SECRET and any(word in name.upper() for word in _SECRET_NAMES):
            text = text.replace(value, "***")
    return without_passwords(text)


def _internal(error: Exception) -> AsbxError:
    """Keep the traceback in a file and name it."""
    try:
        handle, path = tempfile.mkstemp(prefix="asbx-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            text = f"asbx {__version__}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
            file.write(_without_secrets(text, os.environ))
    except OSError:
        path = "nowhere: the temporary folder is not writable"
    said = _without_secrets(f"{type(error).__name__}: {error}", os.environ)
    return AsbxError("internal", said, f"details are in {path}", "please report this")
