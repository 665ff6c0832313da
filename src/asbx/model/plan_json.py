"""JSON of an execution plan, value by value: each is of its kind, not stated, or a PlanError that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any, NoReturn

from asbx.errors import PlanError

# As limits.PLAN_MAX_BYTES: whoever reads the file stops there too.
MOST_CHARACTERS = 1024 * 1024
# Longest list and text a plan may hold: EC2's own lists are shorter, and they end in tags and log lines.
_MOST_ITEMS = 200
_MOST_TEXT = 1024
_MOST_NUMBER = Decimal(10) ** 12
# Less than a billionth is no amount: JSON's 1e-999999999 is above zero, and written out it has a billion digits.
_LEAST_NUMBER = Decimal(1).scaleb(-9)
# Places behind the point that count; a float's last ones are noise.
_SMALLEST = Decimal(1).scaleb(-12)
# An EC2 tag: key and value, and how many of a resource's 50 a plan may use.
_TAG_KEY, _TAG_VALUE, _MOST_TAGS = 128, 256, 15
_MOST_UNKNOWN, _LONGEST_UNKNOWN = 50, 120
_DEEPEST_KEY = 3
# Of what nobody reads, too: what could be read here might be too deep to be written again in an export.
_DEEPEST = 32
_HINT = "docs/reference/execution-plan.md shows both dialects"

INSTANCE_TYPE = re.compile(r"[a-z0-9-]{1,40}\.[a-z0-9-]{1,40}")
SUBNET = re.compile(r"subnet-[A-Za-z0-9-]{1,60}")
ZONE = re.compile(r"[a-z]{2}(-[a-z0-9]+){2,6}")

_GO_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_GO_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?)(ns|us|µs|μs|ms|s|m|h)")


def read_json(text: str) -> dict[str, Any]:
    """Return the object a plan is. Raises PlanError for anything else, twice-stated keys included."""
    if len(text) > MOST_CHARACTERS:
        _refuse("the plan is too large", f"more than {MOST_CHARACTERS} characters")
    if not text.strip():
        _refuse("the plan is empty", "")
    try:
        data = json.loads(
            text.removeprefix("\ufeff"),
            parse_float=Decimal,
            parse_constant=_no_number,
            object_pairs_hook=_once_each,
        )
    except json.JSONDecodeError as error:
        _refuse("the plan is not JSON", f"line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        _refuse("the plan is not usable", "it is nested too deep")
    except (ValueError, InvalidOperation) as error:
        _refuse("the plan is not usable", str(error)[:200])
    if not isinstance(data, dict):
        _refuse("the plan is not usable", f"a plan is an object {{..}}, this is {_kind(data)}")
    if _is_deep(data, _DEEPEST):
        _refuse("the plan is not usable", f"it is nested too deep: more than {_DEEPEST} levels")
    return data


class Reader:
    """Values of a plan by dotted key. Every method raises PlanError when a value is of the wrong kind."""

    def __init__(self, data: dict[str, Any], text: str) -> None:
        self._data = data
        self._text = text

    def has(self, key: str) -> bool:
        """Return whether the top-level key is there and not null."""
        return self._data.get(key) is not None

    def is_stated(self, key: str) -> bool:
        """Return whether the key says anything."""
        return self._get(key) is not None

    def flag(self, key: str) -> bool:
        """Return a truth value; not stated is False."""
        value = self._get(key)
        if value is None or value is True:
            return value is True
        raise self.error(key, f"must be true or false, not {_kind(value)}")

    def text(self, key: str) -> str:
        """Return a text in one line, without surrounding blanks."""
        value = self._get(key)
        if value is None:
            return ""
        return self._line(key, value)

    def choice(self, key: str, known: tuple[str, ...]) -> Any:
        """Return one of the known words, or "" when not stated."""
        value = self.text(key)
        if value and value not in known:
            raise self.error(key, f"must be one of {', '.join(known)}, not {value[:60]!r}")
        return value

    def names(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts in order, once each."""
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.error(key, f"must be a list of texts, not {_kind(value)}")
        if len(value) > _MOST_ITEMS:
            raise self.error(key, f"has {len(value)} items; {_MOST_ITEMS} are allowed")
        items = dict.fromkeys(self._line(key, item) for item in value)
        for item in items:
            if pattern is not None and not pattern.fullmatch(item):
                raise self.error(key, f"holds {item[:60]!r}, which is not what belongs there")
        return tuple(item for item in items if item)

    def count(self, key: str) -> int | None:
        """Return a whole number above zero."""
        number = self._number(key)
        if number is None:
            return None
        if number != number.to_integral_value():
            raise self.error(key, f"must be a whole number, not {number}")
        return int(number)

    def money(self, key: str) -> Decimal | None:
        """Return an amount above zero."""
        return self._number(key)

    def hours(self, key: str) -> timedelta | None:
        """Return a number of hours as a duration."""
        number = self._number(key)
        if number is not None and number > 24 * 3650:
            raise self.error(key, f"must be hours, not {number}")
        return None if number is None else timedelta(hours=float(number))

    def duration(self, key: str) -> timedelta | None:
        """Return a duration: a whole number is nanoseconds, a text is Go's form (`2h30m0s`)."""
        value = self._get(key)
        if isinstance(value, str):
            micros = _go_micros(value)
            if micros is None or micros > 10**15:
                raise self.error(key, f"must be a duration such as 2h30m0s, not {value[:60]!r}")
            return timedelta(microseconds=float(micros)) or None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**18:
            raise self.error(key, "must be nanoseconds as a whole number or a duration such as 2h30m0s")
        return timedelta(microseconds=value // 1000) or None

    def job_id(self, key: str) -> int | None:
        """Return a Slurm job id, written as text or number."""
        value = self._get(key)
        if value is None:
            return None
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else self._line(key, value)
        if not re.fullmatch(r"[0-9]{1,10}", text):
            raise self.error(key, f"must be a job id, not {text[:60]!r}")
        return int(text)

    def tags(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return tags, sorted. Names AWS or ASBX uses itself are refused."""
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object of texts, not {_kind(value)}")
        if len(value) > _MOST_TAGS:
            raise self.error(key, f"has {len(value)} tags; {_MOST_TAGS} are allowed")
        tags = []
        for name, item in value.items():
            content = self._line(key, item)
            if not 0 < len(name) <= _TAG_KEY or len(content) > _TAG_VALUE or not name.isprintable():
                raise self.error(
                    key, f"holds {name[:60]!r}: a tag has up to {_TAG_KEY}, its value {_TAG_VALUE} letters"
                )
            if name.lower().startswith(("aws:", "asbx:")) or name in ("Name", "ManagedBy"):
                raise self.error(key, f"holds {name[:60]!r}, which is not a plan's to set")
            tags.append((name, content))
        return tuple(sorted(tags))

    def unknown(self, known: frozenset[str], free: tuple[str, ...]) -> tuple[str, ...]:
        """Return the keys nobody reads, sorted and fit to be told; what lies in `free` sections is the user's own."""
        found = (key for key in _leaves(self._data, "") if key not in known and not key.startswith(free))
        return tuple(sorted({_printable(key[:_LONGEST_UNKNOWN]) for key in found})[:_MOST_UNKNOWN])

    def stated(self, known: frozenset[str]) -> tuple[str, ...]:
        """Return the known keys that say something, sorted."""
        return tuple(sorted({key for key in _leaves(self._data, "") if key in known}))

    def error(self, key: str, what: str) -> PlanError:
        """Return the error for a key, with its line when the key's name occurs once."""
        name = json.dumps(key.rsplit(".", 1)[-1])
        places = [match.start() for match in re.finditer(re.escape(name) + r"\s*:", self._text)]
        line = f"line {self._text.count(chr(10), 0, places[0]) + 1}: " if len(places) == 1 else ""
        return PlanError("plan-invalid", "the execution plan is not usable", f"{line}{key} {what}", _HINT)

    def _get(self, key: str) -> Any:
        place: Any = self._data
        way = key.split(".")
        for depth, part in enumerate(way):
            if not place:
                return None
            if not isinstance(place, dict):
                raise self.error(".".join(way[:depth]), f"must be an object {{..}}, not {_kind(place)}")
            place = place.get(part)
        return place or None  # "", 0, false, [] and {} say as little as null

    def _line(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(key, f"must be text, not {_kind(value)}")
        text = value.strip()
        if len(text) > _MOST_TEXT:
            raise self.error(key, f"has {len(text)} characters; {_MOST_TEXT} are allowed")
        if not text.isprintable():
            raise self.error(key, "may not hold line ends or control characters")
        return text

    def _number(self, key: str) -> Decimal | None:
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.error(key, f"must be a number, not {_kind(value)}")
        number = Decimal(value)
        if not _LEAST_NUMBER <= number <= _MOST_NUMBER:
            wanted = f"must be between 0 and {_MOST_NUMBER:.0e}, a billionth at least"
            raise self.error(key, f"{wanted}, not {str(value)[:30]}")
        return min(number, number.quantize(_SMALLEST, ROUND_DOWN))


def _leaves(value: Any, key: str, depth: int = 0) -> Iterator[str]:
    """Yield the dotted keys that say something; deeper than any known key, a section counts as one value."""
    if isinstance(value, dict) and depth < _DEEPEST_KEY:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name, depth + 1)
    elif value:
        yield key


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _is_deep(value: Any, most: int) -> bool:
    """Whether lists and objects lie in each other more often than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (most < 1 or any(_is_deep(one, most - 1) for one in inner))


def _go_micros(text: str) -> Decimal | None:
    """Return microseconds of a Go duration, None when it is none. Negative durations make no sense here."""
    if text == "0":
        return Decimal(0)
    micros, end = Decimal(0), 0
    for part in _GO_PART.finditer(text):
        if part.start() != end:
            return None
        micros += Decimal(part[1]) * _GO_UNITS[part[2]]
        end = part.end()
    return micros if end == len(text) else None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in pairs:
        if name in data:
            raise ValueError(f"the key {name[:60]!r} is stated twice in one object")
        data[name] = value
    return data


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number JSON knows")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse(what: str, why: str) -> NoReturn:
    raise PlanError("plan-invalid", what, why, _HINT)
