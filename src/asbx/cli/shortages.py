"""Shortages for `asbx status`: which pools are not asked now, why, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from asbx.cli import reading
from asbx.decide.shortage import Phase, phase
from asbx.decide.shortage_key import place_of
from asbx.model.record import Shortage

_SHUT = {Phase.CLOSED, Phase.PROBING}
_COLUMNS = ("MARKET", "TYPE", "ZONE", "PLACED", "CODE", ">REFUSED", ">FAILURES", "SINCE", "STATE")


def recent(shortages: Iterable[Shortage], now: datetime) -> tuple[Shortage, ...]:
    """Leave out what is too long ago to matter."""
    return tuple(each for each in shortages if phase(each, now) is not Phase.FORGOTTEN)


def facts(shortage: Shortage, now: datetime) -> dict[str, Any]:
    """Return one shortage for machines; what its key does not name is null. least: vCPUs for a quota."""
    place = place_of(shortage.key)
    return {
        "key": shortage.key,
        "kind": place.kind,
        "market": place.market or None,
        "instance_type": place.instance_type or None,
        "zone": place.zone or None,
        "placed": place.placed,
        "family": place.family or None,
        "subnet": place.subnet or None,
        "code": shortage.code,
        "least": shortage.least,
        "failures": shortage.failures,
        "since": reading.time_text(shortage.since),
        "closed_until": reading.time_text(shortage.closed_until),
        "state": phase(shortage, now).value,
    }


def line(shortages: Iterable[Shortage], now: datetime) -> str:
    """Return how many pools are not asked now."""
    return f"{sum(1 for each in shortages if phase(each, now) in _SHUT)} pool(s) closed"


def show(shortages: Iterable[Shortage], now: datetime) -> None:
    """Print a table for people, or a sentence where nothing is short."""
    rows = [_row(each, now) for each in recent(shortages, now)]
    if rows:
        reading.show_table(_COLUMNS, rows)
    else:
        print("No pool is short: EC2 has refused none lately.")


def _row(shortage: Shortage, now: datetime) -> tuple[str, ...]:
    place = place_of(shortage.key)
    return (
        place.market or "-",
        place.instance_type or (f"quota {place.family}" if place.family else "any"),
        place.zone or place.subnet or "any",
        "yes" if place.placed else "no",
        shortage.code,
        f"{shortage.least}{' vCPUs' if place.family else ''}",
        str(shortage.failures),
        reading.time_shown(shortage.since),
        _state(shortage, now),
    )


def _state(shortage: Shortage, now: datetime) -> str:
    match phase(shortage, now):
        case Phase.CLOSED:
            return f"closed until {reading.time_shown(shortage.closed_until)}"
        case Phase.PROBING:
            return f"{shortage.probe_by} probes it until {reading.time_shown(shortage.probe_until)}"
        case _:
            return "may be probed"
