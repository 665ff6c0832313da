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
    "refuse-overrides": CreateFleet answers 200 with the code in Errors[] for every override, or for those of one
    instance type or zone that `only` names.
    """

    action: str
    code: str = ""
    times: int = 1
    status: int = 400
    latency: float = 0.0
    message: str = ""
    then: str = ""
    only: str = ""

    def bars(self, instance_type: str, zone: str) -> bool:
        """Whether it refuses an override of a type in a zone."""
        return self.only in ("", instance_type, zone)


# What CreateFleet is to put into Errors[] of the call being served.
OVERRIDE_REFUSALS: ContextVar[tuple[Fault, ...]] = ContextVar("override_refusals", default=())


class FaultBook:
    """The rules, first match first, and the calls by action. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._calls: Counter[str] = Counter()

    def add(self, body: Mapping[str, Any]) -> Fault:
        """Take a rule from JSON. Raises ValueError for one that says nothing or cannot be understood."""
        unknown = set(body) - {"action", "code", "times", "status", "latency", "message", "then", "only"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        code, then = str(body.get("code") or ""), str(body.get("then") or "")
        if not body.get("action"):
            raise ValueError("action is missing")
        if then not in ("", DROP_ANSWER, REFUSE_OVERRIDES):
            raise ValueError(f"then must be '{DROP_ANSWER}' or '{REFUSE_OVERRIDES}', not '{then}'")
        if then == REFUSE_OVERRIDES and not code:
            raise ValueError(f"'{REFUSE_OVERRIDES}' needs a code")
        only = str(body.get("only") or "")
        if only and then != REFUSE_OVERRIDES:
            raise ValueError(f"'only' goes with then '{REFUSE_OVERRIDES}'")
        fault = Fault(
            action=str(body["action"]),
            code=code,
            times=int(body.get("times", 1)),
            status=int(body.get("status") or _STATUS.get(code, 400)),
            latency=float(body.get("latency") or 0),
            message=str(body.get("message") or code),
            then=then,
            only=only,
        )
        if not (fault.code or fault.latency or fault.then):
            raise ValueError("a fault needs a code, a latency or then")
        with self._lock:
            self._rules.append(fault)
        return fault

    def take(self, action: str) -> tuple[Fault | None, tuple[Fault, ...]]:
        """Count a call; return the fault that strikes it whole, or those that strike inside its answer.

        The first rule that fits decides which. Those inside act together, one for each `only`.
        """
        with self._lock:
            self._calls[action] += 1
            fitting = [f for f in self._rules if f.action in (action, "*") and f.times != 0]
            if not fitting or fitting[0].then != REFUSE_OVERRIDES:
                return _spent(fitting[:1])[0] if fitting else None, ()
            inside: dict[str, Fault] = {}
            for fault in fitting:
                if fault.then == REFUSE_OVERRIDES:
                    inside.setdefault(fault.only, fault)
            return None, _spent(list(inside.values()))

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


def _spent(faults: list[Fault]) -> tuple[Fault, ...]:
    for fault in faults:
        fault.times -= 1 if fault.times > 0 else 0
    return tuple(faults)
