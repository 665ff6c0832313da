"""`asbx cost`, `asbx events` and `asbx nodes` over a real ledger, from the command line to the exit status."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples

from asbx.cli.main import main
from asbx.cli.reading import moment_of
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.event import Event, EventKind

CONFIG = """
aws: {{region: us-east-2}}
paths: {{state: {folder}}}
slurm:
  partitions:
    - partition_name: aws
      node_groups:
        - node_group_name: cpu
          max_nodes: 10
          region: us-east-2
          launch_template_specification: {{launch_template_name: nodes}}
          launch_template_overrides: [{{instance_type: c7i.large}}]
          subnet_ids: [subnet-a]
"""
NOW = datetime.now(UTC)
BEGUN = NOW - timedelta(hours=2)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Write a configuration whose ledger lies beside it."""
    file = tmp_path / "aws-burst.yaml"
    file.write_text(CONFIG.format(folder=tmp_path))
    return str(file)


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    """Fill a ledger: job 12 on two nodes, one released; an instance wasted; one without a price."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        fill(opened)
        yield opened


def fill(ledger: SqlLedger) -> None:
    """Record a burst that began two hours ago."""
    ledger.add_intent(samples.intent())
    rows = [
        samples.instance_row("i-1", launched_at=BEGUN, price=Decimal("3.60")),
        samples.instance_row("i-2", launched_at=BEGUN, price=Decimal("3.60")),
        samples.instance_row("i-waste", launched_at=BEGUN, price=Decimal("1.00")),
        samples.instance_row("i-free", launched_at=BEGUN, price=None),
    ]
    ledger.answer_attempt(samples.attempt(), rows)
    pairs = [(f"aws-cpu-00{n}", samples.instance(f"i-{n}", launched_at=BEGUN)) for n in (1, 2)]
    ledger.bind(pairs, BEGUN + timedelta(seconds=9))
    ledger.release(["aws-cpu-002"], BEGUN + timedelta(hours=1))
    ledger.end_instances(["i-2", "i-waste", "i-free"], "suspended", BEGUN + timedelta(hours=1))
    ledger.add_event(Event(EventKind.NODE_BOUND, "aws-cpu-001\nis i-1", job_id=12, node="aws-cpu-001"), BEGUN)
    ledger.add_event(Event(EventKind.PASS_FAILED, "EC2 is away", level="error", request_id="r-2"), NOW)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command line; return its status, answer and complaint."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.usefixtures("ledger")
def test_cost_for_machines(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The keys of the contract, USD as strings that add up, the unknown price listed and not guessed."""
    status, out, _ = run(capsys, "cost", "--json", "--config", config)
    answer = json.loads(out)
    assert status == 0
    assert {"period", "total_usd", "jobs", "idle_usd", "waste_usd", "instances"} <= answer.keys()
    (job,) = answer["jobs"]
    assert (job["job_id"], job["user"], job["account"], job["partition"]) == (12, "ada", "physics", "aws")
    assert answer["waste_usd"] == "1.00"
    assert answer["idle_usd"] == "0.00"
    assert answer["unpriced"] == ["i-free"]
    spent = sum(Decimal(each["usd"]) for each in answer["instances"] if each["usd"] is not None)
    assert Decimal(answer["total_usd"]) == spent == Decimal(job["usd"]) + Decimal("1.00")
    ended = next(each for each in answer["instances"] if each["id"] == "i-2")
    assert (ended["type"], ended["market"], ended["seconds"], ended["usd"]) == ("c7i.large", "on-demand", 3600, "3.60")


