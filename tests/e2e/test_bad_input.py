"""What people get wrong and what sites lack, through the real commands: one clear error each, and nothing half-done.

The machines of this lab never boot: what is launched, and what is not, is the point.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.cluster import Cluster, Said, cluster, run, until

pytestmark = pytest.mark.slurm

RESUME = "aws-slurm-burst-resume"


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab with a daemon up."""
    with cluster("--nodes", "12", "--no-machines") as one:
        yield one


@pytest.fixture(scope="module")
def alone(lab: Cluster) -> Cluster:
    """Stop the daemon, so that the command does the work itself, in its own environment."""
    lab.lab("daemon", "stop")
    return lab


def _typed(lab: Cluster, *words: str | Path, **environ: str) -> Said:
    """Run a command as a person does."""
    # Without HOME the programs take their caller for Slurm, which wants no answer.
    return run(words, lab.environ | {"HOME": str(lab.root)} | environ, cwd=lab.root)


def _told(said: Said, status: int, code: str, *words: str) -> None:
    """Check an error of ours: exit status, code, words, a way on, and no traceback."""
    assert said.status == status, said
    assert f"[{code}]" in said.err, said
    for word in words:
        assert word in said.err, said
    assert "  do: " in said.err, said
    assert "Traceback" not in said.err + said.out


def _config(lab: Cluster, name: str, **changes: Any) -> Path:
    """Write a copy of the lab's configuration in which some sections are others."""
    raw = yaml.safe_load((lab.root / "aws-burst.yaml").read_text(encoding="utf-8"))
    path = lab.root / name
    path.write_text(yaml.safe_dump(raw | changes), encoding="utf-8")
    return path


def _section(lab: Cluster, name: str) -> dict[str, Any]:
    raw: dict[str, dict[str, Any]] = yaml.safe_load((lab.root / "aws-burst.yaml").read_text(encoding="utf-8"))
    return raw[name]


def test_missing_configuration(lab: Cluster) -> None:
    """Exit status 3, and the path that was looked at."""
    _told(_typed(lab, RESUME, "aws-cpu-000", "--config=/nonexistent.yaml"), 3, "config-missing", "/nonexistent.yaml")


def test_invalid_configuration(lab: Cluster) -> None:
    """Exit status 3; the misspelt key with its line and the key that was meant."""
    (lab.root / "bad.yaml").write_text("aws:\n  regio: us-east-2\n", encoding="utf-8")
    _told(
        _typed(lab, RESUME, "aws-cpu-000", "--config=bad.yaml"), 3, "config-invalid", "bad.yaml:2", "did you mean reg"
    )


def test_json_errors_have_four_keys(lab: Cluster) -> None:
    """With --json an error on stderr is one object; where nodes were refused, stdout says which besides."""
    for words, status, code in (
        (["aws-cpu-000", "--config=/nonexistent.yaml"], 3, "config-missing"),
        (["aws-gpu-000", "--wait"], 2, "node-refused"),
    ):
        said = _typed(lab, RESUME, *words, "--json")
        assert said.status == status, said
        error = json.loads(said.err)["error"]
        assert set(error) == {"code", "what", "why", "hint"}
        assert error["code"] == code
        assert error["what"]
        assert error["hint"]
    assert json.loads(said.out)["failed"].keys() == {"aws-gpu-000"}


def test_unknown_group(lab: Cluster) -> None:
    """Exit status 2, and nothing is launched."""
    before = len(lab.instances())
    _told(
        _typed(lab, RESUME, "aws-gpu-[000-002]", "--wait"), 2, "node-refused", "no node group 'gpu'", "aws-gpu-[000-0"
    )
    assert len(lab.instances()) == before


def test_unknown_names_among_good_ones(lab: Cluster) -> None:
    """Exit status 9: the good ones start, each of the others is named with its reason."""
    said = _typed(lab, RESUME, "aws-cpu-[000-001],nonsense,aws-gpu-7,aws-cpu-999", "--wait")
    _told(said, 9, "node-refused", "nonsense", "aws-gpu-7", "aws-cpu-999", "0 to 11")
    assert "2 node(s) up" in said.out
    assert {"aws-cpu-000", "aws-cpu-001"} == {row["node"] for row in lab.alive()} == set(lab.bound())


@pytest.mark.parametrize("words", [["--nope"], ["aws-cpu-008", "aws-cpu-009"], ["aws-cpu-008", "--wiat"], []])
def test_bad_usage_is_not_handed_to_the_daemon(lab: Cluster, words: list[str]) -> None:
    """Unknown options, no node list or a second one: exit status 2, and no request is made of them."""
    _told(_typed(lab, RESUME, *words), 2, "usage")
    received = [event["text"] for event in lab.events() if event["kind"] == "request-received"]
    assert not [text for text in received if "no node" in text or "aws-cpu-008" in text or "aws-cpu-009" in text]


def test_a_list_nobody_can_read(lab: Cluster) -> None:
    """A broken hostlist of a person who waits: exit status 2 with the part that cannot be read."""
    _told(_typed(lab, RESUME, "aws-cpu-[000,x", "--wait"), 2, "no-nodes", "aws-cpu-[000")


