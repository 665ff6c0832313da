"""The ledger's row of an instance: made when it is launched, and told whose it is afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from asbx.flow.doors import Doors
from asbx.model.market import Launched
from asbx.model.record import InstanceRow, Intent


def instance_row(doors: Doors, intent: Intent, launched: Launched, now: datetime) -> InstanceRow:
    """Return the row, with the price as far as it is known without asking."""
    return InstanceRow(
        instance_id=launched.instance_id,
        intent_id=intent.intent_id,
        gang_id=intent.gang_id,
        jobs=intent.jobs,
        group=intent.group,
        user=intent.user,
        account=intent.account,
        instance_type=launched.instance_type,
        zone=launched.zone,
        subnet_id=launched.subnet_id,
        market=launched.market,
        launched_at=now,
        price=doors.prices.known(launched.instance_type, launched.zone, launched.market),
    )


def names(row: InstanceRow | None) -> dict[str, Any]:
    """Return what events about an instance name besides it: the launch and the jobs it was for."""
    return {} if row is None else {"gang_id": row.gang_id, "intent_id": row.intent_id, "jobs": row.jobs}
