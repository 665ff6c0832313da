"""What is happening with a job now, and when it is tried next, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from asbx.decide.explain_job import Known, tries
from asbx.model.job import JobView
from asbx.model.record import Setback

_WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED"})
_RISES = frozenset({"CONFIGURING"})
_RUNS = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})


@dataclass(frozen=True)
class Standing:
    """word: waiting, held, due, launching, booting, running, over or unknown. next_try: None where none is planned."""

    word: str
    text: str
    next_try: datetime | None = None


def standing(known: Known) -> Standing:
    """Return where a job stands. Where Slurm was not heard, the ledger alone tells."""
    view = known.view
    if view is None:
        return _unseen(known)
    if view.state in _RISES:
        return _rising(known)
    if view.state in _WAITS:
        return _waiting(known, view)
    if view.state in _RUNS:
        many = f"{view.node_count} node(s): {view.nodes}" if view.nodes else f"{view.node_count} node(s)"
        return Standing("running", f"it is {view.state} on {many}")
    ended = f", ended at {_moment(view.ended_at)}" if view.ended_at is not None else ""
    return Standing("over", f"it is over: {view.state or 'its state is not known'}{ended}{_left(known)}")


def _unseen(known: Known) -> Standing:
    """Return what the ledger tells of a job that Slurm does not show."""
    if not known.silence:
        return Standing("over", f"it is over: Slurm does not know it any more{_left(known)}")
    if known.live:
        return _rising(known, "Slurm does not answer; by the ledger, ")
    if known.setback is not None:
        found = _set_back(known, known.setback)
        return Standing(found.word, f"Slurm does not answer; by the ledger, {found.text}", found.next_try)
    return Standing("unknown", "Slurm does not answer, and no instance of it is there: whether it waits is not known")


def _left(known: Known) -> str:
    """Return what is still there of a job that is over."""
    if not known.live:
        return ""
    return f"; {len(known.live)} instance(s) launched for it are still there, until idle for SuspendTime or used again"


def _rising(known: Known, before: str = "") -> Standing:
    """Return how far the launch is."""
    bound = [row for row in known.live if row.instance_id in known.bindings]
    up = sum(known.bindings[row.instance_id].registered_at is not None for row in bound)
    if not known.live:
        return Standing("launching", f"{before}it is being launched: {'; '.join(_launch(known))}")
    if len(bound) < len(known.live):
        text = f"{before}EC2 has launched {len(known.live)} instance(s), {len(bound)} of them are nodes by now"
        return Standing("launching", text)
    if up < len(bound):
        return Standing("booting", f"{before}it is booting: {up} of {len(bound)} node(s) have registered")
    if before:
        return Standing("running", f"{before}it is up: all {len(bound)} node(s) have registered")
    return Standing(
        "booting", f"it is booting: all {len(bound)} node(s) have registered, Slurm starts it at its next look"
    )


def _launch(known: Known) -> Iterator[str]:
    found = tries(known)
    calls = found[0].calls if found else ()
    if not calls:
        yield "EC2 has not been asked yet"
        return
    last = calls[-1]
    yield f"EC2 has been asked {len(calls)} time(s)"
    if last.is_open:
        yield "its answer is awaited"
    elif last.error or last.refusals:
        yield f"it last said {last.error or last.refusals[0].code}"


def _waiting(known: Known, view: JobView) -> Standing:
    setback = known.setback
    is_held = "Held" in view.reason
    if setback is not None and (is_held or setback.next_at is not None):
        return _set_back(known, setback)
    if is_held:
        text = f"it is held, not by ASBX ({view.reason}): scontrol release {view.label or view.job_id}"
        return Standing("held", text)
    before = "it was held by ASBX, and has been released; " if setback is not None else ""
    reason = f" ({view.reason})" if view.reason else ""
    started = f"; Slurm expects to start it at {_moment(view.starts_at)}" if view.starts_at else ""
    text = f"{before}it waits in Slurm's queue{reason}: ASBX has not been asked for it now{started}"
    return Standing("waiting", text, view.starts_at)


def _set_back(known: Known, setback: Setback) -> Standing:
    times = "failed once" if setback.count <= 1 else f"failed {setback.count} times in a row"
    why = f"{setback.code}: {setback.reason}"
    if setback.next_at is None:
        end = f"waiting does not help: change what is wrong, then scontrol release {setback.job_id}"
        return Standing("held", f"it is held since {_moment(setback.at)}: {why}; {end}")
    if setback.next_at > known.now:
        text = f"it waits for its next try at {_moment(setback.next_at)}; its launch {times}, last with {why}"
        return Standing("waiting", text, setback.next_at)
    due = f"its next try is due since {_moment(setback.next_at)}: Slurm starts it when it has room"
    text = f"{due}; its launch {times}, last with {why}"
    return Standing("due", text, setback.next_at)


def _moment(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
