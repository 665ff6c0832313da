"""Audit rows written behind the work: a launch does not wait for the ledger to note what it did.

For the daemon only. The log line is written at once by the recorder; the rows follow in batches, one transaction each,
within milliseconds. A killed daemon loses the rows of those milliseconds and nothing else: they are audit, not memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from asbx.errors import AsbxError
from asbx.model.event import Event

Row = tuple[Event, datetime]
_BATCH = 500


class WriteBehind:
    """An event store in front of a slower one. write: keeps many rows at once; raises AsbxError when it cannot."""

    def __init__(self, write: Callable[[Sequence[Row]], None]) -> None:
        self.lost_rows = 0
        self._write = write
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="audit-rows", daemon=True)
        self._thread.start()

    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event soon."""
        self._rows.put((event, at))

    def close(self) -> None:
        """Write what is left and stop."""
        self._rows.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (row := self._rows.get()) is not None:
            batch, ended = self._more([row])
            try:
                self._write(batch)
            except AsbxError:
                self.lost_rows += len(batch)  # the log has them; the ledger is busy or full
            if ended:
                return

    def _more(self, batch: list[Row]) -> tuple[list[Row], bool]:
        """Add what else is waiting; say whether the end is."""
        while len(batch) < _BATCH:
            try:
                row = self._rows.get_nowait()
            except queue.Empty:
                break
            if row is None:
                return batch, True
            batch.append(row)
        return batch, False
