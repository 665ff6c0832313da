"""What a job script runs: its commands with the variables it sets filled in, and the files it writes itself.

No shell: what a command substitution, a sourced file or a loop would yield stays as it stands. Scripts are untrusted:
every line is looked at once, and no filled-in line grows beyond COMMAND_MAX_CHARS.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from asbx.config.limits import COMMAND_MAX_CHARS

_SHELLS = re.compile(r"#!\s*\S*(/env\s+(-S\s+)?)?\S*\b(ba|da|z|k|c|tc)?sh\b")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::[-=]([^{}]*))?\})")
# sh: `A=b`, `export A="b c"`, `A=$(which b)`; csh: `set A = "b c"`, `setenv A b`.
_VALUE = r"(?:\"([^\"]*)\"|'([^']*)'|\$\((?:which|command -v|type -p) ([\w.+-]+)\)|([^\s\"'`;&|()]+))(?=[\s;&]|$)"
_ASSIGNED = re.compile(rf"(?:(?:export|local|readonly|declare(?: -\w+)*)\s+)?([A-Za-z_]\w*)=(?:{_VALUE})?\s*;?\s*")
_SET = re.compile(rf"(?:set\s+(\w+)\s*=\s*|setenv\s+(\w+)\s+){_VALUE}")
# Differs in every task, so a value that holds it is no value of the script.
_OF_A_TASK = re.compile(r"PROCID|LOCALID|_RANK|RANDOM")
_OPENS = re.compile(r"(?<!<)<<-?\s*\\?[\"']?([A-Za-z_!][\w!.-]*)")  # and neither `<<<` nor `1<<2`
_TARGET = re.compile(r"(?:>|\btee\s+(?:-\w+\s+)?)\s*[\"']?([^\s\"'<>|;&]+)")
_PREFIXES = re.compile(r"exec|time|nice|ionice|env|nohup|stdbuf|numactl|taskset|chrt|timeout|strace|ltrace")
# They run the command that stands among their words: containers, and tools that enter an environment first.
_WRAPPERS = re.compile(
    r"singularity|apptainer|podman|docker|enroot|shifter|charliecloud|ch-run|sarus"
    r"|conda|mamba|micromamba|poetry|pixi|uv|spack|perf|xvfb-run|bash|sh"
)


@dataclass(frozen=True)
class Document:
    """A here-document. opener: the line it belongs to; target: base name of the file it is written to, or ""."""

    opener: str
    text: str

    @property
    def target(self) -> str:
        """Return the file's name without its folder."""
        found = _TARGET.search(self.opener)
        return base(found[1]) if found else ""


@dataclass(frozen=True)
class Script:
    """A script as read. lines: commands, one a line, variables filled in; documents: in their order."""

    lines: tuple[str, ...]
    documents: tuple[Document, ...]

    @cached_property
    def written(self) -> Mapping[str, str]:
        """Return the text of each file the script writes, by base name."""
        return {one.target: one.text for one in self.documents if one.target}


def parse(body: str) -> Script:
    """Read a shell script."""
    documents: list[Document] = []
    lines = tuple(_filled(_commands_of(_joined(body), documents)))
    return Script(lines, tuple(documents))


def is_shell(body: str) -> bool:
    """Whether its first line names a shell, or nothing."""
    return not body.startswith("#!") or bool(_SHELLS.match(body))


def lines_of(body: str) -> Iterable[str]:
    """Yield the commands of a script, a line each: continued lines joined, comments and here-documents left out."""
    return _commands_of(_joined(body), [])


def late_options(body: str) -> Iterator[str]:
    """Tell of lines that look like options and are none: sbatch(1) stops reading at the first command."""
    lines, documents = body.split("\n"), list[Document]()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    for _ in _commands_of(_joined(body), documents):
        pass
    inside = {line for one in documents for line in one.text.split("\n")}
    late = [line.strip() for line in lines[first:] if line.startswith("#SBATCH -")]
    late = [line for line in late if line not in inside]
    if late:
        more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        yield f"{late[0]!r}{more} stands after the first command, line {first + 1}: sbatch does not read it"


def base(word: str) -> str:
    """Return a program's or file's name without its folder."""
    return word.rsplit("/", 1)[-1]