@pytest.mark.usefixtures("ledger")
def test_cost_for_people(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with job, idle, waste and total, and a word on what is not in it; nothing is cut in a pipe."""
    status, out, _ = run(capsys, "cost", "--config", config)
    assert status == 0
    for word in ("ada", "physics", "idle", "waste", "total", "1.0000", "i-free", "1 instance(s) still running"):
        assert word in out
    assert "…" not in out


@pytest.mark.usefixtures("ledger")
def test_cost_of_a_job_and_a_period(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A job nobody launched for costs nothing; a period counts its own seconds only."""
    _, out, _ = run(capsys, "cost", "--json", "--job", "99", "--config", config)
    assert (json.loads(out)["total_usd"], json.loads(out)["jobs"]) == ("0.00", [])
    since = (BEGUN + timedelta(minutes=30)).isoformat()
    _, out, _ = run(capsys, "cost", "--json", "--since", since, "--config", config)
    answer = json.loads(out)
    assert answer["waste_usd"] == "0.50"
    assert datetime.fromisoformat(answer["period"]["since"]) == BEGUN + timedelta(minutes=30)


@pytest.mark.usefixtures("ledger")
def test_nodes(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only nodes with an instance behind them, with its kind, price and time."""
    _, out, _ = run(capsys, "nodes", "--json", "--config", config)
    (node,) = json.loads(out)["nodes"]
    assert (node["node"], node["instance"], node["type"], node["zone"]) == (
        "aws-cpu-001",
        "i-1",
        "c7i.large",
        "us-east-2a",
    )
    assert (node["market"], node["price"], node["jobs"]) == ("on-demand", "3.60", [12])
    assert datetime.fromisoformat(node["since"]) == BEGUN + timedelta(seconds=9)
    _, out, _ = run(capsys, "nodes", "--config", config)
    assert "aws-cpu-001" in out
    assert "aws-cpu-002" not in out


def test_a_bound_instance_without_a_record_is_shown(
    ledger: SqlLedger, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not known of an instance is null, and the node is listed all the same."""
    ledger.bind([("aws-cpu-009", samples.instance("i-stranger"))], NOW)
    _, out, _ = run(capsys, "nodes", "--json", "--config", config)
    node = json.loads(out)["nodes"][1]
    assert (node["instance"], node["type"], node["price"]) == ("i-stranger", None, None)
    assert run(capsys, "nodes", "--config", config)[0] == 0


@pytest.mark.usefixtures("ledger")
def test_events(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line an event, oldest first, errors loud; filters by job, node and request."""
    _, out, _ = run(capsys, "events", "--config", config)
    first, second = out.splitlines()
    assert first.endswith("node-bound         aws-cpu-001 is i-1")
    assert second.endswith("pass-failed        ERROR EC2 is away")
    for filtered in (("--job", "12"), ("--node", "aws-cpu-001")):
        _, out, _ = run(capsys, "events", "--json", *filtered, "--config", config)
        assert [event["kind"] for event in json.loads(out)["events"]] == ["node-bound"]
    _, out, _ = run(capsys, "events", "--json", "--request", "r-2", "--config", config)
    assert [event["text"] for event in json.loads(out)["events"]] == ["EC2 is away"]


def test_events_by_kind_level_and_time(ledger: SqlLedger, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters narrow each other; what does not exist is a usage error that names what does."""
    several = Event(EventKind.LAUNCH_ASKED, "for two", jobs=(12, 13), data={"nodes": "aws-cpu-[001-002]"})
    ledger.add_event(several, NOW)

    def texts(*filters: str) -> list[str]:
        _, out, _ = run(capsys, "events", "--json", *filters, "--config", config)
        return [event["text"] for event in json.loads(out)["events"]]

    assert texts("--kind", "pass-failed", "--kind", "plan-note") == ["EC2 is away"]
    assert texts("--level", "warning") == ["EC2 is away"]
    assert texts("--since", NOW.isoformat()) == ["EC2 is away", "for two"]
    assert texts("--job", "13") == ["for two"]
    assert texts("--node", "aws-cpu-002") == ["for two"]
    assert texts("--node", "aws-cpu-00") == []
    for wrong in (("--kind", "launch"), ("--level", "loud"), ("--since", "soon")):
        assert run(capsys, "events", *wrong, "--config", config)[0] == 2


@pytest.mark.timeout(60)
def test_events_are_followed(ledger: SqlLedger, config: str) -> None:
    """What is written by another process appears; Ctrl-C ends it without a word."""
    command = [sys.executable, "-m", "asbx", "events", "--follow", "--json", "--job", "77", "--config", config]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        seen: list[str] = []
        for number in range(2):
            ledger.add_event(Event(EventKind.PLAN_NOTE, f"note {number}", job_id=77), NOW)
            seen.append(json.loads(follower.stdout.readline())["text"])
        follower.send_signal(signal.SIGINT)
        assert (follower.wait(20), follower.stderr.read()) == (130, "")
    assert seen == ["note 0", "note 1"]


def test_nodes_by_group_and_state(ledger: SqlLedger, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By node group, with or without partition; while Slurm does not answer no node is in any state."""
    del ledger
    for group, count in (("cpu", 1), ("aws-cpu", 1)):
        _, out, _ = run(capsys, "nodes", "--json", "--group", group, "--config", config)
        assert len(json.loads(out)["nodes"]) == count
    _, out, _ = run(capsys, "nodes", "--state", "idle", "--config", config)
    assert out.strip() == "No node with an instance is like that."
    assert run(capsys, "nodes", "--state", "happy", "--config", config)[0] == 2
    assert run(capsys, "nodes", "--group", "gpu", "--config", config)[0] == 2


def test_status_shows_shortages(ledger: SqlLedger, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line beside the rest; with --shortages the pools; for machines both."""
    assert "EC2 has refused none" in run(capsys, "status", "--shortages", "--config", config)[1]
    until = NOW + timedelta(minutes=9)
    ledger.change_shortage("quota/spot/standard", lambda _: replace(samples.shortage(), closed_until=until))
    status, out, _ = run(capsys, "status", "--config", config)
    assert status == 0
    assert "shortages  1 pool(s) closed" in out
    assert "quota standard" in run(capsys, "status", "--shortages", "--config", config)[1]
    (short,) = json.loads(run(capsys, "status", "--json", "--config", config)[1])["shortages"]
    assert (short["key"], short["state"]) == ("quota/spot/standard", "closed")
    assert datetime.fromisoformat(short["closed_until"]) == until


@pytest.mark.parametrize("command", ["cost", "nodes", "events"])
def test_no_ledger_yet(config: str, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first burst a reader says so with status 10 and creates nothing."""
    status, out, err = run(capsys, command, "--json", "--config", config)
    assert (status, out) == (10, "")
    assert json.loads(err)["error"]["code"] == "ledger-missing"
    assert not (tmp_path / "ledger.db").exists()


def test_a_time_that_is_none(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped time is a usage error that shows how to write one."""
    status, _, err = run(capsys, "cost", "--since", "yesterday", "--config", config)
    assert status == 2
    assert "2026-03-01" in err


def test_a_time_without_a_zone_is_utc() -> None:
    """A date means midnight where the log and the ledger are: in UTC. A span means so long ago."""
    assert moment_of("2026-03-01", NOW) == datetime(2026, 3, 1, tzinfo=UTC)
    assert moment_of("2026-03-01T01:00:00+01:00", NOW) == datetime(2026, 3, 1, tzinfo=UTC)
    assert moment_of("90m", NOW) == NOW - timedelta(minutes=90)


@pytest.mark.usefixtures("ledger")
def test_cost_by_what_one_asks_for(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums by several things at once are the whole bill; whose it is can be narrowed; days are whole."""
    whole = json.loads(run(capsys, "cost", "--json", "--config", config)[1])
    year = str(BEGUN.year)
    for asked in (
        ("--by", "account", "--by", "market"),
        ("--by", "day"),
        ("--period", year),
        ("-p", year, "-b", "job"),
    ):
        status, out, _ = run(capsys, "cost", "--json", *asked, "--config", config)
        answer = json.loads(out)
        assert status == 0
        assert answer["waste_usd"] == whole["waste_usd"]
        # The clock goes on between two looks: what lives costs a little more.
        assert Decimal(answer["total_usd"]) >= Decimal(whole["total_usd"])
        assert sum(Decimal(row["usd"]) for row in answer["rows"]) == Decimal(answer["total_usd"])
    rows = json.loads(run(capsys, "cost", "--json", "--user", "ada", "--config", config)[1])["rows"]
    assert [row["job"] for row in rows] == ["12"]
    assert json.loads(run(capsys, "cost", "--json", "-A", "bio", "--config", config)[1])["rows"] == []
    _, out, _ = run(capsys, "cost", "--period", year, "--by", "account", "--config", config)
    for word in ("ACCOUNT", "physics", "WASTE", "1.0000", "borne by jobs", "waste 1.00 USD", "i-free"):
        assert word in out
    assert "job 99" in run(capsys, "cost", "--job", "99", "--config", config)[1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--by", "colour"), "colour"),
        (("--period", "2026-13"), "2026-13"),
        (("--period", "2026-03-09..2026-03-01"), "no period"),
        (("--period", "0d"), "no period"),
        (("--period", "99999y"), "no period"),
        (("--period", "30d", "--job", "7"), "whole days"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_cost_asked_wrongly(
    config: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], word: str
) -> None:
    """Said with what would be right."""
    status, _, err = run(capsys, "cost", *arguments, "--config", config)
    assert status == 2
    assert word in err
