"""A what-if for people: what was read, figures side by side, and what is to be thought of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from asbx.sim.trace.job import Reading, TraceJob
from asbx.sim.whatif.compare import SECTIONS, Row, differences, length, spread
from asbx.sim.whatif.outcome import Outcome, share_of

_LABEL, _LEAST, _SHOWN_FAULTS = 28, 12, 5
_WIDE = 100  # where nobody watches, lines of text are folded here


@dataclass(frozen=True)
class Told:
    """What the page tells. part: the jobs that were played. prices: where they are from. notes: one sentence each."""

    path: str
    read: Reading
    part: Sequence[TraceJob]
    results: Mapping[str, Sequence[Outcome]]
    notes: Sequence[str]


def page(told: Told, width: int) -> Iterator[str]:
    """Yield the lines of the page."""
    most = min(width, _WIDE)
    for text in _reading(told):
        yield from textwrap.wrap(text, most, subsequent_indent="  ")
    yield ""
    names = list(told.results)
    column = max(_LEAST, *(min(len(name), 20) + 2 for name in names), _widest(told.results))
    fit = max((width - _LABEL) // column, 1)
    for begin in range(0, len(names), fit):
        yield from _block({name: told.results[name] for name in names[begin : begin + fit]}, column)
    yield from _not_done(told.results, most)
    for text in (*differences(told.results), *told.notes):
        yield from textwrap.wrap(f"- {text}", most, subsequent_indent="  ")
    for name, outcomes in told.results.items():
        for one in outcomes:
            for fault in one.faults:
                yield from textwrap.wrap(f"! {name}, seed {one.seed}: {fault}", most, subsequent_indent="  ")


def _reading(told: Told) -> Iterator[str]:
    read, part = told.read, told.part
    hours = sum(job.core_hours for job in part)
    yield f"trace   {told.path} ({read.kind}): {len(read.jobs):,} jobs read, {len(part):,} of them played"
    yield f"        they come within {length(part[-1].submit_s)} and are {hours:,.1f} core-hours of work"
    waits = sorted(job.waited_s for job in part if job.waited_s is not None)
    if waits:
        yield (
            f"        there they waited {length(share_of(waits, 0.5))} in the median, "
            f"{length(share_of(waits, 0.9))} 90 of 100, on the machine they ran on"
        )
    if read.left_out:
        yield "left out " + ", ".join(f"{count:,}: {why}" for why, count in read.left_out.most_common())
    if read.notes:
        yield "by rule " + ", ".join(f"{count:,}: {why}" for why, count in read.notes.most_common())
    if read.bad_lines:
        named = "; ".join(f"line {line}: {why}" for line, why in read.faults[:_SHOWN_FAULTS])
        yield f"refused {read.bad_lines:,} of {read.lines:,} lines; {named}"


def _widest(results: Mapping[str, Sequence[Outcome]]) -> int:
    return 2 + max(len(_cell(row, outcomes)) for _, rows in SECTIONS for row in rows for outcomes in results.values())


def _block(results: Mapping[str, Sequence[Outcome]], column: int) -> Iterator[str]:
    seeds = len(next(iter(results.values())))
    head = "" if seeds == 1 else f"median of {seeds} seeds"
    yield f"{head:<{_LABEL}}" + "".join(f"{_short(name, column - 2):>{column}}" for name in results)
    for title, rows in SECTIONS:
        yield title
        for row in rows:
            yield f"  {row.label:<{_LABEL - 2}}" + "".join(f"{_cell(row, some):>{column}}" for some in results.values())
    yield ""


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 2]}.."


def _cell(row: Row, outcomes: Sequence[Outcome]) -> str:
    least, middle, most = spread(outcomes, row.key)
    text = row.say(middle)
    return text if row.say(least) == row.say(most) else f"{text} ({row.say(least)} to {row.say(most)})"


def _not_done(results: Mapping[str, Sequence[Outcome]], most: int) -> Iterator[str]:
    for name, outcomes in results.items():
        ends = outcomes[0].ends
        for why, count in ends.items():
            if why != "done":
                yield from textwrap.wrap(
                    f"- {name}: {count:,} job{'s' if count > 1 else ''} {why}", most, subsequent_indent="  "
                )
