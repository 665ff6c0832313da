"""What can go wrong with a lab, as errors a person can act on."""

from __future__ import annotations

from asbx.errors import AsbxError, ExitCode


class LabError(AsbxError):
    """The lab cannot be used like this: not up, wrong folder, programs missing."""

    exit_code = ExitCode.USAGE


class LabBroken(LabError):  # noqa: N818  reads as what it says
    """A part of the lab did not start or does not answer."""

    exit_code = ExitCode.SLURM
