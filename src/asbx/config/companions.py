"""Sections for the companion projects."""

from __future__ import annotations

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
    """Whether to use it; `auto-detect` looks for its command."""
    command: str = "asbb"
    """Its command."""
    reconciliation_dir: str = "/var/spool/asbb/costs"
    """Folder it reads cost files from."""
    timeout_seconds: int = Field(default=30, gt=0)
    """How long it may take."""


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
