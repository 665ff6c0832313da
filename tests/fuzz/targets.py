"""Every place where text from outside enters, with good examples of it and what must hold for whatever comes in.

A target's function returns True for input that was taken, False for input that was refused as one of our errors or as a
plain refusal. Anything else that escapes is a finding. To add a place, add a Target to TARGETS.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import Site, config

from asbx.aws.notices_parse import read_notice
from asbx.cli.facts import bundled_facts
from asbx.config.load import load_config
from asbx.config.schema import Config
from asbx.daemon.engine import Engine
from asbx.decide.hints import JobHints, hints
from asbx.decide.intake import intake
from asbx.decide.rungs import choose
from asbx.decide.wish import wish
from asbx.errors import AsbxError
from asbx.flow.outcome import Outcome
from asbx.flow.reconcile import Sweep
from asbx.hooks import spool
from asbx.model.hostlist import MOST_NAMES, expand, fold
from asbx.model.job import Request
from asbx.model.names import parse_node_name
from asbx.model.node import NodeView
from asbx.model.plan import parse_plan
from asbx.slurm.conf_check import slurm_warnings
from asbx.slurm.inbox import read_request
from asbx.slurm.parse import parse_nodes_json, parse_nodes_text
from asbx.slurm.queue import job_format, parse_jobs, parse_jobs_json, parse_requeue, parse_tenants
from asbx.slurm.reservation import parse_reservations

ROOT = Path(__file__).parent.parent.parent
RECORDED = ROOT / "tests" / "recorded"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass(frozen=True)
class Target:
    """A place where text enters. share: its part of all inputs, larger where more depends on it."""

    name: str
    corpus: tuple[str, ...]
    enter: Callable[[str], bool]
    share: int


# -- what must hold


def check_nodes(nodes: Sequence[str], settings: Config) -> None:
    """Fail unless these are names of configured groups, that no shell or file could take for more."""
    for node in nodes:
        assert re.fullmatch(r"[A-Za-z0-9_-]+-[A-Za-z0-9]+-[0-9]{1,9}", node, re.ASCII), node
        name = parse_node_name(node)
        assert name is not None, node
        group = settings.group(name.group)
        assert group is not None, node
        assert group.first_number <= name.number <= group.last_number, node


@cache
def settings() -> Config:
    """Return the site all inputs are for."""
    return config()


# -- requests of Slurm


def _resume_files() -> tuple[str, ...]:
    of_22_05 = {
        "jobs": [
            {"job_id": 7, "nodes": "aws-cpu-[000-003]", "oversubscribe": "NO", "features": "spot"},
            {"job_id": 8, "nodes": "aws-gpu-7", "oversubscribe": "OK", "features": None},
        ],
        "all_nodes": "aws-cpu-[000-003],aws-gpu-7",
    }
    lines = (RECORDED / "resume-files.jsonl").read_text(encoding="utf-8").splitlines()
    return (*lines, json.dumps(of_22_05), json.dumps({"jobs": [], "all_nodes": ""}))


def _request(text: str, nodes: str) -> Request:
    body = spool.request("resume", [nodes], {}) | {"resume_file": text}
    return read_request("r-1", body, NOW)


def _gangs_are_ours(request: Request) -> bool:
    """Whether anything would be launched; what would is checked."""
    sorted_out = intake(settings(), request, {})
    named = [node for gang in sorted_out.gangs for part in gang.parts for node in part.nodes]
    check_nodes(named, settings())
    assert len(named) == len(set(named)), "a node in two gangs"
    assert set(named) <= set(request.nodes), "a node nobody asked for"
    assert request.received_at <= NOW
    return bool(named)


def resume_file(text: str) -> bool:
    """Take a resume file beside an honest argument: it may cost the grouping, never the nodes."""
    request = _request(text, "aws-cpu-[000-003],aws-gpu-7")
    assert request.nodes == ("aws-cpu-000", "aws-cpu-001", "aws-cpu-002", "aws-cpu-003", "aws-gpu-7")
    return _gangs_are_ours(request)


def resume_file_alone(text: str) -> bool:
    """Take a resume file beside an argument nobody can read, when its own list counts."""
    return _gangs_are_ours(_request(text, "["))


def host_list(text: str) -> bool:
    """Take the argument of ResumeProgram."""
    _gangs_are_ours(_request("", text))
    try:
        names = expand(text)
    except AsbxError:
        return False
    assert len(names) <= MOST_NAMES
    assert expand(fold(names)) == names
    return True


_folder = tempfile.TemporaryDirectory(prefix="asbx-fuzz-")  # removed when the process ends


def _spool() -> str:
    return _folder.name


def _bodies() -> tuple[str, ...]:
    made = []
    for kind in ("resume", "suspend", "resume-fail"):
        body = spool.request(kind, ["aws-cpu-[000-003]"], {"HOME": "/root"}, _plans()[0] if kind == "resume" else None)
        made.append(json.dumps(body | {"resume_file": _resume_files()[0], "received_at": NOW.timestamp()}))
    return tuple(made)


def spool_file(text: str) -> bool:
    """Read a whole file of the spool as the daemon reads it."""
    path = Path(_spool()) / f"1-1-resume{spool.SUFFIX}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        body = spool.read(_spool(), "1-1-resume", 1024 * 1024)
    except spool.SpoolUnreadableError:
        return False
    return _gangs_are_ours(read_request("1-1-resume", body, NOW))


@cache
def _spooled_site() -> Site:
    return Site(config(Path(_spool())))


def intake_of_spool(text: str) -> bool:
    """Let the engine take a file in or put it aside: it is never left to come again for ever."""
    site = _spooled_site()
    folder = site.config.paths.requests
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{len(site.recorder.events)}-1-resume"
    (folder / f"{name}{spool.SUFFIX}").write_bytes(text.encode("utf-8", "surrogatepass"))
    engine = Engine(site.doors)
    try:
        taken = engine.intake()
    finally:
        engine.close()
    assert spool.waiting(str(folder)) == []
    for request in site.ledger.open_requests():
        _gangs_are_ours(request)
        site.ledger.finish_request(request.request_id, failed=False, note="", at=NOW)
    return bool(taken)


# -- plans


def _plans() -> tuple[str, ...]:
    files = [ROOT / "examples" / "plan.json", *sorted((RECORDED / "plans").glob("*.json"))]
    ours = {
        "should_burst": True,
        "instance_specification": {"instance_types": ["c7i.large", "m7i.large"], "purchasing_option": "spot"},
        "network_configuration": {"single_az_required": True},
        "cost_constraints": {"max_total_cost": 10, "max_duration_hours": 2.5},
    }
    return (*(file.read_text(encoding="utf-8") for file in files), json.dumps(ours), json.dumps(ours))


def plan(text: str) -> bool:
    """Choose by a plan: it can narrow what the site allows, never widen it."""
    try:
        read = parse_plan(text)
    except AsbxError:
        return False
    taken = False
    for _, group in settings().groups():
        allowed = {override.instance_type for override in group.launch_template_overrides}
        try:
            size = read.node_count or 2
            want = wish(settings(), group, size, read, JobHints())
            chosen = choose(group, want, read, bundled_facts(group), min(size, 1000), now=NOW)
        except AsbxError:
            continue
        for pool in (pool for rung in chosen.rungs for pool in rung.pools):
            assert pool.instance_type in allowed, pool
            assert pool.subnet_id in group.subnet_ids, pool
            taken = True
    return taken


def job_words(text: str) -> bool:
    """Read what a user writes into --comment, --extra and --constraint."""
    asked = hints(features=text, extra=text, comment=text)
    return asked != JobHints()


# -- configuration


def _configs() -> tuple[str, ...]:
    site = "aws: {region: us-east-2, authentication_method: assume_role, assume_role: {role_arn: 'arn:aws:iam'}}\n"
    site += "slurm:\n  partitions:\n  - &p\n    partition_name: aws\n    partition_options: {MaxTime: 24:00:00}\n"
    site += "    node_groups:\n    - {node_group_name: cpu, max_nodes: 4, region: us-east-2, subnet_ids: [subnet-1],\n"
    site += "       launch_template_specification: {launch_template_name: x},\n"
    site += "       launch_template_overrides: [{instance_type: c7i.large, spot_price: 0.1}],\n"
    site += "       slurm_specifications: {CPUs: 2}}\n"
    return ((ROOT / "examples" / "config.yaml").read_text(encoding="utf-8"), site)


def configuration(text: str) -> bool:
    """Load a configuration: in one that can be used names are names, and values one line of slurm.conf."""
    path = Path(_spool()) / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        loaded, said = load_config(path, {}), ""
    except AsbxError as error:
        loaded, said = None, error.why
    if loaded is None:
        assert len(said) < 20_000
        return False
    for partition, group in loaded.config.groups():
        nodes = partition.node_range(group)
        assert re.fullmatch(r"[A-Za-z0-9_-]+-[A-Za-z0-9]+-(\[[0-9]+-[0-9]+\]|[0-9]+)", nodes, re.ASCII), nodes
        for value in (*group.slurm_specifications.values(), *partition.partition_options.values()):
            assert not re.search(r"[\n\r\"#\\]", str(value)), value
    return True


def environment(text: str) -> bool:
    """Replace a key by a variable of the environment."""
    name, _, value = text.partition("=")
    path = Path(_spool()) / "base.yaml"
    if not path.exists():
        path.write_text(_configs()[1], encoding="utf-8")
    try:
        load_config(path, {f"ASBX__{name}": value})
    except AsbxError:
        return False
    return True


def slurm_conf(text: str) -> bool:
    """Check an existing slurm.conf."""
    return bool(slurm_warnings(text, settings()))


# -- what Slurm prints

# The nodes of the recorded tables are the whole cluster here, or the sweep would call each table half a picture.
CLUSTER = tuple(f"aws-cpu-{number:03d}" for number in range(8))
BOUND = CLUSTER[:3]
# Words of a state that may cost a node its instance: all that say it is off, on its way there, or broken.
_UNWELL = frozenset(
    [
        *("DOWN", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "POWERING_UP", "POWER_UP", "NOT_RESPONDING"),
        *("DRAIN", "DRAINING", "DRAINED", "FAIL", "FAILING", "ERROR", "INVALID_REG", "FUTURE", "UNKNOWN", "MAINT"),
        *("MAINTENANCE", "REBOOT_REQUESTED", "REBOOT_ISSUED", "PLANNED", "RESERVED", "BLOCKED"),
    ]
)


def _up(text: str) -> str:
    """Return a recorded table with its nodes up and in use, for names that have instances here."""
    text = re.sub(r"State=\S+", "State=ALLOCATED+CLOUD", text)
    return re.sub(r'"state": ?\[[^\]]*\]', '"state": ["ALLOCATED", "CLOUD"]', text)


def _tables(suffix: str) -> tuple[str, ...]:
    texts = [file.read_text(encoding="utf-8") for file in sorted(RECORDED.glob(f"show-node-*.{suffix}"))]
    if suffix == "txt":  # as --oneliner prints it
        texts = [re.sub(r"\n +", " ", text).replace("\n\n", "\n") for text in texts]
    else:
        texts = [json.dumps(json.loads(text)) for text in texts]
    return tuple(_up(text) for text in texts)


class _Listing(FakeScheduler):
    """A Slurm whose node table is whatever it is told to be."""

    table: tuple[NodeView, ...] = ()

    def nodes(self) -> tuple[NodeView, ...]:
        """Return it."""
        return self.table


_worlds: list[tuple[Site, _Listing]] = []


def _recorded_cluster() -> Config:
    """Return a configuration of just the recorded tables' nodes: where Slurm lacks some, the sweep does nothing."""
    whole = config(max_nodes=8)
    partition = whole.slurm.partitions[0]
    partition = partition.model_copy(update={"node_groups": partition.node_groups[:1]})
    return whole.model_copy(update={"slurm": whole.slurm.model_copy(update={"partitions": (partition,)})})


