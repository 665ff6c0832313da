"""The database and the fake answer alike whatever is asked of them, in any order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fakes import samples
from tests.fakes.ledger import FakeLedger
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.errors import LedgerError
from asbx.ledger.store import open_ledger
from asbx.model.boot import Breaker
from asbx.model.event import Event, EventKind
from asbx.model.record import ResourceKind, Shortage
from asbx.model.spot import Interruption
from asbx.ports import Ledger

REQUESTS = st.sampled_from(["r-1", "r-2", "r-3"])
INTENTS = st.sampled_from(["int-1", "int-2", "int-3"])
IDS = st.sampled_from([f"i-{number}" for number in range(6)])
NODES = st.sampled_from(samples.node_names(5))
KEYS = st.sampled_from(["capacity/spot/c7i.large/us-east-2a", "quota/spot/standard"])
JOBS = st.integers(0, 3)
SECONDS = st.integers(0, 5).map(lambda number: NOON + timedelta(seconds=number))


class BothLedgers(RuleBasedStateMachine):
    """Do everything twice and compare."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.real = open_ledger(self.url())
        self.fake = FakeLedger()

    def url(self) -> str:
        """Return where the real one is."""
        return f"sqlite:///{self.folder.name}/ledger.db"

    def teardown(self) -> None:
        """Leave no file behind."""
        self.real.close()
        self.folder.cleanup()

    def both(self, ask: Callable[[Ledger], object]) -> None:
        """Ask both; answers or error codes must be equal."""
        assert self.said(self.real, ask) == self.said(self.fake, ask)

    @staticmethod
    def said(ledger: Ledger, ask: Callable[[Ledger], object]) -> object:
        """Return the answer, or the code of the refusal."""
        try:
            return ask(ledger)
        except LedgerError as error:
            return error.code

    @rule(request_id=REQUESTS, at=SECONDS)
    def add_request(self, request_id: str, at: datetime) -> None:
        """Let Slurm ask, perhaps again."""
        request = replace(samples.request(request_id), received_at=at)
        self.both(lambda ledger: ledger.add_request(request))

    @rule(request_id=REQUESTS, failed=st.booleans())
    def finish_request(self, request_id: str, failed: bool) -> None:
        """Finish a request."""
        self.both(lambda ledger: ledger.finish_request(request_id, failed=failed, note="n", at=NOON))
        self.both(lambda ledger: ledger.request_outcome(request_id))

    @rule(intent_id=INTENTS, request_id=REQUESTS, why=st.lists(st.sampled_from(["x", "y"]), max_size=1))
    def add_intent(self, intent_id: str, request_id: str, why: list[str]) -> None:
        """Mean to launch, perhaps under a taken id."""
        intent = replace(samples.intent(intent_id, request_id=request_id), considered=tuple(why))
        self.both(lambda ledger: ledger.add_intent(intent))
        self.both(lambda ledger: ledger.intents(request_id))

    @rule(intent_id=INTENTS, number=st.integers(1, 2), count=st.integers(2, 3))
    def add_attempt(self, intent_id: str, number: int, count: int) -> None:
        """Note a call about to be made."""
        attempt = replace(samples.attempt(intent_id, number), order=samples.order(count=count))
        self.both(lambda ledger: ledger.add_attempt(attempt))

    @rule(intent_id=INTENTS, number=st.integers(1, 2), ids=st.lists(IDS, max_size=3, unique=True))
    def answer(self, intent_id: str, number: int, ids: list[str]) -> None:
        """Let EC2 answer, perhaps again, with instances perhaps known."""
        attempt = replace(samples.attempt(intent_id, number), answer=samples.answer(tuple(ids)), answered_at=NOON)
        rows = [samples.instance_row(name, intent_id=intent_id) for name in ids]
        self.both(lambda ledger: ledger.answer_attempt(attempt, rows))
        self.both(lambda ledger: [kept.answer for kept in ledger.attempts(intent_id)])

    @rule(pairs=st.lists(st.tuples(NODES, IDS), max_size=3), at=SECONDS)
    def bind(self, pairs: list[tuple[str, str]], at: datetime) -> None:
        """Bind nodes to instances, or be refused."""
        rows = [(node, samples.instance(name, launch_index=3)) for node, name in pairs]
        self.both(lambda ledger: ledger.bind(rows, at))

    @rule(names=st.lists(IDS, max_size=3, unique=True), began=SECONDS, ended=st.none() | SECONDS)
    def date_instances(self, names: list[str], began: datetime, ended: datetime | None) -> None:
        """Let EC2 say when instances began and ended."""
        seen = [replace(samples.instance(name, launched_at=began), ended_at=ended) for name in names]
        self.both(lambda ledger: ledger.date_instances(seen))
        self.both(lambda ledger: ledger.instances(ended_since=began))

    @rule(nodes=st.lists(NODES, max_size=3), at=SECONDS)
    def release(self, nodes: list[str], at: datetime) -> None:
        """Release nodes."""
        self.both(lambda ledger: ledger.release(nodes, at))
        self.both(lambda ledger: ledger.live_bindings(nodes))

    @rule(nodes=st.lists(NODES, max_size=3), at=SECONDS)
    def register(self, nodes: list[str], at: datetime) -> None:
        """See nodes register, perhaps again, perhaps unbound ones."""
        self.both(lambda ledger: ledger.register(nodes, at))

    @rule(key=KEYS, least=st.integers(1, 3), what=st.sampled_from(["refuse", "forget", "keep"]))
    def change_shortage(self, key: str, least: int, what: str) -> None:
        """Learn of a pool, or forget it."""

        def change(old: Shortage | None) -> Shortage | None:
            if what == "refuse":
                return replace(samples.shortage(key, least=least), failures=old.failures + 1 if old else 1)
            return old if what == "keep" else None

        self.both(lambda ledger: ledger.change_shortage(key, change))

    @rule(kind=st.sampled_from(ResourceKind), name=st.sampled_from(["a", "b"]), at=SECONDS)
    def add_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Make something in EC2, perhaps again."""
        self.both(lambda ledger: ledger.add_resource(samples.resource(name, kind=kind, at=at)))

    @rule(kind=st.sampled_from(ResourceKind), name=st.sampled_from(["a", "b"]), at=SECONDS)
    def end_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Remove something from EC2, perhaps again."""
        self.both(lambda ledger: ledger.end_resource(kind, name, at))

    @rule(job_id=JOBS, count=st.integers(1, 3))
    def set_setback(self, job_id: int, count: int) -> None:
        """Let a job's launch fail."""
        self.both(lambda ledger: ledger.set_setback(samples.setback(job_id, count=count)))

    @rule(job_ids=st.lists(JOBS, max_size=3))
    def clear_setbacks(self, job_ids: list[int]) -> None:
        """Let the nodes of jobs come."""
        self.both(lambda ledger: ledger.clear_setbacks(job_ids))
        self.both(lambda ledger: ledger.setbacks(job_ids))

    @rule(ids=st.lists(IDS, max_size=3), at=SECONDS)
    def fail_to_boot(self, ids: list[str], at: datetime) -> None:
        """Let instances come to nothing, perhaps again."""
        failures = [samples.boot_failure(one, failed_at=at) for one in ids]
        self.both(lambda ledger: ledger.add_boot_failures(failures))
        self.both(lambda ledger: ledger.boot_failures(group=samples.CPU, limit=3))

    @rule(closings=st.integers(0, 3), at=SECONDS)
    def change_breaker(self, closings: int, at: datetime) -> None:
        """Close a group, or forget it."""

        def change(old: Breaker | None) -> Breaker | None:
            return Breaker(samples.CPU, at, at, closings + (old.closings if old else 0)) if closings else None

        self.both(lambda ledger: ledger.change_breaker(samples.CPU, change))
        self.both(lambda ledger: ledger.last_boot(samples.CPU))

    @rule(ids=st.lists(IDS, max_size=3), at=SECONDS)
    def end(self, ids: list[str], at: datetime) -> None:
        """End instances, perhaps again."""
        self.both(lambda ledger: ledger.end_instances(ids, "over", at))

    @rule(name=IDS, price=st.decimals("0", "100", places=4))
    def set_price(self, name: str, price: Decimal) -> None:
        """Learn a price."""
        self.both(lambda ledger: ledger.set_prices({name: price}))

    @rule(node=NODES, text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5))
    def add_event(self, node: str, text: str) -> None:
        """Let something happen."""
        self.both(lambda ledger: ledger.add_event(Event(EventKind.NODE_BOUND, text, node=node), NOON))
        self.both(lambda ledger: ledger.events(node=node, limit=3))

    @rule(job=JOBS, request_id=REQUESTS, at=SECONDS, user=st.sampled_from(["ada", "eve"]))
    def add_job_plan(self, job: int, request_id: str, at: datetime, user: str) -> None:
        """Keep by which plan a job was launched."""
        plan = samples.job_plan(job, request_id, decided_at=at, user=user)
        self.both(lambda ledger: ledger.add_job_plans([plan]))
        self.both(lambda ledger: ledger.job_plans(job))
        self.both(lambda ledger: ledger.named_job_plans("ada", "ocean", 2))

    @rule(before=SECONDS)
    def prune(self, before: datetime) -> None:
        """Forget what is old."""
        self.both(lambda ledger: ledger.prune(before, 100))

    @rule(name=IDS, zone=st.sampled_from(["a", "b"]), at=SECONDS)
    def interrupt(self, name: str, zone: str, at: datetime) -> None:
        """EC2 takes an instance back, as it may be told several times."""
        self.both(lambda ledger: ledger.add_interruption(Interruption(name, "c7i.large", zone, at)))
        self.both(lambda ledger: ledger.interruptions(at))

    @rule(job=JOBS, at=SECONDS, is_over=st.booleans())
    def wait_for_spot(self, job: int, at: datetime, *, is_over: bool) -> None:
        """Let a job begin to wait for spot, or end that."""
        self.both(lambda ledger: ledger.end_spot_waits([job]) if is_over else ledger.begin_spot_waits([job, 9], at))
        self.both(lambda ledger: ledger.spot_waits([0, 1, 2, 3, 9]))

    @invariant()
    def looks_alike(self) -> None:
        """Compare what is kept; no node and no instance is bound twice."""
        self.both(lambda ledger: ledger.open_requests())
        self.both(lambda ledger: ledger.instances(live_only=True))
        self.both(lambda ledger: ledger.instances())
        self.both(lambda ledger: ledger.shortages())
        self.both(lambda ledger: ledger.breakers())
        self.both(lambda ledger: [ledger.resources(kind) for kind in ResourceKind])
        self.both(lambda ledger: ledger.setbacks(range(4)))
        live = self.real.live_bindings()
        assert live == self.fake.live_bindings()
        assert len({binding.node for binding in live}) == len(live) == len({b.instance_id for b in live})


class BothLedgersOnPostgresql(BothLedgers):
    """The same on a server."""

    def url(self) -> str:
        """Return where the real one is."""
        return server().database()


TestBothLedgers = BothLedgers.TestCase
TestBothLedgersOnPostgresql = BothLedgersOnPostgresql.TestCase
_SEARCH = settings(max_examples=25, stateful_step_count=20, suppress_health_check=[HealthCheck.too_slow])
TestBothLedgers.settings = _SEARCH
TestBothLedgersOnPostgresql.settings = settings(_SEARCH, max_examples=10)
