"""Faults to order, and the log of calls."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

DROP_ANSWER = "drop-answer"
REFUSE_OVERRIDES = "refuse-overrides"
# Code and text that CreateFleet is to put into Errors[] for every override of the call being served.
OVERRIDE_REFUSAL: ContextVar[tuple[str, str] | None] = ContextVar("override_refusal", default=None)
# HTTP statuses EC2 sends with a code, as far as known (EC2 API reference, "Error codes"); others are 400.
_STATUS = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "AccessDenied": 403,
    "DryRunOperation": 412,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}


@dataclass
class Fault:
    """One rule. times: how often it still strikes, -1 for ever. latency: seconds.

    code "": only the latency. then "drop-answer": do the call, and cut the connection instead of answering;
    "refuse-overrides": CreateFleet answers 200 with the code in Errors[] for every override.
    """

    action: str
    code: str = ""
    times: int = 1
    status: int = 400
    latency: float = 0.0
    message: str = ""
    then: str = ""


class FaultBook:
    """The rules, first match first, and the calls by action. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._calls: Counter[str] = Counter()

    def add(self, body: Mapping[str, Any]) -> Fault:
        """Take a rule from JSON. Raises ValueError for one that says nothing or cannot be understood."""
        unknown = set(body) - {"action", "code", "times", "status", "latency", "message", "then"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        code, then = str(body.get("code") or ""), str(body.get("then") or "")
        if not body.get("action"):
            raise ValueError("action is missing")
        if then not in ("", DROP_ANSWER, REFUSE_OVERRIDES):
            raise ValueError(f"then must be '{DROP_ANSWER}' or '{REFUSE_OVERRIDES}', not '{then}'")
        if then == REFUSE_OVERRIDES and not code:
            raise ValueError(f"'{REFUSE_OVERRIDES}' needs a code")
        fault = Fault(
            action=str(body["action"]),
            code=code,
            times=int(body.get("times", 1)),
            status=int(body.get("status") or _STATUS.get(code, 400)),
            latency=float(body.get("latency") or 0),
            message=str(body.get("message") or code),
            then=then,
        )
        if not (fault.code or fault.latency or fault.then):
            raise ValueError("a fault needs a code, a latency or then")
        with self._lock:
            self._rules.append(fault)
        return fault

    def take(self, action: str) -> Fault | None:
        """Count a call, and return the fault that strikes it."""
        with self._lock:
            self._calls[action] += 1
            for fault in self._rules:
                if fault.action in (action, "*") and fault.times != 0:
                    fault.times -= 1 if fault.times > 0 else 0
                    return fault
        return None

    def rows(self) -> list[dict[str, Any]]:
        """Return the rules that can still strike."""
        with self._lock:
            return [asdict(fault) for fault in self._rules if fault.times != 0]

    def clear(self) -> list[dict[str, Any]]:
        """Forget all rules; return what is left of them, nothing."""
        with self._lock:
            self._rules.clear()
        return self.rows()

    def calls(self) -> dict[str, int]:
        """Return how often each action was called."""
        with self._lock:
            return dict(sorted(self._calls.items()))

    def reset_calls(self) -> dict[str, int]:
        """Start counting again; return the counts, none."""
        with self._lock:
            self._calls.clear()
        return self.calls()