def world() -> tuple[Site, _Listing]:
    """Return a site with three nodes up, made anew after one of them was lost to a table that rightly said so."""
    if not _worlds or len(_worlds[0][0].cloud.alive()) < len(BOUND):
        scheduler = _Listing(CLUSTER)
        raw = json.loads(settings().model_dump_json(exclude_unset=True)) | {"reconcile": {"orphan_grace_seconds": 0}}
        (partition,) = raw["slurm"]["partitions"]
        partition["node_groups"] = [partition["node_groups"][0] | {"max_nodes": len(CLUSTER)}]
        site = Site(config=Config.model_validate(raw), scheduler=scheduler)
        scheduler.table = tuple(
            NodeView(node, "IDLE", frozenset({"CLOUD", "POWERING_UP"}), node, node) for node in CLUSTER
        )
        site.resume(fold(BOUND), (1, fold(BOUND)))
        assert len(site.cloud.alive()) == len(BOUND)
        _worlds[:] = [(site, scheduler)]
    return _worlds[0]


def _swept(table: tuple[NodeView, ...], unwell: Callable[[str], bool]) -> None:
    """Sweep twice over a spoiled table: instances go only where a whole row of that name says the node is unwell."""
    site, scheduler = world()
    scheduler.table = table
    sweep = Sweep(site.doors)
    bound = {binding.instance_id: binding.node for binding in site.ledger.live_bindings()}
    before = {instance.instance_id for instance in site.cloud.alive()}
    for _ in range(3):
        sweep.run()
        site.clock.sleep(timedelta(minutes=1))
    for lost in before - {instance.instance_id for instance in site.cloud.alive()}:
        assert unwell(bound[lost]), f"{bound[lost]} lost its instance"


