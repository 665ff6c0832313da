"""Take requests from the spool into the ledger and work on them, several at a time, each node's in their order.

The daemon and the inline worker are this engine; they differ only in when they stop. A request that was being worked on
when the process died is still open in the ledger and is simply run again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from asbx.config.limits import REQUESTS_AT_ONCE, REST, SPOOL_MAX_BYTES
from asbx.daemon.clock import StoppingError
from asbx.daemon.guard import owners
from asbx.daemon.pulse import Pulse, patience
from asbx.decide.backoff import rest
from asbx.decide.lifecycle import runnable
from asbx.errors import AsbxError, ExitCode, LedgerError, SlurmError
from asbx.flow.blocks import Blocks
from asbx.flow.boots import Boots
from asbx.flow.budgeting import Budgeting
from asbx.flow.dating import Dating
from asbx.flow.doors import Doors
from asbx.flow.health import Health
from asbx.flow.interrupt import Interruptions
from asbx.flow.late import still_wanted
from asbx.flow.leftovers import Leftovers
from asbx.flow.lives import settling
from asbx.flow.network import Network
from asbx.flow.outcome import Failure, Outcome
from asbx.flow.overruns import Overruns
from asbx.flow.price_refresh import PriceRefresh
from asbx.flow.pricing import Pricing
from asbx.flow.reconcile import Sweep
from asbx.flow.resume import Resume
from asbx.flow.retention import Retention
from asbx.flow.scores import Scores
from asbx.flow.suspend import suspend
from asbx.flow.unheard import Unheard
from asbx.flow.usage import Usage
from asbx.hooks import spool
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind
from asbx.model.market import Verdict
from asbx.ports import CloudError
from asbx.slurm.inbox import read_request

# A ledger that cannot store a value never will: such a request must not block those behind it.
_UNSTORABLE = ("ledger-value", "ledger-text")
# What a reconcile pass is called among those who work.
_PASSES = "reconcile"
Passed = Callable[[str, str, float], None]


class Engine:
    """One per process. on_change is called when a request ends, from the thread that ended it.

    pulse: hears signs of life. passed: is told of each part of a reconcile pass: name, outcome, seconds.
    """

    def __init__(
        self,
        doors: Doors,
        on_change: Callable[[], None] = lambda: None,
        pulse: Pulse | None = None,
        passed: Passed = lambda *_: None,
    ) -> None:
        self.doors = doors
        self._pulse = pulse or Pulse(patience(doors.config))
        self._passed = passed
        doors = self._pulse.doors(doors, _PASSES)  # what passes are made of
        self.sweep = Sweep(doors)
        self._dating = Dating(doors)
        self._price_refresh = PriceRefresh(doors)
        self._pricing = Pricing(doors)
        self._unheard = Unheard(doors, self.sweep.land, self._set_apart, self.sweep.spare)
        self._leftovers = Leftovers(doors)
        self._blocks = Blocks(doors)
        self.interruptions = Interruptions(doors, self.sweep.spare)
        self._network = Network(doors)
        self._boots = Boots(doors)
        self._health = Health(doors)
        self._retention = Retention(doors)
        self._usage = Usage(doors)
        self._settling = settling(doors)
        self._overruns = Overruns(doors)
        self._scores = Scores(doors)
        self._budgeting = Budgeting(doors)
        self._on_change = on_change
        # Launches may wait for minutes for instances to run: what ends instances must not stand behind them.
        self._launching = doors.workers.pool(REQUESTS_AT_ONCE, "request")
        self._ending = doors.workers.pool(REQUESTS_AT_ONCE, "suspend")
        self._sweeper = doors.workers.pool(1, "sweep")
        self._running: dict[str, tuple[Request, Future[None]]] = {}
        self._resting: dict[str, timedelta] = {}  # until when, by the clock's elapsed()
        self._rests: Counter[str] = Counter()
        self._sweeping: Future[None] | None = None
        self._lock = threading.Lock()
        self._apart: tuple[str, ...] = ()
        self._unread: set[str] = set()
        self._owners = owners(doors.config)
        # Of one of two controllers: what was asked before may have been done by the other.
        self.in_office_since: datetime | None = None

    # -- requests

    def intake(self) -> int:
        """Move what lies in the spool into the ledger and return how many requests that were.

        A file is removed only after its request is safely kept. One that is damaged is put aside, never deleted; one
        that cannot be opened now is left where it is. Raises LedgerError when the ledger takes none.
        """
        folder = str(self.doors.config.paths.requests)
        taken = 0
        for request_id in spool.waiting(folder):
            try:
                body = spool.read(folder, request_id, SPOOL_MAX_BYTES, self._owners)
                request = read_request(request_id, body, self.doors.clock.now())
                if self.in_office_since is not None and request.received_at < self.in_office_since:
                    request = still_wanted(self.doors, request)
                fresh = self.doors.ledger.add_request(request)
            except spool.SpoolUnreadableError as error:
                self._set_aside(folder, request_id, str(error))
            except OSError as error:
                self._leave(request_id, str(error.strerror or error))
            except LedgerError as error:
                if error.code not in _UNSTORABLE:
                    raise
                self._set_aside(folder, request_id, error.why)
            else:
                if fresh:
                    self._received(request)
                spool.remove(folder, request_id)
                taken += 1
        return taken

    def _received(self, request: Request) -> None:
        jobs = sorted(job.job_id for job in request.jobs)
        nodes = fold(request.nodes)
        text = f"{request.kind} of {nodes or 'no node'}" + (f" for job(s) {shown(jobs)}" if jobs else "")
        data: dict[str, object] = {"nodes": nodes, "kind": request.kind.value}
        received = Event(EventKind.REQUEST_RECEIVED, text, request.request_id, data=data, jobs=tuple(jobs))
        self.doors.say(received)
        for note in request.notes:
            self.doors.say(Event(EventKind.REQUEST_ODD, note, request.request_id, level="warning"))

    def _set_aside(self, folder: str, request_id: str, why: str) -> None:
        try:
            place = spool.set_aside(folder, request_id, str(self.doors.config.paths.set_aside))
        except OSError as error:
            self._leave(request_id, f"{why}; it cannot be moved either: {error.strerror}")
            return
        # ascii: the name may be anything that a folder takes, bytes that are no text and line ends among it.
        text = f"the request {request_id!a} cannot be read ({why}); it is kept in {place!a}"
        self.doors.say(Event(EventKind.REQUEST_SET_ASIDE, text, ascii(request_id)[1:-1], level="error"))

    def _leave(self, request_id: str, why: str) -> None:
        """Say once that a file stays in the spool."""
        if request_id not in self._unread:
            self._unread.add(request_id)
            text = f"the request {request_id!a} stays in the spool: {why}"
            self.doors.say(Event(EventKind.REQUEST_ODD, text, ascii(request_id)[1:-1], level="error"))

    def dispatch(self) -> int:
        """Start every request that may start and return how many are running."""
        with self._lock:
            now = self.doors.clock.elapsed()
            self._resting = {one: until for one, until in self._resting.items() if until > now}
            still_open = [r for r in self.doors.ledger.open_requests() if r.request_id not in self._running]
            waiting = [r for r in still_open if r.request_id not in self._resting]
            # A request that rests is at its nodes still: no later one may overtake it.
            at_work = [r for r, _ in self._running.values()] + [r for r in still_open if r.request_id in self._resting]
            if self._apart:
                at_work.append(Request("", RequestKind.RESUME, self._apart, self.doors.clock.now()))
            for request in runnable(waiting, at_work):
                pool = self._launching if request.kind is RequestKind.RESUME else self._ending
                self._running[request.request_id] = (request, pool.submit(self._work, request))
            return len(self._running)

    def _work(self, request: Request) -> None:
        """Run one request to its end. This is the daemon's loop body: one failing request never stops another."""
        with self._pulse.work(request.request_id):
            self._work_on(self._pulse.doors(self.doors, request.request_id), request)

    def _work_on(self, doors: Doors, request: Request) -> None:
        resume = Resume(doors, request) if request.kind is RequestKind.RESUME else None
        try:
            outcome = self._run(doors, request, resume)
            self._close(request, outcome)
        except StoppingError:
            return  # it is still open in the ledger
        except AsbxError as error:
            self._trouble(request, error)
        except Exception as error:  # noqa: BLE001  the one broad except of the daemon: log, count, go on
            self._broken(request, resume, error)
        finally:
            with self._lock:
                self._running.pop(request.request_id, None)
            self._on_change()
        if resume is not None:
            with suppress(AsbxError, StoppingError):
                resume.tidy()

    def _run(self, doors: Doors, request: Request, resume: Resume | None) -> Outcome:
        if not request.nodes:
            outcome = Outcome()
            outcome.fail([""], Failure("no-nodes", "; ".join(request.notes), ExitCode.USAGE))
            return outcome
        if resume is not None:
            return resume.run()
        outcome = suspend(doors, request, self._boots)
        # Once they cost no more, and while Slurm still knows the jobs they had: MinJobAge may be short.
        with suppress(AsbxError):  # the next pass looks again
            self._usage.look(unless_fresh=True)
        return outcome

    def _trouble(self, request: Request, error: AsbxError) -> None:
        """Let a request rest where the trouble may pass, close it where it will not.

        Without the ledger nothing may be closed; EC2 and slurmctld come back, and what must be ended is ended then.
        """
        passing = isinstance(error, CloudError) and error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED)
        if isinstance(error, LedgerError) or error.exit_code is ExitCode.SLURM or passing:
            self._rest(request, error)
            return
        outcome = Outcome()
        outcome.fail(request.nodes, Failure.of_error(error))
        with suppress(LedgerError):  # then it stays open and comes back here
            self._close(request, outcome)

    def _rest(self, request: Request, error: AsbxError) -> None:
        """Try a request again after a pause that grows; said when it begins, and then with each doubling."""
        with self._lock:
            self._rests[request.request_id] += 1
            count = self._rests[request.request_id]
            pause = rest(request.request_id, count)
            self._resting[request.request_id] = self.doors.clock.elapsed() + pause
        if count & (count - 1) == 0:
            text = f"{error}; the request is tried again in {pause.total_seconds():.0f} s"
            more = "" if count == 1 else f" (for the {count}th time)"
            self.doors.say(Event(EventKind.REQUEST_ODD, text + more, request.request_id, level="warning"))

    def _broken(self, request: Request, resume: Resume | None, error: Exception) -> None:
        """Close a request over a fault of ours, after giving back what it launched."""
        trouble = AsbxError("internal", f"{type(error).__name__}: {error}", "", "report this")
        with suppress(AsbxError, StoppingError):
            if resume is not None:
                resume.abandon(Failure.of_error(trouble))
        self._trouble(request, trouble)

    def _close(self, request: Request, outcome: Outcome) -> None:
        failed = bool(outcome.failed)
        now = self.doors.clock.now()
        self.doors.ledger.finish_request(request.request_id, failed=failed, note=outcome.note(), at=now)
        self._rests.pop(request.request_id, None)
        verb = "served" if request.kind is RequestKind.RESUME else "ended"
        took = (now - request.received_at).total_seconds()
        text = f"{len(outcome.bound)} of {len(request.nodes)} node(s) {verb} after {took:.1f} s"
        kind = EventKind.REQUEST_FAILED if failed else EventKind.REQUEST_DONE
        data: dict[str, object] = {"kind": request.kind.value, "seconds": round(took, 3), "nodes": len(request.nodes)}
        jobs = tuple(job.job_id for job in request.jobs)
        level = "error" if failed else "info"
        self.doors.say(Event(kind, text, request.request_id, data=data, level=level, jobs=jobs))

    def running(self) -> list[str]:
        """Return the ids of the requests in work."""
        with self._lock:
            return sorted(self._running)

    @property
    def troubles(self) -> dict[str, str]:
        """Return what AWS refuses to tell, by action; of prices by part."""
        return self._boots.troubles | self._health.troubles | self._price_refresh.troubles | self._usage.troubles

    # -- the sweep

    def sweep_soon(self) -> None:
        """Start a reconcile pass beside the requests, unless one is under way."""
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = self._sweeper.submit(self.reconcile)

    def reconcile(self) -> None:
        """Do one reconcile pass; each part that fails leaves the others their turn."""
        ours = (self._leftovers, self._dating, self._boots, self._health, self._blocks, self._network, self._retention)
        # What instances cost is charged once they have a price.
        money = (self._price_refresh, self._pricing, self._overruns, self._budgeting, self._usage)
        parts = (self.interruptions, *ours, *money, self._scores)
        with self._pulse.work(_PASSES):
            for part in (self._sweep_once, *(one.run for one in parts), *(one.run for one in self._settling)):
                self._in_pass(part)

    def _sweep_once(self) -> None:
        """Leave alone what open requests work on."""
        doors = self.sweep.doors
        requests = doors.ledger.open_requests()
        nodes = {node for request in requests for node in request.nodes}
        intents = {i.intent_id for request in requests for i in doors.ledger.intents(request.request_id)}
        look = self.sweep.look(nodes, intents)
        try:
            self._unheard.see(look)
        except SlurmError as error:
            # It is a courtesy: what Slurm refuses for one node must not keep every other from being put right.
            self.doors.say(Event(EventKind.PASS_FAILED, f"unheard: {error}", level="error"))
        self.sweep.act(look)

    @contextmanager
    def _set_apart(self, nodes: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Begin no request with these nodes while the block runs; yield those that none works on or has served."""
        with self._lock:
            at_work = [request for request, _ in self._running.values()] + list(self.doors.ledger.open_requests())
            taken = {node for request in at_work for node in request.nodes}
            taken |= {binding.node for binding in self.doors.ledger.live_bindings(nodes)}
            self._apart = tuple(node for node in nodes if node not in taken)
        try:
            yield self._apart
        finally:
            with self._lock:
                self._apart = ()
            self._on_change()

    def _in_pass(self, part: Callable[[], object]) -> None:
        """Do a part of a pass; skip it when a side does not answer."""
        began, outcome = time.monotonic(), "failed"
        try:
            part()
            outcome = "done"
        except StoppingError:
            return
        except AsbxError as error:
            outcome = "skipped"
            self.doors.say(Event(EventKind.RECONCILE_SKIPPED, str(error), level="warning"))
        except Exception as error:  # noqa: BLE001  the daemon's loop: a pass that breaks is said, the next one comes
            self.doors.say(Event(EventKind.PASS_FAILED, f"{type(error).__name__}: {error}", level="error"))
        self._passed(part_name(part), outcome, time.monotonic() - began)

    # -- ends

    def drain(self, patience: timedelta) -> None:
        """Work until spool and ledger hold nothing open, or the patience ends. For the inline worker.

        Raises StoppingError when the process is to stop, AsbxError when spool or ledger cannot serve.
        """
        give_up = self.doors.clock.elapsed() + patience
        while self.doors.clock.elapsed() < give_up:
            self.doors.clock.sleep(timedelta(0))  # raises when stopping
            taken = self.intake()
            if self.dispatch():
                with self._lock:
                    futures = [future for _, future in self._running.values()]
                wait(futures, timeout=1.0, return_when="FIRST_COMPLETED")
            elif self._resting:
                self.doors.clock.sleep(REST / 5)
            elif not taken:
                return

    def close(self) -> None:
        """Start nothing more and wait for what is under way: whoever holds the lock next must find no one else at it.

        The clock must have been stopped before; requests then end at their next pause and stay open in the ledger.
        """
        pools = (self._launching, self._ending, self._sweeper)
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)


def part_name(part: Callable[[], object]) -> str:
    """Return what a part of a pass is called in metrics: `Blocks.run` is blocks, `_sweep_once` is sweep."""
    owner, _, method = part.__qualname__.rpartition(".")
    return owner.lower() if method == "run" else method.strip("_").removesuffix("_once")


def shown(ids: list[int]) -> str:
    """Return the first few job ids, and how many more there are."""
    first = ", ".join(str(one) for one in ids[:10])
    return first + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
