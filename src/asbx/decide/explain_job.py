"""What there is to say of one job: what was decided, what EC2 said to each rung, where its nodes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asbx.decide.shortage import Phase, phase
from asbx.decide.shortage_key import family, place_of
from asbx.model.job import JobView
from asbx.model.job_plan import JobPlan
from asbx.model.market import Market
from asbx.model.record import Attempt, Binding, InstanceRow, Intent, Setback, Shortage

_SHUT = frozenset({Phase.CLOSED, Phase.PROBING})


@dataclass(frozen=True)
class Known:
    """What Slurm and the ledger know of a job.

    view: None where Slurm does not know it. silence: why Slurm was not heard, "" where it answered. decisions: newest
    first. intents, attempts: of the requests those name. instances: every one launched for it. bindings: live ones, by
    instance. shortages: all that are remembered.
    """

    job_id: int
    now: datetime
    view: JobView | None = None
    silence: str = ""
    decisions: tuple[JobPlan, ...] = ()
    intents: tuple[Intent, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    instances: tuple[InstanceRow, ...] = ()
    bindings: Mapping[str, Binding] = field(default_factory=dict, hash=False)
    shortages: tuple[Shortage, ...] = ()
    setback: Setback | None = None

    @property
    def is_anything(self) -> bool:
        """Whether anybody has ever heard of the job."""
        return bool(self.view or self.decisions or self.intents or self.instances or self.setback)

    @property
    def live(self) -> tuple[InstanceRow, ...]:
        """Return the instances that have not ended."""
        return tuple(row for row in self.instances if row.ended_at is None)

    @property
    def newest(self) -> JobPlan | None:
        """Return the last decision."""
        return self.decisions[0] if self.decisions else None


@dataclass(frozen=True)
class Identity:
    """What a job is called and whose it is: Slurm's word before the ledger's; "" where neither tells."""

    label: str
    name: str
    user: str
    account: str
    partition: str


def identity(known: Known) -> Identity:
    """Return who is behind a job."""
    sources = [one for one in (known.view, *known.decisions) if one is not None]
    rows = known.instances
    return Identity(
        _first(one.label for one in sources) or str(known.job_id),
        _first(one.name for one in sources),
        _first([*(one.user for one in sources), *(row.user for row in rows)]),
        _first([*(one.account for one in sources), *(row.account for row in rows)]),
        _first([*(one.partition for one in sources), *(row.group.partition for row in rows)]),
    )


def _first(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")


# -- what EC2 said


@dataclass(frozen=True)
class Refused:
    """Refusals of one kind. what: the pool they name."""

    code: str
    what: str
    count: int


@dataclass(frozen=True)
class Call:
    """One call to EC2. asked, launched: instances. is_open: not answered yet. error: of a call refused as a whole."""

    number: int
    at: datetime
    asked: int
    launched: int
    market: Market
    placement_group: str
    is_open: bool
    error: str
    refusals: tuple[Refused, ...]


@dataclass(frozen=True)
class RungSaid:
    """A rung, and what EC2 said when it was asked for: nothing where it was not."""

    group: str
    text: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Try:
    """What one request of Slurm's led to. dropped: what was not even asked for, and why. weighed: see decide/unrest."""

    request_id: str
    at: datetime
    rungs: tuple[RungSaid, ...]
    dropped: tuple[str, ...]
    weighed: tuple[str, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """Return every call, in their order."""
        return tuple(sorted((call for rung in self.rungs for call in rung.calls), key=lambda one: (one.at, one.number)))

    @property
    def launched(self) -> int:
        """Return how many instances EC2 launched for it; some may have been given back."""
        return sum(call.launched for call in self.calls)


def tries(known: Known) -> tuple[Try, ...]:
    """Return what was tried, the newest request first."""
    decided = {one.request_id: one for one in known.decisions}
    first = {one.request_id: one.created_at for one in reversed(known.intents)}
    times = first | {name: one.decided_at for name, one in decided.items()}
    order = sorted(times, key=lambda name: times[name], reverse=True)
    return tuple(_try(known, name, times[name], decided.get(name)) for name in order)


def _try(known: Known, request_id: str, at: datetime, decision: JobPlan | None) -> Try:
    intents = [one for one in known.intents if one.request_id == request_id]
    group_of = {one.intent_id: str(one.group) for one in intents}
    asked: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in known.attempts:
        if attempt.intent_id in group_of:
            asked.setdefault((group_of[attempt.intent_id], attempt.rung), []).append(attempt)
    planned = decision.rungs if decision is not None else ()
    rungs = [RungSaid(rung.group, rung.text, _calls(asked.pop((rung.group, rung.key), ()))) for rung in planned]
    # Of a request decided before plans were kept, only the calls tell which rungs there were.
    rungs += [RungSaid(group, key or "a rung", _calls(some)) for (group, key), some in asked.items()]
    return Try(request_id, at, tuple(rungs), _considered(intents, "dropped "), _considered(intents, "weighed "))


def _considered(intents: Sequence[Intent], word: str) -> tuple[str, ...]:
    lines = dict.fromkeys(line for one in intents for line in one.considered if line.startswith(word))
    return tuple(line.removeprefix(word) for line in lines)


def _calls(attempts: Sequence[Attempt]) -> tuple[Call, ...]:
    return tuple(_call(one) for one in sorted(attempts, key=lambda one: (one.asked_at, one.number)))


def _call(attempt: Attempt) -> Call:
    answer, order = attempt.answer, attempt.order
    said = Counter(
        (one.code, " in ".join(part for part in (one.instance_type, one.zone or one.subnet_id) if part))
        for one in (answer.refusals if answer is not None else ())
    )
    return Call(
        attempt.number,
        attempt.asked_at,
        order.count,
        len(answer.launched) if answer is not None else 0,
        order.market,
        order.placement_group,
        attempt.answered_at is None,
        attempt.error,
        tuple(Refused(code, what, count) for (code, what), count in said.items()),
    )


# -- where its nodes are


@dataclass(frozen=True)
class Whereabouts:
    """Where the instances of a job are, or were. efa: whether they were asked for with EFA interfaces of ours."""

    groups: tuple[str, ...]
    zones: tuple[str, ...]
    types: tuple[str, ...]
    markets: tuple[str, ...]
    efa: bool


def whereabouts(known: Known) -> Whereabouts | None:
    """Return where its nodes are; of one that has none any more, where they were; None for one that never had any."""
    rows = known.live or tuple(row for row in known.instances if row.bound_at is not None)
    if not rows:
        return None
    ids = {row.instance_id for row in rows}
    came = [
        attempt
        for attempt in known.attempts
        if attempt.answer is not None and not ids.isdisjoint(one.instance_id for one in attempt.answer.launched)
    ]
    texts = {(rung.key, rung.text) for one in known.decisions for rung in one.rungs}
    return Whereabouts(
        _unique(attempt.order.placement_group for attempt in came),
        _unique(row.zone for row in rows),
        _unique(row.instance_type for row in rows),
        _unique(row.market.value for row in rows),
        any(_has_efa(attempt.rung, texts) for attempt in came),
    )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _has_efa(key: str, texts: set[tuple[str, str]]) -> bool:
    return any(name == key and " with EFA" in text for name, text in texts)


# -- what is closed


def closed(known: Known) -> tuple[Shortage, ...]:
    """Return the shortages that keep EC2 from being asked for this job now."""
    types, zones, subnets = (_offered(known, one) for one in ("instance_types", "zones", "subnets"))
    found = [one for one in known.shortages if phase(one, known.now) in _SHUT]
    return tuple(one for one in found if _concerns(one, types, zones, subnets))


def _offered(known: Known, name: str) -> frozenset[str]:
    filled = known.newest.filled if known.newest is not None else ()
    return frozenset(word for one in filled if one.field == name for word in one.value.split(", ") if word)


def _concerns(shortage: Shortage, types: frozenset[str], zones: frozenset[str], subnets: frozenset[str]) -> bool:
    place = place_of(shortage.key)
    match place.kind:
        case "capacity":
            return place.instance_type in types and place.zone in zones | subnets
        case "quota":
            return any(place.family == family(kind, Market(place.market)) for kind in types)
        case "addresses":
            return place.subnet in subnets
        case _:
            return bool(types)