def node_table_text(text: str) -> bool:
    """`scontrol show node --oneliner`."""
    table = parse_nodes_text(text)

    def unwell(node: str) -> bool:
        rows = [line for line in text.splitlines() if re.match(rf"NodeName={re.escape(node)}\s", line)]
        states = [
            set(re.split(r"[+*~#!%$@^-]", found[1])) for row in rows if (found := re.search(r"\sState=(\S*)", row))
        ]
        return any(state & _UNWELL for state in states)

    _swept(table, unwell)
    return bool(table)


def node_table_json(text: str) -> bool:
    """`scontrol show node --json`."""
    try:
        table = parse_nodes_json(text)
    except AsbxError:
        return False

    def unwell(node: str) -> bool:
        rows = [row for row in json.loads(text)["nodes"] if isinstance(row, dict) and row.get("name") == node]
        return any(_UNWELL & set(re.findall(r"[A-Z_]+", json.dumps(row.get("state")).upper())) for row in rows)

    _swept(table, unwell)
    return bool(table)


_MARK = "0123456789abcdef0123456789abcdef"


def _queue_text() -> tuple[str, ...]:
    rows = [
        ("7", "7", "ada", "physics", "RUNNING", "100", "1:00:00", "spot", "(null)", "wrf"),
        ("9", "8_2", "bob", "bio", "PENDING", "1", "UNLIMITED", "(null)", "asbx:market=spot", "a\nb|c"),
        ("11", "10+1", "eve", "x", "CONFIGURING", "0", "2-00:00:00", "a&b", "text", "het"),
    ]
    assert job_format(_MARK)
    return ("".join(f"{_MARK}<" + f"{_MARK}|".join(row) + "\n" for row in rows), f"{_MARK}<")


