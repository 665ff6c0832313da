"""The section `market` of a node group: which of its nodes are bought in which market, and what spot may cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from pydantic import Field

from asbx.config.limits import FLEET_MAX_NODES
from asbx.config.section import Section


class MarketRules(Section):
    """What `purchasing_option` leaves open. A job or a plan that names one market gets that one all the same."""

    on_demand_base: int = Field(default=0, ge=0, le=100_000)
    """With `mixed`: so many of the group's nodes for jobs of one node are on demand before any of them is on spot."""
    on_demand_percent: int = Field(default=0, ge=0, le=100)
    """With `mixed`: the share of the nodes for jobs of one node, above `on_demand_base`, that are on demand at least;
    rounded up to whole nodes."""
    critical_nodes: int = Field(default=0, ge=0, le=FLEET_MAX_NODES)
    """With `mixed`: so many first nodes of a job that is launched as a gang (rank 0 is the first) are on demand, the
    others on spot, all in the same zone and placement group. 0: the whole gang is in one market."""
    fallback_after_seconds: int = Field(default=0, ge=0, le=604_800)
    """With `mixed`: how long a job waits for spot, from the first time it is to be launched, before on-demand is
    allowed. Meanwhile it is put off and tried again as `backoff` says. 0: on-demand is tried at once."""
    max_spot_percent: int | None = Field(default=None, ge=1, le=1000)
    """Most to pay for a spot instance, in percent of the on-demand price of its type. Where that price is not known, a
    limit below 100 keeps the type from spot; one of 100 or more is left to EC2, whose own limit is on-demand."""
    spot_below_on_demand: bool = True
    """With `mixed`: ask for no spot pool that costs more than the cheapest on-demand instance of the group."""
    interruption_history: bool = True
    """Ask last for spot pools where EC2 has lately interrupted instances."""

    @property
    def fallback_after(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.fallback_after_seconds)

    @property
    def spot_share(self) -> Decimal | None:
        """Return the most to pay as a part of the on-demand price, None without a limit."""
        return None if self.max_spot_percent is None else Decimal(self.max_spot_percent) / 100
