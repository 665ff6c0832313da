"""`aws-slurm-burst-resume`, Slurm's ResumeProgram. The work is done elsewhere; see handover.py."""

from __future__ import annotations

from asbx.hooks import handover


def main() -> int:
    """Run the program and return its exit status."""
    return handover.run("resume")
