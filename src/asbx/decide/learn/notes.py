"""Why fields of a document are null."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asbx.decide.learn.evidence import Evidence

# Fields that accounting alone tells, and those that the ledger alone tells.
_OF_ACCOUNT = ("execution_duration", "success", "node_count", "start_time", "end_time", "job_name")
_OF_ACCOUNT_TOO = ("cpu_utilization", "memory_utilization", "load_balance", "network_throughput_gbps")
_OF_LEDGER = ("actual_cost_usd", "compute_cost_usd", "total_cost_usd", "cost_usd", "spot_interruptions")
_OF_LEDGER_TOO = (
    "provisioning_time",
    "spot_savings_usd",
    "cost_per_cpu_hour",
    "cost_accuracy",
    "instance_launch_times",
)


class Notes:
    """Reasons by field. The first that is given for a field stands; only those of nulls are told."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def why(self, field: str, reason: str) -> None:
        """Say why a field is null, if it turns out to be."""
        self._why[field] = self._why.get(field) or reason

    def say(self, field: str, text: str) -> None:
        """Say something about a field, whatever its value."""
        self._said[field] = text

    @staticmethod
    def no_account(evidence: Evidence) -> str:
        """Return why accounting says nothing."""
        return evidence.no_account or "Slurm's accounting does not say"

    def told(self, parts: dict[str, Any], evidence: Evidence) -> dict[str, str]:
        """Return a reason for each null of a document, and what was said of other fields."""
        found = dict(self._said)
        for path in sorted(set(_nulls(parts))):
            found[path] = self._reason(path, evidence)
        if not evidence.is_final:
            found["provisional"] = _provisional(evidence)
        return dict(sorted(found.items()))

    def _reason(self, path: str, evidence: Evidence) -> str:
        name = path.rpartition(".")[2].removesuffix("[]")
        if evidence.account is None and name in (*_OF_ACCOUNT, *_OF_ACCOUNT_TOO):
            return self.no_account(evidence)
        if name in (*_OF_LEDGER, *_OF_LEDGER_TOO):
            if evidence.bill is None:
                return evidence.no_ledger or "the ledger was not read"
            if evidence.bill.unpriced:
                return f"the price of {len(evidence.bill.unpriced)} instance(s) is not known"
        if name == "instance_launch_times":
            return "a node did not register"
        return self._why.get(path) or self.no_account(evidence)


def _provisional(evidence: Evidence) -> str:
    if evidence.account is not None and not evidence.account.is_over:
        return f"the job is {evidence.account.state}"
    return f"{evidence.running} instance(s) of the job still run, and cost"


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of nulls; those of a plan are its own."""
    if path.endswith("original_asba_prediction"):
        return
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _nulls(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for one in value:
            yield from _nulls(one, f"{path}[]")
    elif value is None:
        yield path
