"""Budgets of the site's own: what the jobs of some accounts, users or partitions may cost in a period."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import Field

from asbx.config.section import Section


class Budget(Section):
    """What the jobs it is about may cost together. Every budget about a job must have room for it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    """What refusals and `asbx budget` call it. Another name begins at zero."""
    accounts: tuple[str, ...] = ()
    """Slurm accounts it is about, as shell patterns; none stated means all."""
    users: tuple[str, ...] = ()
    """Users it is about, alike."""
    partitions: tuple[str, ...] = ()
    """Partitions it is about, alike."""
    limit_usd: Decimal = Field(gt=0, le=1_000_000_000)
    """What they may cost in one period, USD."""
    period: Literal["month", "quarter", "year", "once"] = "month"
    """How long it lasts, from `starts` on; then it begins anew. `once`: from `starts` to `ends`. In UTC."""
    starts: date | None = None
    """First day; before it nothing may be spent. Without it periods are those of the calendar."""
    ends: date | None = None
    """Last day, of a budget that is for `once`; without it there is none."""
    alerts_percent: tuple[int, ...] = (50, 80, 95)
    """Shares of the limit, spent or held, at which an event is written, once in each period."""
    carry_over_percent: int = Field(default=0, ge=0, le=100)
    """How much of the limit that a period leaves unspent is added to the next one; never to the one after that."""
    carry_over_most_usd: Decimal | None = Field(default=None, ge=0)
    """The most that is added."""


class Budgets(Section):
    """Budgets of the site's own, kept in the ledger. Each launch holds what it may cost, and is charged what it did."""

    rules: tuple[Budget, ...] = ()
    """The budgets."""
    margin_percent: int = Field(default=0, ge=0, le=1000)
    """What is held above the estimate."""
    unknown_cost: Literal["refuse", "allow"] = "refuse"
    """What becomes of a job with a budget whose cost cannot be told: it has no time limit, or no price is known."""
