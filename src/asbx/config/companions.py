"""Sections for the companion projects."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from pydantic import Field

from asbx.config.section import Section


class Asba(Section):
    """The advisor."""

    enabled: Literal["auto-detect", "true", "false"] | bool = "auto-detect"
    """Whether to use it; `auto-detect` looks for its command."""
    command: str = "asba"
    """Its command."""
    config_path: str = ""
    """Its configuration file."""
    timeout_seconds: int = Field(default=30, gt=0)
    """How long it may take."""


class Asbb(Section):
    """The budget service."""

    enabled: Literal["auto-detect", "true", "false"] | bool = "auto-detect"
    """Whether to use it; `auto-detect` and `true` do where `url` is set."""
    command: str = "asbb"
    """Its command, looked for by `validate integration`."""
    url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$")
    """Where it answers, for example `http://127.0.0.1:8080`; without it no service is asked. It knows no
    authentication: let nobody else reach it."""
    policy: Literal["fail-open", "fail-closed", "local"] = "local"
    """What becomes of launches while it does not answer. `fail-open`: they go on. `fail-closed`: they wait. `local`:
    those that a budget of `budgets` holds money for go on, the others wait."""
    reconcile: Literal["service", "file"] = "service"
    """How it is told what a job cost: by its own call, or by a file in `reconciliation_dir` that it imports."""
    reconciliation_dir: str = "/var/spool/asbb/costs"
    """Folder it reads cost files from."""
    timeout_seconds: int = Field(default=30, gt=0, le=300)
    """How long one answer may take."""
    most_usd: Decimal = Field(default=Decimal(100_000), gt=0)
    """No charge above this is sent for one launch: somebody must look at it first."""

    @property
    def is_used(self) -> bool:
        """Return whether the service is asked."""
        return bool(self.url) and self.enabled not in (False, "false")

    @property
    def timeout(self) -> timedelta:
        """Return how long one answer may take."""
        return timedelta(seconds=self.timeout_seconds)


class Ecosystem(Section):
    """The companion projects."""

    auto_detect: bool = True
    """Look for the companions."""
    shared_config_path: str = ""
    """Configuration they share."""
    data_exchange_dir: str = "/var/spool/asbx/ecosystem"
    """Folder for files between them."""
    enable_cross_project: bool = True
    """Work with them at all."""
