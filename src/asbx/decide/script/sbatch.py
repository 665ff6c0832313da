"""Read a submission as sbatch does: the command line, the environment, and the #SBATCH lines of the script.

The command line stands above the environment, and that above the script (sbatch(1), "INPUT ENVIRONMENT VARIABLES").
A script's options end with its first line that is neither blank nor a comment. Text is untrusted and bounded by whoever
reads it; what cannot be understood is a problem with its place, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from asbx.decide.script.options import LETTERS, OPTIONS, Option, Takes, by_name

_MARK = "#SBATCH"
COMMAND_LINE = "command line"  # the source of what is typed
NO_OPTION = "sbatch has no option"
_SEPARATORS = ("hetjob", "packjob")
# These exclude each other, whatever the order of their sources; only a variable gives way (seen on 22.05.8).
_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
# A component begins as the one before it ended in these; all else it states anew (seen on 22.05.8).
_CARRIED = ("time", "mem", "account", "job-name", "comment", "requeue", "no-requeue")
_MOST_COMPONENTS = 128  # Slurm's own limit is MAX_HET_JOB_COMPS, 128
_REFUSED = {"\r\n": "the line ends of DOS", "\0": "a zero byte"}
# Of each of these only the one stated last counts; a higher source replaces all of them.
_ONE_OF = (("requeue", "no-requeue"), ("exclusive", "oversubscribe"))


@dataclass(frozen=True)
class Stated:
    """A value and where it was stated: `line 3`, a variable's name, or COMMAND_LINE. "" for options without one."""

    value: str
    source: str


Stating = Mapping[str, Stated]


@dataclass(frozen=True)
class Submission:
    """What is submitted. components: one for a plain job, several for a heterogeneous one. body: the script's text.

    arguments: script name and its arguments as given; wrapped: `--wrap` stands for a script. problems: sentences.
    """

    components: tuple[Stating, ...]
    body: str = ""
    arguments: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_heterogeneous(self) -> bool:
        """Whether the job has several components."""
        return len(self.components) > 1


@dataclass
class _Reading:
    """What was read so far from one source."""

    found: dict[str, Stated] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def state(self, option: Option, value: str, source: str) -> None:
        for group in _ONE_OF:
            if option.name in group:
                for other in group:
                    self.found.pop(other, None)
        self.found[option.name] = Stated(value, source)


