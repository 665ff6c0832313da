"""Whatever the queue brings, how often and in what order, with crashes and silence between: jobs move once, whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.cloud import cloud_error
from tests.fakes.notices import REBALANCE, RESERVATION, SPOT, STATE, FakeNotices, event, health
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import Site, config

from asbx.config.interruptions import Interruptions as Policy
from asbx.errors import AsbxError, LedgerError, SlurmError
from asbx.flow.interrupt import Interruptions
from asbx.flow.suspend import suspend
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts, Request, RequestKind
from asbx.model.market import Verdict

_JOBS = {7: "aws-cpu-[000-003]", 8: "aws-cpu-[004-006]", 9: "aws-cpu-007"}
_NODES = expand("aws-cpu-[000-007]")
_SILENT = SlurmError("slurm-silent", "no answer")
_FAULTS: dict[str, tuple[str, AsbxError]] = {
    "drain": ("scheduler", _SILENT),
    "tenants": ("scheduler", _SILENT),
    "requeue": ("scheduler", _SILENT),
    "postpone": ("scheduler", _SILENT),
    "power_down": ("scheduler", _SILENT),
    "nodes": ("scheduler", _SILENT),
    "change_shortage": ("ledger", LedgerError("ledger-busy", "busy")),
    "live_bindings": ("ledger", LedgerError("ledger-busy", "busy")),
    "release": ("ledger", LedgerError("ledger-busy", "busy")),
    "terminate": ("cloud", cloud_error("Unavailable", Verdict.TRANSIENT)),
}
_POLICIES = st.builds(
    Policy,
    queue=st.just("notices"),
    signal=st.sampled_from(["", "USR1"]),
    checkpoint_seconds=st.sampled_from([0, 5]),
    rebalance=st.sampled_from(["ignore", "no-new-jobs", "drain"]),
)
_MOVES = (SPOT, RESERVATION)
_KINDS = (SPOT, REBALANCE, RESERVATION, STATE, "health", "foreign", "nonsense")
_STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(_KINDS), st.sampled_from(_NODES)),
    st.tuples(st.just("again"), st.just(""), st.integers(0, 20)),
    st.tuples(st.sampled_from(["turn", "step", "sweep", "crash", "wait"]), st.just(""), st.just(0)),
    st.tuples(st.just("fault"), st.sampled_from(sorted(_FAULTS)), st.integers(1, 2)),
)


class World:
    """Three jobs on eight spot nodes, the queue, and one program of ours after the other."""

    def __init__(self, policy: Policy) -> None:
        self.site = site = Site(config(purchasing_option="spot"), scheduler=FakeScheduler(_NODES))
        site.config = site.config.model_copy(update={"interruptions": policy})
        self.queue = site.notices = FakeNotices(site.clock)
        for job, nodes in _JOBS.items():
            site.resume(nodes, (job, nodes), request_id=f"r-{job}")
            site.ledger.finish_request(f"r-{job}", failed=False, note="", at=site.clock.now())
            site.scheduler.power_up(expand(nodes))
            site.scheduler.register(expand(nodes))
            site.scheduler.add_job(JobFacts(job, state="RUNNING"), expand(nodes))
        site.scheduler.slow_requeue = 1
        self.instances = site.bound()
        self.sent: list[dict[str, Any] | str] = []
        self.told: set[tuple[str, str]] = set()
        self.flow = Interruptions(site.doors)

    def do(self, what: str, word: str, which: Any) -> None:
        """Do one step; whatever fails is what the daemon's loop would survive."""
        acts: dict[str, Callable[[], object]] = {
            "put": lambda: self.put(word, which),
            "again": lambda: self.sent and self.queue.put(self.sent[which % len(self.sent)]),
            "turn": self.flow.turn,
            "step": self.flow.evacuation.step,
            "sweep": self.flow.run,
            "crash": self.crash,
            "suspend": self.power_down,
            "wait": lambda: self.site.clock.advance(seconds=3),
            "fault": lambda: self.fault(word, which),
        }
        try:
            acts[what]()
        except AsbxError:
            self.site.clock.advance(seconds=1)

    def put(self, kind: str, node: str) -> None:
        """Let AWS announce something."""
        now, instance = self.site.clock.now(), self.instances[node]
        bodies: dict[str, dict[str, Any] | str] = {
            "health": health([instance], now),
            "foreign": event(SPOT, "i-ffffffffffffffff0", now),
            "nonsense": "{" * 2000,
            STATE: event(STATE, instance, now, state="running"),
        }
        body = bodies.get(kind) or event(kind, instance, now)
        self.told.add((kind, node))
        self.sent.append(body)
        self.queue.put(body)

    def crash(self) -> None:
        """Start a new program: nothing is remembered."""
        self.flow.close()
        self.flow = Interruptions(self.site.doors)

    def fault(self, method: str, times: int) -> None:
        """Let a side be silent for a while."""
        door, error = _FAULTS[method]
        getattr(self.site, door).fail_next(method, error, times=times)

    def calm(self) -> None:
        """Let everything come to its end, with nothing going wrong any more."""
        for door in (self.site.scheduler, self.site.ledger, self.site.cloud):
            door._faults._waiting.clear()
        for _ in range(12):
            for what in ("turn", "step", "sweep", "wait", "suspend"):
                self.do(what, "", 0)

    def power_down(self) -> None:
        """Do as Slurm does for nodes that are powering down: SuspendProgram, and SuspendTimeout."""
        nodes = tuple(node for node in _NODES if "POWERING_DOWN" in self.site.scheduler.node(node).flags)
        if nodes:
            suspend(self.site.doors, Request("r-s", RequestKind.SUSPEND, nodes, self.site.clock.now()))
        self.site.scheduler.settle()

    def nodes_told(self, *kinds: str) -> set[str]:
        """Return the nodes something was announced for."""
        return {node for kind, node in self.told if kind in kinds}


@given(_POLICIES, st.lists(_STEPS, max_size=25))
def test_jobs_move_once_and_whole(policy: Policy, steps: list[tuple[str, str, Any]]) -> None:
    """A job is requeued once if an instance of it goes, and never else; what goes is ended, what does not serves on."""
    world = World(policy)
    for what, word, which in steps:
        world.do(what, word, which)
    world.calm()
    world.flow.close()
    site = world.site
    going = world.nodes_told(*_MOVES, *([REBALANCE] if policy.rebalance == "drain" else []))
    for job, nodes in _JOBS.items():
        assert site.scheduler.restarts[job] == (not going.isdisjoint(expand(nodes))), f"job {job}"
    drained = going | world.nodes_told("health", *([REBALANCE] if policy.rebalance != "ignore" else []))
    for node in _NODES:
        view, instance = site.scheduler.node(node), world.instances[node]
        alive = instance in {one.instance_id for one in site.cloud.alive()}
        if node in going:
            assert not alive, f"{node} was announced to go"
            assert node not in site.bound()
            assert view.is_powered_down
        if node not in drained:
            assert alive, f"{node} was not announced"
            assert site.bound()[node] == instance
            assert "DRAIN" not in view.flags
    rows = {row.instance_id: row for row in site.ledger.instances()}
    assert {one for one, row in rows.items() if row.ended_at is None} == {i.instance_id for i in site.cloud.alive()}
    assert world.queue.waiting == {}
    assert not world.flow.evacuation.is_urgent()
