"""A plans folder in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from asbx.model.plan_file import PlanFile


@dataclass
class FakePlans:
    """The door `Plans`. reads: names in the order they were read."""

    files: dict[str, PlanFile] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def leave(self, name: str, text: str, owner: str = "root", *, trouble: str = "") -> None:
        """Leave a file; root's are an administrator's."""
        self.files[name] = PlanFile(name, owner, owner == "root", "" if trouble else text, trouble)

    def read(self, name: str) -> PlanFile | None:
        """Return a file, None where there is none."""
        self.reads.append(name)
        return self.files.get(name)
