"""Every code of EC2 at every call our flows make: a launch from beginning to end with one fault in it.

A story: Slurm wants four nodes for a job (a gang, or four jobs with one each), they run, they are powered down, and the
sweep looks on. One call fails on the way, once or for an hour; then EC2 is well again. Whatever happens, in the end
nothing runs that nobody wants, no gang is served by half, and a job whose nodes did not come has been told why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.fakes.cloud import cloud_error
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.serial import AtOnce, Serial
from tests.fakes.site import Site, group

from asbx.aws.answers import VERDICTS
from asbx.config.limits import RETRY_MOST
from asbx.config.schema import Config
from asbx.daemon.engine import Engine
from asbx.errors import AsbxError
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobAsk, JobFacts, Request, RequestKind
from asbx.model.market import Market, Verdict

NODES = expand("aws-cpu-[000-003]")
UNKNOWN, HTTP_500, HTTP_503, NO_ANSWER, TIME_OUT = (
    "NobodyKnowsThisCode", "(HTTP 500)", "(HTTP 503)", "(connection cut)", "(no answer in time)"
)  # fmt: skip
# What the adapter makes of what has no code (aws/client.py).
UNCODED = {
    UNKNOWN: Verdict.UNKNOWN,
    HTTP_500: Verdict.TRANSIENT,
    HTTP_503: Verdict.TRANSIENT,
    NO_ANSWER: Verdict.TRANSIENT,
    TIME_OUT: Verdict.TRANSIENT,
}
CODES: dict[str, Verdict] = {**VERDICTS, **UNCODED}
# Call of the door -> what it is in EC2.
CALLS = {
    "launch": "CreateFleet",
    "launch-errors": "CreateFleet, in Errors[] of one pool",
    "launch-all-errors": "CreateFleet, in Errors[] of every pool",
    "make_group": "CreatePlacementGroup",
    "make_template": "CreateLaunchTemplate and its base's DescribeLaunchTemplateVersions",
    "describe": "DescribeInstances, by id",
    "launched_for": "DescribeInstances, by launch",
    "owned": "DescribeInstances, of the cluster",
    "topology": "DescribeInstanceTopology",
    "tag": "CreateTags",
    "terminate": "TerminateInstances",
    "remove_group": "DeletePlacementGroup",
    "remove_template": "DeleteLaunchTemplate",
}
_MOST_CALLS = 10_000
_EVER = timedelta(hours=1)
_KIND = "c6in.32xlarge"


@dataclass(frozen=True)
class Cell:
    """One case. after: EC2 has done what was asked, and its answer is lost."""

    code: str
    call: str
    gang: bool
    market: Market
    ever: bool
    after: bool = False

    @property
    def verdict(self) -> Verdict:
        """Return what the code means."""
        return CODES[self.code]

    def __str__(self) -> str:
        words = [self.code, self.call, "gang" if self.gang else "loose", self.market.value]
        return " ".join([*words, "for an hour" if self.ever else "once", *(["after"] if self.after else [])])


# Codes a flow knows by name, whatever else their verdict means.
NAMED = ("InvalidPlacementGroup.Unknown", "InvalidLaunchTemplateName.NotFoundException")


def kind_of(code: str) -> str:
    """Return what a code is to the flows: its verdict, or its own name."""
    return code if code in NAMED else CODES[code].value


def cells(call: str, *, full: bool) -> Iterator[Cell]:
    """Return the cells of a call: every code in every way; or every code once, and of every kind of code every way."""
    of_kind: dict[str, list[str]] = {}
    for code in CODES:
        of_kind.setdefault(kind_of(code), []).append(code)
    for codes in of_kind.values():
        ways = [
            Cell("", call, gang, market, ever, after)
            for gang in (True, False)
            for market in (Market.ON_DEMAND, Market.SPOT)
            for ever, after in ((False, False), (True, False), (False, True))
            if not after or (CODES[codes[0]] is Verdict.TRANSIENT and "errors" not in call)
        ]
        if full:
            yield from (replace(way, code=code) for way in ways for code in codes)
            continue
        for number in range(max(len(codes), len(ways))):
            yield replace(ways[number % len(ways)], code=codes[number % len(codes)])


def _site(cpu: dict[str, Any]) -> Config:
    paths = {"spool": "/nonexistent/s", "state": "/nonexistent/t", "runtime": "/nonexistent/r"}
    return Config.model_validate(
        {
            "aws": {"region": "us-east-2"},
            "cluster": {"name": "lab"},
            "slurm": {"partitions": [{"partition_name": "aws", "node_groups": [cpu]}]},
            "paths": paths,
            "logging": {"file": "/nonexistent/log"},
        }
    )


@dataclass
class Told:
    """What a story came to: words for the table, and what was wrong."""

    happened: list[str] = field(default_factory=list)
    calls: int = 0


class Story:
    """One cell, told to its end."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        kinds = [{"instance_type": _KIND}, {"instance_type": "c5n.18xlarge"}]
        option = "spot" if cell.market is Market.SPOT else "on-demand"
        cpu = group("cpu", len(NODES), number_width=3, purchasing_option=option, launch_template_overrides=kinds)
        self.site = Site(config=_site(cpu), scheduler=FakeScheduler(NODES), workers=Serial(AtOnce))
        self.site.cloud.boot_after = timedelta(seconds=2)
        self.engine = Engine(self.site.doors)
        self.told = Told()
        self._number = 0
        self._armed = 0
        self._left: list[Any] | None = None  # what is still to strike

    def tell(self) -> Told:
        """Play it and return what it came to. Raises AssertionError where a promise is broken."""
        early = self.cell.call not in ("terminate", "remove_group", "remove_template")
        if early:
            self._break()
        self._launch()
        self.told.calls = sum(self.site.cloud.calls.values())
        self._hour_passes()
        bound = set(self.site.bound())
        if self.cell.gang:
            assert len(bound) in (0, len(NODES)), f"half a gang: {sorted(bound)}"
        self._jobs_were_told(bound)
        self.site.scheduler.register(sorted(bound), state="IDLE")
        self._sweep()
        if self.cell.call in ("terminate", "remove_group"):
            self._break()
        self._power_down(sorted(bound))
        self._hour_passes()
        self._end()
        return self.told if self._has_struck() else Told()

    # -- the parts

    def _break(self) -> None:
        cell, cloud = self.cell, self.site.cloud
        if cell.call.endswith("errors"):
            zones = "abc" if cell.call == "launch-all-errors" else "a"
            kinds = (_KIND, "c5n.18xlarge") if cell.call == "launch-all-errors" else (_KIND,)
            for kind in kinds:
                for zone in zones:
                    cloud.refusing[kind, f"us-east-2{zone}", cell.market] = (cell.code, cell.verdict)
            return
        error = cloud_error(cell.code, cell.verdict, "as the matrix has it")
        if cell.call == "launched_for":  # asked only where CreateFleet gives no answer again and again
            lost = cloud_error("InternalError", Verdict.TRANSIENT, "the answer is lost")
            cloud.fail_next("launch", lost, times=RETRY_MOST + 1, after=True)
        self._armed = _MOST_CALLS if cell.ever else 1
        cloud.fail_next(cell.call, error, times=self._armed, after=cell.after)
        self._left = cloud._faults._waiting[cell.call]

    def _has_struck(self) -> bool:
        """Whether the call that was to fail has been made at all."""
        return self._left is None or len(self._left) < self._armed

    def _mend(self) -> None:
        self.site.cloud.refusing.clear()
        self.site.cloud._faults._waiting.clear()

    def _launch(self) -> None:
        scheduler = self.site.scheduler
        jobs = {1: NODES} if self.cell.gang else {number: (node,) for number, node in enumerate(NODES, 1)}
        for job, nodes in jobs.items():
            scheduler.add_job(JobFacts(job, "ada", "physics", state="CONFIGURING"), nodes)
        scheduler.power_up(NODES)
        self._ask(RequestKind.RESUME, NODES, tuple(JobAsk(job, nodes, nodes) for job, nodes in jobs.items()))

    def _ask(self, kind: RequestKind, nodes: tuple[str, ...], jobs: tuple[JobAsk, ...] = ()) -> None:
        self._number += 1
        self.site.ledger.add_request(Request(f"r-{self._number}", kind, nodes, self.site.clock.now(), jobs))
        self._work(timedelta(minutes=10) if self.cell.ever else _EVER)

    def _work(self, patience: timedelta) -> None:
        """Let the daemon work until nothing is open, or for so long."""
        ends = self.site.clock.elapsed() + patience
        while self.site.ledger.open_requests() and self.site.clock.elapsed() < ends:
            with suppress(AsbxError):
                self.engine.dispatch()
            for _, task in list(self.engine._running.values()):
                task.result()
            self.site.clock.advance(seconds=2)

    def _hour_passes(self) -> None:
        """Let a lasting fault last, with the sweep at work, and mend it then."""
        if not self.cell.ever:
            return
        before = sum(self.site.cloud.calls.values())
        is_open = bool(self.site.ledger.open_requests())
        self._work(_EVER)
        self._sweep()
        calls = sum(self.site.cloud.calls.values()) - before
        assert calls <= 150, f"{calls} calls in an hour in which EC2 refuses"
        if is_open:
            self.told.happened.append("the request rests and is tried again")
        self._mend()
        self._work(_EVER)

    def _power_down(self, nodes: list[str]) -> None:
        self.site.scheduler.power_down(nodes)
        if nodes:
            self._ask(RequestKind.SUSPEND, tuple(nodes))
            outcome = self.site.ledger.request_outcome(f"r-{self._number}")
            if outcome is not None and outcome[0] == "failed":
                self.told.happened.append("what is left is ended by the sweep")
        self.site.scheduler.settle()

    def _sweep(self, passes: int = 2) -> None:
        for _ in range(passes):
            self.engine.reconcile()
            self.site.clock.advance(minutes=5)

    def _end(self) -> None:
        """Look on until everything has come to rest; the derived template goes after its week."""
        self.site.scheduler.settle()
        self._sweep(5)
        if self.cell.call == "remove_template":
            self._break()
        self.site.clock.advance(days=8)
        self._sweep(1)
        if self.cell.call == "remove_template":
            self._hour_passes()
        self._sweep(3)
        site = self.site
        assert not site.ledger.open_requests(), "a request is open for ever"
        assert site.cloud.alive() == (), "an instance runs for ever"
        assert site.bound() == {}, "a binding is left"
        assert not site.ledger.instances(live_only=True), "an instance has no end in the ledger"
        assert {row.instance_id for row in site.ledger.instances()} == {one.instance_id for one in site.cloud.all()}
        assert site.cloud.groups == {}, "a placement group is left"
        assert site.cloud.templates == {}, "a launch template is left"
        stuck = [node for node in NODES if site.scheduler.node(node).state != "IDLE"]
        assert not stuck, f"stuck: {stuck}"

    # -- what became of it

    def _jobs_were_told(self, bound: set[str]) -> None:
        scheduler, words = self.site.scheduler, self.told.happened
        missing = [node for node in NODES if node not in bound]
        if not missing:
            elsewhere = any(event.kind is EventKind.LAUNCH_REFUSED for event in self.site.recorder.events)
            words.append("served after more calls" if elsewhere else "served")
            return
        for job in [1] if self.cell.gang else [NODES.index(node) + 1 for node in missing]:
            said = scheduler.told.get(job, [])
            assert said, f"job {job} was not told why it has no nodes"
            assert all(len(text) > 30 for text in said), said
            assert len(said) <= 3, f"job {job} was told {len(said)} times"
            words.append("job held" if job in scheduler.held else "job put off")


