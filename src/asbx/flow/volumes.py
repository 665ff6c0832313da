"""Note the volumes of instances that are given back while EC2 still shows them: no pass would find them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from asbx.flow.doors import Doors
from asbx.ports import CloudError


def note_volumes(doors: Doors, instance_ids: Sequence[str]) -> None:
    """Ask once for those of which none are known; what EC2 refuses to tell is said in the passes.

    Raises LedgerError.
    """
    if doors.usage is None or not instance_ids:
        return
    known = {volume.instance_id for volume in doors.usage.book.volumes(instance_ids)}
    missing = [one for one in instance_ids if one not in known]
    if missing:
        with suppress(CloudError):
            doors.usage.book.add_volumes(doors.usage.volumes.volumes(missing))
