"""What EC2's lists have in common: filters with wildcards, and pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from asbx.lab.emulator.errors import invalid_value

T = TypeVar("T")


@lru_cache(maxsize=512)
def pattern(value: str) -> re.Pattern[str]:
    """Return EC2's wildcards as an expression: * any number of characters, ? exactly one, backslash escapes."""
    parts, escaped = [], False
    for character in value:
        if escaped or character not in "*?\\":
            parts.append(re.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            parts.append(".*" if character == "*" else ".")
    return re.compile("".join(parts), re.DOTALL)


def fits(texts: Iterable[str], values: Iterable[str]) -> bool:
    """Whether a text is like one of the values."""
    patterns = [pattern(str(value)) for value in values]
    return any(wanted.fullmatch(text) for text in texts for wanted in patterns)


def filtered(
    rows: Iterable[T], filters: Sequence[Mapping[str, Any]] | None, texts: Callable[[T, str], Sequence[str]]
) -> list[T]:
    """Return the rows that fit every filter; texts: what a row shows for a filter's name."""
    kept = list(rows)
    for wanted in filters or []:
        name, values = str(wanted.get("Name", "")), wanted.get("Values") or []
        kept = [row for row in kept if fits(texts(row, name), values)]
    return kept


def attribute(name: str, known: Mapping[str, str | None], tags: Mapping[str, str] | None = None) -> Sequence[str]:
    """Return what a filter's name finds among attributes and tags. Raises Ec2Error for a name it does not know."""
    if tags is not None and name.startswith("tag:"):
        key = name[len("tag:") :]
        return [tags[key]] if key in tags else []
    if tags is not None and name == "tag-key":
        return list(tags)
    if name not in known:
        raise invalid_value(f"The filter '{name}' is invalid")
    value = known[name]
    return [] if value is None else [value]


def page(
    rows: Sequence[T], params: Mapping[str, Any], *, least: int = 1, most: int = 1000, usual: int | None = None
) -> tuple[list[T], str]:
    """Return the rows of a page and the token of the next, "" on the last; usual: None for all at once."""
    size = int(params["MaxResults"]) if params.get("MaxResults") else usual
    token = params.get("NextToken")
    start = _offset(str(token)) if token else 0
    if size is None:
        return list(rows[start:]), ""
    if not least <= size <= most:
        raise invalid_value(
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value of {least} to {most}."
        )
    end = start + size
    return list(rows[start:end]), f"page-{end}" if end < len(rows) else ""


def _offset(token: str) -> int:
    number = token.removeprefix("page-")
    if not number.isdigit():
        raise invalid_value(f"Invalid value '{token}' for nextToken")
    return int(number)
