"""`asbx submit`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from asbx.cli import site, submit_page
from asbx.cli.analyze import script_text
from asbx.cli.requesting import read_plan
from asbx.cli.submission import Case, Component, Weigher
from asbx.cli.submit_prices import PriceAsker
from asbx.config.limits import SCRIPT_MAX_BYTES
from asbx.config.schema import Config
from asbx.daemon.clock import RealClock
from asbx.daemon.guard import owners
from asbx.daemon.plan_folder import leave, new_name, why_closed
from asbx.decide.attach import Attachment, Desk, Job, Way, attach, with_comment
from asbx.decide.script.command_line import Line, split
from asbx.decide.script.sbatch import Submission, read
from asbx.errors import ConfigError, PlanError, UsageError
from asbx.model.plan_environment import text_of
from asbx.slurm import sbatch

app = typer.Typer(add_completion=False, rich_markup_mode=None)
# A site's policy is not read from where a user happens to stand; one that is not there or not theirs to read is none.
_NO_CONFIG = ("config-missing", "config-unreadable")


class _Command(typer.core.TyperCommand):
    """Takes its own options out of the line before the parser sees it, which would take `--` and others for its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hand the parser its own options, and all else behind `--`."""
        line = split(args, _could_be_script)
        return super().parse_args(ctx, [*line.own, "--", *line.sbatch])


def _could_be_script(word: str) -> bool:
    return Path(word).is_file()


@app.command(cls=_Command)
def submit(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SBATCH OPTIONS] [SCRIPT [ARGUMENTS]]", help="As for sbatch."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; submit nothing.")] = False,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Attach this execution plan, else that of ASBA_ variables.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file; else $ASBX_CONFIG, else /etc/slurm/aws-burst.yaml."),
    ] = None,
    as_json: site.JsonOption = False,
) -> None:
    """Analyze a job script, check policy and cost, attach the plan to the job, and call sbatch with your own options.

    Its own options are those below, written in full and anywhere before the script; every other word is sbatch's.
    sbatch's output is on stdout and its exit status is the command's; the summary is on stderr.

    Example: asbx submit --dry-run -N 4 --time=2:00:00 job.sbatch
    """
    line = split(words or [], _could_be_script)
    settings = _settings(config)
    if line.is_question:
        raise typer.Exit(sbatch.submit(_program(settings), line.sbatch, None, read=False).status)
    if not line.sbatch and sys.stdin.isatty():
        raise UsageError("no-script", "no script is named", "", "asbx submit job.sbatch")
    body = None if line.script or line.is_wrapped else _stdin()
    case = _weighed(line, settings, body, read_plan(plan) or text_of(os.environ))
    # What sbatch prints is all that scripts find on stdout.
    if not as_json:
        typer.echo(submit_page.text(case, dry_run=dry_run), nl=False, err=not dry_run)
    if dry_run:
        if as_json:
            site.show(submit_page.facts(case, None))
        return
    raise typer.Exit(_submitted(case, settings, body, as_json=as_json))


def _settings(path: Path | None) -> Config | None:
    """Return the site's configuration, None where it is not to be had here."""
    try:
        return site.load(path, here=False).config
    except ConfigError as error:
        if path is None and error.code in _NO_CONFIG:
            return None
        raise


def _program(settings: Config | None) -> str:
    return sbatch.find(settings.slurm.bin_path if settings else None)


def _stdin() -> bytes:
    body = sys.stdin.buffer.read(SCRIPT_MAX_BYTES + 1)
    if len(body) > SCRIPT_MAX_BYTES:
        why = f"it has more than {SCRIPT_MAX_BYTES} bytes; slurmctld takes no such script either"
        raise UsageError("script-too-long", "what comes from stdin is no job script", why, "name a job script")
    return body


# -- judging


def _weighed(line: Line, settings: Config | None, body: bytes | None, plan_text: str | None) -> Case:
    """Judge a submission. Raises PlanError for what the site refuses."""
    notes = [f"{word} is no option this program knows: sbatch gets it as it is" for word in line.unknown]
    notes += [f"{word} stands after the script, so it is an argument of the script" for word in line.stray]
    if settings is None:
        notes.append("the site's configuration is not to be had here: neither its policy nor a price is known")
    components: tuple[Component, ...] = ()
    submission, trouble = _submission(line, body)
    if submission is None:
        notes.append(f"{trouble}: it is not analyzed, and sbatch judges it")
    else:
        clock = RealClock()
        is_privileged = settings is not None and os.geteuid() in owners(settings)
        asked = PriceAsker(settings, clock)
        components = Weigher(settings, submission, plan_text, is_privileged, asked, clock.now()).components()
        notes += asked.notes
    name = new_name()
    attached = _attachment(components, settings, line, name, is_stated=plan_text is not None)
    return Case(
        with_comment(line.sbatch, attached.comment), components, attached, name, tuple(notes), settings is not None
    )


