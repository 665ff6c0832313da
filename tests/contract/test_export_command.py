"""`aws-slurm-burst-export-performance` over a real ledger and a stand-in that prints what a real sacct printed."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON
from tests.fakes.site import config

from asbx.cli.main import main
from asbx.ledger.store import SqlLedger, open_ledger

RECORDED = Path(__file__).parent.parent / "recorded" / "sacct"
SACCT = f"""#!/bin/sh
for word in "$@"; do
  case $word in
    --delimiter=*) mark=${{word#*=}} ;;
    [0-9]*) job=$word ;;
  esac
done
case $job in
  1) sed "s/@|@/$mark/g" {RECORDED}/mpi.txt ;;
  2*) sed "s/@|@/$mark/g" {RECORDED}/array.txt ;;
esac
"""
SACCTMGR = """#!/bin/sh
printf '%s\\n' "$@" >"$(dirname "$0")/sacctmgr.said"
"""
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write a configuration, a slurm.conf, and Slurm's commands that replay what real ones said."""
    raw = config(tmp_path).model_dump(mode="json", exclude_defaults=True)
    raw["slurm"] |= {"bin_path": str(tmp_path), "config_path": str(tmp_path / "slurm.conf")}
    raw["learning"] = {"output_dir": str(tmp_path / "out")}
    raw["cost"] = {"minimum_seconds": 0}
    for name, text in (
        ("aws-burst.yaml", json.dumps(raw)),
        ("slurm.conf", ""),
        ("sacct", SACCT),
        ("sacctmgr", SACCTMGR),
        ("scontrol", "#!/bin/sh\necho slurm-wlm 22.05.8\n"),
        ("squeue", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "aws-burst.yaml"


@pytest.fixture
def ledger(settings: Path) -> Iterator[SqlLedger]:
    """Fill a ledger with two instances for job 1, gone after an hour."""
    with closing(open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")) as opened:
        opened.add_request(samples.request())
        opened.add_intent(samples.intent())
        rows = [replace(samples.instance_row(name, jobs=(1,)), user="ada") for name in ("i-1", "i-2")]
        opened.answer_attempt(samples.attempt(), rows)
        nodes = samples.node_names(2)
        opened.bind([(node, samples.instance(one.instance_id)) for node, one in zip(nodes, rows, strict=True)], NOON)
        opened.register(nodes, NOON + timedelta(seconds=40))
        opened.end_instances(["i-1", "i-2"], "its node was powered down", NOON + timedelta(hours=1))
        yield opened


@pytest.fixture
def export(settings: Path, ledger: SqlLedger, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; return exit status, its JSON, and what it said beside."""
    assert ledger

    def call(*words: str, command: str = "export-performance") -> tuple[int, Any, str]:
        status = main([command, *words, "--json", "--config", str(settings)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, json.loads(out) if out else json.loads(err.splitlines()[-1]), err

    return call


def test_every_format_has_its_file(export: Run, tmp_path: Path) -> None:
    """Four formats, documented names, mode 0600, in a folder of one's own; nothing else is left there."""
    names = {
        "asba-learning": "job-1-performance.json",
        "json": "job-1-performance.json",
        "slurm-comment": "job-1-comment.txt",
        "asbb-reconciliation": "job-1-asbb-reconciliation.json",
    }
    for form, name in names.items():
        status, answer, err = export("--job-id", "1", "--format", form)
        assert (status, err, answer["provisional"]) == (0, "", False)
        assert answer["files"][0] == str(tmp_path / "out" / name)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names.values())
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    made = json.loads((tmp_path / "out" / "job-1-performance.json").read_text())
    assert made["execution_context"]["slurm_version"] == "22.05"
    assert made["aws_performance_metrics"]["instance_launch_times"] == ["40s", "40s"]


def test_the_charge_equals_the_bill(export: Run, tmp_path: Path) -> None:
    """What the budget service imports is what `asbx cost` says, and lies where its epilog looks."""
    _, answer, _ = export("--job-id", "1", "--format", "asbb-reconciliation", "--output-dir", str(tmp_path / "b"))
    charge, cost = (json.loads(Path(one).read_text(), parse_float=Decimal) for one in answer["files"])
    assert answer["files"][1] == str(tmp_path / "spool" / "job_1_cost.json")
    _, bill, _ = export("--job", "1", command="cost")
    assert charge["actual_cost"] == cost["actual_cost"] == Decimal(bill["total_usd"])
    assert (cost["slurm_job_id"], cost["burst_decision"], cost["job_state"]) == ("1", "AWS", "COMPLETED")


def test_a_cost_that_is_not_final_is_not_handed_over(export: Run, ledger: SqlLedger, tmp_path: Path) -> None:
    """While an instance runs the file says provisional, and nothing lies where it would be charged."""
    ledger.answer_attempt(samples.attempt(), [samples.instance_row("i-3", jobs=(1,))])
    status, answer, err = export("--job-id", "1", "--format", "asbb-reconciliation")
    assert status == 0
    assert answer["provisional"]
    assert len(answer["files"]) == 1
    assert json.loads(Path(answer["files"][0]).read_text())["provisional"]
    assert "1 instance(s) of job 1 still run: its cost is not final" in err
    assert not list((tmp_path / "spool").glob("job_*"))


def test_anonymous_documents_share_a_key(export: Run, tmp_path: Path) -> None:
    """The key is made once, for its owner only; nobody's name, job or node is in the document."""
    export("--job-id", "1", "--anonymize")
    first = json.loads((tmp_path / "out" / "job-1-performance.json").read_text())
    key = tmp_path / "state" / "learning.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = key.read_bytes()
    export("--job-id", "1", "--anonymize")
    text = (tmp_path / "out" / "job-1-performance.json").read_text()
    assert json.loads(text)["job_metadata"]["user_id"] == first["job_metadata"]["user_id"]
    assert key.read_bytes() == made
    assert not [name for name in ('"ada"', "physics", "ocean", "aws-cpu", "i-1", '"1"') if name in text]


@pytest.mark.parametrize("spoil", ["open", "short", "link"])
def test_a_key_that_is_no_secret_is_refused(export: Run, tmp_path: Path, spoil: str) -> None:
    """A key others read, a broken one or a link makes no pseudonyms."""
    key = tmp_path / "state" / "learning.key"
    key.write_text("ab" * (32 if spoil != "short" else 3))
    key.chmod(0o644 if spoil == "open" else 0o600)
    if spoil == "link":
        key.rename(tmp_path / "elsewhere")
        key.symlink_to(tmp_path / "elsewhere")
    status, answer, _ = export("--job-id", "1", "--anonymize")
    assert (status, answer["error"]["code"]) == (3, "site-key")


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("--job-id", "99"), 2, "job-unknown"),
        (("--job-id", "1; rm -rf /"), 2, "usage"),
        (("--job-id", "-5"), 2, "usage"),
        (("--job-id", "٣"), 2, "usage"),
        ((), 2, "usage"),
        (("--job-id", "1", "--format", "xml"), 2, "format"),
        (("--job-id", "1", "--format", "asbb-reconciliation", "--anonymize"), 2, "anonymous-charge"),
        (("--job-id", "1", "--output-dir", "/proc/nowhere"), 3, "output-dir"),
    ],
)
def test_what_cannot_be_done_is_said(export: Run, words: tuple[str, ...], status: int, code: str) -> None:
    """One error with its code, and the status it stands for."""
    found, answer, _ = export(*words)
    assert (found, answer["error"]["code"]) == (status, code)


