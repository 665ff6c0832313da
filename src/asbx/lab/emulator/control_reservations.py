"""The lab's door to capacity reservations and Capacity Blocks: POST and GET /_lab/reservations, /_lab/blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator.errors import Ec2Error
from asbx.lab.emulator.machine import LAB_ACCOUNT, Owner, iso
from asbx.lab.emulator.reserving import Wish, book, state
from asbx.lab.emulator.world import Booking, Group, World
from asbx.sim.market import Lifecycle, PoolKey

_RESERVATION_KEYS = {"type", "zone", "count", "match", "group", "ends", "tags"}
_BLOCK_KEYS = {"type", "zone", "count", "starts", "ends", "tags"}


def reservation_rows(world: World, market: Lifecycle) -> list[dict[str, Any]]:
    """Return the reservations of a market, ended ones included; times in ISO 8601, None for no bound."""
    bookings = world.bookings.values()
    return [_row(world, b) for b in bookings if world.market.reservations[b.reservation_id].key.market is market]


def _row(world: World, booking: Booking) -> dict[str, Any]:
    made = world.market.reservations[booking.reservation_id]
    return {
        "id": made.reservation_id,
        "type": made.key.instance_type,
        "zone": made.key.zone,
        "total": made.total,
        "available": made.free if made.serves(world.now()) else 0,
        "used": made.used,
        "state": state(world, booking),
        "match": "open" if made.is_open else "targeted",
        "group": booking.group,
        "starts": None if math.isinf(made.starts) else iso(made.starts),
        "ends": None if math.isinf(made.ends) else iso(made.ends),
    }


def add_reservation(world: World, body: Mapping[str, Any]) -> dict[str, Any]:
    """Reserve places now. ends: seconds from now. Raises ValueError for what cannot be."""
    _check(body, _RESERVATION_KEYS)
    match = body.get("match", "open")
    if match not in ("open", "targeted"):
        raise ValueError(f"match must be open or targeted, not '{match}'")
    owner = _owner(world)
    ends = world.now() + _seconds(body, "ends") if body.get("ends") is not None else math.inf
    key = _key(body, Lifecycle.ON_DEMAND)
    wish = Wish(key, _count(body), match == "open", _group(world, owner, str(body.get("group") or "")), ends=ends)
    return _booked(world, owner, wish, body)


def add_block(world: World, body: Mapping[str, Any]) -> dict[str, Any]:
    """Make a Capacity Block. starts, ends: seconds from now. Raises ValueError for what cannot be."""
    _check(body, _BLOCK_KEYS)
    starts, ends = _seconds(body, "starts"), _seconds(body, "ends")
    if ends <= max(starts, 0):
        raise ValueError("ends must lie after starts, and in the future")
    now, key = world.now(), _key(body, Lifecycle.CAPACITY_BLOCK)
    wish = Wish(key, _count(body), is_open=False, starts=now + starts, ends=now + ends)
    return _booked(world, _owner(world), wish, body)


def _booked(world: World, owner: Owner, wish: Wish, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _row(world, book(world, owner, wish, body.get("tags") or {}))
    except Ec2Error as error:
        raise ValueError(f"{error.code}: {error.message}") from error


def _owner(world: World) -> Owner:
    return Owner(LAB_ACCOUNT, world.region)


def _group(world: World, owner: Owner, name: str) -> Group | None:
    if name and (owner, name) not in world.groups:
        raise ValueError(f"no placement group '{name}'")
    group = world.groups.get((owner, name))
    if group and group.strategy != "cluster":
        raise ValueError(f"placement group '{name}' is not of the cluster strategy")
    return group


def _check(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = set(body) - known
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
    for name in ("type", "zone", "count"):
        if body.get(name) is None:
            raise ValueError(f"{name} is missing")


def _key(body: Mapping[str, Any], market: Lifecycle) -> PoolKey:
    return PoolKey(str(body["type"]), str(body["zone"]), market)


def _count(body: Mapping[str, Any]) -> int:
    return int(str(body["count"]))


def _seconds(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be seconds from now, not '{value}'")
    return float(value)
