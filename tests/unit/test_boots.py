"""What counts as a failed boot, what of a console is kept, and what is said to come next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.config.limits import CONSOLE_MAX_BYTES
from asbx.decide.boots import failed, presentable
from asbx.decide.explain import outlook
from asbx.model.boot import BootTrouble, Breaker
from asbx.model.market import InstanceState
from asbx.model.node import NodeView
from asbx.model.record import Binding

NODE = "aws-cpu-000"
BINDING = Binding(NODE, "i-1", NOON)
ENDED = replace(
    samples.instance("i-1"), state=InstanceState.TERMINATED, state_reason="Client.InstanceInitiatedShutdown"
)


def view(state: str, *flags: str, reason: str = "") -> NodeView:
    """Return the node as Slurm shows it."""
    return NodeView(NODE, state, frozenset(flags), "10.0.0.1", "node", reason)


RISING = view("ALLOCATED", "CLOUD", "POWERING_UP", "NOT_RESPONDING")
OFF = view("IDLE", "CLOUD", "POWERED_DOWN")
# As 22.05.8 and 26.05.3 show it after ResumeTimeout.
TIMED_OUT = (
    view("DOWN", "CLOUD", "POWERED_DOWN", "NOT_RESPONDING", reason="ResumeTimeout reached [slurm@2026-03-01T12:00:00]"),
    view("DOWN", "CLOUD", "POWERED_DOWN", reason="ResumeTimeout reached"),
)


@pytest.mark.parametrize("shown", TIMED_OUT)
def test_resume_timeout_is_seen_in_both_dialects(shown: NodeView) -> None:
    """DOWN, off, and Slurm's own reason."""
    (one,) = failed([BINDING], {"i-1": samples.instance("i-1")}, {NODE: shown})
    assert one.trouble is BootTrouble.NEVER_REGISTERED


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (RISING, ""),
        (view("IDLE", "CLOUD"), ""),
        (view("DOWN", "CLOUD", reason="broken"), ""),
        (view("DOWN", "CLOUD", "POWERED_DOWN", reason="asbx:InsufficientInstanceCapacity"), ""),
        (RISING, "Server.SpotInstanceTermination"),
        (RISING, "Client.UserInitiatedShutdown"),
        (RISING, "Server.InsufficientInstanceCapacity"),
    ],
)
def test_nothing_else_is_a_failed_boot(shown: NodeView, reason: str) -> None:
    """Coming up, serving, set DOWN by somebody, refused by EC2, taken back, terminated."""
    instance = replace(ENDED, state_reason=reason) if reason else samples.instance("i-1")
    assert failed([BINDING], {"i-1": instance}, {NODE: shown}) == ()


@pytest.mark.parametrize("shown", [view("IDLE", "CLOUD", "NOT_RESPONDING"), OFF])
def test_what_ended_after_its_boot_was_a_node(shown: NodeView) -> None:
    """Slurm does not wait for it any more: it has registered, or is powered down."""
    assert failed([BINDING], {"i-1": ENDED}, {NODE: shown}) == ()
    assert len(failed([BINDING], {"i-1": ENDED}, {NODE: RISING})) == 1


def test_absence_and_strangers_say_nothing() -> None:
    """An instance EC2 does not show, a node Slurm does not know, a node in work, one that has registered."""
    assert failed([BINDING], {}, {NODE: RISING}) == ()
    assert failed([BINDING], {"i-1": ENDED}, {}) == ()
    assert failed([BINDING], {"i-1": ENDED}, {NODE: RISING}, busy={NODE}) == ()
    assert failed([replace(BINDING, registered_at=NOON)], {"i-1": ENDED}, {NODE: TIMED_OUT[0]}) == ()


@pytest.mark.parametrize(
    ("console", "kept"),
    [
        ("\x1b[1;31mFAILED\x1b[0m\r\n", "FAILED\n"),
        ("a\tb\0\n", "a\tb\n"),
        ("export AWS_SECRET_ACCESS_KEY='abc/def'\n", "export AWS_SECRET_ACCESS_KEY='[removed]'\n"),
        ('{"password": "p w"}', '{"password": "[removed] w"}'),
        ("key AKIAIOSFODNN7EXAMPLE used", "key [removed] used"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nok\n", "[removed]\nok\n"),
        ("asbx-node: no name in its tags\n", "asbx-node: no name in its tags\n"),
    ],
)
def test_a_console_is_made_presentable(console: str, kept: str) -> None:
    """No control characters, and what looks like a secret is gone."""
    assert presentable(console) == kept


def test_the_end_of_a_console_is_kept() -> None:
    """Never more than EC2's own limit, cut between characters."""
    kept = presentable("é" * CONSOLE_MAX_BYTES + "end")
    assert kept.endswith("éend")
    assert len(kept.encode()) <= CONSOLE_MAX_BYTES


CLOSED = Breaker(samples.CPU, NOON, NOON + timedelta(minutes=5), 1, 10)


@pytest.mark.parametrize(
    ("shown", "binding", "breaker", "said"),
    [
        (None, None, None, "Slurm does not know it"),
        (OFF, None, None, "when a job needs it"),
        (OFF, None, CLOSED, "one launch tries it from 2026-03-01 12:05:00 UTC on"),
        (OFF, BINDING, None, "i-1 behind it is ended by the next sweeps"),
        (RISING, None, None, "has no instance yet"),
        (RISING, BINDING, None, "it has its instance for 60 s; its slurmd must register within 600 s"),
        (RISING, replace(BINDING, registered_at=NOON), None, "its slurmd has registered"),
        (view("IDLE", "CLOUD", "DRAIN", reason="asbx:health x"), BINDING, None, "powered down when no job is on it"),
        (view("IDLE", "CLOUD", "DRAIN", reason="asbx:block-ends x"), BINDING, None, "its Capacity Block ends"),
        (view("IDLE", "CLOUD", "DRAIN", reason="disk"), BINDING, None, "until somebody undrains it (disk)"),
        (view("DOWN", "CLOUD", reason="lost"), BINDING, None, "it is DOWN (lost)"),
        (view("IDLE", "CLOUD"), None, None, "no instance of ours"),
        (view("IDLE", "CLOUD"), BINDING, None, "the next sweep notes that it has registered"),
        (view("MIXED", "CLOUD"), replace(BINDING, registered_at=NOON), None, "it serves"),
    ],
)
def test_what_comes_next_is_said(
    shown: NodeView | None, binding: Binding | None, breaker: Breaker | None, said: str
) -> None:
    """One sentence for each situation."""
    assert said in outlook(shown, binding, breaker, NOON + timedelta(seconds=60), timedelta(seconds=600))
