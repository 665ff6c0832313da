"""`asbx budget`: how budgets stand, what is held, and what an administrator may change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.config.schema import Config
from asbx.daemon.clock import RealClock
from asbx.decide.budget import Stand, shown, stands
from asbx.errors import UsageError
from asbx.ledger.budgets import BudgetBooks
from asbx.ledger.store import SqlLedger
from asbx.model.budget import OPEN, Entry, EntryState, Hold, HoldState
from asbx.model.event import Event, EventKind

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    help="Show budgets, what is held of them, and change what is held.\n\nExample: asbx budget",
)
_COLUMNS = ("BUDGET", "FROM", "UNTIL", ">LIMIT", ">SPENT", ">HELD", ">LEFT", ">FORECAST")
_HOLDS = ("JOB", "BUDGET", "STATE", ">HELD", ">SPENT", "ACCOUNT", "USER", "SINCE")
_ENTRIES = ("JOB", "ACCOUNT", "STATE", "TRANSACTION", ">HOLD", ">COST", ">TRIES", "SAID")
_SHOWN = 200
JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="Number of a job.", min=1)]


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Config, SqlLedger, BudgetBooks]]:
    with reading.ledger_of(config) as ledger:
        yield site.load(config).config, ledger, BudgetBooks(ledger)


@app.callback()
def budget(context: typer.Context, config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Show each budget's period: limit, spent, held, left, and what will be spent at the pace so far.

    Example: asbx budget --json
    """
    if context.invoked_subcommand is not None:
        context.obj = (config, as_json)
        return
    with _books(config) as (settings, _, books):
        found = stands(settings.budgets.rules, books.books(), RealClock().now())
        open_entries = books.entries(OPEN | {EntryState.STUCK}) if settings.asbb.is_used else ()
    if as_json:
        site.show({"budgets": [facts(one) for one in found], "service": _service(settings, open_entries)})
        return
    if not found:
        typer.echo("no budget is configured (`budgets.rules`)")
    else:
        reading.show_table(_COLUMNS, [_row(one) for one in found])
    _tell_service(settings, open_entries)


