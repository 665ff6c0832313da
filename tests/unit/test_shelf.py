"""Facts are asked for once, kept for a while, and a refusal costs nothing for a moment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

from tests.fakes.clock import FakeClock

from asbx.aws.shelf import Shelf
from asbx.config.limits import REFUSED_LIFE, STALE_LIFE
from asbx.model.market import Verdict
from asbx.ports import CloudError

LIFE = timedelta(minutes=10)


class Source:
    """Knows the length of words but `none`, and may be shut."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.is_shut = False

    def __call__(self, keys: Sequence[str]) -> dict[str, int]:
        """Answer, or refuse."""
        self.asked.append(tuple(keys))
        if self.is_shut:
            raise CloudError("UnauthorizedOperation", "refused", "", "", Verdict.PERMISSION)
        return {key: len(key) for key in keys if key != "none"}


def _shelf(size: int = 10) -> tuple[Shelf[str, int], Source, FakeClock]:
    clock, source = FakeClock(), Source()
    return Shelf(clock, LIFE, source, size), source, clock


def test_only_what_is_missing_is_asked_for() -> None:
    """In one call for all, and nothing of it again before its time."""
    shelf, source, clock = _shelf()
    assert shelf.find(["a", "bb", "a"]) == {"a": 1, "bb": 2}
    assert shelf.find(["bb", "ccc"]) == {"bb": 2, "ccc": 3}
    assert source.asked == [("a", "bb"), ("ccc",)]
    clock.advance(seconds=601)
    shelf.find(["a"])
    assert source.asked[-1] == ("a",)


def test_large_questions_are_split() -> None:
    """No call names more than it may."""
    shelf, source, _ = _shelf(size=2)
    shelf.find(["a", "b", "c", "d", "e"])
    assert [len(keys) for keys in source.asked] == [2, 2, 1]


def test_no_such_thing_is_an_answer() -> None:
    """It is kept as long as others, and told from not knowing."""
    shelf, source, _ = _shelf()
    assert shelf.find(["none"]) == {}
    assert shelf.is_absent("none")
    assert not shelf.is_absent("a")
    source.is_shut = True
    assert not shelf.is_absent("other")
    assert source.asked.count(("none",)) == 1


def test_a_refusal_is_not_repeated_for_a_moment() -> None:
    """Then it is tried again, whatever else was asked for meanwhile."""
    shelf, source, clock = _shelf()
    source.is_shut = True
    assert shelf.find(["a"]) == {}
    assert shelf.find(["a"]) == {}
    assert len(source.asked) == 1
    source.is_shut = False
    clock.advance(seconds=REFUSED_LIFE.total_seconds() + 1)
    assert shelf.find(["a"]) == {"a": 1}


def test_what_was_learned_outlives_a_refusal_but_not_a_day() -> None:
    """Old facts are better than none, for a while."""
    shelf, source, clock = _shelf()
    shelf.find(["a"])
    source.is_shut = True
    clock.advance(seconds=LIFE.total_seconds() + 1)
    assert shelf.find(["a"]) == {"a": 1}
    clock.advance(seconds=STALE_LIFE.total_seconds())
    assert shelf.find(["a"]) == {}


def test_forgetting_asks_anew_but_not_what_was_just_refused() -> None:
    """A storm of refused launches must not become a storm of refused reads."""
    shelf, source, _ = _shelf()
    shelf.find(["a"])
    shelf.forget()
    assert shelf.known() == {}
    shelf.find(["a"])
    assert len(source.asked) == 2
    source.is_shut = True
    shelf.find(["b"])
    shelf.forget()
    shelf.find(["b"])
    assert source.asked[2:] == [("b",)]


def test_an_answer_nobody_can_read_is_no_answer() -> None:
    """A door that never raises does not trust EC2 to send every member."""

    def ask(keys: Sequence[str]) -> dict[str, int]:
        raise KeyError(keys[0])

    shelf: Shelf[str, int] = Shelf(FakeClock(), LIFE, ask)
    assert shelf.find(["a"]) == {}


def test_threads_share_one_call() -> None:
    """However many launches need a fact at once, EC2 hears of it once."""
    shelf, source, _ = _shelf()
    threads = [threading.Thread(target=shelf.find, args=[["a"]]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(source.asked) == 1


def test_a_fact_is_kept_no_longer_than_until_it_changes_by_itself() -> None:
    """A reservation that begins in two minutes is asked for again then, not at the end of its usual life."""
    clock, source = FakeClock(), Source()
    begins = clock.now() + timedelta(minutes=2)
    shelf = Shelf(clock, LIFE, source, 10, lambda _: (begins, None))
    shelf.find(["a"])
    clock.advance(seconds=119)
    shelf.find(["a"])
    assert len(source.asked) == 1
    clock.advance(seconds=1)
    for _ in range(2):
        shelf.find(["a"])
        clock.advance(minutes=5)
    assert len(source.asked) == 2, "what lies behind counts no more"
