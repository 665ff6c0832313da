"""Write down anew what a lost ledger knew of the present: live instances, whose they are and which nodes they serve.

EC2's tags hold the rest: intent, gang, jobs, user, account, partition, node group. What was paid in the past, events
and requests are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from asbx.decide.rebuild import Fate, Finding, findings
from asbx.flow.adopt import row_of
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import unique_sorted
from asbx.model.market import FleetAnswer, FleetOrder, Launched, Pool, Template
from asbx.model.record import Attempt, Intent, Resource, ResourceKind


def look(doors: Doors) -> tuple[Finding, ...]:
    """Return what would become of each instance the ledger does not know. Raises when a side does not answer."""
    known = {row.instance_id for row in doors.ledger.instances()}
    owned = doors.cloud.owned(doors.config.cluster.name)
    strangers = [instance for instance in owned if instance.instance_id not in known]
    nodes = {view.name: view for view in doors.scheduler.nodes()}
    bound = {binding.node for binding in doors.ledger.live_bindings()}
    return findings(doors.config, strangers, nodes, bound)


def rebuild(doors: Doors, found: Sequence[Finding]) -> None:
    """Write all of it down, launch by launch. Safe to do again. Raises LedgerError."""
    ours = [one for one in found if one.fate is not Fate.LEAVE]

    def intent_of(one: Finding) -> str:
        return one.instance.tags["asbx:intent"]

    for intent_id, members in groupby(sorted(ours, key=intent_of), key=intent_of):
        _launch(doors, intent_id, list(members))
    now = doors.clock.now()
    serving = [one for one in ours if one.fate is Fate.BIND]
    if serving:
        doors.ledger.bind([(one.node, one.instance) for one in serving], now)
    text = f"{len(ours)} instance(s) written down anew from EC2's tags, {len(serving)} of them serving nodes"
    doors.say(
        Event(EventKind.LEDGER_REBUILT, text, level="warning", data={"ids": [i.instance.instance_id for i in ours]})
    )


def _launch(doors: Doors, intent_id: str, members: Sequence[Finding]) -> None:
    """Write down an intent, one answered call and its instances. The call is never repeated: it has an answer."""
    rows = [row_of(doors, one.instance) for one in members]
    first, begun = members[0].instance, min(one.instance.launched_at for one in members)
    nodes = unique_sorted([one.node for one in members if one.node])
    if not doors.ledger.known_intents([intent_id]):
        row = rows[0]
        jobs = tuple(dict.fromkeys(job for each in rows for job in each.jobs))
        doors.ledger.add_intent(
            Intent(intent_id, f"rebuilt-{intent_id}", row.gang_id, jobs, row.group, nodes, row.user, row.account, begun)
        )
    launched = tuple(
        Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market)
        for i in (one.instance for one in members)
    )
    pools = tuple(dict.fromkeys(Pool(one.instance_type, one.subnet_id, one.zone) for one in launched))
    number = 1 + max((one.number for one in doors.ledger.attempts(intent_id)), default=0)
    order = FleetOrder(
        token=f"rebuilt-{intent_id}-{number}"[:64],
        market=first.market,
        count=len(members),
        minimum=0,
        pools=pools,
        template=Template(),
        tags=tuple(sorted((key, value) for key, value in first.tags.items() if key.startswith("asbx:"))),
        placement_group=first.placement_group,
    )
    now = doors.clock.now()
    attempt = Attempt(intent_id, number, order, begun, now, FleetAnswer("", launched), rung="rebuilt")
    doors.ledger.answer_attempt(attempt, rows)
    if first.placement_group.startswith(f"asbx-{doors.config.cluster.name}-"):
        kind = ResourceKind.PLACEMENT_GROUP
        doors.ledger.add_resource(Resource(kind, first.placement_group, rows[0].gang_id, begun, now))
