"""What `asbx resume`, `suspend` and `resume-fail` share: keep the request, have it done, tell how it went."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from asbx.cli import site
from asbx.config.limits import PLAN_MAX_BYTES, WAIT_POLL
from asbx.config.schema import Config
from asbx.errors import AsbxError, ExitCode, LedgerError, PartlyError, PlanError
from asbx.flow.outcome import Outcome
from asbx.hooks import handover, spool
from asbx.model.hostlist import fold, unique_sorted


def read_plan(path: Path | None) -> str | None:
    """Return a plan's text. Raises PlanError when it cannot be read or is too large to be one."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            raw = file.read(PLAN_MAX_BYTES + 1)
        if len(raw) > PLAN_MAX_BYTES:
            raise PlanError("plan-size", f"{path} is too large for a plan", f"the limit is {PLAN_MAX_BYTES} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        raise PlanError("plan-file", f"{path} cannot be read", str(error.strerror), "check the path") from None
    except UnicodeDecodeError:
        raise PlanError("plan-file", f"{path} is not text", "a plan is JSON in UTF-8", "name another file") from None


def carry_out(kind: str, nodes: str, config: Config, *, plan: str | None, wait: bool, as_json: bool) -> int:
    """Have a request done and return the exit status.

    With a daemon the request is handed over, and only waited for on demand; without one it is done here.
    """
    from asbx.daemon.guard import make_folders
    from asbx.daemon.loop import work
    from asbx.daemon.socket import ask
    from asbx.ledger.store import open_ledger

    make_folders(config)
    daemon = ask(config.paths.socket, "status") is not None
    ledger = open_ledger(config.ledger_url)  # a ledger that cannot serve is said now, before anything is asked for
    ledger.check()
    request_id = _keep(kind, nodes, config, plan)
    if daemon:
        handover.knock(str(config.paths.socket), b"nudge\n")
        if not wait:
            _handed_over(request_id, as_json=as_json)
            return 0
    else:
        try:
            work(config, config.resume_deadline)
        except AsbxError:
            # Told as failed: a worker that comes by later must not launch what nobody waits for any more.
            spool.remove(str(config.paths.requests), request_id)
            raise
    outcome = _await(ledger, request_id, config)
    return report(outcome, request_id, kind, as_json=as_json)


def _keep(kind: str, nodes: str, config: Config, plan: str | None) -> str:
    try:
        return spool.write(str(config.paths.requests), spool.request(kind, [nodes], dict(os.environ), plan))
    except OSError as error:
        raise LedgerError(
            "spool-write",
            f"the request could not be kept in {config.paths.requests}",
            str(error.strerror),
            "make the folder writable for SlurmUser, or set paths.spool in the configuration",
        ) from None


def _await(ledger: object, request_id: str, config: Config) -> Outcome:
    from asbx.daemon.clock import RealClock
    from asbx.ledger.store import SqlLedger

    assert isinstance(ledger, SqlLedger)
    clock = RealClock()
    give_up = clock.elapsed() + config.resume_deadline
    while clock.elapsed() < give_up:
        found = ledger.request_outcome(request_id)
        if found is not None and found[0] in ("done", "failed"):
            return Outcome.from_note(found[1])
        clock.sleep(WAIT_POLL)
    raise PartlyError(
        "still-working",
        f"request {request_id} is not finished after {config.resume_deadline.seconds} s",
        "",
        f"see `asbx events --request {request_id}`",
    )


def _handed_over(request_id: str, *, as_json: bool) -> None:
    if as_json:
        site.show({"request": request_id, "status": "handed-over"})
    else:
        typer.echo(f"handed to the daemon as request {request_id}; see `asbx events --request {request_id}`")


def report(outcome: Outcome, request_id: str, kind: str, *, as_json: bool) -> int:
    """Print an outcome; errors go to stderr with their parts. Return the exit status."""
    verb = "up" if kind == "resume" else "ended"
    if as_json:
        site.show(
            {
                "request": request_id,
                "status": "failed" if outcome.failed else "done",
                "nodes": sorted(outcome.bound),
                "failed": outcome.failed,
                "codes": outcome.codes,
            }
        )
    elif outcome.bound or not outcome.failed:
        typer.echo(f"{len(outcome.bound)} node(s) {verb}")
    if outcome.failed:
        raise _as_error(outcome, request_id)
    return int(outcome.exit_code)


def _as_error(outcome: Outcome, request_id: str) -> AsbxError:
    reasons = list(dict.fromkeys(outcome.failed.values()))
    names = fold(unique_sorted(outcome.failed)) if all(outcome.failed) else "none could be read"
    error = AsbxError(
        outcome.codes[0] if outcome.codes else "failed",
        f"{len(outcome.failed)} node(s) are not served: {names}",
        "; ".join(reasons[:3]),
        f"`asbx events --request {request_id}` tells the whole story",
    )
    error.exit_code = ExitCode(outcome.exit_code)
    return error
