"""`asbx prices`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.daemon.clock import RealClock
from asbx.decide.price_history import Offering, in_force, offering
from asbx.errors import UsageError
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource, currency_of, is_volume

if TYPE_CHECKING:
    from asbx.config.schema import Config

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_COLUMNS = ("TYPE", "ZONE", ">ON-DEMAND", ">SPOT", ">SAVES", ">AGE", "SOURCE")


@dataclass(frozen=True)
class Line:
    """What a type costs in a zone. zone: "" where only a price of the whole region is known."""

    instance_type: str
    zone: str
    listed: PriceChange | None
    spot: PriceChange | None

    @property
    def saves(self) -> int | None:
        """Return how much less spot costs than on-demand, in per cent rounded down; below 0 where it costs more."""
        if self.listed is None or self.spot is None:
            return None
        return int((self.listed.usd - self.spot.usd) * 100 / self.listed.usd)

    @property
    def told(self) -> tuple[PriceChange, ...]:
        """Return the prices there are."""
        return tuple(one for one in (self.listed, self.spot) if one is not None)


@app.command()
def prices(
    kinds: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only this instance type; may repeat.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Only types of this group (partition-group).")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask AWS first, and keep what it says.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write them to a new file, to serve as `prices.file` elsewhere.")
    ] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what instance types cost, on demand and spot by zone, how old that is and who said so.

    Example: asbx prices --group aws-cpu
    """
    settings = site.load(config).config
    only = _only(settings, kinds or [], group)
    if refresh:
        _refresh(settings)
    now = RealClock().now()
    with reading.ledger_of(config) as ledger:
        found = ledger.price_changes(now, now)
    mine = [one for one in found if only is None or one.instance_type in only]
    _check(kinds or [], settings, {one.instance_type for one in mine})
    if save is not None:
        _save(save, mine, settings.aws.region, now)
    if as_json:
        site.show(_facts(mine, settings.aws.region, now))
        return
    _tell(mine, settings.aws.region, now)


def _only(settings: Config, kinds: list[str], group: str | None) -> frozenset[str] | None:
    """Return the types asked for, None for all. Raises UsageError for a group that is not there."""
    if group is None:
        return frozenset(kinds) or None
    for partition, one in settings.groups():
        if f"{partition.partition_name}-{one.node_group_name}" == group:
            types = {override.instance_type for override in one.launch_template_overrides}
            return frozenset(types.intersection(kinds) if kinds else types)
    there = ", ".join(f"{p.partition_name}-{g.node_group_name}" for p, g in settings.groups())
    raise UsageError("group", f"there is no node group {group!r}", f"there are {there}", "name one as its nodes begin")


def _check(kinds: Sequence[str], settings: Config, priced: Collection[str]) -> None:
    """Raise UsageError (`type`) for a type without a price that nobody will ask AWS for."""
    configured = {one.instance_type for _, group in settings.groups() for one in group.launch_template_overrides}
    for kind in kinds:
        if kind not in priced and kind not in configured:
            near = difflib.get_close_matches(kind, configured, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(configured))}"
            raise UsageError("type", f"no node group has the instance type {kind!r}", "only theirs are learned", hint)


def _refresh(settings: Config) -> None:
    """Ask for all that is configured. Raises AsbxError; what AWS does not tell is said beside the answer."""
    from asbx.daemon.compose import doors as open_doors
    from asbx.flow.price_refresh import PriceRefresh

    one = PriceRefresh(open_doors(settings))
    one.run(whatever_the_age=True)
    for part, why in one.troubles.items():
        site.warn(f"{part}: not learned: {why}")


def _save(file: Path, found: Iterable[PriceChange], region: str, now: datetime) -> None:
    from asbx.aws.price_file import table_text

    told = [one for one in found if one.source is not PriceSource.BUNDLED]
    if not told:
        raise UsageError("no-prices", "AWS has told no price yet", "", "ask it: `asbx prices --refresh --save FILE`")
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except OSError as error:
        raise UsageError("price-file", f"{file} cannot be written", str(error.strerror), "name a new file") from error
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        opened.write(table_text(told, region, now))


def lines(found: Iterable[PriceChange]) -> tuple[Line, ...]:
    """Return a line for each type and zone that has a spot price, or for the type where none has."""
    newest = {offering(one): one for one in in_force(found) if not is_volume(one.instance_type)}
    spots = sorted({(kind, zone) for kind, zone, market in newest if market is Market.SPOT})
    plain = sorted({(kind, "") for kind, _, _ in newest} - {(kind, "") for kind, _ in spots})
    return tuple(_line(newest, kind, zone) for kind, zone in sorted((*spots, *plain)))


def _line(newest: Mapping[Offering, PriceChange], kind: str, zone: str) -> Line:
    return Line(kind, zone, newest.get((kind, "", Market.ON_DEMAND)), newest.get((kind, zone, Market.SPOT)))


def _facts(found: Iterable[PriceChange], region: str, now: datetime) -> dict[str, Any]:
    """Return prices for machines: amounts as strings, null where there is none."""
    listed = list(found)
    return {
        "at": reading.time_text(now),
        "region": region,
        "currency": currency_of(region),
        "prices": [
            {
                "instance_type": one.instance_type,
                "zone": one.zone or None,
                "on_demand": _fact(one.listed, now),
                "spot": _fact(one.spot, now),
                "saves_percent": one.saves,
            }
            for one in lines(listed)
        ],
        "volumes": [
            {"name": one.instance_type, **(_fact(one, now) or {})} for one in listed if is_volume(one.instance_type)
        ],
        "capacity_blocks": [
            {"instance_type": one.instance_type, "zone": one.zone or None, **(_fact(one, now) or {})}
            for one in listed
            if one.market is Market.CAPACITY_BLOCK
        ],
    }


def _fact(change: PriceChange | None, now: datetime) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "price": reading.usd_text(change.usd),
        "since": reading.time_text(change.since),
        "learned_at": reading.time_text(change.learned_at),
        "age_seconds": int((now - change.learned_at).total_seconds()),
        "source": change.source.value,
    }


def _tell(found: list[PriceChange], region: str, now: datetime) -> None:
    rows = [_row(one, now) for one in lines(found)]
    if not rows:
        typer.echo("No price is known yet. The daemon learns them within minutes; `asbx prices --refresh` asks now.")
        return
    reading.show_table(_COLUMNS, rows)
    typer.echo(f"{currency_of(region)} an hour in {region}, Linux, shared tenancy; AGE: since AWS was asked")
    bundled = [one.learned_at for one in found if one.source is PriceSource.BUNDLED]
    if bundled:
        typer.echo(f"bundled: from prices.file, dated {min(bundled):%Y-%m-%d}; AWS does not tell these")


def _row(one: Line, now: datetime) -> tuple[str, ...]:
    oldest = min(change.learned_at for change in one.told)
    return (
        one.instance_type,
        one.zone or "any",
        _amount(one.listed),
        _amount(one.spot),
        "-" if one.saves is None else f"{one.saves} %",
        reading.age_shown(now - oldest),
        "+".join(sorted({change.source.value for change in one.told})),
    )


def _amount(change: PriceChange | None) -> str:
    return "-" if change is None else f"{change.usd:,.4f}"
