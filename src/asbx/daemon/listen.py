"""Two threads beside the daemon's loop: one waits at the queue, one looks after jobs on nodes that will go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from asbx.config.limits import EVACUATION_LOOK, QUEUE_FIRST_PAUSE, QUEUE_LONGEST_PAUSE
from asbx.daemon.clock import StoppingError
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.flow.interrupt import Interruptions
from asbx.model.event import Event, EventKind

# Enough to notice a stop; a thread that waits at the queue is not waited for, and what it gets then comes again.
_LEAVE_S = 0.5


class Listener:
    """Runs from start() to close(), and works while the spool is ours: a controller on standby leaves the queue alone.

    A failing turn is said once, and tried again after growing pauses.
    """

    def __init__(self, doors: Doors, flow: Interruptions) -> None:
        self._doors = doors
        self._flow = flow
        self._stop = threading.Event()
        self._on = threading.Event()
        self._trouble = ""
        works: list[tuple[str, Callable[[], None]]] = [("evacuation", self._look_after)]
        if doors.notices is not None:
            works.append(("notices", self._listen))
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def work(self, *, is_ours: bool) -> None:
        """Begin to work, go on, or rest."""
        if is_ours:
            self._on.set()
        else:
            self._on.clear()

    def close(self) -> None:
        """End: nothing new is begun, and what is under way ends at its next pause. The clock must be stopped."""
        self._stop.set()
        self._on.set()
        for thread in self._threads:
            thread.join(_LEAVE_S)
        self._flow.close()

    def state(self) -> dict[str, Any]:
        """Return what `asbx status` shows. trouble: why the queue cannot be read now."""
        return self._flow.state() | {"trouble": self._trouble}

    def _listen(self) -> None:
        pause = QUEUE_FIRST_PAUSE
        while self._may_work():
            try:
                self._flow.turn(self._is_on)
            except StoppingError:
                return
            except AsbxError as error:
                self._say_trouble(str(error))
            except Exception as error:  # noqa: BLE001  the daemon's loop: log, go on
                self._say_trouble(f"{type(error).__name__}: {error}")
            else:
                self._answers()
                pause = QUEUE_FIRST_PAUSE
                continue
            self._stop.wait(pause.total_seconds())
            pause = min(pause * 2, QUEUE_LONGEST_PAUSE)

    def _say_trouble(self, trouble: str) -> None:
        if trouble != self._trouble and not self._stop.is_set():
            self._doors.say(Event(EventKind.QUEUE_SILENT, f"the queue cannot be read: {trouble}", level="error"))
        self._trouble = trouble

    def _answers(self) -> None:
        if self._trouble:
            self._doors.say(Event(EventKind.QUEUE_ANSWERS, "the queue is read again"))
        self._trouble = ""

    def _may_work(self) -> bool:
        """Wait until there is work for us; False when it is over."""
        self._on.wait()
        return not self._stop.is_set()

    def _is_on(self) -> bool:
        return self._on.is_set() and not self._stop.is_set()

    def _look_after(self) -> None:
        while self._may_work():
            # The first sweep would find what another daemon left, but half of the two minutes would be over by then.
            self._once(self._flow.begin)
            while self._is_on() and not self._stop.wait(EVACUATION_LOOK.total_seconds()):
                if self._flow.evacuation.is_urgent():
                    self._once(self._flow.evacuation.step)

    def _once(self, part: Callable[[], None]) -> None:
        try:
            part()
        except StoppingError:
            return
        except Exception as error:  # noqa: BLE001  the daemon's loop: log, go on
            self._doors.say(Event(EventKind.PASS_FAILED, f"{type(error).__name__}: {error}", level="error"))