def read(script: str, words: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Submission:
    """Read a submission. words: what follows `sbatch`; environment: the submitter's."""
    problems: list[str] = []
    said, arguments = _command_line(words, problems)
    wrapped = next((one["wrap"].value for one in said if "wrap" in one), None)
    body = script if wrapped is None else f"#!/bin/sh\n{wrapped}\n"
    if wrapped is None and not body.startswith("#!"):
        problems.append("line 1: the script does not begin with #! and the path of a shell")
    problems += [f"sbatch takes no script with {what}" for mark, what in _REFUSED.items() if mark in body]
    written = _script(body, problems)
    around = _environment(environment or {})
    count = max(len(written), len(said))
    parts: list[Stating] = []
    # sbatch has read the whole command line before its first component, which begins as that left off.
    before: Stating = _over(*said)
    for index in range(min(count, _MOST_COMPONENTS)):
        carried = {name: value for name, value in before.items() if name in _CARRIED}
        # One command line is meant for every component of the script (seen on 22.05.8).
        above = _nth(said, index if len(said) > 1 else 0)
        before = _one_memory(_over(carried, _nth(written, index), around, above), around, problems)
        parts.append(before)
    return Submission(tuple(parts), body, tuple(arguments), tuple(problems))


def _one_memory(stated: dict[str, Stated], around: Stating, problems: list[str]) -> dict[str, Stated]:
    """Leave one way to state memory; where several are left beside those of variables, sbatch refuses the job."""
    named = [name for name in _MEMORY if name in stated]
    kept = [name for name in named if stated[name] is not around.get(name)] or named
    if len(kept) > 1:
        problems.append(f"{stated[kept[0]].source}: --{' and --'.join(kept)} exclude each other")
    return {name: value for name, value in stated.items() if name not in _MEMORY or name == kept[0]}


def _nth(sources: Sequence[Stating], index: int) -> Stating:
    return sources[index] if index < len(sources) else {}


def _over(*sources: Stating) -> dict[str, Stated]:
    """Lay sources over each other, the last on top."""
    kept: dict[str, Stated] = {}
    for source in sources:
        for group in _ONE_OF:
            if not source.keys().isdisjoint(group):
                for name in group:
                    kept.pop(name, None)
        kept |= source
    return kept


# -- the three sources


def _environment(environment: Mapping[str, str]) -> dict[str, Stated]:
    reading = _Reading()
    for option in OPTIONS.values():
        name = next((one for one in option.variables if one in environment), None)
        if name is not None:
            reading.state(option, environment[name] if option.takes is not Takes.NOTHING else "", name)
    return reading.found


def _command_line(words: Sequence[str], problems: list[str]) -> tuple[list[Stating], list[str]]:
    """Return what each component says, and the script with its arguments; a lone `:` parts components."""
    components: list[Stating] = []
    rest = list(words)
    while True:
        reading = _Reading(problems=problems)
        rest = _options(rest, COMMAND_LINE, reading)
        components.append(reading.found)
        if not rest or rest[0] != ":" or len(components) >= _MOST_COMPONENTS:
            return components, rest
        rest = rest[1:]


def _script(text: str, problems: list[str]) -> list[Stating]:
    components = [_Reading(problems=problems)]
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith(_MARK):
            place = f"line {number}"
            words = list(_words(line[len(_MARK) :], place, problems))
            if words and words[0] in _SEPARATORS:
                components.append(_Reading(problems=problems))
                words = words[1:]
            left = _options(words, place, components[-1])
            if left:
                problems.append(f"{place}: {left[0]!r} is no option, so the rest of the line is not read")
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return [one.found for one in components[:_MOST_COMPONENTS]]


def _words(text: str, place: str, problems: list[str]) -> Iterator[str]:
    """Split an #SBATCH line: quotes group, a backslash takes the next character as it is, `#` begins a comment."""
    word: list[str] | None = None
    quote = ""
    letters = iter(text)
    for letter in letters:
        if letter == "\\" and quote != "'":
            word = [*(word or []), next(letters, "")]
        elif quote:
            quote, word = ("", word) if letter == quote else (quote, [*(word or []), letter])
        elif letter in "'\"":
            quote, word = letter, word or []
        elif letter.isspace() or (letter == "#" and word is None):
            if word is not None:
                yield "".join(word)
                word = None
            if letter == "#":
                return
        else:
            word = [*(word or []), letter]
    if quote:
        problems.append(f"{place}: a quote is not closed")
    if word is not None:
        yield "".join(word)


# -- options


def _options(words: Sequence[str], source: str, reading: _Reading) -> list[str]:
    """Read options from the beginning of words; return what follows the last (getopt_long(3), as sbatch uses it)."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            _long(word[2:], rest, source, reading)
        else:
            _short(word[1:], rest, source, reading)
    return rest


def _long(word: str, rest: list[str], source: str, reading: _Reading) -> None:
    name, sign, value = word.partition("=")
    option = by_name(name)
    if option is None:
        reading.problems.append(f"{source}: {NO_OPTION} --{name}")
    elif option.takes is Takes.VALUE and not sign:
        if not rest:
            reading.problems.append(f"{source}: --{name} needs a value")
        else:
            reading.state(option, rest.pop(0), source)
    elif option.takes is Takes.NOTHING and sign:
        reading.problems.append(f"{source}: --{name} takes no value")
    else:
        reading.state(option, value, source)


def _short(letters: str, rest: list[str], source: str, reading: _Reading) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        option = LETTERS.get(letter)
        if option is None:
            reading.problems.append(f"{source}: {NO_OPTION} -{letter}")
            return
        if option.takes is Takes.NOTHING:
            reading.state(option, "", source)
            continue
        if option.takes is Takes.VALUE and not letters and not rest:
            reading.problems.append(f"{source}: -{letter} needs a value")
            return
        value = letters or (rest.pop(0) if option.takes is Takes.VALUE else "")
        # `-N=2` is read as the value `=2` by getopt; people mean 2, and sbatch refuses the other.
        reading.state(option, value, source)
        return
