"""What pydantic found wrong, said for the person who wrote the file: key, what was expected, nearest known key."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from asbx.config.problem import Key, Problem
from asbx.config.schema import Config

_CLIP = 60

_PATTERNS = {
    r"^[A-Za-z0-9]+$": "must be letters and digits only",
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "must be letters, digits, - and _, and begin with a letter or digit",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$": "must be at most 63 letters, digits and . _ - characters",
    r"^[a-z]{2}(-[a-z0-9]+)+-[0-9]+$": "must be an AWS region such as us-east-2",
    r"^[a-z0-9-]+\.[a-z0-9-]+$": "must be an EC2 instance type such as c6i.4xlarge",
}
_SECTION = "must be a section of `key: value` lines"
# pydantic's type of error -> what to say, filled with its context.
_SAYINGS = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} item",
    "path_type": "must be a path",
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "dict_type": _SECTION,
    "tuple_type": "must be a list (`- item` lines)",
}


def problems_of(error: ValidationError, data: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return one problem a key; a key whose value may have several types is told them all."""
    expected: dict[Key, list[str]] = {}
    given: dict[Key, str] = {}
    for item in error.errors(include_url=False):
        kind, value = item["type"], item["input"]
        if kind == "too_short" and value:
            continue  # only because the items have problems of their own
        key = _within(item["loc"], data, whole=kind in ("missing", "extra_forbidden"))
        saying = _unknown(key) if kind == "extra_forbidden" else _saying(kind, item.get("ctx", {}), item["msg"])
        told = expected.setdefault(key, [])
        if saying not in told and not (told and isinstance(value, dict | list)):
            told.append(saying)
        if kind not in ("missing", "extra_forbidden", "too_short"):
            given[key] = _given(value, key)
    return tuple(Problem(key, " or ".join(told) + given.get(key, "")) for key, told in expected.items())


def _saying(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    if kind in _SAYINGS:
        return _SAYINGS[kind].format(**context)
    return message[:1].lower() + message[1:]


def known_keys(key: Iterable[str | int]) -> dict[str, FieldInfo] | None:
    """Return the fields a section may have, or None where any key goes or none."""
    model: type[BaseModel] | None = Config
    for part in key:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model else None
        model = _model_in(field.annotation) if field else None
    return dict(model.model_fields) if model else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section inside `X`, `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
    return None


def _within(loc: tuple[int | str, ...], data: Any, *, whole: bool) -> Key:
    """Cut pydantic's own words (names of union members) off a location: they are not in the file."""
    if whole:
        return loc
    key: Key = ()
    place = data
    for part in loc:
        in_section = isinstance(place, dict) and part in place
        in_list = isinstance(place, list) and isinstance(part, int) and part < len(place)
        if not in_section and not in_list:
            break
        place = place[part]
        key = (*key, part)
    return key


def _unknown(key: Key) -> str:
    """Say that a key is unknown, and which one may be meant."""
    known = known_keys(key[:-1]) or {}
    close = get_close_matches(str(key[-1]).lower().replace("-", "_"), known, n=1)
    if close:
        return f"is not a known key; did you mean {close[0]}?"
    return f"is not a known key; known here: {', '.join(known)}"


def _given(value: Any, key: Key) -> str:
    if isinstance(value, dict):
        return ", not a section"
    if isinstance(value, list | tuple):
        return ", not a list"
    field = (known_keys(key[:-1]) or {}).get(str(key[-1])) if key else None
    if field is not None and not field.repr:
        return ""  # a secret
    text = str(value)
    return f", not {text if len(text) <= _CLIP else text[: _CLIP - 3] + '...'!r}"
