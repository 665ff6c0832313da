"""`ASBX__AWS__REGION=us-west-2` and the like: environment variables that replace single keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asbx.config.problem import InvalidConfigError, Key, Problem
from asbx.config.yaml_text import read_document

PREFIX = "ASBX__"
SEPARATOR = "__"


def apply_environment(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Key, str], tuple[Problem, ...]]:
    """Change `data` in place; return which key came from which variable, and what could not be applied.

    List items are named by number, the next free one appends. Section names are taken in lower case; keys of
    free maps (slurm_specifications ..) in the spelling the file has. `[..]` and `{..}` are read as YAML.
    """
    came: dict[Key, str] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        parts = name[len(PREFIX) :].split(SEPARATOR)
        try:
            if not _is_text(name + environ[name]):
                raise _Misfit((), "is not UTF-8 text")  # noqa: TRY301  told as the others are
            key = _put(data, parts, _value(environ[name]))
        except _Misfit as misfit:
            problems.append(Problem(misfit.key, misfit.text, source=f"environment {ascii(name)[1:-1]}"))
        else:
            came[key] = name
    return came, tuple(problems)


class _Misfit(Exception):  # noqa: N818  it never leaves this module
    """A variable that cannot be applied."""

    def __init__(self, key: Key, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.text = text


def _is_text(text: str) -> bool:
    """Return whether a variable holds text; bytes that are none come as lone surrogates (os.environ)."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _put(data: dict[str, Any], parts: list[str], value: Any) -> Key:
    """Set one value, making sections on the way; return its key."""
    if "" in parts:
        raise _Misfit((), "has an empty part: write ASBX__SECTION__KEY")
    place: Any = data
    key: Key = ()
    for depth, part in enumerate(parts):
        if isinstance(place, list):
            step: str | int = _index(place, part, key)
        elif isinstance(place, dict):
            step = _spelled(place, part)
        else:
            raise _Misfit(key, "has a plain value; nothing can be set inside it")
        key = (*key, step)
        if depth == len(parts) - 1:
            _store(place, step, value)
        else:
            place = _inside(place, step, parts[depth + 1])
    return key


def _index(place: list[Any], part: str, key: Key) -> int:
    if not part.isascii() or not part.isdigit() or len(part) > 6:
        raise _Misfit(key, f"is a list: {part!r} is not the number of an item")
    if int(part) > len(place):
        raise _Misfit(key, f"has {len(place)} items: {part} is not one of them nor the next")
    return int(part)


def _spelled(place: dict[str, Any], part: str) -> str:
    """Return the key as the file spells it, else in lower case (the schema's spelling)."""
    for known in place:
        if known.lower() == part.lower():
            return known
    return part.lower()


def _store(place: dict[str, Any] | list[Any], step: str | int, value: Any) -> None:
    if isinstance(place, list):
        assert isinstance(step, int)
        place[step : step + 1] = [value]
    else:
        place[str(step)] = value


def _inside(place: Any, step: str | int, following: str) -> Any:
    """Return what lies at a step, an empty section or list if nothing does yet."""
    try:
        present = place[step]
    except (KeyError, IndexError):
        present = None
    if present is None:
        present = [] if following.isdigit() else {}
        _store(place, step, present)
    return present


def _value(text: str) -> Any:
    """Return the value of a variable: text, or a list or section written in YAML's short form."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        document = read_document(f"value: {text}", Path("value"))
    except InvalidConfigError as error:
        raise _Misfit((), f"holds a list or section that cannot be read: {error.problems[0]}") from error
    return document.data["value"]
