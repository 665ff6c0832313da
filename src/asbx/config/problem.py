"""A finding about a configuration: where it is, which key, what is wrong. Collected first, raised together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asbx.errors import ConfigError

# Names and indices from the top of the file to a value.
Key = tuple[str | int, ...]

_MOST_SHOWN = 25


@dataclass(frozen=True)
class Problem:
    """One finding. line: in the file, 0 where it has none. source: says where instead, such as a variable."""

    key: Key
    text: str
    line: int = 0
    source: str = ""

    def at(self, path: Path) -> str:
        """Return the finding as one line of text."""
        where = self.source or (f"{path}:{self.line}" if self.line else str(path))
        return f"{where}: {key_text(self.key)} {self.text}" if self.key else f"{where}: {self.text}"


class InvalidConfigError(ConfigError):
    """A configuration that cannot be used, with everything found wrong in it."""

    def __init__(self, path: Path, problems: Sequence[Problem], hint: str = "") -> None:
        ordered = sorted(problems, key=lambda problem: (problem.line, key_text(problem.key)))
        self.problems = tuple(problem.at(path) for problem in ordered)
        shown = [*self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            shown.append(f"and {len(self.problems) - _MOST_SHOWN} more")
        one = len(self.problems) == 1
        super().__init__(
            "config-invalid",
            shown[0] if one else f"{path} has {len(self.problems)} problems",
            "" if one else "\n".join(shown),
            hint or "`asbx config schema` and docs/reference/configuration.md list every key",
        )
        self.path = path


def key_text(key: Iterable[str | int]) -> str:
    """Return a key as people write it: `slurm.partitions[0].partition_name`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
