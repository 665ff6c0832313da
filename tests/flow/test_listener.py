"""The two threads beside the daemon's loop: at work only where the spool is ours, alive through failing turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.notices import SPOT, FakeNotices, event
from tests.fakes.site import Site

from asbx.daemon import listen
from asbx.daemon.clock import RealClock
from asbx.daemon.listen import Listener
from asbx.flow.interrupt import Interruptions
from asbx.model.event import EventKind
from asbx.model.market import Verdict
from asbx.model.notice import Message


class Slow(FakeNotices):
    """A queue whose every answer takes a moment, as a long poll does."""

    def receive(self) -> tuple[Message, ...]:
        """Wait a little, then answer."""
        time.sleep(0.01)
        return super().receive()


def soon(look: Callable[[], object]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 10
    while not look():
        assert time.monotonic() < ends, "it did not come true in 10 s"
        time.sleep(0.01)


def started(site: Site) -> tuple[Listener, Slow]:
    """Start a listener on a queue with one message of somebody else's instance."""
    queue = Slow(site.clock)
    queue.put(event(SPOT, "i-ffffffffffffffff0", site.clock.now()))
    doors = replace(site.doors, notices=queue, clock=RealClock())
    one = Listener(doors, Interruptions(doors))
    one.start()
    return one, queue


def test_a_controller_on_standby_leaves_the_queue_alone() -> None:
    """Its messages are for the other one; when it takes over it reads them, and when it leaves it stops."""
    listener, queue = started(Site())
    try:
        time.sleep(0.1)
        assert len(queue.waiting) == 1
        listener.work(is_ours=True)
        soon(lambda: not queue.waiting)
        listener.work(is_ours=False)
        time.sleep(0.1)
        queue.put("{}")
        time.sleep(0.1)
        assert len(queue.waiting) == 1
    finally:
        listener.close()


def test_it_outlives_failing_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once however often it fails, shown in the state, and said when it is over."""
    monkeypatch.setattr(listen, "QUEUE_FIRST_PAUSE", timedelta(milliseconds=10))
    site = Site()
    listener, queue = started(site)
    try:
        queue.fail_next("receive", cloud_error("AccessDenied", Verdict.PERMISSION), times=2)
        queue.fail_next("receive", ValueError("odd"))  # type: ignore[arg-type]
        listener.work(is_ours=True)
        soon(lambda: not queue.waiting and site.recorder.of(EventKind.QUEUE_ANSWERS))
        assert len(site.recorder.of(EventKind.QUEUE_SILENT)) == 2
        assert listener.state()["trouble"] == ""
    finally:
        listener.close()


def test_it_stops_at_once() -> None:
    """A daemon that is told to stop does not wait for the queue."""
    listener, _ = started(Site())
    listener.work(is_ours=True)
    began = time.monotonic()
    listener.close()
    assert time.monotonic() - began < 2