def queue_text(text: str) -> bool:
    """`squeue --format`: whatever users put into names and comments stays in its field."""
    jobs = parse_jobs(text, _MARK)
    for job in jobs:
        assert re.fullmatch(r"[0-9]+([_+][0-9]+)?", job.label, re.ASCII) or text, job.label
        assert job.facts.job_id >= 0
    return bool(jobs)


def queue_json(text: str) -> bool:
    """`squeue --json`."""
    try:
        return bool(parse_jobs_json(text))
    except AsbxError:
        return False


def requeue_text(text: str) -> bool:
    """`squeue --Format` of whether jobs may be requeued."""
    return bool(list(parse_requeue(text)))


def tenants_text(text: str) -> bool:
    """Read `squeue --format` of who is on which nodes."""
    return bool(list(parse_tenants(text)))


def reservations(text: str) -> bool:
    """`scontrol show reservation`: none but ours comes out."""
    found = parse_reservations(text)
    assert all(fence.name.startswith("asbx") for fence in found)
    return bool(found)


_TIMES = "StartTime=2026-11-24T10:00:00 EndTime=2026-11-25T10:00:00 Duration=1-00:00:00"
_RESERVATION = (
    f"ReservationName=asbx-fence-aws-gpu {_TIMES} Nodes=aws-gpu-[0-9] NodeCnt=10 Flags=OVERLAP,IGNORE_JOBS\n",
    f"ReservationName=other {_TIMES} Nodes=n1\n",
)


