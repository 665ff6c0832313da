"""Take requests from the spool into the ledger and work on them, several at a time, each node's in their order.

The daemon and the inline worker are this engine; they differ only in when they stop. A request that was being worked on
when the process died is still open in the ledger and is simply run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime

from asbx.config.limits import LEDGER_REST, REQUESTS_AT_ONCE, SPOOL_MAX_BYTES
from asbx.daemon.clock import StoppingError
from asbx.decide.lifecycle import runnable
from asbx.errors import AsbxError, ExitCode
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure, Outcome
from asbx.flow.reconcile import Sweep
from asbx.flow.resume import Resume
from asbx.flow.suspend import suspend
from asbx.hooks import spool
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind
from asbx.slurm.inbox import read_request


class Engine:
    """One per process. on_change is called when a request ends, from the thread that ended it."""

    def __init__(self, doors: Doors, on_change: Callable[[], None] = lambda: None) -> None:
        self.doors = doors
        self.sweep = Sweep(doors)
        self._on_change = on_change
        self._pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="request")
        self._running: dict[str, tuple[Request, Future[None]]] = {}
        self._resting: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def intake(self) -> int:
        """Move what lies in the spool into the ledger and return how many requests that were.

        A file is removed only after its request is safely kept; one nobody can read is put aside, never deleted.
        """
        folder = str(self.doors.config.paths.requests)
        taken = 0
        for request_id in spool.waiting(folder):
            try:
                request = read_request(request_id, spool.read(folder, request_id, SPOOL_MAX_BYTES))
            except (spool.SpoolUnreadableError, OSError) as error:
                self._set_aside(folder, request_id, str(error))
                continue
            if self.doors.ledger.add_request(request):
                self._received(request)
            spool.remove(folder, request_id)
            taken += 1
        return taken

    def _received(self, request: Request) -> None:
        jobs = [job.job_id for job in request.jobs]
        text = f"{request.kind} of {fold(request.nodes) or 'no node'}" + (
            f" for job(s) {fold_ids(jobs)}" if jobs else ""
        )
        self.doors.say(
            Event(
                EventKind.REQUEST_RECEIVED,
                text,
                request.request_id,
                data={"nodes": fold(request.nodes), "jobs": jobs},
            )
        )
        for note in request.notes:
            self.doors.say(Event(EventKind.REQUEST_ODD, note, request.request_id, level="warning"))

    def _set_aside(self, folder: str, request_id: str, why: str) -> None:
        try:
            place = spool.set_aside(folder, request_id, str(self.doors.config.paths.set_aside))
        except OSError as error:
            place = f"{folder} (it could not be moved: {error.strerror})"
        self.doors.say(
            Event(
                EventKind.REQUEST_SET_ASIDE,
                f"the request {request_id} cannot be read ({why}); it is kept in {place}",
                request_id,
                level="error",
            )
        )

    def dispatch(self) -> int:
        """Start every request that may start and return how many are running."""
        with self._lock:
            now = self.doors.clock.now()
            self._resting = {one: until for one, until in self._resting.items() if until > now}
            held = {*self._running, *self._resting}
            waiting = [r for r in self.doors.ledger.open_requests() if r.request_id not in held]
            for request in runnable(waiting, [r for r, _ in self._running.values()]):
                self._running[request.request_id] = (request, self._pool.submit(self._work, request))
            return len(self._running)

    def _work(self, request: Request) -> None:
        """Run one request to its end. This is the daemon's loop body: one failing request never stops another."""
        tidy: Callable[[], None] = lambda: None  # noqa: E731
        try:
            outcome, tidy = self._run(request)
            self._close(request, outcome)
        except StoppingError:
            return  # it is still open in the ledger
        except AsbxError as error:
            self._failed(request, error)
        except Exception as error:  # noqa: BLE001  the one broad except of the daemon: log, count, go on
            self._failed(request, AsbxError("internal", f"{type(error).__name__}: {error}", "", "report this"))
        finally:
            with self._lock:
                self._running.pop(request.request_id, None)
            self._on_change()
        tidy()

    def _run(self, request: Request) -> tuple[Outcome, Callable[[], None]]:
        """Return the outcome, and what may still be done when it is known."""
        if not request.nodes:
            outcome = Outcome()
            outcome.fail([""], Failure("no-nodes", "; ".join(request.notes), ExitCode.USAGE))
            return outcome, lambda: None
        if request.kind is RequestKind.RESUME:
            resume = Resume(self.doors, request)
            return resume.run(), resume.tidy
        return suspend(self.doors, request), lambda: None

    def _close(self, request: Request, outcome: Outcome) -> None:
        failed = bool(outcome.failed)
        self.doors.ledger.finish_request(
            request.request_id, failed=failed, note=outcome.note(), at=self.doors.clock.now()
        )
        took = (self.doors.clock.now() - request.received_at).total_seconds()
        verb = "served" if request.kind is RequestKind.RESUME else "ended"
        text = f"{len(outcome.bound)} of {len(request.nodes)} node(s) {verb} after {took:.1f} s"
        kind = EventKind.REQUEST_FAILED if failed else EventKind.REQUEST_DONE
        self.doors.say(Event(kind, text, request.request_id, level="error" if failed else "info"))

    def _failed(self, request: Request, error: AsbxError) -> None:
        """Close a request that cannot go on. Its nodes run into ResumeTimeout, and the sweep ends what was launched."""
        outcome = Outcome()
        outcome.fail(request.nodes, Failure.of_error(error))
        try:
            self._close(request, outcome)
            if request.kind is RequestKind.RESUME:
                self.doors.scheduler.fail(request.nodes, f"asbx:{error.code} {error.what}")
        except AsbxError as trouble:
            # The ledger itself: the request stays open there and is tried again after a rest.
            error = trouble
            with self._lock:
                self._resting[request.request_id] = self.doors.clock.now() + LEDGER_REST
        self.doors.say(Event(EventKind.REQUEST_FAILED, str(error), request.request_id, level="error"))

    def running(self) -> list[str]:
        """Return the ids of the requests in work."""
        with self._lock:
            return sorted(self._running)

    def reconcile(self) -> None:
        """Do one reconcile pass, leaving alone what running requests work on; skip it when a side does not answer."""
        with self._lock:
            running = [request for request, _ in self._running.values()]
        nodes = {node for request in running for node in request.nodes}
        try:
            intents = {i.intent_id for request in running for i in self.doors.ledger.intents(request.request_id)}
            self.sweep.run(nodes, intents)
        except AsbxError as error:
            self.doors.say(Event(EventKind.RECONCILE_SKIPPED, str(error), level="warning"))

    def drain(self) -> None:
        """Work until spool and ledger hold nothing open. For the inline worker."""
        while True:
            self.intake()
            if not self.dispatch():
                if spool.waiting(str(self.doors.config.paths.requests)):
                    continue
                return
            with self._lock:
                futures = [future for _, future in self._running.values()]
            wait(futures, timeout=1.0, return_when="FIRST_COMPLETED")

    def close(self) -> None:
        """Start nothing more and do not wait: everything is in the ledger."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def fold_ids(ids: list[int]) -> str:
    """Return the first few job ids, and how many more there are."""
    shown = ", ".join(str(one) for one in ids[:10])
    return shown + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
