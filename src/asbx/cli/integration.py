"""`asbx validate integration`: which companions are here, what they can do, and the folders shared with them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from asbx.cli import site
from asbx.config.limits import COMPANION_TIMEOUT
from asbx.daemon.companions import ask, locate
from asbx.decide import companions
from asbx.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from asbx.config.schema import Config

_LONGEST = 120
_TELLS_VERSION = (("--version",), ("version",))
_WHAT = {"asba": "advisor", "asbb": "budget service", "scontrol": "Slurm"}


@dataclass(frozen=True)
class _Asking:
    """How long each answer may take, and which cluster it is about."""

    patience: timedelta
    slurm_conf: Path | None = None


@dataclass(frozen=True)
class Companion:
    """What was found of one. enabled: yes, no, or if-there. trouble: why it could not be asked, "" where it could."""

    name: str
    command: str
    enabled: companions.Wish
    found: bool = False
    path: str = ""
    version: str | None = None
    abilities: dict[str, bool] | None = None
    trouble: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether the site wants it and it is not there."""
        return self.enabled == "yes" and not self.found


@dataclass(frozen=True)
class Folder:
    """A folder shared with companions or users. trouble: what is wrong with it, "" for nothing."""

    what: str
    path: str
    there: bool
    owner: str = ""
    mode: str = ""
    writable: bool = False
    trouble: str = ""


