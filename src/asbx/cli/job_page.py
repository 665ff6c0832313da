"""The page `asbx explain JOBID` prints for people, from what it says to machines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from asbx.cli import page, reading
from asbx.model.hostlist import fold, unique_sorted

_MOST_TRIES = 5
_MOST_INSTANCES = 10
_MOST_SIBLINGS = 8


def show(facts: dict[str, Any]) -> None:
    """Print the page."""
    page.show(rows(facts))


def rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the page as words and texts."""
    yield "job", _job(facts["job"], answers=facts["slurm"]["answers"])
    yield from _siblings(facts["job"]["siblings"])
    if not facts["slurm"]["answers"]:
        yield "slurm", f"does not answer: {facts['slurm']['why']}; what follows is the ledger's"
    yield "now", facts["now"]["text"]
    if facts["next_try"]:
        yield "next try", _time(facts["next_try"])
    yield from _plan(facts["plan"], _why_no_plan(facts))
    yield from _place(facts)
    yield from _tries(facts["tries"])
    yield from _closed(facts["closed"])
    yield from _cost(facts["cost"], is_over=facts["now"]["word"] == "over", has_types=_has_types(facts))
    if facts["history"] is not None:
        yield "history", facts["history"]["text"]
        if facts["history"]["usd"]:
            yield "history", f"those runs cost {' to '.join(facts['history']['usd'])} USD each"


def _job(job: dict[str, Any], *, answers: bool) -> str:
    number = f"{job['label']}" + (f" (job {job['id']})" if job["label"] != str(job["id"]) else "")
    unseen = "not known to Slurm any more" if answers else "its state is not known"
    state = f"{job['state']} ({job['reason']})" if job["reason"] else job["state"] or unseen
    nodes = f"{job['node_count']} node(s)" if job["node_count"] else ""
    where = f"partition {job['partition']}" if job["partition"] else ""
    who = ", ".join(f"{word} {job[word]}" for word in ("user", "account") if job[word])
    told = ", ".join(part for part in (state, nodes, where, who) if part)
    return f"{number} {job['name']}: {told}" if job["name"] else f"{number}: {told}"


