"""An instance of the pretend EC2, from its launch to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from asbx.model.market import Instance, InstanceState, Market
from asbx.sim.hub import SECOND, Hub
from asbx.sim.prices import PoolKey

# EC2's codes for why an instance ended (EC2 API reference, StateReason).
BY_USER = "Client.UserInitiatedShutdown"
RECLAIMED = "Server.SpotInstanceTermination"
_ENDING = 30 * SECOND


@dataclass(eq=False)
class Machine:
    """One instance. price: USD an hour, that of its launch. Moments are microseconds since the start.

    registered_us: when the node it became reported first.
    """

    clock: Hub
    instance_id: str
    key: PoolKey
    subnet: str
    address: str
    reservation: str
    index: int
    tags: dict[str, str]
    placement_group: str
    efa: int
    price: Decimal
    launched_us: int
    ended_us: int | None = None
    end_reason: str = ""
    tells_when: bool = True
    registered_us: int | None = None
    _seen: Instance | None = None
    _until_us: int = 0

    def __post_init__(self) -> None:
        self.shows_us = self.runs_us = self.launched_us

    def is_shown(self, now_us: int, after_end: int) -> bool:
        """Whether EC2 knows it: a fresh one not yet, one that ended long ago not any more."""
        return self.shows_us <= now_us and (self.ended_us is None or now_us - self.ended_us < after_end)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self.tags |= tags
        self._seen = None

    def end(self, reason: str, now_us: int, *, tells_when: bool) -> None:
        """Note that it has ended."""
        self.ended_us, self.end_reason, self.tells_when = now_us, reason, tells_when
        self._seen = None

    def view(self, now_us: int) -> Instance:
        """Return it as EC2 describes it now; made anew only when something changed."""
        if self._seen is None or now_us >= self._until_us:
            self._seen = self._made(now_us)
        return self._seen

    def _made(self, now_us: int) -> Instance:
        state, self._until_us = self._state(now_us)
        alive = self.ended_us is None
        ended = self.clock.moment(self.ended_us) if self.ended_us is not None and self.tells_when else None
        return Instance(
            self.instance_id,
            self.key.instance_type,
            self.key.zone,
            self.subnet,
            state,
            Market(self.key.market.value),
            self.address if alive else "",
            f"ip-{self.address.replace('.', '-')}.ec2.internal" if alive else "",
            self.reservation,
            self.index,
            self.clock.moment(self.launched_us),
            dict(self.tags),
            self.placement_group,
            self.efa,
            self.end_reason,
            ended,
        )

    def _state(self, now_us: int) -> tuple[InstanceState, int]:
        """Return the state, and until when it is that."""
        never = 1 << 62
        if self.ended_us is not None:
            gone = self.ended_us + _ENDING
            return (InstanceState.TERMINATED, never) if now_us >= gone else (InstanceState.SHUTTING_DOWN, gone)
        return (InstanceState.RUNNING, never) if now_us >= self.runs_us else (InstanceState.PENDING, self.runs_us)
