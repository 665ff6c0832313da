"""Tell the story of a demo as it happens: plain lines, a live bar on a terminal, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Timeline(Protocol):
    """What a demo tells."""

    def event(self, name: str, text: str, **facts: object) -> None:
        """Say that something happened. name: stable, for machines."""

    def waiting(self, text: str) -> None:
        """Say what is being waited for."""

    def close(self) -> None:
        """Say nothing more."""


def timeline(steps: int, *, as_json: bool) -> Timeline:
    """Return the teller that suits the output. steps: how many events make the story."""
    if as_json:
        return JsonLines()
    console = Console(highlight=False)
    return LiveBar(console, steps) if console.is_terminal else PlainLines()


class PlainLines:
    """One line an event, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def event(self, name: str, text: str, **facts: object) -> None:
        """Print a line."""
        del name, facts
        sys.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {text}\n")
        sys.stdout.flush()

    def waiting(self, text: str) -> None:
        """Print nothing: a log wants events only."""

    def close(self) -> None:
        """Nothing is open."""


class JsonLines:
    """One JSON object an event."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def event(self, name: str, text: str, **facts: object) -> None:
        """Print an object."""
        row = {"t": round(time.monotonic() - self._began, 3), "event": name, "text": text.strip(), **facts}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    def waiting(self, text: str) -> None:
        """Print nothing: machines read events."""

    def close(self) -> None:
        """Nothing is open."""


class LiveBar:
    """Events scroll by above a bar that says what is being waited for."""

    def __init__(self, console: Console, steps: int) -> None:
        self._began = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._progress.add_task("starting", total=steps)
        self._progress.start()

    def event(self, name: str, text: str, **facts: object) -> None:
        """Print a line above the bar and move the bar."""
        del name, facts
        self._progress.console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/dim]  {text}")
        self._progress.advance(self._task)

    def waiting(self, text: str) -> None:
        """Show it beside the bar."""
        self._progress.update(self._task, description=text)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()
