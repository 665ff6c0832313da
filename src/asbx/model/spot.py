"""What the ledger remembers of spot: what EC2 took back, and which jobs wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Interruption:
    """A spot instance that EC2 took back, or said that it would."""

    instance_id: str
    instance_type: str
    zone: str
    at: datetime
