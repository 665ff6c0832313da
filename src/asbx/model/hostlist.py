"""Slurm's host lists: `aws-cpu-[001-004,009],aws-gpu-7` to names and back, order kept. Starts no process.

Order matters because `scontrol update nodename=LIST nodeaddr=LIST` pairs both lists one by one.
Source: `scontrol show hostnames` of Slurm 22.05 (tests/property/test_hostlist_slurm.py compares).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from math import prod

from asbx.errors import UsageError

# Ten times the largest cluster we aim at; a list is counted before it is built, so that `a[0-999999999]`
# costs nothing.
MOST_NAMES = 100_000
# Slurm refuses longer ranges (MAX_RANGE in its hostlist.c; seen with `a[0-65536]`).
_LONGEST_RANGE = 65_536
# More digits than this do not fit Slurm's unsigned long: such a number is treated as text.
_MOST_DIGITS = 18

_DIGITS = "0123456789"
_NAME = re.compile(r"[A-Za-z0-9._:-]+")
_NAMES = re.compile(r"[A-Za-z0-9._:,-]*")
_PART = re.compile(r"(?:[^,\[\]]++|\[[^\[\]]*+\])*+")
_PIECE = re.compile(r"([^\[]*)\[([^\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_NUMBER = re.compile(r"[0-9]+")

# A bracket as (first number, last number, width) of each range in it.
_Bracket = tuple[tuple[int, int, int], ...]


def expand(text: str) -> tuple[str, ...]:
    """Return the names of a host list, in its order, repetitions kept; an empty text has none.

    Raises UsageError (`hostlist`) naming the faulty part, also above MOST_NAMES names.
    """
    names: list[str] = []
    for part in _parts(text.strip()):
        if "[" not in part:
            if not _NAME.fullmatch(part):
                raise _fault(part, "it is empty" if not part else "letters, digits and . _ : - make a name")
            names.append(part)
        else:
            names.extend(_expand_part(part, MOST_NAMES - len(names)))
        if len(names) > MOST_NAMES:
            raise _too_many(part)
    return tuple(names)


def fold(names: Iterable[str]) -> str:
    """Return a host list that expands to exactly these names, in this order.

    Neighbours that differ in their last number only share a bracket. Slurm knows no text after a bracket,
    so names like `ip-10-0-0-1.ec2.internal` stay as they are.
    Raises UsageError (`hostlist`) for a name that no host list can hold.
    """
    wanted = tuple(names)
    _check_names(wanted)
    out: list[str] = []
    prefix = ""
    run: list[str] = []
    for name in wanted:
        stem = name.rstrip(_DIGITS)
        digits = name[len(stem) :]
        if not digits or len(digits) > _MOST_DIGITS:
            out.extend(_folded(prefix, run))
            out.append(name)
            run = []
        elif run and stem == prefix:
            run.append(digits)
        else:
            out.extend(_folded(prefix, run))
            prefix, run = stem, [digits]
    out.extend(_folded(prefix, run))
    return ",".join(out)


def natural_key(name: str) -> tuple[str, str]:
    """Return a sort key that puts a-9 before a-10."""
    return _NUMBER.sub(lambda number: number[0].zfill(_MOST_DIGITS), name), name


def unique_sorted(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names once each, sorted by number."""
    return tuple(sorted(set(names), key=natural_key))


def _parts(text: str) -> Iterator[str]:
    """Yield what stands between commas outside brackets."""
    position = 0
    while text:
        match = _PART.match(text, position)
        end = match.end() if match else position
        if end < len(text) and text[end] != ",":
            raise _fault(text[position:].split(",", 1)[0], "its brackets do not match")
        yield text[position:end].strip()
        if end == len(text):
            return
        position = end + 1


def _expand_part(part: str, room: int) -> Iterable[str]:
    """Return the names of one part with brackets; `room` is how many there may be."""
    prefixes: list[str] = []
    brackets: list[_Bracket] = []
    end = 0
    for piece in _PIECE.finditer(part):
        prefix, inside = piece.groups()
        if prefix and not _NAME.fullmatch(prefix):
            raise _fault(part, "letters, digits and . _ : - make a name")
        prefixes.append(prefix)
        brackets.append(_bracket(part, inside))
        end = piece.end()
    if end != len(part):
        raise _fault(part, "Slurm knows no text after the last bracket")
    if prod(sum(last - first + 1 for first, last, _ in bracket) for bracket in brackets) > room:
        raise _too_many(part)
    columns = [
        [f"{prefix}{number:0{width}d}" for first, last, width in bracket for number in range(first, last + 1)]
        for prefix, bracket in zip(prefixes, brackets, strict=True)
    ]
    return columns[0] if len(columns) == 1 else map("".join, product(*columns))


def _bracket(part: str, inside: str) -> _Bracket:
    """Read what stands in a bracket; the width is that of each range's first number, as in Slurm."""
    ranges: list[tuple[int, int, int]] = []
    for text in inside.split(","):
        match = _RANGE.fullmatch(text)
        if match is None:
            raise _fault(part, f"{_clip(text)!r} in its bracket is neither a number nor a range")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise _fault(part, f"the range {text} runs backwards")
        ranges.append((first, last, len(match[1])))
    return tuple(ranges)


def _folded(prefix: str, run: list[str]) -> Iterator[str]:
    """Yield the folded form of a run, nothing for an empty one."""
    if len(run) == 1:
        yield prefix + run[0]
    elif run:
        yield f"{prefix}[{','.join(_ranges(run))}]"


def _ranges(run: list[str]) -> Iterator[str]:
    """Yield `first-last` for consecutive numbers of one padding, lone numbers as they are."""
    first = last = run[0]
    value = start = int(first)
    width = len(first)
    for digits in run[1:]:
        value += 1
        if digits == f"{value:0{width}d}" and value - start < _LONGEST_RANGE:
            last = digits
            continue
        yield first if first is last else f"{first}-{last}"
        first = last = digits
        value = start = int(digits)
        width = len(digits)
    yield first if first is last else f"{first}-{last}"


def _check_names(names: tuple[str, ...]) -> None:
    """Refuse names that would read as something else; one scan over all, because lists are long."""
    text = ",".join(names)
    if _NAMES.fullmatch(text) and "" not in names and text.count(",") == max(len(names) - 1, 0):
        return
    bad = next(name for name in names if not _NAME.fullmatch(name))
    raise _fault(bad, "letters, digits and . _ : - make a name")


def _fault(part: str, why: str) -> UsageError:
    return UsageError(
        "hostlist",
        f"cannot read {_clip(part)!r} as part of a node list",
        why,
        "write lists as Slurm does, for example aws-cpu-[001-004,009],aws-gpu-7",
    )


def _too_many(part: str) -> UsageError:
    return UsageError(
        "hostlist",
        f"the node list is too long at {_clip(part)!r}",
        f"more than {MOST_NAMES} names",
        "check the range for a digit too many",
    )


def _clip(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
