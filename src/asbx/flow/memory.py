"""The memory of empty pools at work: who may be asked, who probes, and what each answer teaches everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from asbx.decide.ladder import Aim, Leg, Shut, Stand, stand_of
from asbx.decide.rungs import Rung
from asbx.decide.shortage import (
    Closed,
    Phase,
    Probe,
    after_refusal,
    after_success,
    claim,
    describe,
    holds,
    phase,
    pool_state,
    release,
)
from asbx.decide.shortage_key import amount, pool_keys, refusal_keys
from asbx.flow.doors import Doors
from asbx.model.catalogue import TypeFacts
from asbx.model.event import Event, EventKind
from asbx.model.market import FleetAnswer, FleetOrder, Pool, Refusal
from asbx.model.record import Shortage


class Memory:
    """What one request sees of the shortages all processes share through the ledger. May be shared between threads.

    facts: by type; a quota is counted in vCPUs. me, in every method: who asks, one name for each gang of each request.
    """

    def __init__(self, doors: Doors, facts: Mapping[str, TypeFacts]) -> None:
        self._doors, self._facts = doors, facts
        self._known: dict[str, Shortage] = {}

    def refresh(self) -> None:
        """Read what others have learned. Raises LedgerError."""
        self._known = {row.key: row for row in self._doors.ledger.shortages()}

    # -- before a call

    def shut(self, me: str, aim: Aim) -> dict[Stand, Shut]:
        """Return the pools of a gang that are not to be asked now."""
        if not self._known:
            return {}
        found: dict[Stand, Shut] = {}
        for leg in aim.legs:
            for rung in leg.rungs:
                for pool in rung.pools:
                    state = self._state(me, aim, leg, rung, pool)
                    if isinstance(state, Closed):
                        found[stand_of(rung, pool)] = self._shut(rung.keys(pool), state)
        return found

    def opens_at(self, me: str, aim: Aim) -> datetime | None:
        """Return when the first pool of a gang may be asked again; None where one may be asked now."""
        moments: list[datetime] = []
        for leg in aim.legs[:1]:
            for rung in leg.rungs:
                for pool in rung.pools:
                    state = self._state(me, aim, leg, rung, pool)
                    if not isinstance(state, Closed):
                        return None
                    moments.append(state.until)
        return min(moments, default=None)

    def _shut(self, keys: Iterable[str], state: Closed) -> Shut:
        now = self._doors.clock.now()
        rows = [self._known[key] for key in keys if key in self._known]
        code = next((row.code for row in rows if row.closed_until > now), rows[0].code if rows else "capacity")
        probed = all(phase(row, now) is not Phase.CLOSED for row in rows)
        return Shut(code, state.why, is_probed=probed)

    def _state(self, me: str, aim: Aim, leg: Leg, rung: Rung, pool: Pool) -> object:
        count = leg.count if aim.whole and aim.together else 1
        keys = rung.keys(pool)
        return pool_state(self._known, keys, count, self._doors.clock.now(), me, vcpus=self._vcpus(pool))

    def claim(
        self, me: str, aim: Aim, leg: Leg, rung: Rung, pools: Iterable[Pool]
    ) -> tuple[tuple[Pool, ...], frozenset[str]]:
        """Take the probes a call needs; return the pools it may ask and the keys it probes. Raises LedgerError."""
        if not self._known:
            return tuple(pools), frozenset()
        kept, taken = [], set[str]()
        for pool in pools:
            state = self._state(me, aim, leg, rung, pool)
            if isinstance(state, Closed) or (isinstance(state, Probe) and not self._take(me, state.keys, taken)):
                continue  # closed: another gang has learned it while this one gave instances back
            kept.append(pool)
        return tuple(kept), frozenset(taken)

    def _take(self, me: str, keys: Iterable[str], taken: set[str]) -> bool:
        now = self._doors.clock.now()
        won: list[str] = []
        for key in keys:
            if key in taken:
                continue
            row = self._change(key, lambda old: claim(old, now, me))
            if not holds(row, now, me):
                self.release(me, won)
                return False
            won.append(key)
        taken.update(won)
        return True

    def release(self, me: str, keys: Iterable[str]) -> None:
        """Give back probes that learned nothing."""
        for key in keys:
            self._change(key, lambda old: release(old, me))

    # -- after a call

    def learn(
        self,
        me: str,
        order: FleetOrder,
        answer: FleetAnswer,
        probed: frozenset[str] = frozenset(),
        doors: Doors | None = None,
    ) -> bool:
        """Remember what an answer says of its pools; return whether one was short. Raises LedgerError.

        doors: of the launch, which say for whom a pool was found short.
        """
        # In this order: a pool that gave some and refused the rest is short.
        succeeded = self._succeeded(me, order, answer)
        refused = self._refused(order, answer.refusals, doors or self._doors)
        self.release(me, probed - refused - succeeded)
        return bool(refused)

    def _refused(self, order: FleetOrder, refusals: Iterable[Refusal], doors: Doors) -> frozenset[str]:
        now, seen = self._doors.clock.now(), set[str]()
        # Without a minimum EC2 gives all it has: then not even one more was to be had.
        count = max(order.minimum, 1)
        for refusal in refusals:
            for key in refusal_keys(order, refusal):
                if key in seen:
                    continue
                seen.add(key)
                size = amount(key, count, self._largest(order))
                before = self._known.get(key)
                row = self._change(
                    key,
                    lambda old, key=key, size=size, refusal=refusal: after_refusal(  # type: ignore[misc]
                        old, key, refusal.code, refusal.verdict, size, now
                    ),
                )
                if row is not None and (before is None or row.failures != before.failures):
                    text = f"{describe(row, now)}: {refusal.message}"
                    doors.say(Event(EventKind.POOL_SHORT, text, level="warning", data={"key": key}))
        return frozenset(seen)

    def _succeeded(self, me: str, order: FleetOrder, answer: FleetAnswer) -> frozenset[str]:
        if not self._known:
            return frozenset()
        now, seen = self._doors.clock.now(), set[str]()
        counts = Counter((one.instance_type, one.zone, one.subnet_id) for one in answer.launched)
        # Spelled as a refusal would be: an order that knows no zones is remembered by subnet.
        asked = {(pool.instance_type, pool.subnet_id): pool for pool in order.pools}
        for (kind, zone, subnet), count in counts.items():
            pool = asked.get((kind, subnet), Pool(kind, subnet, zone))
            keys = pool_keys(order.market, pool, placed=bool(order.placement_group), reserved=bool(order.reservation))
            for key in keys:
                if key in self._known:
                    seen.add(key)
                    size = amount(key, count, self._vcpus(pool))
                    self._change(key, lambda old, size=size: after_success(old, size, now, me))  # type: ignore[misc]
        return frozenset(seen)

    def _change(self, key: str, change: Callable[[Shortage | None], Shortage | None]) -> Shortage | None:
        row = self._doors.ledger.change_shortage(key, change)
        if row is None:
            self._known.pop(key, None)
        else:
            self._known[key] = row
        return row

    def _vcpus(self, pool: Pool) -> int:
        facts = self._facts.get(pool.instance_type)
        return facts.vcpus if facts else 1

    def _largest(self, order: FleetOrder) -> int:
        return max((self._vcpus(pool) for pool in order.pools), default=1)