def _joined(body: str) -> Iterator[str]:
    """Yield lines with continued ones joined; comments stay, for they may be a document's text."""
    held: list[str] = []
    is_blank = True
    for line in body.split("\n"):
        is_comment = is_blank and line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            held.append(line[:-1])
            is_blank = is_blank and not held[-1].strip()
            continue
        text = " ".join((*held, line)).strip()
        held.clear()
        is_blank = True
        if text:
            yield text
    if left := " ".join(held).strip():
        yield left


def _commands_of(lines: Iterable[str], documents: list[Document]) -> Iterator[str]:
    """Yield the lines outside of here-documents and comments; append the documents."""
    ends, opener, held = "", "", list[str]()
    for line in lines:
        if ends:
            if line == ends:
                documents.append(Document(opener, "\n".join(held)))
                ends, held = "", []
            else:
                held.append(line)
            continue
        if line.startswith("#"):
            continue
        yield line
        found = _OPENS.search(line)
        if found and line.count("'", 0, found.start()) % 2 == 0:
            ends, opener = found[1], line
    if ends:
        documents.append(Document(opener, "\n".join(held)))


def _filled(lines: Iterable[str]) -> Iterator[str]:
    """Fill in what the script sets before, and defaults (`${A:-b}`) of what it does not."""
    known: dict[str, str] = {}

    def value(found: re.Match[str]) -> str:
        name, default = found[1] or found[2], found[3]
        return known.get(name, default if default is not None else found[0])

    for line in lines:
        filled = _VARIABLE.sub(value, line) if "$" in line and len(line) <= COMMAND_MAX_CHARS else line
        if len(filled) > COMMAND_MAX_CHARS:
            filled = line
        known.update(_assigned(filled))
        yield filled


def _assigned(line: str) -> Iterator[tuple[str, str]]:
    """Yield names and values that a line sets, as far as the script alone tells them."""
    found = _SET.match(line)
    if found:
        yield from _told(found[1] or found[2], found.groups()[2:])
        return
    at = 0
    while found := _ASSIGNED.match(line, at):
        yield from _told(found[1], found.groups()[1:])
        at = found.end()


def _told(name: str, values: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    text = next((one for one in values if one is not None), "")
    if text and "$(" not in text and "`" not in text and not _OF_A_TASK.search(text):
        yield name, text


# -- commands of a line


def commands(line: str) -> Iterator[list[str]]:
    """Yield the simple commands of a line as words, prefixes such as `time`, variables and containers left out."""
    for part in re.split(r"\|\||&&|[;|]|&(?=\s|$)|\bdo\b|\bthen\b|\belse\b|[({]\s", line):
        words = _words(part)
        words = words[_begins(words) :]
        if words:
            yield words


def _begins(words: Sequence[str]) -> int:
    """Return where the program stands, after variables, keywords, and prefixes with their options."""
    at, prefixed = 0, False
    for word in words:
        is_option = prefixed and (word.startswith("-") or word[:1].isdigit())
        is_before = word in ("export", "if", "while", "!") or re.match(r"[A-Za-z_]\w*=", word)
        if _PREFIXES.fullmatch(base(word)):
            prefixed = True
        elif is_before:
            prefixed = False
        elif not is_option:
            break
        at += 1
    return at


def _words(text: str) -> list[str]:
    if len(text) > COMMAND_MAX_CHARS:
        return text.split()
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote over several lines, or a construct of bash
        return text.split()


def inside(words: list[str], starts: re.Pattern[str]) -> Iterator[list[str]]:
    """Yield what a wrapper runs: `apptainer exec image mpirun ...`, `conda run -n x srun ...`, `sh -c '...'`.

    starts: the programs that are looked for among a wrapper's words.
    """
    if not _WRAPPERS.fullmatch(base(words[0])):
        return
    for index, word in enumerate(words[1:], 1):
        if starts.fullmatch(base(word)):
            yield list(words[index:])
            return
        if word == "-c" and base(words[index - 1]) in ("bash", "sh") and index + 1 < len(words):
            for one in commands(words[index + 1]):
                yield one
                yield from inside(one, starts)
            return
