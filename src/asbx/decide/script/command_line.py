"""Which words of `asbx submit` are its own, which are sbatch's, and which word names the script.

Own options count in full, anywhere before the script's name and before `--`: `--dry-run`, `--json`, `--help`,
`--plan FILE`, `--config FILE`. Every other word is sbatch's and keeps its place, whether we know it or not. A word that
stands as the value of an option of sbatch is that value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from asbx.decide.script.options import LETTERS, Takes, by_name

FLAGS = frozenset({"--dry-run", "--json", "--help"})
WITH_FILE = frozenset({"--plan", "--config"})
# sbatch says something about itself and ends.
_ABOUT_ITSELF = frozenset({"help", "usage", "version"})


@dataclass(frozen=True)
class Line:
    """A command line taken apart.

    own: of `asbx submit`. sbatch: what sbatch gets, in order. known: the same without options nobody knows here, for
    reading. script: "" where it comes from stdin or --wrap. names: sbatch's options that are stated. unknown: options
    as given. stray: own options after the script, which are its arguments.
    """

    own: tuple[str, ...]
    sbatch: tuple[str, ...]
    known: tuple[str, ...]
    script: str = ""
    names: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether an option of sbatch is stated."""
        return name in self.names

    @property
    def is_wrapped(self) -> bool:
        """Whether `--wrap` stands for a script."""
        return self.has("wrap")

    @property
    def is_question(self) -> bool:
        """Whether sbatch is only asked about itself."""
        return bool(self.names & _ABOUT_ITSELF)


@dataclass
class _Parts:
    own: list[str] = field(default_factory=list)
    sbatch: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def take(self, *words: str) -> None:
        self.sbatch += words
        self.known += words


def split(words: Sequence[str], is_script: Callable[[str], bool]) -> Line:
    """Take a command line apart. is_script: whether a word could be one, and no value of an option nobody knows."""
    rest, parts = list(words), _Parts()
    while rest:
        word = rest.pop(0)
        if word == "--":
            parts.take(word)
            break
        if word == ":":
            parts.take(word)
        elif not word.startswith("-") or word == "-":
            rest.insert(0, word)
            break
        elif word in FLAGS or word.partition("=")[0] in WITH_FILE:
            parts.own += [word, *_value(word in WITH_FILE, rest)]
        elif word.startswith("--"):
            _long(word, rest, parts, is_script)
        else:
            _short(word, rest, parts)
    script = "" if "wrap" in parts.names or not rest else rest[0]
    parts.take(*rest)
    return Line(
        tuple(parts.own),
        tuple(parts.sbatch),
        tuple(parts.known),
        script,
        frozenset(parts.names),
        tuple(parts.unknown),
        tuple(word for word in rest if word.partition("=")[0] in FLAGS | WITH_FILE),
    )


def _value(is_apart: bool, rest: list[str]) -> list[str]:
    """Take the next word as a value, where there is one."""
    return [rest.pop(0)] if is_apart and rest else []


def _long(word: str, rest: list[str], parts: _Parts, is_script: Callable[[str], bool]) -> None:
    name, sign, _ = word[2:].partition("=")
    option = by_name(name)
    if option is not None:
        parts.names.add(option.name)
        parts.take(word, *_value(option.takes is Takes.VALUE and not sign, rest))
        return
    # A plugin of the site, or a newer Slurm. Its value may stand apart: a word that is no script, before one that is.
    parts.unknown.append(word)
    has_value = not sign and len(rest) > 1 and not rest[0].startswith("-") and not is_script(rest[0])
    parts.sbatch += [word, *_value(has_value, rest)]


def _short(word: str, rest: list[str], parts: _Parts) -> None:
    """Take a cluster of letters; the first with a value has the rest of the word, or the next one (getopt(3))."""
    for place, letter in enumerate(word[1:], 1):
        option = LETTERS.get(letter)
        if option is None:
            parts.unknown.append(word)
            parts.sbatch.append(word)
            return
        parts.names.add(option.name)
        if option.takes is not Takes.NOTHING:
            is_apart = option.takes is Takes.VALUE and place == len(word) - 1
            parts.take(word, *_value(is_apart, rest))
            return
    parts.take(word)
