"""Say what went wrong in four parts and one exit status. Imports nothing of ours.

Exit statuses are a promise to scripts (docs/reference/exit-codes.md); never renumber one.
"""

from __future__ import annotations

import re
from enum import IntEnum

# In a URL: what stands between user and host, and what a query calls secret.
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^\s@]+@|([?&](?:password|passwd|pwd|secret|token)=)[^&\s'\"]+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Return a text with the passwords of the URLs in it left out; other programs put them into their errors."""
    if "://" not in text:
        return text
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


class ExitCode(IntEnum):
    """What a program of ours returns to the shell."""

    DONE = 0
    USAGE = 2
    CONFIG = 3
    PLAN = 4
    NO_CAPACITY = 5
    BUDGET = 6
    AWS_ACCESS = 7
    SLURM = 8
    PARTLY = 9
    LEDGER = 10
    INTERNAL = 70


class AsbxError(Exception):
    """An error a person can act on.

    code: kebab-case, stable, searchable in the docs.
    what: one sentence on what could not be done.
    why: the fact behind it.
    hint: what to do next.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, code: str, what: str, why: str = "", hint: str = "") -> None:
        what, why = without_passwords(what), without_passwords(why)
        super().__init__(f"{code}: {what}" + (f" ({why})" if why else ""))
        self.code = code
        self.what = what
        self.why = why
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """Return the four parts, as `--json` prints them."""
        return {"code": self.code, "what": self.what, "why": self.why, "hint": self.hint}


class UsageError(AsbxError):
    """The command line cannot be understood."""

    exit_code = ExitCode.USAGE


class ConfigError(AsbxError):
    """The configuration file is missing or invalid."""

    exit_code = ExitCode.CONFIG


class PlanError(AsbxError):
    """The execution plan is invalid or asks for more than the site allows."""

    exit_code = ExitCode.PLAN


class LimitError(PlanError):
    """The launch would cost or take more than a limit allows."""

    exit_code = ExitCode.BUDGET


class CapacityError(AsbxError):
    """EC2 had no room within the deadline."""

    exit_code = ExitCode.NO_CAPACITY


class AccessError(AsbxError):
    """AWS credentials are missing, expired or not allowed to do this."""

    exit_code = ExitCode.AWS_ACCESS


class SlurmError(AsbxError):
    """Slurm cannot be reached or refused."""

    exit_code = ExitCode.SLURM


class PartlyError(AsbxError):
    """Something was given back or could not be bound."""

    exit_code = ExitCode.PARTLY


class LedgerError(AsbxError):
    """The ledger cannot be read or written."""

    exit_code = ExitCode.LEDGER
