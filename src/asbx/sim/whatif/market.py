"""What stands around the work, whatever the policy: EC2, Slurm's habits, and what goes wrong. TOML, like a scenario."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from asbx.errors import ConfigError
from asbx.sim.scenario import Cluster, Ec2, Incidents, Part, refused

# AWS's Spot Instance Advisor sorts types by how much is taken back in a month: from below 5 % to above 20 %.
# Half a per cent a day is 14 % a month.
_RECLAIMS_A_DAY = 0.005


class Surroundings(Part):
    """The file of `--market`: the sections of a scenario that are no policy of the site's."""

    ec2: Ec2 = Ec2()
    """The pretend EC2: zones, stock, prices, times."""
    cluster: Cluster = Cluster(users="cancel")
    """The pretend Slurm; users cancel jobs that are held."""
    incidents: Incidents = Incidents(spot_reclaims_per_day=_RECLAIMS_A_DAY)
    """What goes wrong."""


def load_market(path: Path | None) -> Surroundings:
    """Read the surroundings; without a file the usual ones. Raises ConfigError (`market-file`, `scenario-invalid`)."""
    if path is None:
        return Surroundings()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError("market-file", f"{path} cannot be read", why, "see docs/how-to/what-if.md") from None
    if isinstance(raw.get("cluster", {}), dict):
        raw["cluster"] = {"users": "cancel"} | raw.get("cluster", {})
    if isinstance(raw.get("incidents", {}), dict):
        raw["incidents"] = {"spot_reclaims_per_day": _RECLAIMS_A_DAY} | raw.get("incidents", {})
    try:
        return Surroundings.model_validate(raw)
    except ValidationError as error:
        raise refused(str(path), error) from None
