"""Whom the daemon listens to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asbx.config.section import Section


class Security(Section):
    """Whose requests are taken, beside those of SlurmUser, root and the user the daemon runs as."""

    allowed_uids: tuple[Annotated[int, Field(ge=0, le=4_294_967_294)], ...] = ()
    """User ids that may ask the daemon at its socket, and own its folders and the files in its spool."""
