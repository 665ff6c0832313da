"""`asbx lab …`: look at the pretend EC2, and turn its knobs.

These commands speak only to the emulator of one lab; `world` is mounted under `asbx lab`.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from asbx.cli import lab_machines
from asbx.cli.lab_ask import JsonOption, StateDirOption, ask, confirm, print_json, show
from asbx.errors import UsageError

world = typer.Typer(add_completion=False, rich_markup_mode=None, help="The pretend EC2 of a lab.")
pool = typer.Typer(rich_markup_mode=None, help="How many instances EC2 has, by type, zone and market.")
price = typer.Typer(rich_markup_mode=None, help="What instances cost, by type, zone and market.")
fault = typer.Typer(rich_markup_mode=None, help="Errors and delays to order.")
reservation = typer.Typer(rich_markup_mode=None, help="Capacity reserved on demand.")
block = typer.Typer(rich_markup_mode=None, help="Capacity Blocks: capacity for a window of time.")
world.add_typer(pool, name="pool")
world.add_typer(price, name="price")
world.add_typer(fault, name="fault")
world.add_typer(lab_machines.spot, name="spot")
world.add_typer(lab_machines.instance, name="instance")
world.add_typer(lab_machines.event, name="event")
world.add_typer(reservation, name="reservation")
world.add_typer(block, name="block")

TypeOption = Annotated[str, typer.Option("--type", help="Instance type, for example c7i.large.")]
ZoneOption = Annotated[str, typer.Option("--zone", help="Availability zone, for example us-east-2a.")]
MarketOption = Annotated[str, typer.Option("--market", help="on-demand or spot.")]

CountOption = Annotated[int, typer.Option("--count", help="How many instances.")]


@world.command()
def instances(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List every instance there was, ended ones included.

    Example: asbx lab instances --json
    """
    rows = ask(state_dir, "GET", "instances")
    columns = ("id", "node", "type", "zone", "market", "state", "job", "private_ip", "price", "launched_at")
    show(rows, columns, "instances", as_json=as_json)


@world.command()
def calls(
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    reset: Annotated[bool, typer.Option("--reset", help="Start counting again.")] = False,
) -> None:
    """Count the AWS calls made so far, by action.

    Example: asbx lab calls --reset
    """
    counts = ask(state_dir, "GET", "calls")
    if reset:
        ask(state_dir, "DELETE", "calls")
    if as_json:
        print_json(counts)
        return
    rows = [{"action": action, "calls": count} for action, count in counts.items()]
    show(rows, ("action", "calls"), "calls", as_json=False)