def integration(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Look for advisor and budget service as the configuration names them, and at the folders shared with them.

    None of them is required: without them the program works by itself. Exit status 3 when the configuration says
    `enabled: true` of one that is not here.

    Example: aws-slurm-burst-validate integration
    """
    settings, told = _settings(config)
    found = list(_companions(settings))
    folders = list(_folders(settings)) if settings else []
    missing = [one for one in found if one.is_missing]
    if as_json:
        _show(found, folders, told, missing)
    else:
        _tell(found, folders, told)
    if missing:
        raise typer.Exit(ExitCode.CONFIG)


def _settings(path: Path | None) -> tuple[Config | None, str]:
    """Return the configuration, None where there is none yet; one that was named must be usable."""
    try:
        loaded = site.load(path)
    except ConfigError as error:
        if path is not None or "ASBX_CONFIG" in os.environ or error.code != "config-missing":
            raise
        return None, ""
    return loaded.config, str(loaded.path)


def _companions(settings: Config | None) -> Iterator[Companion]:
    if settings is None:
        yield _look("scontrol", "scontrol", "if-there", _Asking(COMPANION_TIMEOUT), ("-V",))
        for name in companions.ABILITIES:
            yield _look(name, name, "if-there", _Asking(COMPANION_TIMEOUT), *_TELLS_VERSION)
        return
    conf = settings.slurm.config_path
    slurm = str(settings.slurm.bin_path / "scontrol")
    yield _look("scontrol", slurm, "if-there", _Asking(COMPANION_TIMEOUT, conf), ("-V",))
    for name, section in (("asba", settings.asba), ("asbb", settings.asbb)):
        wish = companions.wish(section.enabled)
        together = settings.ecosystem
        if not together.enable_cross_project or (wish == "if-there" and not together.auto_detect):
            wish = "no"
        patience = min(COMPANION_TIMEOUT, timedelta(seconds=section.timeout_seconds))
        yield _look(name, section.command, wish, _Asking(patience, conf), *_TELLS_VERSION)


def _look(
    name: str, command: str, wish: companions.Wish, asking: _Asking, *tells_version: tuple[str, ...]
) -> Companion:
    path = locate(command) if wish != "no" else None
    if path is None:
        return Companion(name, command, wish)
    version, trouble = None, ""
    for arguments in tells_version:
        said = ask(path, *arguments, patience=asking.patience, slurm_conf=asking.slurm_conf)
        version = companions.version(said.text, said.status)
        first = " ".join(said.text.split())[:_LONGEST]
        trouble = said.why or ("" if version else f"`{path.name} {arguments[0]}` ends with {said.status}: {first}")
        if version or said.status is None:
            break
    abilities = None
    if name in companions.ABILITIES and not trouble:
        said = ask(path, "--help", patience=asking.patience, slurm_conf=asking.slurm_conf)
        abilities = companions.abilities(name, said.text) if said.status == 0 else None
        trouble = said.why
    return Companion(name, command, wish, True, str(path), version, abilities, trouble)


def _folders(settings: Config) -> Iterator[Folder]:
    yield _folder("plans of jobs", settings.paths.plans, shared=settings.policy.users_plans)
    yield _folder("learning documents", settings.learning.output_dir)
    yield _folder("cost files for the budget service", settings.paths.spool)
    yield _folder("the budget service's own cost files", Path(settings.asbb.reconciliation_dir))
    yield _folder("exchange between companions", Path(settings.ecosystem.data_exchange_dir))


def _folder(what: str, path: Path, *, shared: bool = False) -> Folder:
    """Look at a folder. shared: every user may add files, so nobody may remove another's (the sticky bit)."""
    try:
        seen = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Folder(what, str(path), False)
    except OSError as error:
        return Folder(what, str(path), False, trouble=error.strerror or str(error))
    trouble = ""
    if not stat.S_ISDIR(seen.st_mode):
        trouble = "it is no folder"
    elif seen.st_mode & stat.S_IWOTH and not seen.st_mode & stat.S_ISVTX:
        trouble = "anybody may remove others' files there: chmod +t"
    elif shared and not seen.st_mode & stat.S_IWOTH:
        trouble = "users cannot leave plans there: chmod 1733, or set policy.users_plans to false"
    elif shared and (closed := _closed(path)):
        trouble = f"users cannot reach it: {closed} is closed to them (chmod o+x), or set policy.users_plans to false"
    writable = os.access(path, os.W_OK | os.X_OK)
    return Folder(what, str(path), True, _owner(seen.st_uid), f"{stat.S_IMODE(seen.st_mode):04o}", writable, trouble)


def _closed(path: Path) -> str:
    """Return the first folder above a path that others may not pass through."""
    for above in reversed(path.absolute().parents):
        try:
            if not above.stat().st_mode & stat.S_IXOTH:
                return str(above)
        except OSError:
            return str(above)
    return ""


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _mode(found: list[Companion]) -> str:
    used = [one.name for one in found if one.found and one.name in companions.ABILITIES]
    return "with " + " and ".join(used) if used else "standalone"


def _show(found: list[Companion], folders: list[Folder], told: str, missing: list[Companion]) -> None:
    rows: dict[str, Any] = {}
    for one in found:
        rows[one.name] = asdict(one)
        del rows[one.name]["name"]
    shown = {**rows, "mode": _mode(found), "config": told or None, "folders": [asdict(one) for one in folders]}
    site.show(shown | {"missing": [one.name for one in missing]})


def _tell(found: list[Companion], folders: list[Folder], told: str) -> None:
    typer.echo(f"configuration: {told or 'none found, so defaults count'}")
    for one in found:
        typer.echo(_line(one))
    for folder in folders:
        if folder.trouble:
            typer.echo(f"! {folder.what}: {folder.path}: {folder.trouble}")
        elif folder.there:
            by_us = "writable" if folder.writable else "not writable for this user"
            typer.echo(f"{site.mark(ok=True)} {folder.what}: {folder.path} ({folder.owner}, {folder.mode}, {by_us})")
        else:
            typer.echo(f"- {folder.what}: {folder.path} is not there; it is made when it is needed, or by its owner")
    mode = _mode(found)
    typer.echo("standalone: works without companions" if mode == "standalone" else f"works {mode}")


def _line(one: Companion) -> str:
    what = f"{one.name} ({_WHAT[one.name]})"
    if not one.found:
        if one.is_missing:
            return f"{site.mark(ok=False)} {what}: {one.command} is not here, and the configuration says enabled: true"
        if one.enabled == "no":
            return f"- {what}: not looked for, the configuration says so"
        return f"- {what}: not on this machine's PATH; not needed"
    if one.trouble:
        return f"! {what}: {one.path}: {one.trouble}"
    can = [name for name, is_there in (one.abilities or {}).items() if is_there]
    cannot = [name for name, is_there in (one.abilities or {}).items() if not is_there]
    told = f"; can {', '.join(can)}" if can else ""
    told += f"; cannot {', '.join(cannot)}" if cannot else ""
    return f"{site.mark(ok=True)} {what}: {one.version or 'of an unknown version'}, {one.path}{told}"
