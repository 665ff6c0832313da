"""Where each value of a configuration comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from asbx.config.problem import Key, key_text
from asbx.config.schema import Config

DEFAULT = "default"


def values(config: BaseModel) -> Iterator[tuple[Key, Any]]:
    """Yield every value with its key; sections and lists of sections are taken apart, plain lists are not."""
    yield from _values(config, ())


def trace(config: Config, lines: Mapping[Key, int], from_environment: Mapping[Key, str], path: Path) -> dict[str, str]:
    """Return dotted key -> `FILE:LINE`, `environment NAME` or `default`."""
    return {key_text(key): _origin(key, lines, from_environment, path) for key, _ in values(config)}


def is_secret(config: Config, key: Key) -> bool:
    """Return whether a value must not be shown (its field says repr=False)."""
    place: Any = config
    for part in key[:-1]:
        place = getattr(place, str(part)) if isinstance(place, BaseModel) else place[part]
    fields = type(place).model_fields if isinstance(place, BaseModel) else {}
    field = fields.get(str(key[-1]))
    return field is not None and not field.repr


def _values(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name), (*key, name))
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, item in enumerate(value):
            yield from _values(item, (*key, index))
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _values(item, (*key, name))
    else:
        yield key, value


def _origin(key: Key, lines: Mapping[Key, int], from_environment: Mapping[Key, str], path: Path) -> str:
    # A list or section may come from one variable as a whole, or a variable may have set one item of it.
    for length in range(len(key), 0, -1):
        if key[:length] in from_environment:
            return f"environment {from_environment[key[:length]]}"
    for set_key, name in from_environment.items():
        if set_key[: len(key)] == key:
            return f"environment {name}"
    return f"{path}:{lines[key]}" if key in lines else DEFAULT
