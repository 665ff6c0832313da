"""`asbx submit` with a stand-in for sbatch on PATH: what it is given, and what of it comes through."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.clock import FakeClock
from tests.fakes.site import config, group

from asbx.cli.main import main
from asbx.cli.submission import Weigher
from asbx.config.schema import Config
from asbx.daemon.guard import make_folders
from asbx.daemon.plan_folder import PlanFolder
from asbx.decide.script.sbatch import read
from asbx.errors import ExitCode, LimitError
from asbx.model.market import Market
from asbx.model.plan import parse_plan

MPI = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --time=60
mpirun ./ocean
"""
# It keeps what it was given, and answers what the test says.
SBATCH = """#!/bin/sh
here=$(dirname "$0")
for word in "$@"; do printf '%s\\n' "$word"; done >"$here/words"
env >"$here/environ"
cat >"$here/stdin" </dev/stdin
ls "$here/../spool/plans" >"$here/plans" 2>/dev/null
cat "$here/err" >&2 2>/dev/null
cat "$here/out"
exit $(cat "$here/status")
"""


class Site:
    """A site in a folder: configuration, plans folder and sbatch."""

    def __init__(self, root: Path, **policy: Any) -> None:
        self.root, self.bin = root, root / "bin"
        self.plans = root / "spool" / "plans"
        self.bin.mkdir()
        raw = config(root).model_dump(mode="json", exclude_defaults=True)
        # Nobody listens there: what AWS would say is not known, and is told to be so.
        raw["aws"] |= {
            "endpoint_url": "http://127.0.0.1:1",
            "authentication_method": "access_keys",
            "access_keys": {"access_key_id": "a", "secret_access_key": "b"},
        }
        raw["slurm"]["partitions"][0]["node_groups"] = [group("cpu", 100, purchasing_option="mixed")]
        raw["slurm"]["suspend_time"], raw["slurm"]["resume_timeout"] = 360, 360
        raw["policy"] = policy
        self.config = root / "aws-burst.yaml"
        self.config.write_text(json.dumps(raw), encoding="utf-8")
        self.settings = Config.model_validate(raw)
        make_folders(self.settings)
        self.script = root / "job.sh"
        self.script.write_text(MPI, encoding="utf-8")
        program = self.bin / "sbatch"
        program.write_text(SBATCH, encoding="utf-8")
        program.chmod(0o755)
        self.answers("Submitted batch job 7\n")

    def answers(self, out: str, status: int = 0, err: str = "") -> None:
        """Say what sbatch will answer."""
        for name, text in (("out", out), ("status", str(status)), ("err", err)):
            (self.bin / name).write_text(text, encoding="utf-8")

    @property
    def words(self) -> list[str] | None:
        """Return what sbatch was given, None where it was not called."""
        path = self.bin / "words"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else None

    def left(self) -> list[str]:
        """Return the files of the plans folder."""
        return sorted(one.name for one in self.plans.iterdir())


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Return a maker of the site, which is then the one of the environment."""

    def made(**policy: Any) -> Site:
        one = Site(tmp_path, **policy)
        for name in [name for name in os.environ if name.startswith(("SBATCH_", "SLURM_", "ASBA_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", f"{one.bin}:/usr/bin:/bin")
        monkeypatch.setenv("ASBX_CONFIG", str(one.config))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.chdir(tmp_path)
        return one

    return made


def test_a_plan_lies_there_before_sbatch_is_called(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    """The user's words come through in their order after the comment; stdout is sbatch's."""
    site = make()
    assert main(["submit", "-N", "2", "-J", "--json", "--unknown=1", str(site.script), "one", "two words"]) == 0
    comment, *words = site.words or []
    assert words == ["-N", "2", "-J", "--json", "--unknown=1", str(site.script), "one", "two words"]
    name = comment.removeprefix("--comment=asbx:plan=")
    assert (site.bin / "plans").read_text(encoding="utf-8").split() == [f"{name}.json"] == site.left()
    file = PlanFolder(site.plans, frozenset()).read(name)
    assert file is not None
    assert not file.trouble
    plan = parse_plan(file.text)
    assert (plan.is_mpi, plan.is_gang, plan.placement, plan.node_count) == (True, True, "cluster", 2)
    assert not plan.unknown
    assert not plan.needs_efa
    said = capfd.readouterr()
    assert said.out == "Submitted batch job 7\n"
    assert "mpirun starts the program" in said.err
    assert "--unknown=1 is no option this program knows" in said.err
    assert "not known: 2 node(s) at a price that is not known" in said.err


def test_sbatch_has_the_last_word(make: Callable[..., Site], capfd: pytest.CaptureFixture[str]) -> None:
    """Its exit status and its stderr come through, and no plan stays behind for a job that is none."""
    site = make()
    site.answers("", 3, "sbatch: error: invalid partition\n")
    assert main(["submit", str(site.script)]) == 3
    said = capfd.readouterr()
    assert said.out == ""
    assert "sbatch: error: invalid partition" in said.err
    assert site.left() == []


def test_a_users_comment_is_kept_and_the_plan_put_under_the_id(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    """The words are exactly the user's; the file has the id of sbatch's answer."""
    site = make()
    site.answers("4711;west\n")
    assert main(["submit", "--parsable", "--comment=mine", str(site.script)]) == 0
    assert site.words == ["--parsable", "--comment=mine", str(site.script)]
    assert site.left() == ["4711.json"]
    assert capfd.readouterr().out == "4711;west\n"


def test_nothing_is_submitted_in_a_dry_run(make: Callable[..., Site], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither sbatch nor the plans folder sees anything; the line that would run is shown."""
    site = make()
    assert main(["submit", "--dry-run", "-N", "2", str(site.script)]) == 0
    out = capsys.readouterr().out
    assert "would run  sbatch --comment=asbx:plan=submit-" in out
    assert out.endswith("nothing was submitted\n")
    assert main(["submit", "--dry-run", "--json", str(site.script)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["submitted"] is False
    assert facts["plan"]["attached"] == "named"
    assert facts["components"][0]["groups"][0]["group"] == "aws-cpu"
    assert site.words is None
    assert site.left() == []


def test_what_the_policy_refuses_is_not_submitted(
    make: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    """The rule is named, the exit status says `plan`, and sbatch is not called; a job within it passes."""
    site = make(rules=[{"name": "small", "max_nodes": 2}])
    assert main(["submit", "-N3", str(site.script)]) == ExitCode.PLAN
    assert "nodes '3' is not allowed by rule 'small': max_nodes 2" in capsys.readouterr().err
    plan = site.root / "plan.json"
    plan.write_text(json.dumps({"should_burst": True, "instance_specification": {"subnet_ids": ["subnet-x"]}}))
    assert main(["submit", "--plan", str(plan), str(site.script)]) == ExitCode.PLAN
    assert "subnet_ids 'subnet-x' is not allowed" in capsys.readouterr().err
    assert site.words is None
    assert site.left() == []
    assert main(["submit", "-N2", str(site.script)]) == 0


def test_rules_narrow_the_analyzers_plan_and_do_not_refuse_it(make: Callable[..., Site]) -> None:
    """Types and markets are chosen among those the policy leaves, so the daemon finds nothing to refuse."""
    site = make(rules=[{"name": "od", "instance_types": ["m7i.*"], "purchasing_options": ["on-demand"]}])
    site.script.write_text("#!/bin/sh\n#SBATCH -N1 -t 10\n./one\n", encoding="utf-8")
    assert main(["submit", str(site.script)]) == 0
    (name,) = site.left()
    plan = parse_plan((site.plans / name).read_text(encoding="utf-8"))
    assert plan.instance_types == ("m7i.large",)


def test_a_given_plan_is_attached_as_it_is(make: Callable[..., Site], capsys: pytest.CaptureFixture[str]) -> None:
    """Its text is copied, not read and written anew; one that says not to burst submits nothing."""
    site = make()
    plan = site.root / "plan.json"
    plan.write_text('{"should_burst": true,   "odd": 1}', encoding="utf-8")
    assert main(["submit", f"--plan={plan}", str(site.script)]) == 0
    (name,) = site.left()
    assert (site.plans / name).read_text(encoding="utf-8") == plan.read_text(encoding="utf-8")
    plan.write_text('{"should_burst": false}', encoding="utf-8")
    (site.bin / "words").unlink()
    assert main(["submit", f"--plan={plan}", str(site.script)]) == ExitCode.PLAN
    assert "should_burst=false" in capsys.readouterr().err
    assert site.words is None


def test_the_advisors_variables_are_a_plan(make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are attached where no plan is named; without the one that says whether to burst they are none."""
    site = make()
    monkeypatch.setenv("ASBA_PURCHASING_OPTION", "on-demand")
    monkeypatch.setenv("ASBA_SHOULD_BURST", "true")
    assert main(["submit", str(site.script)]) == 0
    (name,) = site.left()
    plan = parse_plan((site.plans / name).read_text(encoding="utf-8"))
    assert (plan.dialect, plan.markets) == ("environment", (Market.ON_DEMAND,))


def test_without_a_way_to_the_plans_folder_there_are_hints(
    make: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    """A login node without the spool: what hints can say is in the comment, and a plan that was given is refused."""
    site = make()
    site.plans.rmdir()
    assert main(["submit", "--time=5:00:00", str(site.script)]) == 0
    assert (site.words or [])[0] == "--comment=asbx:market=on-demand,placement=cluster"
    assert "no plan, but hints" in capsys.readouterr().err
    plan = site.root / "plan.json"
    plan.write_text('{"should_burst": true}', encoding="utf-8")
    assert main(["submit", "--plan", str(plan), str(site.script)]) == ExitCode.PLAN
    assert "is not there for this user" in capsys.readouterr().err


def test_without_a_configuration_it_is_sbatch_with_hints(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not known is said; one that is named and not there is an error."""
    site = make()
    monkeypatch.delenv("ASBX_CONFIG")
    assert main(["submit", str(site.script)]) == 0
    assert "neither its policy nor a price is known" in capsys.readouterr().err
    assert (site.words or [])[0] == "--comment=asbx:placement=cluster"
    assert main(["submit", "--config", "/nonexistent", str(site.script)]) == ExitCode.CONFIG


def test_where_scripts_come_from(make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """From stdin, from --wrap, with variables of the environment: sbatch gets the same, whoever read it first."""
    site = make()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MPI.encode())))
    monkeypatch.setenv("SBATCH_TIMELIMIT", "10")
    assert main(["submit", "-N2"]) == 0
    assert (site.bin / "stdin").read_text(encoding="utf-8") == MPI
    assert "SBATCH_TIMELIMIT=10" in (site.bin / "environ").read_text(encoding="utf-8").splitlines()
    assert main(["submit", "-n2", "--wrap", "srun ./a b"]) == 0
    assert (site.words or [])[1:] == ["-n2", "--wrap", "srun ./a b"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--version"], 0),
        (["-N1", ":", "-N2", "job.sh"], 0),
        (["-p", "local", "job.sh"], 0),
        (["--test-only", "job.sh"], 0),
        (["--comment=asbx:plan=other", "job.sh"], 0),
        (["--array=1-9", "--comment=mine", "job.sh"], 0),
        (["nowhere.sh"], 0),
    ],
)
def test_what_has_no_plan_goes_through_untouched(make: Callable[..., Site], words: list[str], status: int) -> None:
    """Questions to sbatch, heterogeneous jobs, other partitions, tests, own plans, scripts only sbatch can judge."""
    site = make()
    assert main(["submit", *words]) == status
    assert site.words == words
    assert site.left() == []


def test_json_has_all_of_it(make: Callable[..., Site], capfd: pytest.CaptureFixture[str]) -> None:
    """One object on stdout, sbatch's answer in it."""
    site = make()
    assert main(["submit", "--json", str(site.script)]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["submitted"], facts["job_id"], facts["sbatch"]["status"]) == (True, 7, 0)
    assert facts["sbatch"]["stdout"] == "Submitted batch job 7\n"
    assert facts["components"][0]["groups"][0]["estimate"]["usd"] is None


def test_the_estimate_has_boot_limit_and_idle_time(make: Callable[..., Site]) -> None:
    """The dearest type on demand for the longest course, and spot at today's price where spot is tried first."""
    site = make()
    told = {("c7i.large", Market.ON_DEMAND): "0.10", ("m7i.large", Market.ON_DEMAND): "0.20"}
    told |= {("c7i.large", Market.SPOT): "0.05", ("m7i.large", Market.SPOT): "0.05"}

    def price(kind: str, zone: str, market: Market) -> Decimal | None:
        del zone
        return Decimal(told[kind, market])

    job = read("#!/bin/sh\n#SBATCH -N2 --time=60 --array=1-3\n./one\n", (), {})
    (one,) = Weigher(site.settings, job, None, False, price, FakeClock().now()).components()
    assert one.cost is not None
    assert one.cost.nodes == 6
    assert one.cost.usd == Decimal("1.44")  # 6 x 0.20 x (0.1 + 1 + 0.1) h
    assert one.least == (Decimal("0.36"), Decimal("0.36"))


@pytest.mark.parametrize("hint", ["max-cost=0.01", "max-cost-per-hour=0.01"])
def test_more_than_the_job_may_cost_is_not_submitted(make: Callable[..., Site], hint: str) -> None:
    """A limit of the job's own words is held against the estimate; an unknown price refuses nothing."""
    site = make()
    job = read("#!/bin/sh\n#SBATCH -N2 --time=60\n./one\n", (f"--comment=asbx:{hint}",), {})
    now = FakeClock().now()
    with pytest.raises(LimitError) as raised:
        Weigher(site.settings, job, None, False, lambda *_: Decimal("0.2"), now).components()
    assert raised.value.exit_code == ExitCode.BUDGET
    assert hint.split("=", maxsplit=1)[0] in raised.value.why
    assert "2 node(s) x 0.2 USD/h" in raised.value.why
    (one,) = Weigher(site.settings, job, None, False, lambda *_: None, now).components()
    assert one.cost is not None
    assert one.cost.usd is None


def test_the_sites_table_serves_where_aws_is_silent(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    """Prices of a file the site keeps, said to be so; and its limits count."""
    site = make()
    table = site.root / "prices.json"
    rows = [{"instance_type": kind, "price": "0.2"} for kind in ("c7i.large", "m7i.large")]
    head = {"format": 1, "region": "us-east-2", "currency": "USD", "date": "2026-01-01T00:00:00Z", "source": "test"}
    table.write_text(json.dumps({**head, "prices": rows}), encoding="utf-8")
    raw = json.loads(site.config.read_text(encoding="utf-8"))
    raw["prices"] = {"file": str(table)}
    site.config.write_text(json.dumps(raw), encoding="utf-8")
    assert main(["submit", str(site.script)]) == 0
    said = capfd.readouterr().err
    assert "2 node(s) x 0.2 USD/h x (0.1 h boot + 1 h time limit + 0.1 h idle) = 0.48 USD" in said
    assert "AWS tells no prices here" in said
    (site.bin / "words").unlink()
    raw["limits"] = {"rules": [{"name": "small", "max_total_cost": "0.40"}]}
    site.config.write_text(json.dumps(raw), encoding="utf-8")
    assert main(["submit", str(site.script)]) == ExitCode.BUDGET
    assert "limit 'small'" in capfd.readouterr().err
    assert site.words is None
