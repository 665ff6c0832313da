"""Spoil good input in the ways input gets spoiled: bytes flipped, cut, doubled, spliced; values replaced by odd ones.

Everything comes from one seeded generator, so a finding is repeated by its seed and number.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

# What hurts parsers, shells, databases and node lists.
TOKENS: tuple[str, ...] = (
    "",
    "\0",
    "\n",
    "\r\n",
    "'",
    '"',
    "\\",
    "{",
    "]",
    ",",
    "..",
    "../../etc/passwd",
    "$(reboot)",
    "`id`",
    "${jndi:x}",
    "%s%n",
    "\ud800",
    "\u202e",
    "é",
    "9" * 400,
    "9" * 5000,
    "-1",
    "1e309",
    "1e-99999999",
    "NaN",
    "null",
    "true",
    "!!python/object/apply:os.system [id]",
    "&a [*a]",
    "<<: *x",
    "aws-cpu-[0-999999999]",
    "aws-cpu-[0-9][0-9][0-9][0-9][0-9]",
    "aws-cpu-[001-",
    "aws-cpu-007",
    "other-node-1",
    "NodeName=aws-cpu-000 State=DOWN",
    "POWERED_DOWN",
    "+POWERED_DOWN",
    "i-0123456789abcdef0",
    "x" * 3000,
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**64,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    "",
    *TOKENS,
)
_DEEP = 3000
_LONGEST = 200_000

Mutator = Callable[[Random, str, Sequence[str]], str]


def mutate(rng: Random, corpus: Sequence[str]) -> str:
    """Return one of the corpus, spoiled one to four times. JSON is mostly spoiled by its structure."""
    text = rng.choice(corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        change = rng.choice(_JSON_WAYS if rng.random() < 0.6 and text[:1] in "{[" else _TEXT_WAYS)
        text = change(rng, text, corpus)[:_LONGEST]
    return text


def _cut(rng: Random, text: str, _: Sequence[str]) -> str:
    start, end = _range(rng, text)
    return text[:start] + text[end:]


def _truncate(rng: Random, text: str, _: Sequence[str]) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _double(rng: Random, text: str, _: Sequence[str]) -> str:
    start, end = _range(rng, text)
    return text[:end] + text[start:end] * rng.choice((1, 1, 2, 50)) + text[end:]


def _insert(rng: Random, text: str, _: Sequence[str]) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(TOKENS) + text[place:]


def _replace(rng: Random, text: str, _: Sequence[str]) -> str:
    start, end = _range(rng, text)
    return text[:start] + rng.choice(TOKENS) + text[end:]


def _flip(rng: Random, text: str, _: Sequence[str]) -> str:
    """Flip a bit of some bytes, and read what comes of it as a door does."""
    raw = bytearray(text.encode("utf-8", "surrogatepass") or b" ")
    for _number in range(rng.choice((1, 1, 2, 8))):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return raw.decode("utf-8", "replace")


def _splice(rng: Random, text: str, corpus: Sequence[str]) -> str:
    other = rng.choice(corpus)
    start, end = _range(rng, other)
    place = rng.randrange(len(text) + 1)
    return text[:place] + other[start:end] + text[place:]


def _lines(rng: Random, text: str, _: Sequence[str]) -> str:
    rows = text.split("\n")
    first, second = rng.randrange(len(rows)), rng.randrange(len(rows))
    rows[first], rows[second] = rows[second], rows[first]
    if rng.random() < 0.5:
        del rows[rng.randrange(len(rows))]
    return "\n".join(rows)


def _digits(rng: Random, text: str, _: Sequence[str]) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + rng.choice(("", "-", "0", "9", "99999999999999999999", "٣", "²")) + text[place + 1 :]


def _range(rng: Random, text: str) -> tuple[int, int]:
    start = rng.randrange(len(text) + 1)
    return start, min(len(text), start + rng.choice((1, 1, 3, 10, 100, 1000)))


_TEXT_WAYS: tuple[Mutator, ...] = (
    _cut,
    _truncate,
    _double,
    _insert,
    _replace,
    _flip,
    _splice,
    _lines,
    _digits,
)


def _odd_value(rng: Random, text: str, corpus: Sequence[str]) -> str:
    return _structural(rng, text, corpus, lambda _old, _other: rng.choice(ODD_VALUES))


def _other_value(rng: Random, text: str, corpus: Sequence[str]) -> str:
    """Put a part of another good document where a value was."""
    return _structural(rng, text, corpus, lambda _old, other: other)


def _deep_value(rng: Random, text: str, corpus: Sequence[str]) -> str:
    mark = '"here it goes deep"'
    depth = rng.choice((20, 200, _DEEP))
    spoiled = _structural(rng, text, corpus, lambda _old, _other: json.loads(mark))
    return spoiled.replace(mark, "[" * depth + "]" * depth)


def _long_value(rng: Random, text: str, corpus: Sequence[str]) -> str:
    def longer(old: Any, _other: Any) -> Any:
        if isinstance(old, list):
            return old * rng.choice((2, 100))
        if isinstance(old, str):
            return old * rng.choice((2, 1000))
        return [old] * 100

    return _structural(rng, text, corpus, longer)


def _key(rng: Random, text: str, corpus: Sequence[str]) -> str:
    """Rename, drop or add a key."""
    document = _parsed(text)
    places = [place for place in _containers(document) if isinstance(place, dict)]
    if not places:
        return _insert(rng, text, corpus)
    place = rng.choice(places)
    if place and rng.random() < 0.7:
        old = rng.choice(list(place))
        value = place.pop(old)
        if rng.random() < 0.5:
            place[rng.choice((old.upper(), old + "x", rng.choice(TOKENS)))] = value
    else:
        place[rng.choice(TOKENS)] = rng.choice(ODD_VALUES)
    return _written(document)


_JSON_WAYS: tuple[Mutator, ...] = (
    _odd_value,
    _odd_value,
    _other_value,
    _deep_value,
    _long_value,
    _key,
    _key,
)


def _structural(rng: Random, text: str, corpus: Sequence[str], change: Callable[[Any, Any], Any]) -> str:
    """Change one value of a JSON document; one that is none any more is spoiled as text."""
    document = _parsed(text)
    places = _containers(document)
    if not places:
        return _replace(rng, text, corpus)
    place = rng.choice(places)
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place))) if place else None
    others = _containers(_parsed(rng.choice(corpus)))
    if key is not None:
        place[key] = change(place[key], copy.deepcopy(rng.choice(others)) if others else None)
    elif isinstance(place, list):
        place.append(rng.choice(ODD_VALUES))
    return _written(document)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(document: Any) -> str:
    try:
        return json.dumps(document)
    except (ValueError, RecursionError):
        return ""


def _containers(document: Any) -> list[Any]:
    """Return all lists and objects of a document, itself first."""
    found: list[Any] = []
    waiting = [document]
    while waiting and len(found) < 5000:
        one = waiting.pop()
        if isinstance(one, dict):
            found.append(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            found.append(one)
            waiting.extend(one)
    return found
