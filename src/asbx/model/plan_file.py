"""A file of the plans folder, as it lies there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanFile:
    """owner: name of the user it belongs to. privileged: of an administrator, and nobody else can write to it.

    trouble: why it is not read, "" where text is its content.
    """

    name: str
    owner: str
    privileged: bool = False
    text: str = ""
    trouble: str = ""