def test_an_unreadable_spool_file_is_kept_aside(lab: Cluster) -> None:
    """Garbage in the spool is moved to set-aside, reported as an event, and holds up nobody."""
    spool = lab.root / "spool"
    name = "00000000000000000001-1-resume"
    (spool / "requests" / f"{name}.json").write_text('{"asbx_spool": 1, "kind": "res', encoding="utf-8")
    # Whatever is asked next is done as if nothing were wrong.
    assert _typed(lab, RESUME, "aws-cpu-002", "--wait").status == 0

    assert (spool / "set-aside" / f"{name}.json").read_text(encoding="utf-8").endswith('"res')
    events = [event for event in lab.events() if event["kind"] == "request-set-aside"]
    assert [(event["level"], event["request_id"]) for event in events] == [("error", name)]
    assert "set-aside" in events[0]["text"]
    assert "aws-cpu-002" in lab.bound()


@pytest.mark.parametrize(
    ("node", "content"),
    [
        ("aws-cpu-003", None),
        ("aws-cpu-004", b'{"jobs": ['),
        ("aws-cpu-005", b'{"jobs": 7, "all_nodes": []}'),
        ("aws-cpu-006", b"\xff\x00"),
    ],
)
def test_a_bad_resume_file_costs_no_node(lab: Cluster, node: str, content: bytes | None) -> None:
    """As Slurm calls it, with a resume file that is gone or damaged: the node starts all the same, with a note."""
    path = lab.root / "resume-file"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    said = run(
        [lab.root / "bin" / "resume-program", node],
        {"SLURM_CONF": str(lab.root / "slurm.conf"), "SLURM_RESUME_FILE": str(path)},
    )
    assert (said.status, said.out, said.err) == (0, "", "")

    until("the node has an instance", lambda: node in lab.bound(), 20)
    (received,) = (
        event
        for event in lab.events()
        if event["kind"] == "request-received" and node in event["text"] and "suspend" not in event["text"]
    )
    odd = [event["text"] for event in lab.events("--request", received["request_id"]) if event["kind"] == "request-odd"]
    assert any("resume file" in text for text in odd), odd


def test_dry_run_needs_neither_slurm_nor_aws(lab: Cluster, tmp_path: Path) -> None:
    """Nothing on PATH, no credentials, an endpoint nobody listens at, no slurm.conf: the dry run works."""
    program = shutil.which(RESUME, path=lab.environ["PATH"])
    assert program
    root = Path(__file__).parents[2]
    said = run(
        [program, "aws-cpu-[001-004]", f"--config={root / 'config.yaml'}", "--dry-run"],
        {"PATH": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)},
    )
    assert said.status == 0, said
    assert "nothing was launched" in said.out


# -- from here on without a daemon


def test_no_scontrol(alone: Cluster) -> None:
    """Exit status 8 before anything is launched."""
    calls = alone.ask("GET", "calls").get("CreateFleet", 0)
    _told(_typed(alone, RESUME, "aws-cpu-009", ASBX__SLURM__BIN_PATH="/nonexistent"), 8, "slurm-missing", "scontrol")
    assert alone.ask("GET", "calls").get("CreateFleet", 0) == calls
    assert "aws-cpu-009" not in alone.bound()


def test_no_slurm_conf(alone: Cluster) -> None:
    """Exit status 8 at once, where Slurm's own commands would try for a minute."""
    said = _typed(alone, RESUME, "aws-cpu-009", ASBX__SLURM__CONFIG_PATH="/nonexistent/slurm.conf")
    _told(said, 8, "slurm-conf", "/nonexistent/slurm.conf")


def test_no_credentials(alone: Cluster, tmp_path: Path) -> None:
    """Exit status 7, nothing is launched, and the node is given back to Slurm."""
    before = len(alone.instances())
    aws = {key: _section(alone, "aws")[key] for key in ("region", "endpoint_url")}
    path = _config(alone, "no-credentials.yaml", aws=aws)
    bare = {key: value for key, value in alone.environ.items() if not key.startswith("AWS_ACC")}
    bare = {key: value for key, value in bare.items() if not key.startswith("AWS_SECRET")} | {"HOME": str(tmp_path)}
    said = run([RESUME, "aws-cpu-010", f"--config={path}"], bare)
    _told(said, 7, "aws-credentials", "aws-cpu-010")
    assert len(alone.instances()) == before
    assert "aws-cpu-010" not in alone.bound()
    (state,) = alone.states("aws-cpu-010")
    assert state.startswith("IDLE"), state


def test_read_only_ledger(alone: Cluster) -> None:
    """Exit status 10 before anything is asked of EC2 or kept in the spool."""
    state = alone.root / "frozen"
    state.mkdir()
    shutil.copy(alone.root / "state" / "ledger.db", state / "ledger.db")
    (state / "ledger.db").chmod(0o444)
    state.chmod(0o555)
    path = _config(alone, "frozen.yaml", paths=_section(alone, "paths") | {"state": str(state)})
    calls = alone.ask("GET", "calls").get("CreateFleet", 0)

    said = run([*_without_rights_of_root(), RESUME, "aws-cpu-011", f"--config={path}"], alone.environ)

    _told(said, 10, "ledger-read-only", "ledger.db")
    assert alone.ask("GET", "calls").get("CreateFleet", 0) == calls
    assert list((alone.root / "spool" / "requests").iterdir()) == []
    state.chmod(0o755)


def _without_rights_of_root() -> list[str]:
    """Return the words that make file modes count for root too (setpriv(1), capabilities(7))."""
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