# -- what we wrote ourselves, and what AWS sends


def outcome_note(text: str) -> bool:
    """How a request ended, as the ledger keeps it."""
    return "internal" not in Outcome.from_note(text).codes


def _messages() -> tuple[str, ...]:
    def event(source: str, kind: str, detail: dict[str, Any]) -> str:
        envelope = {
            "version": "0",
            "id": "1e5527d7-bb36-4607-3370-4164db56a40e",
            "detail-type": kind,
            "source": source,
            "account": "123456789012",
            "time": "2026-11-24T10:00:00Z",
            "region": "us-east-2",
            "resources": ["arn:aws:ec2:us-east-2:123456789012:instance/i-0123456789abcdef0"],
            "detail": detail,
        }
        return json.dumps(envelope)

    instance = {"instance-id": "i-0123456789abcdef0"}
    entities = [{"entityValue": "i-0123456789abcdef0"}]
    health = {
        "service": "EC2",
        "eventTypeCategory": "scheduledChange",
        "eventTypeCode": "X",
        "affectedEntities": entities,
    }
    return (
        event("aws.ec2", "EC2 Spot Instance Interruption Warning", instance | {"instance-action": "terminate"}),
        event("aws.ec2", "EC2 Instance Rebalance Recommendation", instance),
        event("aws.ec2", "EC2 Instance State-change Notification", instance | {"state": "terminated"}),
        event("aws.health", "AWS Health Event", health),
    )


def message(text: str) -> bool:
    """Read a message of the queue: instances that come out have ids of EC2's shape; what is no message is unknown."""
    notice = read_notice(text)
    assert all(re.fullmatch(r"i-[0-9a-f]{8,17}", one, re.ASCII) for one in notice.instances)
    return bool(notice.instances)


TARGETS: tuple[Target, ...] = (
    Target("resume file", _resume_files(), resume_file, 14),
    Target("resume file, argument unreadable", _resume_files(), resume_file_alone, 6),
    Target("spool file", _bodies(), spool_file, 8),
    Target("spool file, taken in", _bodies(), intake_of_spool, 2),
    Target("node list argument", ("aws-cpu-[000-003],aws-gpu-7", "aws-big-[0000-0009,0011]", "a,b"), host_list, 8),
    Target("execution plan", _plans(), plan, 14),
    Target("words of a job", ("asbx:market=spot,efa=required", "asbx_efa&spot|[a*2]", "x"), job_words, 4),
    Target("configuration", _configs(), configuration, 10),
    Target(
        "environment variable",
        ("SLURM__RESUME_TIMEOUT=500", "SLURM__PARTITIONS__0__PARTITION_OPTIONS={Default: YES}", "CLUSTER__NAME=x"),
        environment,
        4,
    ),
    Target(
        "slurm.conf", ("SlurmUser=slurm\nNodeName=aws-cpu-[000-003] State=CLOUD\nResumeProgram=/x\n",), slurm_conf, 2
    ),
    Target("node table, text", _tables("txt"), node_table_text, 10),
    Target("node table, JSON", _tables("json"), node_table_json, 8),
    Target("queue, text", _queue_text(), queue_text, 3),
    Target("queue, JSON", ((RECORDED / "squeue-running.json").read_text(encoding="utf-8"),), queue_json, 3),
    Target(
        "requeue flags",
        ("           7       1       1       2     1:30\n           8       0       1       0  1-00:00:00\n",),
        requeue_text,
        1,
    ),
    Target("tenants of nodes", ("4|4+0|RUNNING|aws-cpu-[000-001]\n3|3_2|COMPLETING|aws-cpu-001\n",), tenants_text, 2),
    Target("reservations", _RESERVATION, reservations, 1),
    Target("event message", _messages(), message, 10),
    Target("outcome note", (Outcome(["aws-cpu-000"], {"aws-cpu-001": "why"}, ["x"]).note(),), outcome_note, 2),
)
