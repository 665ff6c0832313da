"""ASBB over HTTP: one question, one answer, nothing repeated and nothing raised.

Only what it really does is called: /api/v1/budget/check, /api/v1/budget/reconcile, /api/v1/transactions and /health.
The rest of its surface is not there yet or answers with invented constants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from asbx import __version__
from asbx.budget.folder import leave
from asbx.config.companions import Asbb
from asbx.config.limits import ASBB_LAUNCH_MOST, ASBB_MAX_BYTES, ASBB_REST
from asbx.model.budget import Reply
from asbx.ports import Clock

_API = "/api/v1"
# These say that no byte of the question has left: nobody can have acted on it.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class _TooMuchError(Exception):
    """An answer is too long, in bytes or in time."""


class AsbbService:
    """The door `BudgetService`. May be shared between threads."""

    def __init__(self, settings: Asbb, clock: Clock) -> None:
        self._clock, self._most = clock, settings.timeout
        self._folder = Path(settings.reconciliation_dir)
        base = settings.url.rstrip("/").removesuffix(_API)
        # Proxies of the environment are meant for the Internet, not for a service that knows no authentication.
        self._client = httpx.Client(
            base_url=base,
            timeout=settings.timeout_seconds,
            trust_env=False,
            # On a kept connection that the service has just closed, nobody knows whether a question was heard.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"accept": "application/json", "user-agent": f"asbx/{__version__}"},
        )
        self._turns: dict[str, Lock] = {}
        self._turn = Lock()
        self._rests_until = timedelta()

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    @contextmanager
    def turn(self, account: str) -> Iterator[bool]:
        """Let nobody else of this program ask about an account meanwhile."""
        with self._turn:
            lock = self._turns.setdefault(account, Lock())
        mine = lock.acquire(timeout=ASBB_LAUNCH_MOST.total_seconds())
        try:
            yield mine
        finally:
            if mine:
                lock.release()

    def check(self, question: Mapping[str, Any]) -> Reply:
        """Ask for a hold."""
        return self._ask("POST", f"{_API}/budget/check", json=dict(question))

    def reconcile(self, question: Mapping[str, Any]) -> Reply:
        """Tell what a job cost."""
        return self._ask("POST", f"{_API}/budget/reconcile", json=dict(question))

    def transactions(self, account: str, limit: int) -> Reply:
        """Ask for the last transactions of an account."""
        return self._ask("GET", f"{_API}/transactions", params={"account": account, "limit": limit})

    def leave(self, name: str, document: Mapping[str, Any]) -> str:
        """Leave a document where the service imports it from; return why not, "" when it lies there."""
        return leave(self._folder, name, document)

    def health(self) -> Reply:
        """Ask how it is, whatever it did before."""
        self._rests_until = timedelta()
        return self._ask("GET", "/health")

    def _ask(self, method: str, path: str, **more: Any) -> Reply:
        """Ask; one that let us wait in vain is asked nothing for a while, so that not every launch waits as long."""
        if self._clock.elapsed() < self._rests_until:
            return Reply(0, None, sent=False, said="not asked: a moment ago it did not answer in time")
        try:
            with self._client.stream(method, path, **more) as response:
                raw = self._read(response)
        except (httpx.HTTPError, httpx.InvalidURL, _TooMuchError) as error:
            if isinstance(error, httpx.TimeoutException | _TooMuchError):
                self._rests_until = self._clock.elapsed() + ASBB_REST
            return Reply(0, None, sent=not isinstance(error, _NOT_SENT), said=_words(error))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Reply(response.status_code, None, said=f"an answer of type {ascii(kind)[1:-1][:60] or 'none'}")
        try:
            body = json.loads(raw, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError, ArithmeticError):
            return Reply(response.status_code, None, said="an answer that is no JSON")
        return Reply(response.status_code, body)

    def _read(self, response: httpx.Response) -> bytes:
        """Read an answer. The client's time-outs are for each read; one that comes in drops would never end."""
        began, raw = self._clock.elapsed(), b""
        for piece in response.iter_bytes():
            raw += piece
            if len(raw) > ASBB_MAX_BYTES or self._clock.elapsed() - began > self._most + timedelta(seconds=1):
                raise _TooMuchError("an answer that does not end")
        return raw


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _words(error: Exception) -> str:
    """Return an error in one line: what kind, and what it says."""
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
