"""The page `asbx status` prints for people: a word, then what is so; nothing that is not worth a line."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from shutil import get_terminal_size
from typing import Any

from asbx.cli import reading
from asbx.config.limits import WATCH_EVERY
from asbx.errors import UsageError
from asbx.model.hostlist import fold
from asbx.model.price import PriceSource
from asbx.ports import Clock

_WORD = 11  # the column of words
_GANG = 20
_MOST_GANGS = 10
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def show(facts: dict[str, Any]) -> None:
    """Print the page."""
    print("\n".join(lines(facts, _width())), flush=True)


def watch(look: Callable[[], dict[str, Any]], clock: Clock) -> None:
    """Print the page again and again. Raises UsageError where nobody watches, KeyboardInterrupt in the end."""
    if not sys.stdout.isatty():
        raise UsageError(
            "watch-terminal", "--watch needs a terminal", "", "call `asbx status --json` as often as needed"
        )
    while True:
        page = "\n".join(lines(look(), _width()))
        # One write, from the top: the page does not flicker.
        print(f"{_HOME_AND_CLEAR}{page}", flush=True)
        clock.sleep(WATCH_EVERY)


def _width() -> int:
    return max(get_terminal_size().columns, 60) if sys.stdout.isatty() else 500


def lines(facts: dict[str, Any], width: int) -> Iterator[str]:
    """Return the page."""
    for word, text in _said(facts):
        whole = f"{word:<{_WORD}}{text}"
        yield from textwrap.wrap(whole, width, subsequent_indent=" " * _WORD, break_on_hyphens=False)
        if word == "launching":
            yield from _gangs(facts["gangs"], width)


def _said(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    daemon, states = facts["daemon"], facts["states"]
    yield "daemon", _daemon(daemon, facts["at"]) if daemon else "not running; the hooks do the work"
    yield from _troubles(daemon or {})
    yield "notices", _notices(facts.get("interruptions"), bool(daemon))
    counted = ", ".join(f"{count} {state}" for state, count in (states or {}).items())
    yield "nodes", counted if states is not None else "Slurm does not answer"
    yield "instances", _instances(facts)
    gangs, requests = len(facts["gangs"]), len(facts["open_requests"])
    oldest = f", the oldest {_age(facts['oldest_request_seconds'])} old" if requests else ""
    yield "launching", f"{gangs} gang(s) in {requests} request(s){oldest}"
    yield "shortages", facts["closed"]
    if facts.get("shut"):
        yield "boots", facts["shut"]
    if facts["fences"]:
        yield "fences", ", ".join(one["name"] for one in facts["fences"])


def _daemon(daemon: dict[str, Any], at: str) -> str:
    """Return who serves. One that has not told everything is only just up, or of another version."""
    said = [f"pid {daemon.get('pid')}"]
    if "started" in daemon:
        age = datetime.fromisoformat(at) - datetime.fromisoformat(daemon["started"])
        said = [f"up for {reading.age_shown(age)}", f"version {daemon['version']}", *said]
    if daemon.get("role", "alone") != "alone":
        since = reading.time_shown(datetime.fromisoformat(daemon["role_since"]))
        said.append(f"on {daemon['controller']}, {daemon['role']} since {since}")
    return ", ".join(said)


def _notices(state: dict[str, Any] | None, is_running: bool) -> str:
    """Say in one line whether anybody hears of interruptions."""
    if not is_running:
        return "not read: no daemon runs"
    if not state or not state["queue"]:
        return "off: interruptions.queue is not set, so only the nodes themselves hear of spot interruptions"
    if state["trouble"]:
        return f"{state['queue']} cannot be read: {state['trouble']}"
    moved = f"; jobs are moved off {fold(state['nodes'])}" if state["nodes"] else ""
    return f"{state['queue']}, {sum(state['messages'].values())} message(s) so far{moved}"


def _troubles(daemon: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say how it is, and what is wrong where something is."""
    health = daemon.get("health")
    if health:
        bad = [f"{name}: {check['says']}" for name, check in health["checks"].items() if not check["ok"]]
        passed = (daemon.get("passes") or {}).get("sweep")
        last = f"last reconcile pass {passed['outcome']} at {passed['at'][11:19]} UTC" if passed else "no pass yet"
        yield "health", f"{health['status']}: {'; '.join(bad)}" if bad else f"ok, {last}"
    lost = daemon.get("lost") or {}
    if any(lost.values()):
        yield "lost", f"{lost['log_lines']} log line(s), {lost['audit_rows']} event(s) of the ledger"
    troubles = daemon.get("unread_facts") or {}
    if troubles:
        said = ", ".join(f"{action} ({why.partition(':')[0]})" for action, why in troubles.items())
        yield "facts", f"could not read: {said}"


def _instances(facts: dict[str, Any]) -> str:
    cost = reading.usd_shown(Decimal(facts["cost_per_hour"]))
    markets = ", ".join(f"{count} {market}" for market, count in facts["markets"].items())
    unpriced = f" and {facts['unpriced']} of unknown price" if facts["unpriced"] else ""
    said = f"{cost} {facts.get('currency', 'USD')} an hour{_age_of_prices(facts)}"
    return f"{facts['instances']}{f' ({markets})' if markets else ''}, {said}{unpriced}"


def _age_of_prices(facts: dict[str, Any]) -> str:
    """Say how old the prices are, and whether some are not AWS's own word."""
    told = facts.get("prices") or []
    if not told:
        return ""
    age = _age(max(one["oldest_age_seconds"] for one in told))
    bundled = any(one["source"] == PriceSource.BUNDLED.value for one in told)
    return f" at prices up to {age} old" + (", some bundled" if bundled else "")


def _gangs(gangs: list[dict[str, Any]], width: int) -> Iterator[str]:
    if not gangs:
        return
    indent = " " * _WORD
    yield f"{indent}{'GANG':<{_GANG}} {'NODES':>5} {'BOUND':>5} {'CALLS':>5} {'AGE':>7}  RUNG"
    for gang in gangs[:_MOST_GANGS]:
        counts = f"{gang['nodes']:>5} {gang['bound']:>5} {gang['calls']:>5} {_age(gang['age_seconds']):>7}"
        name = gang["gang"] if len(gang["gang"]) <= _GANG else f"{gang['gang'][: _GANG - 1]}…"
        yield f"{indent}{name:<{_GANG}} {counts}  {gang['rung'] or '-'}"[:width]
    if len(gangs) > _MOST_GANGS:
        yield f"{indent}and {len(gangs) - _MOST_GANGS} more"


def _age(seconds: int) -> str:
    return reading.age_shown(timedelta(seconds=seconds))
