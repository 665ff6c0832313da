"""`aws-slurm-burst-suspend`, Slurm's SuspendProgram. The work is done elsewhere; see handover.py."""

from __future__ import annotations

from asbx.hooks import handover


def main() -> int:
    """Run the program and return its exit status."""
    return handover.run("suspend")