def test_a_task_of_an_array(export: Run, tmp_path: Path) -> None:
    """A task is exported under the name users know; one that nothing was launched for cost nothing."""
    status, answer, _ = export("--job-id", "2_2")
    assert (status, answer["job_id"]) == (0, "2_2")
    made = json.loads((tmp_path / "out" / "job-2_2-performance.json").read_text())
    assert made["job_metadata"]["actual_execution"]["error_details"] == "FAILED, exit code 1, signal 0"
    assert made["cost_analysis"]["total_cost_usd"] == 0
    assert "launched for other jobs" in made["notes"]["cost_analysis.total_cost_usd"]


def test_the_comment_goes_behind_what_is_there(export: Run, tmp_path: Path) -> None:
    """Only on demand is AdminComment touched, and then with one call that names the job."""
    export("--job-id", "1", "--format", "slurm-comment")
    assert not (tmp_path / "sacctmgr.said").exists()
    export("--job-id", "1", "--format", "slurm-comment", "--admin-comment")
    said = (tmp_path / "sacctmgr.said").read_text().splitlines()
    assert said[:6] == ["-i", "modify", "job", "where", "jobid=1", "set"]
    assert said[6].startswith('admincomment=aws_meta:{"cost":')


def test_no_ledger_no_cost(export: Run, ledger: SqlLedger, tmp_path: Path) -> None:
    """Without a ledger the document has what accounting knows; a charge is refused with the ledger's status."""
    ledger.close()
    (tmp_path / "state" / "ledger.db").unlink()
    status, _, _ = export("--job-id", "1")
    made = json.loads((tmp_path / "out" / "job-1-performance.json").read_text())
    assert (status, made["cost_analysis"]["total_cost_usd"]) == (0, None)
    status, answer, _ = export("--job-id", "1", "--format", "asbb-reconciliation")
    assert (status, answer["error"]["code"]) == (10, "ledger-unread")


def test_noted_jobs_are_exported_and_old_documents_go(export: Run, tmp_path: Path) -> None:
    """The notes are worked off; documents older than the stated time are deleted, and nothing else is."""
    due, out = tmp_path / "spool" / "learning", tmp_path / "out"
    due.mkdir(parents=True)
    out.mkdir()
    for name in ("1", ".works", "notes.txt", "..%2f"):
        (due / name).touch()
    long_ago = time.time() - 31 * 86400
    for name in ("job-7-performance.json", "job-8-comment.txt", ".job-9-performance.json.x1", "mine.json"):
        (out / name).touch()
        os.utime(out / name, (long_ago, long_ago))
    (out / "job-6-performance.json").symlink_to(tmp_path / "aws-burst.yaml")
    (out / "job-5-performance.json").touch()
    status, answer, _ = export(command="export-due")
    assert (status, answer) == (0, {"exported": ["1"], "failed": {}, "removed": 3})
    assert {one.name for one in out.iterdir()} == {
        *("mine.json", "job-1-performance.json", "job-5-performance.json", "job-6-performance.json")
    }
    assert {one.name for one in due.iterdir()} == {".works", "notes.txt", "..%2f"}
