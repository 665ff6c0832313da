"""One reconcile pass: look at EC2, Slurm and the ledger, and undo what must not last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from asbx.decide.interrupt import RECLAIM
from asbx.decide.reconcile import Action, Doubt, Snapshot, doubts, findings, registered, trusted
from asbx.decide.reconcile_rules import ActionKind, Grace
from asbx.decide.sightings import Patience, Sightings, due, patience
from asbx.decide.territory import Territory
from asbx.flow.doors import Doors
from asbx.flow.drifting import Drifting
from asbx.flow.repair import Repair
from asbx.model.event import Event, EventKind


@dataclass
class Sweep:
    """Remembers between passes what was seen, because nothing is done on one sighting.

    doubted: what kept the last pass from acting, on a group or on all. is_confirming: whether only a second look is
    missing to do something that jobs wait for.
    """

    doors: Doors
    sightings: Sightings = field(default_factory=dict)
    doubted: tuple[Doubt, ...] = ()
    is_confirming: bool = False

    def __post_init__(self) -> None:
        """Work out once what the configuration says."""
        self.land = Territory(self.doors.config)
        self._patience = patience(self.doors.config.reconcile)
        self._drifting = Drifting(self.doors, self.land)
        self._repair = Repair(self.doors)

    @property
    def patience(self) -> Patience:
        """Return how long findings must last."""
        return self._patience

    def look(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> Snapshot:
        """Take a snapshot. EC2 is asked before Slurm; a side that does not answer raises, and the pass is skipped.

        Instances the ledger holds for live and the cluster's listing leaves out are asked for by id: a changed cluster
        name must not make running nodes look gone.
        """
        doors, settings = self.doors, self.doors.config
        requests = frozenset(request.request_id for request in doors.ledger.open_requests())
        owned = {i.instance_id: i for i in doors.cloud.owned(settings.cluster.name)}
        rows = doors.ledger.instances(live_only=True)
        elsewhere = {r.instance_id for r in rows if r.zone and not r.zone.startswith(settings.aws.region)}
        missing = [r.instance_id for r in rows if r.instance_id not in owned and r.instance_id not in elsewhere]
        seen = doors.cloud.describe(missing) if missing else ()
        owned |= {i.instance_id: i for i in seen if not i.state.is_ended}
        intents = {instance.tags.get("asbx:intent", "") for instance in owned.values()}
        bindings = doors.ledger.live_bindings()
        return Snapshot(
            nodes=doors.scheduler.nodes(),
            taken_at=doors.clock.now(),
            owned=tuple(owned.values()),
            rows=rows,
            bindings=bindings,
            known_intents=doors.ledger.known_intents(intents),
            ended=frozenset(i.instance_id for i in seen if i.state.is_ended),
            reclaimed=frozenset(i.instance_id for i in seen if i.state_reason == RECLAIM),
            elsewhere=elsewhere,
            busy_nodes=frozenset(busy_nodes),
            busy_intents=frozenset(busy_intents),
            requests=requests,
            drifted=self._drifting.look(rows, bindings),
            overdue_after=settings.resume_deadline + timedelta(seconds=settings.reconcile.orphan_grace_seconds),
            may_drain=settings.reconcile.drift == "drain",
        )

    def findings(self, look: Snapshot) -> tuple[Action, ...]:
        """Return what one look finds and what may be acted on, without the grace; say what is doubted."""
        self._doubt(look)
        return trusted(findings(look, self.land), self.doubted)

    def run(self, busy_nodes: Collection[str] = (), busy_intents: Collection[str] = ()) -> tuple[Action, ...]:
        """Do what is due and return it. Raises AsbxError when a side does not answer; nothing was done then."""
        return self.act(self.look(busy_nodes, busy_intents))

    def act(self, look: Snapshot) -> tuple[Action, ...]:
        """Remember what a look finds, do what is due and return it."""
        found = self.findings(look)
        actions, self.sightings = due(found, look.taken_at, self.sightings, self._patience)
        self.is_confirming = any(one.grace is Grace.CONFIRM and one not in actions for one in found)
        self._repair.do(actions, look)
        if None not in {doubt.group for doubt in self.doubted}:
            self._repair.note(look, registered(look))
        return actions

    def spare(self, nodes: Collection[str]) -> None:
        """Let no job that waits for these nodes be lost with them. Raises SlurmError."""
        self._repair.spare(sorted(nodes))

    def first_look(self, look: Snapshot) -> timedelta:
        """Remember what a look finds, do nothing, and return after how long a second look may be due."""
        found = self.findings(look)
        self.sightings = due(found, look.taken_at, {}, self._patience)[1]
        return max((self._patience.of(action.grace) for action in found), default=timedelta(0))

    def _doubt(self, look: Snapshot) -> None:
        """Say what is new among the doubts, once."""
        found = doubts(look, self.land)
        for doubt in found:
            if doubt not in self.doubted:
                text = f"half a picture: {doubt.reason}"
                self.doors.say(Event(EventKind.RECONCILE_SKIPPED, text, level="warning"))
        self.doubted = found


def summary(actions: Sequence[Action]) -> str:
    """Return how many of each kind, in words."""
    kinds = [kind for kind in ActionKind if any(action.kind is kind for action in actions)]
    return ", ".join(f"{sum(action.kind is kind for action in actions)} {kind}" for kind in kinds) or "nothing"
