"""`asbx lab …`: look at the pretend EC2, and turn its knobs.

These commands speak only to the emulator of one lab; `world` is mounted under `asbx lab`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from asbx.errors import AsbxError, UsageError

world = typer.Typer(add_completion=False, rich_markup_mode=None, help="The pretend EC2 of a lab.")
pool = typer.Typer(rich_markup_mode=None, help="How many instances EC2 has, by type, zone and market.")
price = typer.Typer(rich_markup_mode=None, help="What instances cost, by type, zone and market.")
fault = typer.Typer(rich_markup_mode=None, help="Errors and delays to order.")
spot = typer.Typer(rich_markup_mode=None, help="Reclaim of Spot instances.")
instance = typer.Typer(rich_markup_mode=None, help="Machines that misbehave.")
reservation = typer.Typer(rich_markup_mode=None, help="Capacity reserved on demand.")
block = typer.Typer(rich_markup_mode=None, help="Capacity Blocks: capacity for a window of time.")
world.add_typer(pool, name="pool")
world.add_typer(price, name="price")
world.add_typer(fault, name="fault")
world.add_typer(spot, name="spot")
world.add_typer(instance, name="instance")
world.add_typer(reservation, name="reservation")
world.add_typer(block, name="block")

StateDirOption = Annotated[
    Path | None,
    typer.Option("--state-dir", help="The lab's folder; else $ASBX_LAB_STATE, else asbx/lab in the user's cache."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TypeOption = Annotated[str, typer.Option("--type", help="Instance type, for example c7i.large.")]
ZoneOption = Annotated[str, typer.Option("--zone", help="Availability zone, for example us-east-2a.")]
MarketOption = Annotated[str, typer.Option("--market", help="on-demand or spot.")]
NodeOption = Annotated[str, typer.Option("--node", help="Node name, or instance id.")]

CountOption = Annotated[int, typer.Option("--count", help="How many instances.")]

# A site's proxy has no business between two programs of one machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ANSWER_WITHIN = 30.0  # seconds; the emulator answers in milliseconds unless something is very wrong


@world.command()
def instances(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List every instance there was, ended ones included.

    Example: asbx lab instances --json
    """
    rows = _ask(state_dir, "GET", "instances")
    columns = ("id", "node", "type", "zone", "market", "state", "job", "private_ip", "price", "launched_at")
    _show(rows, columns, "instances", as_json=as_json)


@world.command()
def calls(
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    reset: Annotated[bool, typer.Option("--reset", help="Start counting again.")] = False,
) -> None:
    """Count the AWS calls made so far, by action.

    Example: asbx lab calls --reset
    """
    counts = _ask(state_dir, "GET", "calls")
    if reset:
        _ask(state_dir, "DELETE", "calls")
    if as_json:
        _print_json(counts)
        return
    rows = [{"action": action, "calls": count} for action, count in counts.items()]
    _show(rows, ("action", "calls"), "calls", as_json=False)


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
    row = _ask(state_dir, "POST", "pools", {**_key(instance_type, zone, market), **bounds})
    said = ", ".join(f"{option[2:]} {text}" for option, text in wishes.values() if text is not None)
    _confirm(row, f"{instance_type} in {zone}, {market}: {said}", as_json=as_json)


@pool.command("list")
def pool_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List the pools that have a bound or instances out; every other pool has no limit.

    Example: asbx lab pool list --json
    """
    columns = ("type", "zone", "market", "capacity", "in_use", "in_group")
    _show(_ask(state_dir, "GET", "pools"), columns, "pools", as_json=as_json)


@price.command("set")
def price_set(
    instance_type: TypeOption,
    zone: ZoneOption,
    market: MarketOption,
    usd: Annotated[str, typer.Option("--usd", help="USD an hour.")],
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a price from now on. Running instances keep the price they were launched at.

    Example: asbx lab price set --type c7i.large --zone us-east-2a --market spot --usd 0.05
    """
    try:
        figure = Decimal(usd)
    except InvalidOperation:
        figure = Decimal(-1)
    if not (figure.is_finite() and figure >= 0):
        raise UsageError("usage", f"--usd {usd} is not a price", "it must be a number from 0", "for example --usd 0.05")
    row = _ask(state_dir, "POST", "prices", {**_key(instance_type, zone, market), "usd": usd})
    _confirm(row, f"{instance_type} in {zone}, {market}: {usd} USD an hour", as_json=as_json)


@price.command("list")
def price_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List prices set by hand and those of pools in use. All prices of a lab are pretend figures.

    Example: asbx lab price list
    """
    _show(_ask(state_dir, "GET", "prices"), ("type", "zone", "market", "usd"), "prices", as_json=as_json)


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
    _confirm(_ask(state_dir, "POST", "faults", body), f"{action}: {code or 'delay'}", as_json=as_json)


@fault.command("list")
def fault_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List the faults that can still strike.

    Example: asbx lab fault list
    """
    columns = ("action", "code", "times", "status", "latency", "then", "only")
    _show(_ask(state_dir, "GET", "faults"), columns, "faults", as_json=as_json)


