"""Open a trace, plain or gzip, and see what it is."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterator
from datetime import UTC, tzinfo
from pathlib import Path
from typing import BinaryIO, Literal, cast

from asbx.config.limits import TRACE_LONGEST_LINE
from asbx.errors import ConfigError
from asbx.sim.trace.job import Reading
from asbx.sim.trace.sacct import COMMAND, is_header, read_sacct
from asbx.sim.trace.swf import FIELDS, read_swf

Kind = Literal["auto", "swf", "sacct"]
_GZIP, _UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 64


def read_trace(path: Path, kind: Kind = "auto", zone: tzinfo = UTC) -> Reading:
    """Read a trace. Raises ConfigError: `trace-file`, `-unknown`, `-columns`, `-empty`, `-too-long`.

    kind `auto`: comments with `;` or lines of 18 words are SWF, a header with JobID is sacct's.
    """
    try:
        with _opened(path) as file:
            said = _read(path, _lines(file), kind, zone)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError("trace-file", f"{path} cannot be read", why, "name a trace") from None
    said.jobs.sort(key=lambda job: job.submit_s)  # stable: equal times stay in the file's order
    if not said.jobs:
        raise ConfigError(
            "trace-empty", f"{path} has no job that could be taken", _why(said), "see docs/how-to/what-if.md"
        )
    return said


def _read(path: Path, lines: Iterator[tuple[int, str]], kind: Kind, zone: tzinfo) -> Reading:
    first = list(itertools.islice(lines, _LOOKED_AT))
    found = _kind(first) if kind == "auto" else kind
    every = itertools.chain(first, lines)
    if found == "swf":
        return read_swf(every)
    if found == "sacct":
        return read_sacct(every, zone)
    raise ConfigError(
        "trace-unknown",
        f"{path} is neither SWF nor sacct's output",
        f"SWF has comments with ';' and lines of {FIELDS} numbers; sacct's begins with a header that has JobID",
        COMMAND,
    )


def _kind(lines: list[tuple[int, str]]) -> str:
    for _, text in lines:
        if text.strip():
            if text.startswith(";") or len(text.split()) == FIELDS:
                return "swf"
            return "sacct" if is_header(text) else ""
    return ""


def _why(said: Reading) -> str:
    reasons = [f"{count} left out: {why}" for why, count in said.left_out.most_common()]
    reasons += [f"line {line}: {why}" for line, why in said.faults[:3]]
    return f"{said.lines} lines; " + "; ".join(reasons) if reasons else f"{said.lines} lines"


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(2)
    if start in _UTF16:
        raise ConfigError("trace-file", f"{path} is UTF-16", "", "save it as UTF-8")
    return cast("BinaryIO", gzip.open(path, "rb")) if start == _GZIP else path.open("rb")


def _lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without their ends; of one that is too long the beginning, with a mark no format takes."""
    for number in itertools.count(1):
        line = file.readline(TRACE_LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > TRACE_LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(TRACE_LONGEST_LINE)
            yield number, f"(longer than {TRACE_LONGEST_LINE} characters)"
            continue
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
        yield number, text.rstrip("\r\n")
