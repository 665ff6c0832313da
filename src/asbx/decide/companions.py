"""What a companion project's answers mean: which version it is, and what it can do."""

from __future__ import annotations

import re
from typing import Literal

_VERSION = re.compile(r"\bv?\d+\.\d+(?:\.\d+)?(?:[-+.][0-9A-Za-z.]+)?\b")
_LONGEST = 120
# ability -> a word of its help that shows it. The advisor's documentation names `analyze`, which the real one lacks;
# `execution-plan BATCHFILE PARTITION -o FILE` is how the real one writes plans.
ABILITIES = {
    "asba": {"execution-plan": "execution-plan", "analyze": "analyze"},
    "asbb": {"account": "account", "reconcile": "reconcile", "forecast": "forecast"},
}
Wish = Literal["yes", "no", "if-there"]


def wish(enabled: bool | str) -> Wish:
    """Return whether a site wants a companion: `auto-detect` takes it where it is found."""
    text = str(enabled).lower()
    return {"true": "yes", "false": "no"}.get(text, "if-there")  # type: ignore[return-value]


def version(text: str, status: int | None) -> str | None:
    """Return what a program says of its version, in one short line; None where it says nothing or failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if status != 0 or not lines:
        return None
    return next((line for line in lines if _VERSION.search(line)), lines[0])[:_LONGEST]


def abilities(name: str, help_text: str) -> dict[str, bool]:
    """Return which commands a program's help names, as words of their own at the beginning of a line."""
    firsts = {words[0].rstrip(":,") for line in help_text.splitlines() if (words := line.split()) and line[0] == " "}
    return {ability: word in firsts for ability, word in ABILITIES.get(name, {}).items()}
