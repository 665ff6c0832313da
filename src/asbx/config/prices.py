"""The section about prices: how often they are asked for, and what serves where AWS does not tell."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from asbx.config.section import Section


class PriceSettings(Section):
    """How prices are learned. Launches take what is known."""

    spot_refresh_seconds: int = Field(default=600, ge=0, le=86_400)
    """How often the daemon asks for spot prices, one call for all types and zones; 0: never. No change is missed
    between two questions: EC2 tells the history. Needs ec2:DescribeSpotPriceHistory."""
    on_demand_refresh_hours: int = Field(default=12, ge=0, le=720)
    """How often the daemon asks for on-demand and EBS prices; 0: never. Needs pricing:GetProducts."""
    file: Path | None = None
    """A dated table of prices, made by `asbx prices --save`, for types whose price AWS does not tell: no permission, no
    way to the Pricing API, GovCloud. Its prices are marked `bundled` wherever they are shown."""

    @property
    def spot_refresh(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.spot_refresh_seconds)

    @property
    def on_demand_refresh(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(hours=self.on_demand_refresh_hours)
