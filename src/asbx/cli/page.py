"""A page of words and what is so, for people: folded at the width of the terminal, no name or time ever cut."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from shutil import get_terminal_size

WORD = 11  # the column of words
_NARROWEST = 60
# Where nobody watches a line stays one, for grep.
UNFOLDED = 10_000


def width() -> int:
    """Return how wide a line may be."""
    return max(get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else UNFOLDED


def lines(rows: Iterable[tuple[str, str]], most: int) -> Iterator[str]:
    """Return the page: a word, which is not repeated, and a text beside it. A longer name or address sticks out.

    Spaces at the beginning of a text set it and what is folded of it to the right.
    """
    before = ""
    for word, text in rows:
        inner = len(text) - len(text.lstrip())
        indent = " " * (WORD + inner)
        shown = "" if word == before else word
        before = word
        yield from textwrap.wrap(
            _plain(text),
            most,
            initial_indent=f"{shown:<{WORD}}" + " " * inner,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [shown]


def _plain(text: str) -> str:
    """Return a text in one line without what would command a terminal: job names are their users' own words."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def show(rows: Iterable[tuple[str, str]]) -> None:
    """Print the page."""
    print("\n".join(lines(rows, width())))
