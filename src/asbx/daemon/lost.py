"""Notice a ledger that was lost: it is empty, and EC2 runs instances of ours that it does not know."""

from __future__ import annotations

from asbx.errors import LedgerError
from asbx.flow.doors import Doors
from asbx.ledger.store import SqlLedger


def refuse_lost(doors: Doors) -> None:
    """Raise LedgerError (`ledger-lost`) rather than begin anew: what nobody knows is never ended. Raises CloudError.

    Only an empty ledger is worth a question to EC2. Whether they are this cluster's is for a person to say: two
    clusters of one name in an account look the same.
    """
    if not isinstance(doors.ledger, SqlLedger) or not doors.ledger.is_blank():
        return
    cluster = doors.config.cluster.name
    owned = doors.cloud.owned(cluster)
    if owned:
        raise LedgerError(
            "ledger-lost",
            "the ledger is empty, but EC2 runs instances of this cluster",
            f"{len(owned)} instance(s) carry the tag asbx:cluster={cluster}, {owned[0].instance_id} for one",
            "see `asbx ledger rebuild --dry-run`; if they are another cluster's, this one needs another cluster.name",
        )