@app.command()
def holds(
    context: typer.Context,
    job: Annotated[int | None, typer.Option("--job", "-j", help="Only those of this job.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what is held for jobs that are launched or run, with the arithmetic; of those that are over the last 200.

    Example: asbx budget holds --all
    """
    config, as_json = _given(context, config, as_json=as_json)
    state = None if every or job is not None else HoldState.HELD
    with _books(config) as (_, _, books):
        found = books.holds(state=state, job_id=job, limit=_SHOWN if every else None)
    if as_json:
        site.show({"holds": [hold_facts(one) for one in found]})
        return
    reading.show_table(_HOLDS, [_hold_row(one) for one in found])


@app.command()
def release(
    context: typer.Context, job: JobArgument, config: site.ConfigOption = None, as_json: site.JsonOption = False
) -> None:
    """Give back what is held for a job. What its instances cost from then on is charged to no budget.

    Example: asbx budget release 4711
    """
    config, as_json = _given(context, config, as_json=as_json)
    with _books(config) as (_, ledger, books):
        now = RealClock().now()
        held = books.holds(state=HoldState.HELD, job_id=job)
        done = books.release([one.key for one in held], now, "released by hand")
        for one in done:
            text = f"job {job}: {shown(one.usd)} USD of budget {one.budget} given back: released by hand"
            ledger.add_event(Event(EventKind.BUDGET_RELEASED, text, one.request_id, job_id=job), now)
    if as_json:
        site.show({"released": [hold_facts(one) for one in done]})
        return
    for one in done:
        typer.echo(f"{shown(one.usd)} USD of budget {one.budget} given back")
    if not done:
        typer.echo(f"nothing is held for job {job}")


@app.command(context_settings={"ignore_unknown_options": True})  # an amount may begin with a minus
def grant(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BUDGET", help="Name of a budget.")],
    usd: Annotated[str, typer.Argument(metavar="USD", help="What it may spend more in this period; -5 takes 5 away.")],
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Let a budget spend more in its present period.

    Jobs that were put off for it are tried at their own time, or at once with `scontrol update JobId=N StartTime=now`
    (`scontrol release N` where they are held).

    Example: asbx budget grant physics 250
    """
    config, as_json = _given(context, config, as_json=as_json)
    amount = _usd(usd)
    with _books(config) as (settings, ledger, books):
        now = RealClock().now()
        one = _named(stands(settings.budgets.rules, books.books(), now), name)
        assert one.period is not None
        books.grant(name, one.period.key, amount)
        text = f"budget {name} (from {one.period.key}): {shown(amount)} USD granted by hand"
        ledger.add_event(Event(EventKind.BUDGET_GRANTED, text, data={"budget": name, "usd": str(amount)}), now)
        after = _named(stands(settings.budgets.rules, books.books(), now), name)
    if as_json:
        site.show(facts(after))
        return
    typer.echo(
        f"budget {name} may spend {shown(after.limit)} USD from {one.period.key} on, {shown(after.left)} are left"
    )


@app.command()
def service(
    context: typer.Context,
    close: Annotated[
        str, typer.Option("--close", metavar="KEY", help="Let a launch rest that somebody has looked at.")
    ] = "",
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show launches that the budget service holds something for, is to be told of, or that somebody must look at.

    Example: asbx budget service --json
    """
    config, as_json = _given(context, config, as_json=as_json)
    with _books(config) as (settings, _, books):
        if close:
            _close(books, close)
        found = books.entries(OPEN | {EntryState.STUCK})
    if as_json:
        site.show(_service(settings, found))
        return
    reading.show_table(("KEY", *_ENTRIES), [(one.key, *_entry_row(one)) for one in found])


def _given(context: typer.Context, config: Path | None, *, as_json: bool) -> tuple[Path | None, bool]:
    """Return what was said before or behind the name of the command."""
    before = context.obj or (None, False)
    return config or before[0], as_json or before[1]


def _usd(text: str) -> Decimal:
    # No exponents, no names of numbers that are none.
    if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{1,2})?", text) is None:
        raise UsageError("usd", f"{text!r} is no amount", "", "say dollars, with at most two digits after the point")
    return Decimal(text)


def _named(found: Sequence[Stand], name: str) -> Stand:
    one = next((one for one in found if one.rule.name == name), None)
    if one is None:
        names = ", ".join(each.rule.name for each in found) or "none is configured"
        raise UsageError("budget", f"there is no budget {name!r}", "", f"say one of: {names}")
    if one.period is None:
        raise UsageError("budget", f"budget {name} is not in force today", "", "change `starts` or `ends`")
    return one


def _close(books: BudgetBooks, key: str) -> None:
    def change(old: Entry | None) -> Entry | None:
        if old is None or old.state is not EntryState.STUCK:
            raise UsageError("budget-service", f"nothing is stuck under {key!r}", "", "see `asbx budget service`")
        return Entry(**(vars(old) | {"state": EntryState.VOID, "said": f"closed by hand; before: {old.said}"}))

    books.change_entry(key, change)


# -- for machines


def facts(one: Stand) -> dict[str, Any]:
    """Return how a budget stands, USD as strings."""
    period = one.period
    return {
        "name": one.rule.name,
        "accounts": list(one.rule.accounts),
        "users": list(one.rule.users),
        "partitions": list(one.rule.partitions),
        "from": reading.time_text(period.starts) if period else None,
        "until": reading.time_text(period.ends) if period else None,
        "limit_usd": reading.usd_text(one.limit),
        "granted_usd": reading.usd_text(one.book.granted),
        "spent_usd": reading.usd_text(one.book.spent),
        "held_usd": reading.usd_text(one.book.held),
        "left_usd": reading.usd_text(one.left),
        "forecast_usd": reading.usd_text(one.forecast),
        "alerted_percent": one.book.alerted,
    }


def hold_facts(one: Hold) -> dict[str, Any]:
    """Return a hold, USD as strings."""
    return {
        "job_id": one.job_id,
        "budget": one.budget,
        "period": one.period,
        "request": one.request_id,
        "state": one.state.value,
        "held_usd": reading.usd_text(one.usd),
        "spent_usd": reading.usd_text(one.spent),
        "account": one.account,
        "user": one.user,
        "taken_at": reading.time_text(one.taken_at),
        "ended_at": reading.time_text(one.ended_at),
        "why": one.why,
    }


def _service(settings: Config, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "url": settings.asbb.url if settings.asbb.is_used else None,
        "policy": settings.asbb.policy,
        "launches": [
            {
                "key": one.key,
                "job_id": one.job_id,
                "account": one.account,
                "state": one.state.value,
                "transaction": one.transaction,
                "hold_usd": reading.usd_text(one.hold),
                "cost_usd": reading.usd_text(one.cost),
                "tries": one.tries,
                "next_at": reading.time_text(one.next_at),
                "said": one.said,
            }
            for one in entries
        ],
    }


# -- for people


def _row(one: Stand) -> tuple[str, ...]:
    if one.period is None:
        return (one.rule.name, "not in force", "", "", "", "", "", "")
    until = f"{one.period.ends:%Y-%m-%d}" if one.period.ends else "open"
    amounts = [shown(each) for each in (one.limit, one.book.spent, one.book.held, one.left)]
    return (one.rule.name, one.period.key, until, *amounts, "?" if one.forecast is None else shown(one.forecast))


def _hold_row(one: Hold) -> tuple[str, ...]:
    spent = "" if one.spent is None else reading.usd_shown(one.spent)
    since = reading.time_shown(one.taken_at)
    return (str(one.job_id), one.budget, one.state.value, shown(one.usd), spent, one.account, one.user, since)


def _entry_row(one: Entry) -> tuple[str, ...]:
    hold, cost = ("" if usd is None else reading.usd_shown(usd) for usd in (one.hold, one.cost))
    return (one.job, one.account, one.state.value, one.transaction, hold, cost, str(one.tries), one.said)


def _tell_service(settings: Config, entries: Sequence[Entry]) -> None:
    if not settings.asbb.is_used:
        return
    counts = {state: sum(1 for one in entries if one.state is state) for state in EntryState}
    owed = counts[EntryState.OWED] + counts[EntryState.TELLING]
    typer.echo(
        f"budget service {settings.asbb.url}, policy {settings.asbb.policy}: {counts[EntryState.HELD]} launch(es) held "
        f"there, {owed} to be told, {counts[EntryState.CHECKING]} without an answer"
    )
    if counts[EntryState.STUCK]:
        typer.echo(f"somebody must look at {counts[EntryState.STUCK]}: see `asbx budget service`")