def _submission(line: Line, body: bytes | None) -> tuple[Submission | None, str]:
    """Read what is submitted, as sbatch would; ("", why) where the script cannot be read."""
    if line.is_wrapped:
        return read("", line.known, os.environ), ""
    if body is not None:
        return read(body.decode("utf-8", "replace"), line.known, os.environ), ""
    try:
        # sbatch looks for a script that is not here on PATH, too.
        path = line.script if Path(line.script).is_file() else shutil.which(line.script, mode=os.R_OK) or line.script
        return read(script_text(path), line.known, os.environ), ""
    except UsageError as error:
        return None, f"{error.what}: {error.why}"


def _attachment(
    components: Sequence[Component], settings: Config | None, line: Line, name: str, *, is_stated: bool
) -> Attachment:
    """Return how the plan gets to the daemon. Raises PlanError where the plan a user gave cannot get there."""
    if not components:
        return Attachment(Way.NOTHING, "the script was not analyzed")
    first = components[0]
    if first.plan is not None and not first.plan.should_burst:
        hint = "submit it to a partition that does not burst, or without --plan"
        raise PlanError("plan-no-burst", "the plan says should_burst=false", "its job would be held", hint)
    job = Job(
        first.comment,
        bool(first.hints.plan),
        len(components),
        first.advice.geometry.array_tasks,
        line.has("wait"),
        line.has("test-only"),
        settings is None or bool(first.groups),
    )
    attached = attach(job, Desk(_why_no_desk(settings)), first.plan, name, is_stated=is_stated)
    if is_stated and attached.way is Way.NOTHING and not job.only_tested:
        raise PlanError(
            "plan-unattached", "the plan cannot be attached to this job", attached.why, "submit it without --plan"
        )
    return attached


def _why_no_desk(settings: Config | None) -> str:
    """Return why the plans folder is of no use to this user, "" where it is of use."""
    if settings is None:
        return "the plans folder is not known here"
    if not settings.policy.users_plans and os.geteuid() not in owners(settings):
        return "policy.users_plans is off"
    return why_closed(settings.paths.plans)


# -- doing it


def _submitted(case: Case, settings: Config | None, body: bytes | None, *, as_json: bool) -> int:
    """Call sbatch, with the plan in its place, and return its exit status."""
    way, program = case.attachment.way, _program(settings)
    left = _left(case, settings, case.plan_name) if way is Way.NAMED else None
    answer = sbatch.submit(program, case.command, body, read=as_json or way is Way.BY_ID)
    if left is not None and answer.status != 0:
        with suppress(OSError):
            left.unlink()
    trouble = ""
    if way is Way.BY_ID and answer.status == 0:
        trouble = _put_under_id(case, settings, answer.job_id)
    if as_json:
        site.show(submit_page.facts(case, answer, trouble))
    elif way is Way.BY_ID:
        typer.echo(answer.out, nl=False)
    return answer.status


def _left(case: Case, settings: Config | None, name: str) -> Path:
    """Leave the plan in the folder. Raises PlanError."""
    assert settings is not None, "only a site with a plans folder has this way"
    try:
        return leave(settings.paths.plans, name, case.plan_text)
    except OSError as error:
        why = f"{settings.paths.plans}: {error.strerror}"
        raise PlanError(
            "plan-unattached", "the plan cannot be left for the daemon", why, "call sbatch itself"
        ) from None


def _put_under_id(case: Case, settings: Config | None, job: int | None) -> str:
    """Leave the plan under the id of a job that is submitted already; return what went wrong, and say it."""
    trouble = "sbatch's answer has no job id"
    if job is not None:
        try:
            _left(case, settings, str(job))
        except PlanError as error:
            trouble = error.why
        else:
            return ""
    site.warn(f"note: the job goes without its plan: {trouble}")
    return trouble
