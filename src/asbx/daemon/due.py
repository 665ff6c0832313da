"""Jobs that the epilog has noted and nobody has exported yet: an empty file each, named after the job."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from asbx.errors import ConfigError
from asbx.slurm.sacct import JOB


class Due:
    """The folder of notes. Nothing but the number of a job is taken from there, whoever may write to the spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def jobs(self) -> dict[str, datetime]:
        """Return job -> when it was noted, oldest first. Raises ConfigError (`due-folder`)."""
        try:
            with os.scandir(self._folder) as entries:
                names = [one for one in entries if JOB.fullmatch(one.name)]
            noted = {one.name: datetime.fromtimestamp(one.stat(follow_symlinks=False).st_mtime, UTC) for one in names}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(
                "due-folder",
                f"{self._folder} cannot be read",
                error.strerror or str(error),
                "run this as the user that runs the epilog",
            ) from None
        return dict(sorted(noted.items(), key=lambda one: one[1]))

    def done(self, job: str) -> None:
        """Forget a job."""
        (self._folder / job).unlink(missing_ok=True)
