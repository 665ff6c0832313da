"""How things stand: what is under way, what runs, what is short. From the ledger's rows, for people and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.decide.shortage import Phase, phase
from asbx.model.boot import Breaker
from asbx.model.job import Request
from asbx.model.node import NodeView
from asbx.model.price import PriceChange
from asbx.model.record import Attempt, Binding, InstanceRow, Intent, Shortage

# One word for a node, first match first: what an administrator would say of it.
_WORDS = (
    ("POWERING_DOWN", "powering-down"),
    ("POWERING_UP", "powering-up"),
    ("POWERED_DOWN", "powered-down"),
    ("POWER_UP", "powering-up"),
    ("POWER_DOWN", "powering-down"),
    ("INVALID_REG", "invalid"),
    ("DRAIN", "drained"),
    ("NOT_RESPONDING", "not-responding"),
    ("COMPLETING", "completing"),
)
_STATES = {"DOWN", "IDLE", "ALLOCATED", "MIXED", "FAIL", "ERROR", "UNKNOWN", "FUTURE"}
WORDS = tuple(dict.fromkeys(["down", *(word for _, word in _WORDS), *(state.lower() for state in sorted(_STATES))]))


def word(view: NodeView) -> str:
    """Return one of WORDS for a node's state. A node that is down and off is down: somebody must look at it."""
    if view.state == "DOWN":
        return "down"
    found = next((said for flag, said in _WORDS if flag in view.flags), None)
    return found or (view.state.lower() if view.state in _STATES else "unknown")


@dataclass(frozen=True)
class UnderWay:
    """A gang that an open request is launching. rung: where it stands, "" before any call. bound: of its nodes."""

    intent: Intent
    since: datetime
    rung: str
    calls: int
    bound: int


@dataclass(frozen=True)
class Standing:
    """What the ledger says at a moment. prices: instance id -> the price in force."""

    at: datetime
    requests: tuple[Request, ...]
    gangs: tuple[UnderWay, ...]
    instances: tuple[InstanceRow, ...]
    shortages: tuple[Shortage, ...]
    breakers: tuple[Breaker, ...] = ()
    prices: Mapping[str, PriceChange] = field(default_factory=dict)

    def hourly(self, row: InstanceRow) -> Decimal | None:
        """Return what an instance costs an hour now; where the history does not say, what it cost at its launch."""
        now = self.prices.get(row.instance_id)
        return row.price if now is None else now.usd

    @property
    def cost_per_hour(self) -> Decimal:
        """Return what the running instances cost an hour, in the region's currency, as far as prices are known."""
        return sum((price for row in self.instances if (price := self.hourly(row)) is not None), Decimal(0))

    @property
    def unpriced(self) -> int:
        """Return how many instances have no known price."""
        return sum(1 for row in self.instances if self.hourly(row) is None)

    @property
    def price_ages(self) -> dict[tuple[str, str], timedelta]:
        """Return (market, source) -> age of the oldest price in use."""
        ages: dict[tuple[str, str], timedelta] = {}
        for change in self.prices.values():
            key = (change.market.value, change.source.value)
            ages[key] = max(ages.get(key, timedelta(0)), self.at - change.learned_at)
        return ages

    @property
    def closed(self) -> tuple[Shortage, ...]:
        """Return the shortages because of which something is not asked now."""
        return tuple(one for one in self.shortages if phase(one, self.at) in (Phase.CLOSED, Phase.PROBING))

    def oldest(self, kind: str) -> timedelta:
        """Return the age of the oldest open request of a kind."""
        return max((self.at - one.received_at for one in self.requests if one.kind == kind), default=timedelta(0))


def under_way(
    requests: Sequence[Request],
    intents: Mapping[str, Sequence[Intent]],
    attempts: Mapping[str, Sequence[Attempt]],
    bindings: Sequence[Binding],
) -> tuple[UnderWay, ...]:
    """Return the gangs of open requests, oldest first. intents: by request, attempts: by intent."""
    bound = {binding.node for binding in bindings}
    return tuple(
        UnderWay(
            intent,
            request.received_at,
            max(calls, key=lambda one: one.number).rung if (calls := attempts.get(intent.intent_id, ())) else "",
            len(calls),
            len(bound & set(intent.nodes)),
        )
        for request in requests
        for intent in intents.get(request.request_id, ())
    )


def by_word(views: Sequence[NodeView]) -> Counter[tuple[str, str]]:
    """Return (group's prefix of the node name, word) -> nodes."""
    return Counter((view.name.rpartition("-")[0], word(view)) for view in views)
