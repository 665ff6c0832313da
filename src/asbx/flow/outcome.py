"""What became of a request, as the ledger keeps it and as whoever waits is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from asbx.errors import ExitCode
from asbx.model.hostlist import expand, fold, unique_sorted


@dataclass
class Outcome:
    """bound: nodes that are served (for a suspend: whose instance was ended). failed: node -> sentence.

    codes: kebab-case codes of ours or EC2's own, in the order they came.
    """

    bound: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.DONE

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
            nodes = list(expand(raw["nodes"])) if raw["nodes"] else []
            return Outcome(nodes, dict(raw["failed"]), list(raw["codes"]), ExitCode(raw["exit"]))
        except (ValueError, KeyError, TypeError):
            return Outcome(codes=["internal"], failed={"": note}, exit_code=ExitCode.INTERNAL)