@pool.command("set")
def pool_set(
    instance_type: TypeOption,
    zone: ZoneOption,
    market: MarketOption,
    capacity: Annotated[
        str | None, typer.Option("--capacity", help="How many there are; 'unlimited' lifts the bound.")
    ] = None,
    in_group: Annotated[
        str | None,
        typer.Option("--in-group", help="How many one cluster placement group holds; 'unlimited' lifts the bound."),
    ] = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bound a capacity pool, or what one cluster placement group holds of it. What runs goes on running.

    Example: asbx lab pool set --type c7i.large --zone us-east-2a --market spot --capacity 2 --in-group 1
    """
    wishes = {"capacity": ("--capacity", capacity), "in_group": ("--in-group", in_group)}
    bounds = {key: _bound(option, text) for key, (option, text) in wishes.items() if text is not None}
    if not bounds:
        raise UsageError("usage", "no bound is given", "there is nothing to set", "say --capacity N or --in-group N")
    row = ask(state_dir, "POST", "pools", {**_key(instance_type, zone, market), **bounds})
    said = ", ".join(f"{option[2:]} {text}" for option, text in wishes.values() if text is not None)
    confirm(row, f"{instance_type} in {zone}, {market}: {said}", as_json=as_json)


@pool.command("list")
def pool_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List the pools that have a bound or instances out; every other pool has no limit.

    Example: asbx lab pool list --json
    """
    columns = ("type", "zone", "market", "capacity", "in_use", "in_group")
    show(ask(state_dir, "GET", "pools"), columns, "pools", as_json=as_json)


@price.command("set")
def price_set(
    instance_type: TypeOption,
    zone: ZoneOption,
    market: MarketOption,
    usd: Annotated[str, typer.Option("--usd", help="USD an hour.")],
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a price from now on.

    What runs pays it when its next hour begins; in a lab an hour of billing lasts a second (knob billed_hour).

    Example: asbx lab price set --type c7i.large --zone us-east-2a --market spot --usd 0.05
    """
    try:
        figure = Decimal(usd)
    except InvalidOperation:
        figure = Decimal(-1)
    if not (figure.is_finite() and figure >= 0):
        raise UsageError("usage", f"--usd {usd} is not a price", "it must be a number from 0", "for example --usd 0.05")
    row = ask(state_dir, "POST", "prices", {**_key(instance_type, zone, market), "usd": usd})
    confirm(row, f"{instance_type} in {zone}, {market}: {usd} USD an hour", as_json=as_json)


@price.command("list")
def price_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List prices set by hand and those of pools in use. All prices of a lab are pretend figures.

    Example: asbx lab price list
    """
    show(ask(state_dir, "GET", "prices"), ("type", "zone", "market", "usd"), "prices", as_json=as_json)


@fault.command("add")
def fault_add(  # noqa: PLR0913, PLR0917  # one parameter an option
    action: Annotated[str, typer.Option("--action", help="AWS action, for example CreateFleet; * for all.")],
    code: Annotated[str, typer.Option("--code", help="EC2's error code; leave it out for a mere delay.")] = "",
    times: Annotated[int, typer.Option("--times", help="How many calls it strikes; -1 for ever.")] = 1,
    status: Annotated[int | None, typer.Option("--status", help="HTTP status; else the one EC2 sends.")] = None,
    latency: Annotated[float, typer.Option("--latency", help="Seconds to wait before the answer.")] = 0.0,
    message: Annotated[str, typer.Option("--message", help="The text of the error.")] = "",
    drop_answer: Annotated[
        bool, typer.Option("--drop-answer", help="Do the call, then cut the connection instead of answering.")
    ] = False,
    inside: Annotated[
        bool, typer.Option("--inside", help="CreateFleet answers, with the code as the error of each override.")
    ] = False,
    only: Annotated[str, typer.Option("--only", help="With --inside: one instance type or zone.")] = "",
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the next calls of an action fail, wait, or lose their answer.

    Example: asbx lab fault add --action CreateFleet --code InsufficientInstanceCapacity --times 2 --status 500
    """
    body: dict[str, Any] = {"action": action, "code": code, "times": times, "latency": latency, "message": message}
    body |= {"status": status} if status else {}
    body |= {"then": "drop-answer"} if drop_answer else {}
    body |= {"then": "refuse-overrides", "only": only} if inside or only else {}
    confirm(ask(state_dir, "POST", "faults", body), f"{action}: {code or 'delay'}", as_json=as_json)


@fault.command("list")
def fault_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List the faults that can still strike.

    Example: asbx lab fault list
    """
    columns = ("action", "code", "times", "status", "latency", "then", "only")
    show(ask(state_dir, "GET", "faults"), columns, "faults", as_json=as_json)


@fault.command("clear")
def fault_clear(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Forget all faults.

    Example: asbx lab fault clear
    """
    confirm(ask(state_dir, "DELETE", "faults"), "no faults", as_json=as_json)


@reservation.command("add")
def reservation_add(  # noqa: PLR0913, PLR0917  # one parameter an option
    instance_type: TypeOption,
    zone: ZoneOption,
    count: CountOption,
    match: Annotated[
        str, typer.Option("--match", help="open: serves every launch that fits; targeted: those that name it.")
    ] = "open",
    group: Annotated[str, typer.Option("--group", help="Cluster placement group to reserve in.")] = "",
    ends: Annotated[float | None, typer.Option("--ends", help="Seconds from now; without, it stays.")] = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reserve on-demand capacity now; it leaves the pool.

    Example: asbx lab reservation add --type c7i.large --zone us-east-2a --count 4 --match targeted
    """
    body = {"type": instance_type, "zone": zone, "count": count, "match": match, "group": group, "ends": ends}
    row = ask(state_dir, "POST", "reservations", body)
    confirm(row, f"{row['id']}: {count} {instance_type} in {zone}, {match}", as_json=as_json)


@reservation.command("list")
def reservation_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List capacity reservations, ended ones included.

    Example: asbx lab reservation list
    """
    columns = ("id", "type", "zone", "total", "available", "state", "match", "group", "ends")
    show(ask(state_dir, "GET", "reservations"), columns, "reservations", as_json=as_json)


@block.command("add")
def block_add(
    instance_type: TypeOption,
    zone: ZoneOption,
    count: CountOption,
    ends: Annotated[float, typer.Option("--ends", help="Seconds from now.")],
    starts: Annotated[float, typer.Option("--starts", help="Seconds from now.")] = 0.0,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a Capacity Block. Its instances are ended `block_end_notice` seconds before its end (see knobs).

    Example: asbx lab block add --type p5.48xlarge --zone us-east-2a --count 2 --starts 60 --ends 7200
    """
    body = {"type": instance_type, "zone": zone, "count": count, "starts": starts, "ends": ends}
    row = ask(state_dir, "POST", "blocks", body)
    confirm(row, f"{row['id']}: {count} {instance_type} in {zone}, until {row['ends']}", as_json=as_json)


@block.command("list")
def block_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List Capacity Blocks, ended ones included.

    Example: asbx lab block list
    """
    columns = ("id", "type", "zone", "total", "available", "state", "starts", "ends")
    show(ask(state_dir, "GET", "blocks"), columns, "blocks", as_json=as_json)


@world.command()
def knobs(
    settings: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="What to change.")] = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the pretend EC2 behaves, or change it: delays in seconds, quotas in vCPUs ('none' lifts one).

    vcpus_on_demand and vcpus_spot are the quotas of the Standard families; others have a suffix, _p or _hpc.

    Example: asbx lab knobs pending=2 address=5 vcpus_spot=16
    """
    wanted = dict(_setting(text) for text in settings or [])
    values = ask(state_dir, "POST", "knobs", wanted) if wanted else ask(state_dir, "GET", "knobs")
    if as_json:
        print_json(values)
        return
    rows = [{"knob": name, "value": value} for name, value in values.items()]
    show(rows, ("knob", "value"), "knobs", as_json=False)


# -- reading options


def _key(instance_type: str, zone: str, market: str) -> dict[str, str]:
    if market not in ("on-demand", "spot"):
        raise UsageError("usage", f"--market {market} is no market", "EC2 has two", "say on-demand or spot")
    return {"type": instance_type, "zone": zone, "market": market}


def _bound(option: str, text: str) -> int | None:
    if text == "unlimited":
        return None
    if not text.isdigit():
        raise UsageError("usage", f"{option} {text} is not a number", "", "say a number from 0, or 'unlimited'")
    return int(text)


def _setting(text: str) -> tuple[str, float | int | None]:
    name, sign, value = text.partition("=")
    try:
        number = None if value.lower() == "none" else float(value)
    except ValueError:
        sign = ""
        number = None
    if not sign:
        raise UsageError("usage", f"'{text}' is not NAME=VALUE", "VALUE must be a number or 'none'", "asbx lab knobs")
    return name, int(number) if number is not None and name.startswith("vcpus") else number
