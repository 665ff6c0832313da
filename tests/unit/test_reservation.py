"""Reading Slurm's reservations."""

from __future__ import annotations

from datetime import UTC, datetime

from asbx.model.fence import Fence
from asbx.slurm.reservation import parse_reservations

# `scontrol show reservation --oneliner` of 22.05.8.
_REST = (
    " Duration=01:00:00 Nodes={nodes} NodeCnt=4 CoreCnt=8 Features=(null) PartitionName=(null)"
    " Flags=OVERLAP,IGNORE_JOBS,SPEC_NODES TRES=cpu=8 Users=root Groups=(null) Accounts=(null) Licenses=(null)"
    " State=INACTIVE BurstBuffer=(null) Watts=n/a MaxStartDelay=(null)\n"
)


def row(name: str, nodes: str = "aws-cpu-[000-001]", start: str = "2026-11-24T10:48:40") -> str:
    """Return a line as Slurm writes it."""
    return f"ReservationName={name} StartTime={start} EndTime=2026-11-24T11:48:40" + _REST.format(nodes=nodes)


def test_only_our_own_are_read() -> None:
    """A site's reservations, and lines that are none, are left out; times are UTC."""
    text = row("maint") + row("asbx-aws-cpu-end") + "No reservations in the system\n" + row("asbx-b", "(null)")
    starts = datetime(2026, 11, 24, 10, 48, 40, tzinfo=UTC)
    ends = datetime(2026, 11, 24, 11, 48, 40, tzinfo=UTC)
    assert parse_reservations(text) == (
        Fence("asbx-aws-cpu-end", ("aws-cpu-000", "aws-cpu-001"), starts, ends),
        Fence("asbx-b", (), starts, ends),
    )


def test_what_cannot_be_read_is_left_out() -> None:
    """A time or a host list of another shape is no reason to stop."""
    assert parse_reservations(row("asbx-a", start="Unknown") + row("asbx-b", nodes="a[")) == ()
    assert parse_reservations("") == ()