def _siblings(siblings: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if not siblings:
        return
    some = ", ".join(f"{one['label']} {one['state']}" for one in siblings[:_MOST_SIBLINGS])
    more = f" and {len(siblings) - _MOST_SIBLINGS} more" if len(siblings) > _MOST_SIBLINGS else ""
    yield "beside it", f"{some}{more}; `asbx explain` takes these names too"


def _why_no_plan(facts: dict[str, Any]) -> str:
    if facts["now"]["word"] == "launching":
        return "none yet: it is made when its launch begins"
    if facts["setback"] is not None:
        return "none is kept: its launch was refused before one was made, or it is too long ago"
    if facts["instances"]:
        return "none of its own is kept: it shares its nodes with a job whose plan counted, or it is too long ago"
    return "none is kept: ASBX was not asked for it, or it is too long ago"


def _plan(plan: dict[str, Any] | None, why_none: str) -> Iterator[tuple[str, str]]:
    if plan is None:
        yield "plan", why_none
        return
    yield "plan", f"{plan['origin']}; decided {_time(plan['decided_at'])}"
    if plan["why"]:
        yield "why", plan["why"]
    if plan["refusal"]:
        yield "refused", plan["refusal"]
    groups = {one["group"] for one in plan["filled"]}
    for one in plan["filled"]:
        group = f"{one['group']} " if len(groups) > 1 else ""
        yield "values", f"{group}{one['field']}: {one['value'] or 'none'} ({one['source']})"


def _place(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    place = facts["place"]
    instances = sorted(facts["instances"], key=lambda one: (not one["ended_at"], one["node"] or ""))
    if place is None:
        yield "nodes", _no_instance(facts["job"]["nodes"], facts["now"]["word"])
        return
    live = [one for one in instances if not one["ended_at"]]
    names = fold(unique_sorted([one["node"] for one in live or instances if one["node"]]))
    count = len(live) or len(instances)
    are = "are there now" if live else "were there, and have ended"
    yield "nodes", f"{count} instance(s) {are}: {names or 'none is a node yet'}"
    groups = ", ".join(place["placement_groups"])
    zones = place["zones"]
    told = [
        f"placement group {groups}" if groups else "no placement group",
        f"one zone, {zones[0]}" if len(zones) == 1 else f"zones {', '.join(zones)}",
        f"{', '.join(place['types'])} {', '.join(place['markets'])}",
        "with EFA" if place["efa"] else "without EFA interfaces of ours",
    ]
    yield "nodes", "; ".join(told)
    for one in instances[-_MOST_INSTANCES:]:
        yield "nodes", f"  {_instance(one)}"
    if len(instances) > _MOST_INSTANCES:
        yield "nodes", f"  and {len(instances) - _MOST_INSTANCES} earlier ones (--json)"


def _no_instance(nodes: str | None, word: str) -> str:
    if not nodes:
        return "it has no instance, and has had none"
    if word in ("running", "over"):
        return f"none was launched for it: it has {nodes}, which were launched for others"
    return f"none is launched yet; Slurm has given it {nodes}"


def _instance(one: dict[str, Any]) -> str:
    told = [f"{one['node'] or 'no node'} {one['instance']} launched {_time(one['launched_at'])}"]
    if one["registered_at"]:
        told.append(f"registered {_time(one['registered_at'])}")
    if one["ended_at"]:
        told.append(f"ended {_time(one['ended_at'])} ({one['end_reason'] or 'no reason is kept'})")
    return ", ".join(told)


def _tries(tries: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if not tries:
        return
    newest, *older = tries
    yield "last try", f"{_time(newest['at'])}, request {newest['request_id']}"
    for number, rung in enumerate(newest["rungs"], 1):
        yield "last try", f"  {number}. {rung['group']}: {rung['rung']}"
        for call in rung["calls"]:
            yield "last try", f"     {_call(call)}"
        if not rung["calls"]:
            yield "last try", "     EC2 was not asked for it"
    for weighed in newest["weighed"]:
        yield "last try", f"  -  weighed: {weighed}"
    for dropped in newest["not_asked"]:
        yield "last try", f"  -  left out: {dropped}"
    for one in older[:_MOST_TRIES]:
        yield "earlier", f"{_time(one['at'])}: {_outcome(one)}"
    if len(older) > _MOST_TRIES:
        yield "earlier", f"and {len(older) - _MOST_TRIES} more (--json)"


def _call(call: dict[str, Any]) -> str:
    group = f" in {call['placement_group']}" if call["placement_group"] else ""
    text = f"{_time(call['at'])} asked for {call['asked']} {call['market']}{group}: "
    if not call["answered"]:
        return text + "no answer yet"
    if call["error"]:
        return text + f"refused as a whole: {call['error']}"
    pools: dict[str, list[str]] = {}
    for one in call["refusals"]:
        pools.setdefault(one["code"], []).append(one["pool"] or "")
    return text + f"launched {call['launched']}" + "".join(f"; {code}{_of(names)}" for code, names in pools.items())


def _of(pools: list[str]) -> str:
    """Return pools in few words: `c7i.large in us-east-2a` and the like, each type once."""
    zones: dict[str, list[str]] = {}
    for one in pools:
        kind, _, zone = one.partition(" in ")
        zones.setdefault(kind, []).append(zone)
    told = [
        f"{kind} ({', '.join(z for z in some if z)})" if any(some) else kind for kind, some in zones.items() if kind
    ]
    return f" of {', '.join(told)}" if told else ""


def _outcome(one: dict[str, Any]) -> str:
    calls = [call for rung in one["rungs"] for call in rung["calls"]]
    codes = dict.fromkeys(
        code for call in calls for code in (call["error"], *(said["code"] for said in call["refusals"])) if code
    )
    said = f" ({', '.join(codes)})" if codes else ""
    return f"{len(calls)} call(s), {one['launched']} instance(s) launched{said}"


def _closed(closed: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Say of pools that are closed alike once what holds for all of them."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in closed:
        until = f"not asked before {_time(one['closed_until'])}"
        outlook = until if one["state"] == "closed" else "a launch tries them now"
        what = " ".join(part for part in (one["market"], one["instance_type"] or one["family"]) if part)
        place = f" in {one['zone']}" if one["zone"] else ""
        alike.setdefault((outlook, one["code"]), []).append(f"{what or one['subnet'] or one['kind']}{place}")
    for (outlook, code), names in alike.items():
        yield "closed", f"{outlook}, for {code}{_of(names)}"


def _has_types(facts: dict[str, Any]) -> bool:
    """Whether it is known what it would be launched as: a refused plan, and one that is yet to be made, have none."""
    return bool(facts["instances"] or (facts["plan"] is not None and facts["plan"]["filled"]))


def _cost(cost: dict[str, Any], *, is_over: bool, has_types: bool) -> Iterator[tuple[str, str]]:
    most = f"at most {cost['at_most_usd']} USD: " if cost["at_most_usd"] else "no sum can be told: "
    known = has_types or cost["at_most_usd"]
    yield "cost", f"expected {most}{cost['at_most'] if known else 'no instance types are chosen for it'}"
    if cost["likely_usd"] and all(cost["likely_usd"]):
        yield "cost", f"by its earlier runs {' to '.join(dict.fromkeys(cost['likely_usd']))} USD"
    unpriced = f" and {len(cost['unpriced'])} instance(s) of unknown price" if cost["unpriced"] else ""
    wasted = (
        f", and {_usd(cost['wasted_usd'])} USD on launches that came to nothing" if _some(cost["wasted_usd"]) else ""
    )
    when = "in the end" if is_over and not cost["running"] else "so far"
    yield "cost", f"{when} {_usd(cost['so_far_usd'])} USD{wasted}{unpriced}"


def _some(amount: str) -> bool:
    return Decimal(amount) > 0


def _usd(amount: str) -> str:
    return reading.usd_shown(Decimal(amount))


def _time(moment: str) -> str:
    return reading.time_shown(datetime.fromisoformat(moment))
