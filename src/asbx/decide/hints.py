"""What a job itself asks of its launch: words of its constraint, and `asbx:` hints in its extra or comment.

    sbatch --constraint=efa              a feature that every node of ours has, so that Slurm lets it pass
    sbatch --comment="asbx:market=spot,placement=cluster,extra-nodes=2"
    sbatch --extra="asbx:strategy=greedy"        Slurm 23.02 and later
    sbatch --comment="asbx:plan=wrf-large"       the plan wrf-large.json in the plans folder
    sbatch --comment="asbx:max-cost=20,max-cost-per-hour=5,cost-alert=15,auto-terminate-hours=8,max-hours=12"

The constraint counts before extra, extra before comment. All of it is user input: bounded, never trusted; what is not
understood is reported and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, cast

from asbx.model.market import Market

Efa = Literal["required", "preferred", "disabled"]
Placement = Literal["cluster", "partition", "spread", "none"]
Strategy = Literal["gang", "greedy", "best-effort"]

# Features a job may name as constraint -> what is asked by that. Slurm must know them: slurm/writers.py.
WORDS: Mapping[str, tuple[str, str]] = {
    "efa": ("efa", "required"),
    "efa-preferred": ("efa", "preferred"),
    "no-efa": ("efa", "disabled"),
    "pg-cluster": ("placement", "cluster"),
    "pg-partition": ("placement", "partition"),
    "pg-spread": ("placement", "spread"),
    "pg-none": ("placement", "none"),
    "gang": ("strategy", "gang"),
    "greedy": ("strategy", "greedy"),
    "best-effort": ("strategy", "best-effort"),
}
_VALUES: Mapping[str, tuple[str, ...]] = {
    "efa": ("required", "preferred", "optional", "disabled"),
    "placement": ("cluster", "partition", "spread", "none"),
    "strategy": ("gang", "greedy", "best-effort"),
    "market": (Market.SPOT.value, Market.ON_DEMAND.value),
}
# Limits a job sets itself: USD, hours.
AMOUNTS = ("max-cost", "max-cost-per-hour", "max-hours", "cost-alert", "auto-terminate-hours")
# Seven digits before the point and six after it: more is no amount of money or hours.
_AMOUNT = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")
_EXTRA_NODES = "extra-nodes"
_PLAN = "plan"
# The name of a file in one folder: no dot and no slash, so that it can be no other.
_PLAN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# More than the configuration lets a site allow (most_extra_nodes) is a slip of the finger.
_MOST_EXTRA = 100
# Of a job's texts only so much is read; Slurm itself allows a comment of megabytes.
_LONGEST = 4096
_MOST_UNKNOWN = 8
_LONGEST_UNKNOWN = 60
_HINT = re.compile(r"(?<!\S)asbx:(\S*)")
_TOKEN = re.compile(r"[\[\]()&,|]|[^\s\[\]()&,|]+")


@dataclass(frozen=True)
class JobHints:
    """What a job asked for; None, "": it said nothing.

    plan: a file of the plans folder. amounts: limits of its own, by name. unknown: what was not understood, one short
    text each.
    """

    efa: Efa | Literal["optional"] | None = None
    placement: Placement | None = None
    strategy: Strategy | None = None
    market: Market | None = None
    extra_nodes: int | None = None
    plan: str = ""
    unknown: tuple[str, ...] = ()
    amounts: tuple[tuple[str, Decimal], ...] = ()


def hints(features: str = "", extra: str = "", comment: str = "") -> JobHints:
    """Read what a job says. Never raises."""
    asked: dict[str, str] = {}
    unknown: list[str] = []
    for word in _required(features[:_LONGEST]):
        if word in WORDS:
            key, value = WORDS[word]
            _ask(asked, unknown, key, value, f"constraint {word}: {{}} is asked for as well")
    for text, name in ((extra, "extra"), (comment, "comment")):
        said: dict[str, str] = {}
        for key, value in _pairs(text[:_LONGEST]):
            if _is_good(key, value):
                _ask(said, unknown, key, value, f"{name} {key}={value}: {{}} is asked for as well")
            else:
                unknown.append(f"{name} {key}={value}" if value else f"{name} {key}")
        asked = said | asked
    return _hints(asked, unknown)


def _ask(asked: dict[str, str], unknown: list[str], key: str, value: str, twice: str) -> None:
    """Note a wish; of two that contradict each other within one text the first counts."""
    if asked.setdefault(key, value) != value:
        unknown.append(twice.format(asked[key]))


def _hints(asked: Mapping[str, str], unknown: Iterable[str]) -> JobHints:
    market, extra_nodes = asked.get("market"), asked.get(_EXTRA_NODES)
    shown = [_shown(text) for text in dict.fromkeys(unknown)]
    return JobHints(
        cast("Efa | None", asked.get("efa")),
        cast("Placement | None", asked.get("placement")),
        cast("Strategy | None", asked.get("strategy")),
        Market(market) if market is not None else None,
        int(extra_nodes) if extra_nodes is not None else None,
        asked.get(_PLAN, ""),
        tuple(shown[:_MOST_UNKNOWN]),
        tuple((name, Decimal(asked[name])) for name in AMOUNTS if name in asked),
    )


def _shown(text: str) -> str:
    """Make a text of a user's safe to repeat: printable and short."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if len(plain) <= _LONGEST_UNKNOWN else plain[: _LONGEST_UNKNOWN - 2] + ".."


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of each hint in a free text; a hint is one word: `asbx:` and no space."""
    for match in _HINT.finditer(text):
        for item in filter(None, match[1].split(",")):
            key, _, value = item.partition("=")
            yield key.strip().lower(), value.strip().lower()


def _is_good(key: str, value: str) -> bool:
    if key == _EXTRA_NODES:
        return value.isascii() and value.isdecimal() and len(value) <= 4 and int(value) <= _MOST_EXTRA
    if key == _PLAN:
        return _PLAN_ID.fullmatch(value) is not None
    if key in AMOUNTS:
        return _AMOUNT.fullmatch(value) is not None and Decimal(value) > 0
    return value in _VALUES.get(key, ())


@dataclass
class _Level:
    """What stands between two parentheses. is_choice: it has a bar or is in brackets, so no word of it is certain."""

    is_choice: bool = False
    words: list[str] = field(default_factory=list)

    def certain(self) -> list[str]:
        return [] if self.is_choice else self.words


def _required(features: str) -> list[str]:
    """Return the words of a constraint that every node must have.

    `a&efa` and `a,efa` ask for efa, `a|efa` and `[a|efa]` do not, `(a|b)&efa` does (sbatch(1), --constraint).
    """
    levels = [_Level()]
    for piece in _TOKEN.findall(features):
        if piece in ("(", "["):
            levels.append(_Level(is_choice=piece == "["))
        elif piece in (")", "]"):
            inner = levels.pop() if len(levels) > 1 else _Level()
            levels[-1].words += inner.certain()
        elif piece == "|":
            levels[-1].is_choice = True
        elif piece not in ("&", ","):
            levels[-1].words.append(piece.partition("*")[0])
    return levels[0].certain()
