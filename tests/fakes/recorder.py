"""A recorder that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from asbx.model.event import Event, EventKind
from asbx.telemetry.meanings import MEANINGS


@dataclass
class FakeRecorder:
    """The door `Recorder`. events: everything recorded, in order."""

    events: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        """Keep the event, which must be as important as the reference says that its kind is."""
        assert event.level in MEANINGS[event.kind].levels, f"{event.kind} is said at level {event.level}"
        self.events.append(event)

    @property
    def kinds(self) -> list[EventKind]:
        """The kinds recorded, in order."""
        return [event.kind for event in self.events]

    def of(self, kind: EventKind) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.kind == kind]
