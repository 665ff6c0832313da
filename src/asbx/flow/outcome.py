"""What became of a request, as the ledger keeps it and as whoever waits is told."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from asbx.decide.backoff import is_hopeless
from asbx.decide.ladder import GiveUp
from asbx.errors import AsbxError, ExitCode, UsageError
from asbx.model.hostlist import expand, fold, unique_sorted
from asbx.model.market import Verdict
from asbx.ports import CloudError

# What a failure of EC2 means for the exit status; everything else is "no capacity within the deadline".
_EXITS = {
    Verdict.PERMISSION: ExitCode.AWS_ACCESS,
    Verdict.INVALID: ExitCode.CONFIG,
    Verdict.NOT_FOUND: ExitCode.CONFIG,
}


@dataclass(frozen=True)
class Failure:
    """Why nodes are not served: a code, a sentence, and the exit status if nothing else worked either.

    hopeless: trying the same again cannot work, so their jobs are held. not_before: nor can it before this moment.
    spot_wait: they wait for spot, for so long from the first time on.
    """

    code: str
    reason: str
    exit_code: ExitCode = ExitCode.NO_CAPACITY
    hopeless: bool = False
    not_before: datetime | None = None
    spot_wait: timedelta | None = None

    def for_want_of_spot(self, wait: timedelta | None) -> Failure:
        """Return it as one that ends with the wait for spot, where it is spot that was not to be had.

        What is hopeless or forbidden on spot need not be so on demand: such a job is not held, and waits no longer.
        """
        is_of_spot = self.exit_code in (ExitCode.NO_CAPACITY, ExitCode.CONFIG, ExitCode.AWS_ACCESS)
        return self if wait is None or not is_of_spot else replace(self, spot_wait=wait, hopeless=False)

    @staticmethod
    def of_error(error: AsbxError) -> Failure:
        """Make one of an error."""
        verdict = error.verdict if isinstance(error, CloudError) else None
        exit_code = error.exit_code if verdict is None else _EXITS.get(verdict, ExitCode.NO_CAPACITY)
        reason = f"{error.what}: {error.why}" if error.why else error.what
        return Failure(error.code, reason, exit_code, is_hopeless(error.code, verdict))

    @staticmethod
    def of_ladder(end: GiveUp) -> Failure:
        """Make one of a ladder that ended."""
        exit_code = _EXITS.get(end.verdict, ExitCode.NO_CAPACITY) if end.verdict else ExitCode.NO_CAPACITY
        return Failure(end.code, end.reason, exit_code, end.is_hopeless or is_hopeless(end.code))


@dataclass
class Outcome:
    """bound: nodes that are served (for a suspend: whose instance was ended). failed: node -> sentence.

    codes: kebab-case codes of ours or EC2's own, in the order they came.
    """

    bound: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.DONE

    def fail(self, nodes: Iterable[str], failure: Failure) -> None:
        """Note nodes that are not served. The exit status says whether anything else is."""
        self.failed.update(dict.fromkeys(nodes, failure.reason))
        self.codes.append(failure.code)
        self.exit_code = failure.exit_code

    def settled(self) -> Outcome:
        """Return itself with the exit status of the whole."""
        if not self.failed:
            self.exit_code = ExitCode.DONE
        elif self.bound:
            self.exit_code = ExitCode.PARTLY
        return self

    def note(self) -> str:
        """Return it as JSON."""
        return json.dumps(
            {
                "nodes": fold(unique_sorted(self.bound)),
                "failed": self.failed,
                "codes": list(dict.fromkeys(self.codes)),
                "exit": int(self.exit_code),
            }
        )

    @staticmethod
    def from_note(note: str) -> Outcome:
        """Read what note() wrote; a text of another kind is one internal failure."""
        try:
            raw = json.loads(note)
            nodes = list(expand(str(raw["nodes"] or "")))
            failed = {str(node): str(why) for node, why in dict(raw["failed"]).items()}
            return Outcome(nodes, failed, [str(code) for code in raw["codes"]], ExitCode(raw["exit"]))
        except (ValueError, KeyError, TypeError, RecursionError, UsageError):
            return Outcome(codes=["internal"], failed={"": note}, exit_code=ExitCode.INTERNAL)
