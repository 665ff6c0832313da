"""What to say to the budget service ASBB, and what its answers mean. Judged by status first, then by body.

Facts: aws-slurm-burst-budget v0.2.0, watched while it ran. A check makes a new hold each time, a reconcile charges each
time, neither knows our job; not enough money is 200 with `available` false; 501 may say `success` true; with two faults
of its SQL as shipped it answers 500 to both. So nothing is repeated before its own list of transactions was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from asbx.config.limits import ASBB_CLOCK_SKEW, ASBB_MOST_OVER_HOLD
from asbx.model.budget import Entry, Reply

_OK = 200
# It says that it did not do it, and nothing was charged or held.
_NOT_DONE = frozenset({400, 401, 402, 403, 404, 405, 406, 409, 411, 413, 415, 422, 429, 501})
# Of these the ones that are an answer about this job; the others say that there is no such service.
_REFUSALS = frozenset({400, 402, 404, 409, 422})
_DIGITS = Decimal("0.0001")
# Says whose a transaction is, wherever the service keeps it.
MARK = "asbx"
_MOST_TOLD = 300


class Word(StrEnum):
    """What an answer means."""

    YES = "yes"
    NO = "no"  # an answer about this job
    AWAY = "away"  # nothing was done, and nobody there who could
    DOUBT = "doubt"  # it may have been done


@dataclass(frozen=True)
class Answer:
    """An answer, understood. transaction, hold: of a check that succeeded. said: a sentence."""

    word: Word
    said: str = ""
    transaction: str = ""
    hold: Decimal | None = None


@dataclass(frozen=True)
class Ask:
    """What a check asks for: nodes instances with so many CPUs and GPUs each, for a time limit."""

    key: str
    job_id: int
    request_id: str
    account: str
    user: str
    partition: str
    nodes: int
    cpus: int
    gpus: int
    limit: timedelta


def check_question(ask: Ask) -> dict[str, Any]:
    """Return the body of POST /budget/check. cpus are those of one node, gpus those of all; wall_time is H:MM:SS.

    It has no place for a job: our own key goes into job_details.
    """
    question: dict[str, Any] = {
        "account": ask.account,
        "partition": ask.partition,
        "nodes": ask.nodes,
        "cpus": max(ask.cpus, 1),
        "wall_time": wall_time(ask.limit),
        "job_details": {MARK: ask.key, "slurm_job_id": str(ask.job_id)},
    }
    if ask.gpus:
        question["gpus"] = ask.gpus * ask.nodes
    if ask.user:
        question["user_id"] = ask.user
    return question


def wall_time(limit: timedelta) -> str:
    """Return a time limit as the service understands it: days would be read as one hour."""
    seconds = max(int(limit.total_seconds()), 1)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def reconcile_question(entry: Entry) -> dict[str, Any]:
    """Return the body of POST /budget/reconcile. Four digits after the point survive JSON's only kind of number."""
    cost = (entry.cost or Decimal(0)).quantize(_DIGITS, ROUND_HALF_UP)
    return {
        "job_id": entry.job,
        "actual_cost": float(cost),
        "transaction_id": entry.transaction,
        "job_metadata": json.dumps({MARK: entry.key}),
    }


def why_not_sent(entry: Entry, most: Decimal) -> str:
    """Return why a cost must not be told as it is, "" where it may: the service would take any number."""
    cost = entry.cost
    if cost is None or not cost.is_finite() or cost < 0:
        return f"a cost of {cost} USD is none"
    if cost > most:
        return f"{cost:f} USD is above asbb.most_usd ({most:f})"
    if entry.hold and cost > entry.hold * ASBB_MOST_OVER_HOLD:
        return f"{cost:f} USD is more than {ASBB_MOST_OVER_HOLD} times the {entry.hold:f} USD held there"
    return ""


# -- answers


def read_check(reply: Reply) -> Answer:
    """Return what the answer to a check means."""
    early = _by_status(reply)
    if early is not None:
        return early
    body = reply.body
    available = body.get("available")
    if available is False:
        left = _number(body.get("budget_remaining"))
        more = "" if left is None else f"; {left:f} USD remain there"
        return Answer(Word.NO, f"{_text(body, 'message') or 'not available'}{more}")
    transaction = _text(body, "transaction_id")
    if available is not True or not transaction:
        return Answer(Word.DOUBT, "an answer without `available` or a transaction")
    return Answer(Word.YES, _text(body, "message"), transaction, _number(body.get("hold_amount")))


def read_reconcile(reply: Reply) -> Answer:
    """Return what the answer to a reconcile means."""
    early = _by_status(reply)
    if early is not None:
        return early
    if reply.body.get("success") is not True:
        return Answer(Word.DOUBT, f"200 without success: {_text(reply.body, 'message')}")
    return Answer(Word.YES, _text(reply.body, "message"), _text(reply.body, "transaction_id"))


