"""Deal with the budget service so that nothing is held or charged twice, whatever it answers and wherever we crash.

Each launch has an entry in the ledger, written before a question is sent and after its answer. A question without an
answer is never repeated before the service's own list of transactions was read, long enough after it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from asbx.config.companions import Asbb
from asbx.config.limits import (
    ASBB_FIRST_PAUSE,
    ASBB_LONGEST_PAUSE,
    ASBB_LOOKS,
    ASBB_SETTLES,
    ASBB_TRANSACTIONS,
)
from asbx.decide.asbb import (
    Answer,
    Ask,
    Trace,
    Transaction,
    Word,
    check_question,
    find_charge,
    find_hold,
    read_check,
    read_reconcile,
    read_transactions,
    reconcile_question,
    why_not_sent,
)
from asbx.flow.doors import Doors
from asbx.model.budget import Entry, EntryState
from asbx.model.event import Event, EventKind
from asbx.ports import Budgets, BudgetService

_UNDONE = (EntryState.REFUSED, EntryState.VOID)
_UNTOLD = (EntryState.CHECKING, EntryState.HELD, EntryState.VOID)
_CLOSED = (EntryState.TELLING, EntryState.TOLD, EntryState.STUCK)


@dataclass(frozen=True)
class Desk:
    """Where launches ask. Raises LedgerError: what cannot be recorded is not asked."""

    doors: Doors
    books: Budgets
    service: BudgetService

    @property
    def _settings(self) -> Asbb:
        return self.doors.config.asbb

    # -- before a launch

    def check(self, ask: Ask) -> Answer:
        """Ask for a hold, unless this launch has one. Return YES, NO, or AWAY where the service has no word of its own.

        In doubt it is AWAY, and what became of the question is looked for later.
        """
        with self.service.turn(ask.account) as mine:
            if not mine:
                return Answer(Word.AWAY, f"others ask about {ask.account} all the time")
            entry, is_new = self._begin(ask)
            if entry.state is EntryState.HELD:
                return Answer(Word.YES, "held before", entry.transaction, entry.hold)
            if not is_new:  # a crash between the question and its answer
                trace, _ = self._find(entry, is_over=False)
                if trace is not Trace.NOT_DONE:
                    return self._word(entry.key, "asked before a crash")
                entry, _ = self._begin(ask)
            return self._ask(entry, ask)

    def _begin(self, ask: Ask) -> tuple[Entry, bool]:
        """Write that a hold will be asked for; return the entry, and whether it is to be asked for."""
        key, now = ask.key, self.doors.clock.now()
        before = len(self.books.entries(EntryState, job_id=ask.job_id))
        job = str(ask.job_id) if not before else f"{ask.job_id}-{before + 1}"
        while True:
            new = Entry(key, ask.job_id, job, ask.request_id, ask.account, EntryState.CHECKING, now)
            fresh: list[bool] = []

            def change(old: Entry | None, new: Entry = new, fresh: list[bool] = fresh) -> Entry | None:
                if old is None or old.state in _UNDONE:
                    fresh.append(True)
                    return new if old is None else replace(new, job=old.job)
                if old.state is EntryState.OWED and not old.tries and not old.cost:
                    # The launch was given up, which nobody was told yet, and is begun again.
                    return replace(old, state=EntryState.HELD, cost=None, next_at=None)
                return None

            entry = self.books.change_entry(key, change)
            assert entry is not None
            if entry.state not in (*_CLOSED, EntryState.OWED):
                return entry, bool(fresh)
            key += "+"  # its hold is closed: it needs another

    def _ask(self, entry: Entry, ask: Ask) -> Answer:
        reply = self.service.check(check_question(replace(ask, key=entry.key)))
        answer = read_check(reply)
        if answer.word is Word.YES and self.books.taken(ask.account, [answer.transaction]):
            answer = Answer(Word.DOUBT, f"it gave the transaction {answer.transaction} twice")
        if answer.word is Word.DOUBT:
            # Where it answered at all, it is done with the question.
            self._find(replace(entry, said=answer.said), is_over=reply.status != 0)
            return self._word(entry.key, answer.said)
        state = {Word.YES: EntryState.HELD, Word.NO: EntryState.REFUSED}.get(answer.word, EntryState.VOID)
        told = replace(entry, state=state, transaction=answer.transaction, hold=answer.hold, said=answer.said)
        self.books.change_entry(entry.key, lambda old: told if _is(old, EntryState.CHECKING) else None)
        return answer

    def _word(self, key: str, said: str) -> Answer:
        """Return what an entry says after a look."""
        entry = self.books.entry(key)
        if entry is not None and entry.state is EntryState.HELD:
            return Answer(Word.YES, "found in its list of transactions", entry.transaction, entry.hold)
        return Answer(Word.AWAY, said)

    def _find(self, entry: Entry, *, is_over: bool) -> tuple[Trace, bool]:
        """Look for the hold of a question without an answer, and write what is found. is_over: none can come later.

        Return that, and whether the service answered.
        """
        rows, is_whole, is_heard = self._transactions(entry.account)
        trace, found = Trace.UNCLEAR, None
        if rows is not None:
            ours = self.books.taken(entry.account, [row.id for row in rows])
            trace, found = find_hold(rows, entry, ours, is_whole=is_whole)
        if trace is Trace.NOT_DONE and not is_over and self.doors.clock.now() - entry.asked_at < ASBB_SETTLES:
            trace = Trace.UNCLEAR
        self._write_found(entry, trace, found, looks=int(is_heard))
        return trace, is_heard

    def _write_found(self, entry: Entry, trace: Trace, found: Transaction | None, *, looks: int) -> None:
        at = self.doors.clock.now() + ASBB_SETTLES

        def change(old: Entry | None) -> Entry | None:
            if old is None or old.state is not EntryState.CHECKING:
                return None
            old = replace(old, said=entry.said, looks=old.looks + looks)
            if found is not None:
                state = EntryState.HELD if old.cost is None else EntryState.OWED
                return replace(old, state=state, transaction=found.id, hold=found.amount, looks=0, next_at=None)
            if trace is Trace.NOT_DONE:
                return replace(old, state=EntryState.VOID, next_at=None)
            return replace(old, state=_after(old.looks, EntryState.CHECKING), next_at=at)

        self._stuck(self.books.change_entry(entry.key, change))

    def _transactions(self, account: str) -> tuple[tuple[Transaction, ...] | None, bool, bool]:
        """Return the account's transactions, whether that is all of them, and whether the service answered at all.

        None where they cannot be read.
        """
        rows: tuple[Transaction, ...] | None = None
        for limit in ASBB_TRANSACTIONS:
            reply = self.service.transactions(account, limit)
            rows = read_transactions(reply)
            if rows is None or len(rows) < limit:
                return rows, rows is not None, reply.status != 0
        return rows, False, True

    # -- after it

    def owe(self, request_id: str, job_id: int, cost: Decimal) -> None:
        """Note what a launch cost, 0 for one that was given up; it is told later.

        One that has no hold there, because the service was away, can be told by a file alone.
        """
        by_file = self._settings.reconcile == "file" and cost > 0

        def change(old: Entry | None) -> Entry | None:
            if old is None or old.state not in _UNTOLD or old.cost is not None:
                return None
            is_due = old.state is EntryState.HELD or (old.state is EntryState.VOID and by_file)
            return replace(old, cost=cost, state=EntryState.OWED if is_due else old.state)

        for entry in self.books.entries(_UNTOLD, job_id=job_id):
            if entry.request_id == request_id:
                self.books.change_entry(entry.key, change)

    def look(self, entry: Entry) -> bool:
        """Look again for what became of a question without an answer: a hold, or a charge.

        Return whether the service answered; where it did not, it was no look that counts.
        """
        if entry.state is EntryState.CHECKING:
            with self.service.turn(entry.account) as mine:
                return not mine or self._find(entry, is_over=False)[1]
        rows, is_whole, is_heard = self._transactions(entry.account)
        trace = Trace.UNCLEAR if rows is None else find_charge(rows, entry, is_whole=is_whole)
        later = self.doors.clock.now() + ASBB_SETTLES

        def change(old: Entry | None) -> Entry | None:
            if old != entry:
                return None
            match trace:
                case Trace.DONE:
                    return replace(old, state=EntryState.TOLD, next_at=None, said="found in its list of transactions")
                case Trace.NOT_DONE:
                    return replace(old, state=EntryState.OWED, next_at=self._later(old.tries), looks=0)
            looks = old.looks + is_heard
            return replace(old, state=_after(looks, old.state), looks=looks, next_at=later)

        self._stuck(self.books.change_entry(entry.key, change))
        return is_heard

    def tell(self, entry: Entry) -> bool:
        """Tell what a launch cost, once. Return whether the service answered; where it did not, it is told later."""
        why = why_not_sent(entry, self._settings.most_usd)
        if why:
            self._stuck(self._move(entry, state=EntryState.STUCK, said=why))
            return True
        sent = self._move(
            entry, state=EntryState.TELLING, tries=entry.tries + 1, next_at=self.doors.clock.now() + ASBB_SETTLES
        )
        if sent is None or sent.state is not EntryState.TELLING or sent.tries != entry.tries + 1:
            return True  # somebody else tells it
        answer = read_reconcile(self.service.reconcile(reconcile_question(sent)))
        match answer.word:
            case Word.YES:
                self._move(sent, state=EntryState.TOLD, said=answer.said, next_at=None)
                self._say(sent, EventKind.BUDGET_SERVICE_TOLD, f"told {sent.cost:f} USD", "info")
            case Word.NO:
                self._stuck(self._move(sent, state=EntryState.STUCK, said=answer.said))
            case Word.AWAY:
                self._move(sent, state=EntryState.OWED, said=answer.said, next_at=self._later(sent.tries))
            case Word.DOUBT:
                self._move(sent, said=answer.said)
        return answer.word is not Word.AWAY

    def file(self, entry: Entry, name: str, document: Mapping[str, Any]) -> bool:
        """Leave what a launch cost as a file, once; return whether it lies there."""
        why = why_not_sent(entry, self._settings.most_usd)
        if why:
            self._stuck(self._move(entry, state=EntryState.STUCK, said=why))
            return True
        trouble = self.service.leave(name, document)
        if trouble:
            tries = entry.tries + 1
            self._move(entry, tries=tries, said=trouble, next_at=self._later(tries))
            return False
        self._move(entry, state=EntryState.TOLD, said=f"left as {name}", next_at=None)
        self._say(entry, EventKind.BUDGET_SERVICE_TOLD, f"{entry.cost:f} USD left as {name}", "info")
        return True

    def _move(self, entry: Entry, **fields: Any) -> Entry | None:
        """Change an entry, unless it is not as it was seen."""
        return self.books.change_entry(entry.key, lambda old: replace(old, **fields) if old == entry else None)

    def _later(self, tries: int) -> datetime:
        pause: timedelta = ASBB_FIRST_PAUSE * (1 << min(tries, 20))
        return self.doors.clock.now() + min(pause, ASBB_LONGEST_PAUSE)

    def _stuck(self, entry: Entry | None) -> None:
        """Say once that somebody must look."""
        if entry is not None and entry.state is EntryState.STUCK:
            text = f"somebody must look at transaction {entry.transaction or 'unknown'}: {entry.said}"
            self._say(entry, EventKind.BUDGET_SERVICE_STUCK, text, "error")

    def _say(self, entry: Entry, kind: EventKind, text: str, level: str) -> None:
        data: dict[str, object] = {"account": entry.account, "transaction": entry.transaction}
        said = f"budget service, account {entry.account}, job {entry.job}: {text}"
        self.doors.say(Event(kind, said, entry.request_id, job_id=entry.job_id, data=data, level=level))


def _is(entry: Entry | None, state: EntryState) -> bool:
    return entry is not None and entry.state is state


def _after(looks: int, state: EntryState) -> EntryState:
    return EntryState.STUCK if looks >= ASBB_LOOKS else state
