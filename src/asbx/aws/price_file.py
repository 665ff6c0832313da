"""A dated table of prices in a file of the site, for types whose price AWS does not tell.

The program brings no table of its own: one that is honest for every region and stays so cannot be had without asking
AWS. `asbx prices --save` writes one wherever it may ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from asbx.config.limits import PRICE_FILE_MAX_BYTES
from asbx.errors import ConfigError
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource, currency_of


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    instance_type: str = Field(min_length=1)
    zone: str = ""
    market: Market = Market.ON_DEMAND
    price: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1]
    region: str
    currency: Literal["USD", "CNY"]
    date: AwareDatetime
    source: str = Field(min_length=1)
    prices: tuple[_Line, ...]


def read_table(file: Path, region: str) -> tuple[PriceChange, ...]:
    """Return what a table says, as of its date. Raises ConfigError (`price-file`) for one that cannot serve."""
    try:
        with file.open("rb") as opened:
            text = opened.read(PRICE_FILE_MAX_BYTES + 1)
        if len(text) > PRICE_FILE_MAX_BYTES:
            raise _unfit(file, f"it is longer than {PRICE_FILE_MAX_BYTES} bytes")
        table = _Table.model_validate_json(text)
    except OSError as error:
        raise _unfit(file, str(error.strerror)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unfit(file, f"{where}: {first['msg']}") from error
    if table.region != region or table.currency != currency_of(region):
        raise _unfit(file, f"it is for {table.region} in {table.currency}, this is {region} in {currency_of(region)}")
    return tuple(
        PriceChange(
            one.instance_type, one.zone, one.market, table.date, one.price, PriceSource.BUNDLED, learned_at=table.date
        )
        for one in table.prices
    )


def table_text(prices: Iterable[PriceChange], region: str, now: datetime) -> str:
    """Return a table of prices, dated with the oldest of them: no price in it is younger than it says."""
    listed = sorted(prices, key=lambda one: (one.instance_type, one.zone, one.market))
    table = _Table(
        format=1,
        region=region,
        currency=currency_of(region),  # type: ignore[arg-type]
        date=min((one.learned_at for one in listed), default=now),
        source=f"asbx prices --save, {now:%Y-%m-%d}: " + ", ".join(sorted({one.source.value for one in listed})),
        prices=tuple(
            _Line(instance_type=one.instance_type, zone=one.zone, market=one.market, price=one.usd) for one in listed
        ),
    )
    return table.model_dump_json(indent=1) + "\n"


def _unfit(file: Path, why: str) -> ConfigError:
    return ConfigError(
        "price-file", f"{file} is no table of prices that can be used", why, "`asbx prices --save FILE` writes one"
    )
