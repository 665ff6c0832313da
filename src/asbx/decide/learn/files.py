"""Which files an export has, by format: names as documented, and their texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asbx.decide.learn.anonymous import Pseudonyms, anonymized
from asbx.decide.learn.document import document
from asbx.decide.learn.evidence import Evidence
from asbx.decide.learn.reconciliation import MARK, comment, file_name, job_cost, reconciliation
from asbx.errors import AsbxError, LedgerError, PartlyError, UsageError

FORMATS = ("asba-learning", "json", "slurm-comment", "asbb-reconciliation")
# What an export leaves in its folder; the last is where the budget service's epilog looks.
PATTERNS = ("job-*-performance.json", "job-*-comment.txt", "job-*-asbb-reconciliation.json")
COST_PATTERN = "job_*_cost.json"


def export_file(evidence: Evidence, form: str, names: Pseudonyms | None = None) -> tuple[str, str]:
    """Return (name, text) of an export. names: let nobody be named.

    Raises UsageError (`format`, `anonymous-charge`), LedgerError, PartlyError (`cost-unknown`).
    """
    if form in ("asba-learning", "json"):
        found = document(evidence)
        return f"job-{evidence.label}-performance.json", _text(anonymized(found, names) if names else found)
    if form == "slurm-comment":
        return f"job-{evidence.label}-comment.txt", comment_text(evidence) + "\n"
    if form == "asbb-reconciliation":
        _refuse_charge(evidence, names)
        return file_name(evidence), _text(reconciliation(evidence))
    raise UsageError("format", f"there is no format {form!r}", "", f"formats are {', '.join(FORMATS)}")


def cost_file(evidence: Evidence) -> tuple[str, str]:
    """Return (name, text) of what the budget service imports: final amounts only, for it charges them once."""
    return f"job_{evidence.label}_cost.json", _text(job_cost(evidence))


def comment_text(evidence: Evidence) -> str:
    """Return the text for a job's comment."""
    return MARK + json.dumps(comment(evidence), separators=(",", ":"))


def _refuse_charge(evidence: Evidence, names: Pseudonyms | None) -> None:
    if names is not None:
        raise UsageError(
            "anonymous-charge",
            "a cost cannot be reconciled without a name",
            "the budget service charges accounts",
            "leave out --anonymize",
        )
    if evidence.bill is None:
        raise LedgerError("ledger-unread", f"what job {evidence.label} cost is not known", evidence.no_ledger)
    if evidence.usd is None:
        raise _unpriced(evidence)


def _unpriced(evidence: Evidence) -> AsbxError:
    assert evidence.bill is not None
    return PartlyError(
        "cost-unknown",
        f"what job {evidence.label} cost is not known",
        f"no price is recorded of {', '.join(evidence.bill.unpriced)}",
        "`asbx cost --job` shows the rest; a part of it is not charged",
    )


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
