"""Who of two controllers may write: whoever took over last, and from that moment on nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.errors import LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.control import Control

Pair = tuple[SqlLedger, SqlLedger]


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Open one ledger twice, as two programs do."""
    url = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database()
    first, second = open_ledger(url), open_ledger(url)
    yield first, second
    first.close()
    second.close()


def test_nobody_works_at_first(pair: Pair) -> None:
    """A new ledger has no holder, and whoever has no turn may write: one controller needs none."""
    assert pair[0].control() == Control()
    assert pair[0].add_request(samples.request())


def test_one_of_two_takes_control(pair: Pair) -> None:
    """Both saw it free at the same moment: one has it, and the other learns that it has not."""
    seen = [ledger.control() for ledger in pair]
    assert pair[0].take_control(seen[0], "ctl1", NOON)
    assert not pair[1].take_control(seen[1], "ctl2", NOON)
    assert pair[1].control() == Control(1, "ctl1", 0, NOON)


def test_a_beat_is_seen_by_the_other(pair: Pair) -> None:
    """It counts up while the holder lives."""
    pair[0].take_control(pair[0].control(), "ctl1", NOON)
    pair[0].beat()
    pair[0].beat()
    assert pair[1].control().beat == 2


def test_who_was_relieved_can_do_nothing(pair: Pair) -> None:
    """No intent, no call, no binding, not even a look: what it would do next rests on what it believes."""
    old, new = pair
    old.take_control(old.control(), "ctl1", NOON)
    old.add_intent(samples.intent())
    assert new.take_control(new.control(), "ctl2", NOON)
    for attempt in (
        lambda: old.add_intent(samples.intent("int-2")),
        lambda: old.add_attempt(samples.attempt()),
        lambda: old.bind([("aws-cpu-000", samples.instance())], NOON),
        lambda: old.end_instances(["i-1"], "x", NOON),
        old.open_requests,
        old.beat,
    ):
        with pytest.raises(LedgerError) as caught:
            attempt()
        assert caught.value.code == "ledger-relieved"
    assert new.attempts("int-1") == ()
    new.add_attempt(samples.attempt())


def test_who_leaves_is_followed_at_once(pair: Pair) -> None:
    """Nobody holds it then, and what still runs there can write no more."""
    old, new = pair
    old.take_control(old.control(), "ctl1", NOON)
    old.leave_control()
    assert new.control().holder == ""
    with pytest.raises(LedgerError) as caught:
        old.add_request(samples.request())
    assert caught.value.code == "ledger-relieved"
    assert new.take_control(new.control(), "ctl2", NOON)
    old.leave_control()
    assert new.control().holder == "ctl2", "who has left cannot take it from another"
