"""A budget service that behaves as aws-slurm-burst-budget 0.2.0 was seen to, with its faults, and fails on demand.

What was not seen of it is left open: whether a charge names its job, whether a hold is closed by it, whether the
details of a check are kept. Tests try every combination.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import RLock, Thread
from typing import Any

from tests.fakes.clock import FakeClock

from asbx.model.budget import Reply

Answered = tuple[int, str, Any]
_JSON = "application/json"
# How a call may go wrong: whether it is done before, and what the caller sees of it (None: nothing).
FAILURES: dict[str, tuple[bool, Answered | None]] = {
    "refused-connection": (False, None),
    "lost-before": (False, None),
    "lost-after": (True, None),
    "lost-and-late": (False, None),  # it is done some minutes later
    "error-before": (False, (500, _JSON, {"error": {"code": "DATABASE_ERROR", "message": "gone"}})),
    "error-after": (True, (500, _JSON, {"error": {"code": "INTERNAL_ERROR", "message": "gone"}})),
    "busy": (False, (503, _JSON, {"error": {"code": "SERVICE_UNAVAILABLE", "message": "busy"}})),
    "stub": (False, (501, _JSON, {"success": True, "message": "not yet implemented"})),
    "proxy-before": (False, (502, "text/html", "<html>bad gateway</html>")),
    "proxy-after": (True, (200, "text/html", "<html>welcome</html>")),
    "nonsense-after": (True, (200, _JSON, {"available": "yes", "success": "maybe"})),
    "list-after": (True, (200, _JSON, [1, 2])),
    "no-word-after": (True, (200, _JSON, None)),
    "not-found": (False, (404, "text/plain", "404 page not found")),
    "forbidden": (False, (403, _JSON, {"error": {"code": "FORBIDDEN", "message": "no"}})),
}


@dataclass
class Account:
    """What the service keeps of an account."""

    limit: Decimal
    status: str = "active"
    used: Decimal = Decimal(0)
    held: Decimal = Decimal(0)


@dataclass
class FakeAsbb:
    """The service itself. as_shipped: with the two statements that do not work."""

    now: Callable[[], datetime]
    accounts: dict[str, Account] = field(default_factory=dict)
    as_shipped: bool = False
    charge_names_job: bool = True
    charge_closes_hold: bool = False
    keeps_details: bool = True
    lists: bool = True
    rows: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _turn: RLock = field(default_factory=RLock)

    def charges(self, job: str | None = None) -> list[Decimal]:
        """Return what was charged (for a job), as the service alone knows it."""
        return [row["amount"] for row in self.rows if row["type"] == "charge" and job in (None, row["secret_job"])]

    def answer(self, method: str, path: str, body: Any) -> Answered:
        """Do what is asked and say so."""
        with self._turn:
            self.calls.append((method, path, body))
            name, _, query = path.removeprefix("/api/v1").partition("?")
            routes: dict[tuple[str, str], Callable[[], Answered]] = {
                ("GET", "/health"): lambda: (200, _JSON, {"status": "healthy", "version": "0.2.0"}),
                ("POST", "/budget/check"): lambda: self._check(body),
                ("POST", "/budget/reconcile"): lambda: self._reconcile(body),
                ("GET", "/transactions"): lambda: self._list(query),
            }
            if (method, name) in routes:
                return routes[method, name]()
            known = {path for _, path in routes}
            return (405, "", "") if name in known else (404, "text/plain", "404 page not found")

    def _check(self, asked: Any) -> Answered:
        for name, kind in (("account", str), ("partition", str), ("nodes", int), ("cpus", int), ("wall_time", str)):
            if not isinstance(asked.get(name), kind) or not asked[name]:
                return _error(400, "VALIDATION_ERROR", "is required", field=name)
        account = self.accounts.get(asked["account"])
        if account is None:
            return _error(404, "NOT_FOUND", f"Budget account '{asked['account']}' not found")
        if account.status != "active":
            why = f"Account '{asked['account']}' is not active"
            return _error(402, "ACCOUNT_INACTIVE", why, details=f"Current status: {account.status}")
        cost = self.estimate(asked)
        hold = cost * Decimal("1.2")
        left = account.limit - account.used - account.held
        told: dict[str, Any] = {"estimated_cost": cost, "hold_amount": hold}
        if left < hold:
            more = {"account_balance": left, "current_hold": account.held, "hold_percentage": 1.2}
            said: dict[str, Any] = {
                "available": False,
                "message": "Insufficient budget",
                "budget_remaining": left,
                "details": more,
            }
            return 200, _JSON, told | said
        number = f"txn_{next(self._numbers)}"
        if self.as_shipped:
            return _error(500, "TRANSACTION_FAILED", f"Transaction {number} failed")
        account.held += hold
        self._add("hold", number, asked["account"], hold, metadata=json.dumps(asked.get("job_details") or {}))
        more = {"account_balance": account.limit, "current_hold": account.held, "hold_percentage": 1.2}
        said = {"available": True, "transaction_id": number, "message": "Budget check passed"}
        return 200, _JSON, told | said | {"budget_remaining": account.limit - account.held, "details": more}

    def estimate(self, asked: Mapping[str, Any]) -> Decimal:
        """Return its own guess without an advisor."""
        parts = asked["wall_time"].split(":")
        is_read = len(parts) in (2, 3) and all(part.isdigit() for part in parts)
        numbers = [Decimal(part) for part in parts] if is_read else [Decimal(1), Decimal(0)]
        hours = sum((number / 60**power for power, number in enumerate(numbers)), Decimal(0))
        cost = (asked["nodes"] * asked["cpus"] * Decimal("0.10") + asked.get("gpus", 0) * 2) * hours
        for word, factor in (("gpu", "2.0"), ("aws", "1.5"), ("debug", "0.5")):
            if word in asked["partition"]:
                cost *= Decimal(factor)
                break
        return max(Decimal(cost), Decimal("0.01"))

    def _reconcile(self, asked: Any) -> Answered:
        number = asked.get("transaction_id", "")
        hold = next((row for row in self.rows if row["transaction_id"] == number), None)
        if hold is None:
            return _error(404, "NOT_FOUND", f"Transaction {number} not found")
        if hold["type"] != "hold":
            return _error(400, "VALIDATION_ERROR", "is not a hold", field="transaction_id")
        if self.as_shipped:
            return _error(500, "TRANSACTION_FAILED", f"Transaction {number} failed")
        cost = Decimal(str(asked.get("actual_cost", 0)))
        self.accounts[hold["account_id"]].used += cost  # never looked at, never the second time
        charge = self._add("charge", f"{number}_c{next(self._numbers)}", hold["account_id"], cost)
        charge["secret_job"] = asked.get("job_id", "")
        if self.charge_names_job:
            charge["job_id"] = asked.get("job_id", "")
        if self.charge_closes_hold:
            hold["status"] = "completed"
        amounts: dict[str, Any] = {
            "original_hold": hold["amount"],
            "actual_charge": cost,
            "refund_amount": max(hold["amount"] - cost, 0),
        }
        said = {"success": True, "transaction_id": number, "message": "Job reconciliation completed successfully"}
        return 200, _JSON, said | amounts

    def _add(self, kind: str, number: str, account: str, amount: Decimal, metadata: str = "{}") -> dict[str, Any]:
        status = "pending" if kind == "hold" else "completed"
        row = {"id": len(self.rows) + 1, "account_id": account, "transaction_id": number, "type": kind}
        row |= {"amount": amount, "status": status, "created_at": self.now().isoformat(), "description": f"{kind}"}
        row |= {"metadata": metadata if self.keeps_details else "{}", "secret_job": ""}
        self.rows.append(row)
        return row

    def _list(self, query: str) -> Answered:
        if not self.lists:  # a row with null metadata
            return _error(500, "DATABASE_ERROR", "converting NULL to string is unsupported")
        wanted = dict(pair.partition("=")[::2] for pair in query.split("&"))
        mine = [row for row in reversed(self.rows) if row["account_id"] == wanted.get("account")]
        shown = [{key: value for key, value in row.items() if key != "secret_job"} for row in mine]
        return 200, _JSON, shown[: int(wanted.get("limit", 50))] or None


def _error(status: int, code: str, message: str, **more: str) -> Answered:
    return status, _JSON, {"error": {"code": code, "message": message} | more, "request_id": "dn2", "timestamp": ""}


@dataclass
class FakeService:
    """The door `BudgetService` to it, without a network; what goes wrong is put in before.

    next: names of FAILURES for the calls to come, "" for one that goes well. after: called once each call is done.
    """

    asbb: FakeAsbb
    clock: FakeClock
    next: list[str] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)
    after: Callable[[str], None] = lambda _: None
    _late: list[tuple[datetime, str, str, Any]] = field(default_factory=list)

    @contextmanager
    def turn(self, account: str) -> Iterator[bool]:
        """Let whoever asks."""
        del account
        yield True

    def check(self, question: Mapping[str, Any]) -> Reply:
        """Ask for a hold."""
        return self._ask("POST", "/api/v1/budget/check", dict(question))

    def reconcile(self, question: Mapping[str, Any]) -> Reply:
        """Tell what a job cost."""
        return self._ask("POST", "/api/v1/budget/reconcile", dict(question))

    def transactions(self, account: str, limit: int) -> Reply:
        """Ask for the last transactions of an account."""
        return self._ask("GET", f"/api/v1/transactions?account={account}&limit={limit}", None)

    def health(self) -> Reply:
        """Ask how it is."""
        return self._ask("GET", "/health", None)

    def leave(self, name: str, document: Mapping[str, Any]) -> str:
        """Keep a document, the first of its name."""
        self.left.setdefault(name, dict(document))
        return ""

    def _ask(self, method: str, path: str, body: Any) -> Reply:
        for _, *call in [one for one in self._late if one[0] <= self.clock.now()]:
            self.asbb.answer(*call)
        self._late = [one for one in self._late if one[0] > self.clock.now()]
        body = json.loads(json.dumps(body))
        failure = self.next.pop(0) if self.next else ""
        try:
            return (
                self._failing(failure, method, path, body) if failure else _reply(self.asbb.answer(method, path, body))
            )
        finally:
            self.after(path)

    def _failing(self, failure: str, method: str, path: str, body: Any) -> Reply:
        is_done, seen = FAILURES[failure]
        if is_done:
            self.asbb.answer(method, path, body)
        if failure == "lost-and-late":
            self._late.append((self.clock.now() + timedelta(minutes=4), method, path, body))
        if seen is None:
            return Reply(0, None, sent=failure != "refused-connection", said=failure)
        return _reply(seen)


def _reply(answered: Answered) -> Reply:
    status, kind, body = answered
    if kind != _JSON:
        return Reply(status, None, said=f"an answer of type {kind}")
    return Reply(status, json.loads(json.dumps(body, default=float), parse_float=Decimal))


@contextmanager
def serving(answer: Callable[[str, str, Any], Answered | bytes | None]) -> Iterator[str]:
    """Serve answers over HTTP; yield the URL. An answer of bytes is sent as it is, None cuts the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(size)
            found = answer(self.command, self.path, json.loads(raw) if raw else None)
            if found is None or isinstance(found, bytes):
                self.wfile.write(found or b"")
                self.close_connection = True
                return
            status, kind, body = found
            said = body.encode() if isinstance(body, str) else json.dumps(body, default=float).encode()
            self.send_response(status)
            if kind:
                self.send_header("content-type", kind)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