def tell(cell: Cell) -> Told:
    """Play a cell. Raises AssertionError, naming it, where a promise is broken."""
    try:
        return Story(cell).tell()
    except AssertionError as error:
        raise AssertionError(f"{cell}: {error}") from error


# -- the table


def section(call: str, told: Mapping[Cell, Told]) -> str:
    """Return what became of the cells of a call, as the reference shows it; kinds of codes alike are one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for kind in dict.fromkeys(kind_of(cell.code) for cell in told):
        mine = {cell: one for cell, one in told.items() if kind_of(cell.code) == kind}
        words = [
            _words(one for cell, one in mine.items() if cell.ever is ever and cell.gang is gang)
            for gang in (True, False)
            for ever in (False, True)
        ]
        pairs = (words[:2], words[2:])
        gang, loose = (f"{once}; for an hour: {ever}" if once != ever else once for once, ever in pairs)
        rows.setdefault((gang, loose, ""), []).append(f"`{kind}`" if kind in NAMED else kind)
    lines = [f"## {CALLS[call]}", "", "| what EC2 says | a gang | single nodes |", "|---|---|---|"]
    lines += [f"| {', '.join(kinds)} | {gang} | {loose} |" for (gang, loose, _), kinds in rows.items()]
    return "\n".join([*lines, ""])


def _words(some: Iterable[Told]) -> str:
    """Return what came of these, each thing once."""
    found = dict.fromkeys(" and ".join(dict.fromkeys(one.happened)) or "not asked" for one in some)
    return " or ".join(sorted(found))


def head() -> str:
    """Return what stands above the sections: how to read them, and the code table."""
    lines = [
        "<!-- Written by `python -m tests.flow.fault_matrix` from what the code does; change that. -->",
        "",
        "# What each answer of EC2 leads to",
        "",
        "EC2 names what is wrong by a code. One table gives each code a meaning, and what ASBX does depends on the",
        "meaning and on the call. Each row below was played: a launch of four nodes, as a gang or as single nodes,",
        "on-demand and spot, from Slurm's request to the power-down, with one fault on the way, once or for an hour.",
        "In each of them nothing was left in the end: no instance, no placement group, no launch template, no node",
        "that Slurm could not use, no half gang; jobs without nodes were told why; and while EC2 refused for an hour",
        "it was called 150 times at most.",
        "",
        "## Codes",
        "",
        "| meaning | codes |",
        "|---|---|",
    ]
    for verdict in Verdict:
        codes = [code for code, one in VERDICTS.items() if one is verdict]
        extra = [code if code.startswith("(") else "any other code" for code, one in UNCODED.items() if one is verdict]
        lines.append(f"| {verdict.value} | {', '.join([*(f'`{code}`' for code in codes), *extra])} |")
    return "\n".join([*lines, ""])


def page() -> str:
    """Return the whole page."""
    return "\n".join([head(), *(section(call, play(call, full=False)) for call in CALLS)])


def play(call: str, *, full: bool) -> dict[Cell, Told]:
    """Play the cells of a call. Raises AssertionError for the first broken promise."""
    return {cell: tell(cell) for cell in cells(call, full=full)}


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