@fault.command("clear")
def fault_clear(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Forget all faults.

    Example: asbx lab fault clear
    """
    _confirm(_ask(state_dir, "DELETE", "faults"), "no faults", as_json=as_json)


@spot.command("interrupt")
def spot_interrupt(
    node: NodeOption,
    notice: Annotated[float, typer.Option("--notice", help="Seconds between the notice and the reclaim.")] = 120.0,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reclaim a Spot instance: notice now, termination after --notice seconds.

    The notice is in the instance's metadata, and as EC2's own message in the lab's queue.

    Example: asbx lab spot interrupt --node aws-cpu-003 --notice 30
    """
    row = _ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "interrupted", "notice": notice})
    _confirm(row, f"{row['id']}: reclaimed in {notice:g} s", as_json=as_json)


@spot.command("rebalance")
def spot_rebalance(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Recommend to leave a Spot instance, which goes on running.

    Example: asbx lab spot rebalance --node aws-cpu-003
    """
    row = _ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "rebalance"})
    _confirm(row, f"{row['id']}: rebalance recommended", as_json=as_json)


@instance.command("retire")
def instance_retire(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Have AWS Health announce that an instance will be retired in two weeks.

    Example: asbx lab instance retire --node aws-cpu-003
    """
    row = _ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "retirement"})
    _confirm(row, f"{row['id']}: will be retired", as_json=as_json)


@instance.command("kill")
def instance_kill(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """End an instance at once, as if its host died.

    Example: asbx lab instance kill --node aws-cpu-003
    """
    row = _ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "killed"})
    _confirm(row, f"{row['id']}: dead", as_json=as_json)


@instance.command("hang")
def instance_hang(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Let an instance run without ever booting: EC2 says running, slurmd never registers.

    Takes effect if the instance has not booted yet.

    Example: asbx lab instance hang --node aws-cpu-003
    """
    row = _ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "hung"})
    _confirm(row, f"{row['id']}: hangs", as_json=as_json)


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
    row = _ask(state_dir, "POST", "reservations", body)
    _confirm(row, f"{row['id']}: {count} {instance_type} in {zone}, {match}", as_json=as_json)


@reservation.command("list")
def reservation_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List capacity reservations, ended ones included.

    Example: asbx lab reservation list
    """
    columns = ("id", "type", "zone", "total", "available", "state", "match", "group", "ends")
    _show(_ask(state_dir, "GET", "reservations"), columns, "reservations", as_json=as_json)


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
    row = _ask(state_dir, "POST", "blocks", body)
    _confirm(row, f"{row['id']}: {count} {instance_type} in {zone}, until {row['ends']}", as_json=as_json)


@block.command("list")
def block_list(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """List Capacity Blocks, ended ones included.

    Example: asbx lab block list
    """
    columns = ("id", "type", "zone", "total", "available", "state", "starts", "ends")
    _show(_ask(state_dir, "GET", "blocks"), columns, "blocks", as_json=as_json)


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
    values = _ask(state_dir, "POST", "knobs", wanted) if wanted else _ask(state_dir, "GET", "knobs")
    if as_json:
        _print_json(values)
        return
    rows = [{"knob": name, "value": value} for name, value in values.items()]
    _show(rows, ("knob", "value"), "knobs", as_json=False)


# -- reading options


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return where a lab lives when nothing is said."""
    if environment.get("ASBX_LAB_STATE"):
        return Path(environment["ASBX_LAB_STATE"])
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "asbx" / "lab"


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


# -- asking the emulator


def _ask(state_dir: Path | None, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the emulator of a lab. Raises UsageError when it is not there or does not understand."""
    folder = state_dir or default_state_dir(os.environ)
    request = urllib.request.Request(  # noqa: S310  # our own loopback address, out of our own file
        f"{_url(folder)}/_lab/{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
        method=method,
    )
    try:
        with _OPENER.open(request, timeout=_ANSWER_WITHIN) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _no_lab(folder, f"the emulator does not answer: {error}") from error


def _url(folder: Path) -> str:
    try:
        return str(json.loads((folder / "emulator.json").read_text(encoding="utf-8"))["url"])
    except FileNotFoundError as error:
        raise _no_lab(folder, "emulator.json is not there") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_lab(folder, f"emulator.json cannot be read: {error}") from error


def _no_lab(folder: Path, why: str) -> AsbxError:
    return UsageError(
        "no-lab", f"no lab is running in {folder}", why, "start one with 'asbx lab up', or say --state-dir"
    )


def _refusal(error: urllib.error.HTTPError) -> AsbxError:
    try:
        why = str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        why = f"HTTP {error.code}"
    return UsageError("lab-refused", "the pretend EC2 refused", why, "'asbx lab instances' shows what there is")


# -- answering


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _confirm(value: object, text: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(value)
    else:
        typer.echo(text)


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], what: str, *, as_json: bool) -> None:
    """Print rows: JSON, a table for a terminal, or plain columns for a pipe."""
    if as_json:
        _print_json(rows)
    elif not rows:
        typer.echo(f"no {what}")
    elif sys.stdout.isatty():
        _table(rows, columns)
    else:
        typer.echo(_plain(rows, columns))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console().print(table)


def _plain(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    lines = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
