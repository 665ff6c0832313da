"""The lab's own door to the pretend EC2: JSON under /_lab, for the commands, the instance runner and tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from math import floor
from typing import Any

from asbx.lab.emulator.billing import bill
from asbx.lab.emulator.bus import Bus
from asbx.lab.emulator.control_reservations import add_block, add_reservation, reservation_rows
from asbx.lab.emulator.faults import FaultBook
from asbx.lab.emulator.health import heal, impair, schedule
from asbx.lab.emulator.machine import BY_FAILURE, BY_ITSELF, BY_SPOT, Machine, iso
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle, PoolKey

_NOTICE = 120.0  # seconds; EC2's two minutes
_NODE_TAGS = ("asbx:node", "Name")


class BadRequestError(ValueError):
    """The request cannot be understood; status: HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers /_lab requests with something JSON can hold. Raises BadRequestError."""

    def __init__(self, world: World, faults: FaultBook, bus: Bus, base_url: Callable[[], str]) -> None:
        self._world = world
        self._bus = bus
        self._faults = faults
        self._base_url = base_url
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, Any]], object]] = {
            ("GET", "instances"): lambda _: [self._row(m) for m in self._world.machines.values()],
            ("GET", "calls"): lambda _: self._faults.calls(),
            ("DELETE", "calls"): lambda _: self._faults.reset_calls(),
            ("GET", "pools"): lambda _: self._pools(),
            ("POST", "pools"): self._set_pool,
            ("GET", "prices"): lambda _: self._prices(),
            ("POST", "prices"): self._set_price,
            ("GET", "faults"): lambda _: self._faults.rows(),
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): lambda _: self._faults.clear(),
            ("GET", "knobs"): lambda _: dataclasses.asdict(self._world.knobs),
            ("POST", "knobs"): self._set_knobs,
            ("GET", "machines"): lambda _: self._machines(),
            ("GET", "bill"): lambda _: bill(self._world),
            ("GET", "groups"): lambda _: self._groups(),
            ("GET", "reservations"): lambda _: reservation_rows(self._world, Lifecycle.ON_DEMAND),
            ("POST", "reservations"): lambda body: _or_refused(add_reservation, self._world, body),
            ("GET", "blocks"): lambda _: reservation_rows(self._world, Lifecycle.CAPACITY_BLOCK),
            ("POST", "blocks"): lambda body: _or_refused(add_block, self._world, body),
        }

    def answer(self, method: str, path: str, body: Mapping[str, Any]) -> object:
        """Answer; path: what follows /_lab/."""
        head, _, target = path.strip("/").partition("/")
        with self._world.lock:
            self._world.settle()
            if target and (method, head) == ("POST", "machines"):
                return self._act(self._find(target), body)
            if target or (method, head) not in self._routes:
                raise BadRequestError(f"no such thing: {method} /_lab/{path}", 404)
            return self._routes[method, head](body)

    # -- instances

    def _row(self, machine: Machine) -> dict[str, Any]:
        launch, now = machine.launch, self._world.now()
        tags = self._world.tags[machine.instance_id]
        return {
            "id": machine.instance_id,
            "type": launch.pool.instance_type,
            "zone": launch.pool.zone,
            "market": launch.pool.market.value,
            "state": machine.state(now).name,
            "node": next((tags[key] for key in _NODE_TAGS if tags.get(key)), ""),
            "job": tags.get("asbx:job", ""),
            "gang": tags.get("asbx:gang", ""),
            "launched_at": iso(launch.launched_at),
            "terminated_at": iso(machine.ended_at) if machine.ended_at and machine.has_ended(now) else None,
            "placement_group": launch.placement_group,
            "subnet": launch.subnet_id,
            "private_ip": machine.address,
            "launch_index": machine.index,
            "price": str(launch.price),
            "reservation": launch.reservation_id,
            "capacity_reservation": machine.capacity_reservation,
            "tags": dict(tags),
            "fleet": launch.fleet_id,
            "hang": machine.hang,
        }

    def _machines(self) -> dict[str, Any]:
        now = self._world.now()
        wanted, gone = [], []
        for machine in self._world.machines.values():
            if machine.has_ended(now):
                gone.append(machine.instance_id)
                continue
            wanted.append(
                {
                    "id": machine.instance_id,
                    "state": machine.state(now).name,
                    "boot_at": machine.boot_at,
                    "private_ip": machine.address,
                    "user_data": machine.launch.user_data,
                    "imds": f"{self._base_url()}/_imds/{machine.instance_id}",
                    "hang": machine.hang,
                }
            )
        return {"wanted": wanted, "gone": gone}

    def _find(self, target: str) -> Machine:
        """Return a machine by id, or the live one that bears a node name."""
        machine = self._world.machines.get(target)
        if machine is not None:
            return machine
        now = self._world.now()
        for machine in reversed(self._world.machines.values()):
            tags = self._world.tags[machine.instance_id]
            if not machine.has_ended(now) and target in (tags.get("asbx:node"), tags.get("Name")):
                return machine
        raise BadRequestError(f"no instance '{target}'", 404)

    def _act(self, machine: Machine, body: Mapping[str, Any]) -> dict[str, Any]:
        wish = body.get("state")
        if not isinstance(wish, str) or wish not in self._acts():
            raise BadRequestError(f"state must be one of {', '.join(self._acts())}, not '{wish}'")
        now = self._world.now()
        if machine.has_ended(now):
            if wish != "stopped-itself":  # a runner may say so twice, or too late
                raise BadRequestError(f"{machine.instance_id} has ended already")
        else:
            self._acts()[wish](machine, body, now)
        return self._row(machine)

    def _acts(self) -> dict[str, Callable[[Machine, Mapping[str, Any], float], None]]:
        """Return what each wish does to a machine that runs."""
        world, bus = self._world, self._bus
        return {
            "stopped-itself": lambda machine, _, __: world.end(machine, BY_ITSELF),
            "killed": lambda machine, _, __: world.end(machine, BY_FAILURE, ending=0.0),
            "hung": lambda machine, _, __: setattr(machine, "hang", True),
            "rebalance": self._rebalance,
            "retirement": lambda machine, _, __: bus.retirement(machine),
            "reservation-interrupted": self._reservation_ends,
            "interrupted": lambda machine, body, now: self._interrupt(machine, body.get("notice", _NOTICE), now),
            **{wish: partial(_health, wish=wish) for wish in ("impaired", "well", "event")},
        }

    def _rebalance(self, machine: Machine, _: Mapping[str, Any], now: float) -> None:
        machine.rebalance_at = now
        self._bus.rebalance(machine)

    def _reservation_ends(self, machine: Machine, _: Mapping[str, Any], now: float) -> None:
        self._bus.reservation_warning(machine, now + _NOTICE)
        self._world.end(machine, BY_FAILURE, at=now + _NOTICE)

    def _interrupt(self, machine: Machine, notice: object, now: float) -> None:
        if not machine.launch.is_spot:
            raise BadRequestError(f"{machine.instance_id} is not a Spot instance")
        if not isinstance(notice, int | float) or notice < 0:
            raise BadRequestError(f"notice must be seconds from 0, not '{notice}'")
        machine.notice_at = now
        self._bus.spot_warning(machine)
        self._world.end(machine, BY_SPOT, at=now + notice)

    def _groups(self) -> list[dict[str, Any]]:
        return [
            {
                "name": g.name,
                "id": g.group_id,
                "strategy": g.strategy,
                "members": len(self._world.group_members(g)),
            }
            for g in self._world.groups.values()
        ]

    # -- market

    def _pools(self) -> list[dict[str, Any]]:
        return [
            {**_key_row(row.key), "capacity": row.capacity, "in_use": row.in_use, "in_group": row.in_group}
            for row in self._world.market.rows()
        ]

    def _set_pool(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Set what the body names: capacity, in_group; a body that names neither lifts the bound on capacity."""
        key, market = _key(body), self._world.market
        try:
            if "capacity" in body or "in_group" not in body:
                market.set_capacity(key, _count(body.get("capacity")))
            if "in_group" in body:
                market.set_in_group(key, _count(body["in_group"]))
        except (TypeError, ValueError) as error:
            raise BadRequestError(str(error)) from error
        row = {"in_use": market.in_use(key), "in_group": market.in_group(key)}
        return {**_key_row(key), "capacity": market.capacity(key), **row}

    def _prices(self) -> list[dict[str, Any]]:
        """Return the prices set by hand and those of pools in sight."""
        market, now = self._world.market, self._world.now()
        keys = sorted({row.key for row in market.rows()} | set(market.prices.set_keys()))
        priced = [(key, market.prices.price(key, now)) for key in keys]
        return [{**_key_row(key), "usd": str(usd)} for key, usd in priced if usd is not None]

    def _set_price(self, body: Mapping[str, Any]) -> dict[str, Any]:
        key = _key(body)
        try:
            usd = Decimal(str(body.get("usd", "")))
            # EC2's history knows whole seconds.
            self._world.market.prices.set(key, usd, floor(self._world.now()))
        except (InvalidOperation, ValueError) as error:
            raise BadRequestError(f"not a price: {body.get('usd')}") from error
        return {**_key_row(key), "usd": str(usd)}

    # -- behaviour

    def _add_fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return _or_refused(lambda _, rule: dataclasses.asdict(self._faults.add(rule)), self._world, body)

    def _set_knobs(self, body: Mapping[str, Any]) -> dict[str, Any]:
        knobs = self._world.knobs
        known = {field.name for field in dataclasses.fields(knobs)}
        for name, value in body.items():
            if name not in known:
                raise BadRequestError(f"unknown knob '{name}'; there are {', '.join(sorted(known))}")
            if name.startswith("vcpus"):
                fits = value is None or (isinstance(value, int) and value >= 0)
            else:
                fits = isinstance(value, int | float) and value >= 0
            if not fits:
                raise BadRequestError(f"not a value for {name}: {value}")
        for name, value in body.items():
            setattr(knobs, name, value)
        return dataclasses.asdict(knobs)


def _health(machine: Machine, body: Mapping[str, Any], now: float, *, wish: str) -> None:
    try:
        if wish == "impaired":
            impair(machine, body, now)
        elif wish == "event":
            schedule(machine, body, now)
        else:
            heal(machine)
    except ValueError as error:
        raise BadRequestError(str(error)) from error


def _or_refused(
    add: Callable[[World, Mapping[str, Any]], dict[str, Any]], world: World, body: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        return add(world, body)
    except (TypeError, ValueError) as error:
        raise BadRequestError(str(error)) from error


def _count(value: object) -> int | None:
    return None if value is None else int(str(value))


def _key(body: Mapping[str, Any]) -> PoolKey:
    try:
        return PoolKey(str(body["type"]), str(body["zone"]), Lifecycle(body["market"]))
    except KeyError as error:
        raise BadRequestError(f"{error.args[0]} is missing") from error
    except ValueError as error:
        raise BadRequestError(f"market must be on-demand, spot or capacity-block, not '{body['market']}'") from error


def _key_row(key: PoolKey) -> dict[str, str]:
    return {"type": key.instance_type, "zone": key.zone, "market": key.market.value}
