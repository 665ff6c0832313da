"""`asbx export-performance`, `aws-slurm-burst-export-performance`: what a job that is over teaches, as files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asbx import __version__
from asbx.cli import site
from asbx.decide.learn.anonymous import Pseudonyms
from asbx.decide.learn.files import FORMATS, comment_text, cost_file, export_file
from asbx.decide.learn.reconciliation import joined
from asbx.errors import AsbxError, LedgerError, SlurmError, UsageError

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from asbx.config.schema import Config
    from asbx.decide.learn.evidence import Evidence
    from asbx.flow.learn import OnDemand, PastDoors
    from asbx.ledger.store import SqlLedger
    from asbx.slurm.scontrol import Slurm

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    job_id: Annotated[
        str | None, typer.Option("--job-id", "-j", help="The job: 1234, a task 1234_5, a component 1234+1.")
    ] = None,
    form: Annotated[str, typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}.")] = "asba-learning",
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Folder to write to; else learning.output_dir.")
    ] = None,
    anonymize: Annotated[bool, typer.Option("--anonymize", help="Put keyed hashes in the place of names.")] = False,
    admin_comment: Annotated[
        bool, typer.Option("--admin-comment", help="Also put the slurm-comment behind the job's AdminComment.")
    ] = False,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Write what a job that is over teaches: measured values only; what nobody measured is null, with a note.

    Cost is final when the job's instances have ended; until then the document says `provisional`.

    Example: aws-slurm-burst-export-performance --job-id 1234 --format asba-learning --output-dir /tmp/learning
    """
    settings = site.load(config).config
    job = _job(job_id)
    if form not in FORMATS:
        raise UsageError("format", f"there is no format {form!r}", "", f"formats are {', '.join(FORMATS)}")
    wish = Wish(settings, output_dir or settings.learning.output_dir, anonymize, admin_comment)
    with past_doors(settings) as doors:
        from asbx.flow.learn import gather

        evidence = gather(doors, job)
        written = wish.write(doors, evidence, (form,))
    if as_json:
        files = [str(one) for one in written]
        site.show({"job_id": evidence.label, "provisional": not evidence.is_final, "files": files})
        return
    for path in written:
        typer.echo(f"{path}")


@dataclass(frozen=True)
class Wish:
    """What is written of a job, and where."""

    config: Config
    folder: Path
    anonymize: bool
    admin_comment: bool

    def write(self, doors: PastDoors, evidence: Evidence, forms: tuple[str, ...]) -> list[Path]:
        """Write a job's files and return their paths."""
        from asbx.daemon.outbox import Outbox
        from asbx.daemon.site_key import site_key

        names = Pseudonyms(site_key(self.config.paths.state)) if self.anonymize else None
        box = Outbox(self.folder)
        written = []
        for form in forms:
            is_charge = form == "asbb-reconciliation"
            written.append(box.write(*export_file(evidence, form, None if is_charge and len(forms) > 1 else names)))
            if is_charge:
                written += self._charge(evidence)
        if self.admin_comment:
            before = evidence.account.comment if evidence.account else ""
            doors.accounting.comment(evidence.label, joined(before, comment_text(evidence)))
        if not evidence.is_final:
            site.warn(f"{evidence.running} instance(s) of job {evidence.label} still run: its cost is not final")
        return written

    def _charge(self, evidence: Evidence) -> list[Path]:
        """Write what the budget service imports, once nothing of it can change: it charges whatever it is given."""
        from asbx.daemon.outbox import Outbox

        if not evidence.is_final:
            return []
        try:
            return [Outbox(self.config.paths.spool).write(*cost_file(evidence))]
        except AsbxError as error:
            site.warn(f"{error.what}: {error.why}")
            return []


@contextmanager
def past_doors(settings: Config) -> Iterator[PastDoors]:
    """Open what is asked about a job. A ledger that cannot be read leaves only what it alone knows unsaid."""
    from asbx.daemon.clock import RealClock
    from asbx.flow.learn import PastDoors
    from asbx.ledger.store import open_ledger
    from asbx.slurm.process import SlurmCommands
    from asbx.slurm.sacct import Sacct
    from asbx.slurm.scontrol import Slurm

    commands = SlurmCommands(settings.slurm.bin_path, settings.slurm.config_path)
    slurm = Slurm(commands)
    ledger, trouble = None, None
    try:
        ledger = open_ledger(settings.ledger_url, migrate=False)
    except LedgerError as error:
        trouble = error
    try:
        yield PastDoors(
            config=settings,
            accounting=Sacct(commands),
            scheduler=slurm,
            launches=ledger,
            costs=ledger,
            clock=RealClock(),
            version=__version__,
            slurm=_version(slurm),
            no_ledger=trouble,
            on_demand=_on_demand(ledger),
        )
    finally:
        if ledger is not None:
            ledger.close()


def _on_demand(ledger: SqlLedger | None) -> OnDemand:
    """Return what tells prices on demand, as the ledger has them."""
    from asbx.model.market import Market

    def price(instance_type: str, at: datetime) -> Decimal | None:
        if ledger is None:
            return None
        found = ledger.price_changes(at, at, instance_types=[instance_type], markets=[Market.ON_DEMAND])
        return found[-1].usd if found else None

    return price


def _version(slurm: Slurm) -> str:
    try:
        major, minor = slurm.version()
    except SlurmError:
        return ""
    return f"{major}.{minor:02d}" if major else ""


def _job(text: str | None) -> str:
    from asbx.slurm.sacct import JOB

    if text is None or not JOB.fullmatch(text):
        what = "--job-id is missing" if text is None else f"{text[:60]!r} is no job"
        raise UsageError("usage", what, "", "name one job: 1234, a task 1234_5, a component 1234+1")
    return text