def _by_status(reply: Reply) -> Answer | None:
    """Judge by the status; None for a 200 with an object, whose body has the word."""
    said = _error_text(reply)
    if reply.status == _OK and isinstance(reply.body, Mapping):
        return None
    if not reply.sent:
        return Answer(Word.AWAY, said)
    if reply.status not in _NOT_DONE:
        return Answer(Word.DOUBT, said)
    is_answer = isinstance(reply.body, Mapping) and isinstance(reply.body.get("error"), Mapping)
    return Answer(Word.NO if is_answer and reply.status in _REFUSALS else Word.AWAY, said)


def _error_text(reply: Reply) -> str:
    error = reply.body.get("error") if isinstance(reply.body, Mapping) else None
    if isinstance(error, Mapping):
        words = [_text(error, key) for key in ("code", "message", "field", "details")]
        return f"{reply.status} {' '.join(word for word in words if word)}"[:_MOST_TOLD]
    said = reply.said or "an answer that is no JSON object"
    return (f"{reply.status} {said}" if reply.status else said)[:_MOST_TOLD]


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value[:_MOST_TOLD] if isinstance(value, str) else ""


def _number(value: Any) -> Decimal | None:
    """Return an amount, None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


# -- its list of transactions


@dataclass(frozen=True)
class Transaction:
    """A row of GET /transactions, as far as we need it. text: whatever of ours may stand in it."""

    id: str
    kind: str
    status: str
    job: str
    amount: Decimal | None
    at: datetime | None
    text: str


def read_transactions(reply: Reply) -> tuple[Transaction, ...] | None:
    """Return the rows, None where there is no list. An empty account's list is null."""
    if reply.status != _OK or not reply.sent:
        return None
    rows = reply.body
    if isinstance(rows, Mapping):
        rows = rows.get("transactions", ...)
    if rows is None and not reply.said:
        return ()
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return None
    return tuple(_transaction(row) for row in rows)


def _transaction(row: Mapping[str, Any]) -> Transaction:
    text = " ".join(_text(row, key) for key in ("description", "metadata"))
    kind, status = _text(row, "type"), _text(row, "status")
    at = _moment(row.get("created_at"))
    return Transaction(
        _text(row, "transaction_id"), kind, status, _text(row, "job_id"), _number(row.get("amount")), at, text
    )


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


class Trace(StrEnum):
    """What a list of transactions tells of a call without an answer."""

    DONE = "done"
    NOT_DONE = "not-done"
    UNCLEAR = "unclear"


def find_hold(
    rows: Sequence[Transaction], entry: Entry, ours: Iterable[str], *, is_whole: bool
) -> tuple[Trace, Transaction | None]:
    """Look for the hold a check may have made. ours: transactions of other launches. is_whole: no row was left out.

    Checks of an account are made one after the other, so it is the only new hold that is nobody's, unless others use
    the service too: then only our own mark tells which is ours.
    """
    known = set(ours)
    new = [row for row in rows if row.kind == "hold" and row.id and row.id not in known and _is_since(row, entry)]
    marked = [row for row in new if entry.key in row.text]
    if marked:
        return Trace.DONE, marked[0]
    # A row that names another launch of ours, or a job, is not this one's.
    nameless = [row for row in new if f'"{MARK}"' not in row.text]
    if len(nameless) == 1:
        return Trace.DONE, nameless[0]
    return (Trace.NOT_DONE if not nameless and is_whole else Trace.UNCLEAR), None


def find_charge(rows: Sequence[Transaction], entry: Entry, *, is_whole: bool) -> Trace:
    """Look for the charge a reconcile may have made. Not done only where nothing there could be it.

    Another cluster may have charged a job of the same number: what is older than our first question is not ours.
    """
    for row in rows:
        if row.kind != "hold" and _is_since(row, entry) and (row.job == entry.job or entry.key in row.text):
            return Trace.DONE
        if row.id == entry.transaction and row.kind == "hold" and row.status == "completed":
            return Trace.DONE
    hold_is_there = any(row.id == entry.transaction and row.status == "pending" for row in rows)
    could_be = [row for row in rows if row.kind == "charge" and not row.job and _is_since(row, entry)]
    return Trace.NOT_DONE if hold_is_there and is_whole and not could_be else Trace.UNCLEAR


def _is_since(row: Transaction, entry: Entry) -> bool:
    """Whether a row may be younger than our first question; one without a time may."""
    return row.at is None or row.at >= entry.asked_at - ASBB_CLOCK_SKEW
