"""Several programs on one ledger: hooks without a daemon, the daemon, the command line; and a kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide import shortage
from asbx.errors import LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.event import Event, EventKind
from asbx.model.record import Shortage

PROCESSES = 8
ROUNDS = 20
POOLS = 20
NODES = samples.node_names(10)
# Nobody waits longer than this for a process: a hang is a failure.
DEADLINE_S = 60.0

Work = Callable[[str, int, Connection], None]


def context() -> ForkServerContext:
    """Return a way to start processes that have imported everything and opened nothing."""
    found = get_context("forkserver")
    found.set_forkserver_preload(["asbx.ledger.store", "alembic.command", "tests.fakes.samples"])
    return found


def start(work: Work, url: str, number: int) -> tuple[ForkServerProcess, Connection]:
    """Start a process; it speaks through the connection."""
    ctx = context()
    ours, theirs = ctx.Pipe(duplex=False)
    process = ctx.Process(target=work, args=(url, number, theirs))
    process.start()
    theirs.close()
    return process, ours


def together(work: Work, url: str) -> list[object]:
    """Run the work in all processes at once; return what each one said."""
    started = [start(work, url, number) for number in range(PROCESSES)]
    said: list[object] = []
    for process, ours in started:
        assert ours.poll(DEADLINE_S)
        said.append(ours.recv())
        ours.close()
        process.join(DEADLINE_S)
        assert process.exitcode == 0
    return said


def is_sound(file: Path) -> bool:
    """Ask SQLite itself whether the file is consistent, foreign keys included."""
    with closing(sqlite3.connect(file)) as raw:
        found = raw.execute("PRAGMA integrity_check").fetchall()
        strangers = raw.execute("PRAGMA foreign_key_check").fetchall()
    return found == [("ok",)] and strangers == []


def hammer(url: str, number: int, out: Connection) -> None:
    """Write everything a burst writes, fighting the others for the same nodes; say how many were won."""
    ledger = open_ledger(url)
    won = 0
    for turn in range(ROUNDS):
        name = f"int-{number}-{turn}"
        ledger.add_request(samples.request(f"r-{turn}"))
        ledger.add_intent(samples.intent(name, request_id=f"r-{turn}"))
        launch(ledger, name)
        node = NODES[turn % len(NODES)]
        try:
            ledger.bind([(node, samples.instance(f"i-{name}-0"))], NOON)
            won += 1
        except LedgerError as error:
            if error.code != "already-bound":
                out.send(error.code)
                return
        ledger.add_event(Event(EventKind.PLAN_NOTE, name, job_id=number), NOON)
        ledger.live_bindings()
    out.send(won)
    ledger.close()


def launch(ledger: SqlLedger, name: str) -> None:
    """Record a call, then its answer with two instances."""
    asked = samples.attempt(name)
    ledger.add_attempt(asked)
    rows = [samples.instance_row(f"i-{name}-{index}", intent_id=name) for index in range(2)]
    answered = replace(asked, answered_at=NOON + timedelta(seconds=2), answer=samples.answer())
    ledger.answer_attempt(answered, rows)


def first_open(url: str, _: int, out: Connection) -> None:
    """Open a ledger that may not exist yet and use it."""
    try:
        open_ledger(url).check()
    except LedgerError as error:
        out.send(str(error))
        return
    out.send("open")


def write_until_killed(url: str, _: int, out: Connection) -> None:
    """Launch for ever, saying after each commit what was committed."""
    ledger = open_ledger(url)
    turn = 0
    while True:
        name = f"int-{turn}"
        ledger.add_intent(samples.intent(name))
        out.send(("intent", name))
        launch(ledger, name)
        out.send(("answer", name))
        turn += 1


def race_for_the_probe(url: str, number: int, out: Connection) -> None:
    """Claim the probe of each pool, as a launch does; say of which pools it was won, and count each try."""
    ledger = open_ledger(url)
    me, won = f"job-{number}", []
    for pool in range(POOLS):
        kept = ledger.change_shortage(f"pool-{pool}", partial(shortage.claim, now=NOON, me=me))
        if shortage.holds(kept, NOON, me):
            won.append(pool)
        ledger.change_shortage("tries", one_more)
    out.send(won)
    ledger.close()


def one_more(old: Shortage | None) -> Shortage:
    """Count, in a way that shows a lost update."""
    return replace(old or samples.shortage("tries"), failures=old.failures + 1 if old else 1)


@pytest.mark.timeout(120)
def test_one_process_probes_a_pool(tmp_path: Path) -> None:
    """Of eight that find a pool half-open at the same moment exactly one tries it; no change is lost."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    half_open = replace(samples.shortage(), since=NOON, closed_until=NOON)
    with closing(open_ledger(url)) as ledger:
        for pool in range(POOLS):
            ledger.change_shortage(f"pool-{pool}", lambda _: half_open)
        said = together(race_for_the_probe, url)
        assert all(isinstance(won, list) for won in said), said
        assert sorted(pool for won in said if isinstance(won, list) for pool in won) == list(range(POOLS))
        kept = {found.key: found for found in ledger.shortages()}
        assert kept["tries"].failures == PROCESSES * POOLS


@pytest.mark.timeout(120)
def test_eight_processes_lose_nothing(tmp_path: Path) -> None:
    """Every row of every process is there, each node has one winner, nobody saw a locked database."""
    file = tmp_path / "ledger.db"
    said = together(hammer, f"sqlite:///{file}")
    assert all(isinstance(won, int) for won in said), said
    assert sum(won for won in said if isinstance(won, int)) == len(NODES)
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        assert len(ledger.open_requests()) == ROUNDS
        assert sum(len(ledger.intents(f"r-{turn}")) for turn in range(ROUNDS)) == PROCESSES * ROUNDS
        assert len(ledger.instances()) == 2 * PROCESSES * ROUNDS
        assert len(ledger.live_bindings()) == len(NODES)
        for number in range(PROCESSES):
            texts = [found.text for _, found in ledger.events(job_id=number)]
            assert texts == [f"int-{number}-{turn}" for turn in range(ROUNDS)]
    assert is_sound(file)


@pytest.mark.timeout(120)
def test_the_first_open_is_safe_for_all(tmp_path: Path) -> None:
    """Eight processes that meet a missing ledger at the same moment all get one, migrated once."""
    for turn in range(3):
        file = tmp_path / f"ledger-{turn}.db"
        assert together(first_open, f"sqlite:///{file}") == ["open"] * PROCESSES
        assert is_sound(file)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("commits", [1, 2, 15, 40])
def test_kill_9_leaves_a_consistent_ledger(tmp_path: Path, commits: int) -> None:
    """What was said to be committed is there; an answer and its instances come together or not at all."""
    file = tmp_path / "ledger.db"
    process, ours = start(write_until_killed, f"sqlite:///{file}", 0)
    said: list[tuple[str, str]] = []
    while len(said) < commits:
        assert ours.poll(DEADLINE_S)
        said.append(ours.recv())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(DEADLINE_S)
    with closing(ours), closing(open_ledger(f"sqlite:///{file}")) as ledger:
        kept = {intent.intent_id for intent in ledger.intents("r-1")}
        assert {name for _, name in said} <= kept
        for name in kept:
            answered = [attempt for attempt in ledger.attempts(name) if attempt.answer]
            assert len(ledger.instances(intent_id=name)) == 2 * len(answered)
            assert answered or ("answer", name) not in said
        ledger.check()
    assert is_sound(file)
