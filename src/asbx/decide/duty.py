"""Which daemon of a pair works: the one beside the slurmctld that is in control, and never two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from asbx.model.control import Control, Controller


def is_acting(controllers: Sequence[Controller], me: str) -> bool | None:
    """Return whether our slurmctld is the one in control; None while none answers: then nothing changes.

    Slurm's order decides: a controller that comes back takes control from those behind it (slurm.conf(5),
    SlurmctldHost).
    """
    first = next((one for one in controllers if one.is_up), None)
    return None if first is None else same_host(first.name, me)


def same_host(one: str, other: str) -> bool:
    """Return whether two names mean one host: equal, or equal up to the domain where only one has it."""
    if "." in one and "." in other:
        return one.lower() == other.lower()
    return one.partition(".")[0].lower() == other.partition(".")[0].lower()


def may_take(control: Control, me: str, unchanged_since: datetime, now: datetime, lease: timedelta) -> bool:
    """Return whether we may take over: nobody holds it, or we do (from before a restart), or the holder is silent.

    unchanged_since: when we first saw this epoch and beat. By our own clock alone: those of two hosts may differ.
    """
    return control.holder in ("", me) or now - unchanged_since >= lease
