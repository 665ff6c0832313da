"""Find, read and check the configuration; say of every problem where it is and what was expected.

Search order: the path given, $ASBX_CONFIG, /etc/slurm/aws-burst.yaml; for people also ./config.yaml.
Afterwards `ASBX__SECTION__KEY` variables replace single keys.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from asbx.config import rules
from asbx.config.environment import apply_environment
from asbx.config.expectation import problems_of
from asbx.config.limits import CONFIG_MAX_BYTES
from asbx.config.origins import trace
from asbx.config.problem import InvalidConfigError, Key, Problem
from asbx.config.schema import Config
from asbx.config.yaml_text import Document, read_document
from asbx.errors import ConfigError

SYSTEM_PATH = Path("/etc/slurm/aws-burst.yaml")
VARIABLE = "ASBX_CONFIG"
LOCAL_NAME = "config.yaml"


@dataclass(frozen=True)
class Found:
    """A configuration file and how it was found, in words."""

    path: Path
    how: str


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration.

    origins: dotted key -> `FILE:LINE`, `environment NAME` or `default`. warnings: one sentence each.
    """

    config: Config
    path: Path
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def find_config(explicit: Path | None, environ: Mapping[str, str], cwd: Path | None = None) -> Found:
    """Say which file to read; `cwd` allows ./config.yaml there, if only its owner, us or root, can write it.

    Slurm's programs pass no `cwd`: nobody's working directory may decide what root launches.
    Raises ConfigError (`config-missing`) when there is none.
    """
    if explicit is not None:
        return Found(explicit, "given on the command line")
    if environ.get(VARIABLE):
        return Found(Path(environ[VARIABLE]), f"named by ${VARIABLE}")
    if SYSTEM_PATH.exists():
        return Found(SYSTEM_PATH, "the system's place")
    looked = f"{SYSTEM_PATH} does not exist"
    if cwd is not None:
        local = cwd / LOCAL_NAME
        distrust = _distrust(local)
        if not distrust:
            return Found(local, "in the working directory")
        looked += f"; {local} {distrust}"
    raise ConfigError(
        "config-missing",
        "there is no configuration file",
        looked,
        f"name one with --config or ${VARIABLE}; examples/config.yaml is a start",
    )


def load_config(path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Read and check a configuration.

    Raises ConfigError: `config-missing`, `config-unreadable`, or `config-invalid` with every problem found.
    """
    if path is None:
        path = find_config(None, environ).path
    document = read_document(_read(path), path)
    from_environment, odd = apply_environment(document.data, environ)
    problems = [*document.problems, *odd]
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems += problems_of(error, document.data)
        raise _invalid(path, problems, document, from_environment) from None
    findings = rules.check(config)
    problems += findings.problems
    if problems:
        raise _invalid(path, problems, document, from_environment)
    warnings = (_placed(warning, document, from_environment).at(path) for warning in findings.warnings)
    return LoadedConfig(config, path, trace(config, document.lines, from_environment, path), tuple(warnings))


def _invalid(
    path: Path, problems: list[Problem], document: Document, from_environment: Mapping[Key, str]
) -> InvalidConfigError:
    return InvalidConfigError(path, [_placed(problem, document, from_environment) for problem in problems])


def _placed(problem: Problem, document: Document, from_environment: Mapping[Key, str]) -> Problem:
    """Return the problem with the place of its key, or of the nearest section around it that has one."""
    if problem.line or problem.source:
        return problem
    for length in range(len(problem.key), 0, -1):
        key = problem.key[:length]
        if key in from_environment:
            return Problem(problem.key, problem.text, source=f"environment {from_environment[key]}")
        if key in document.lines:
            return Problem(problem.key, problem.text, document.lines[key])
    return problem


def _read(path: Path) -> str:
    """Return the text of a file. Raises ConfigError for everything that is not a text file of sensible size."""
    try:
        with open(path, "rb", opener=_open_quietly) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable(path, "it is not a regular file")
            content = file.read(CONFIG_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            "config-missing",
            f"there is no file {path}",
            "",
            "check the path; examples/config.yaml is a start",
        ) from error
    except IsADirectoryError as error:
        raise _unreadable(path, "it is a folder") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if len(content) > CONFIG_MAX_BYTES:
        raise _unreadable(path, f"it is larger than {CONFIG_MAX_BYTES // 1024**2} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"line {line} is not UTF-8 text") from error
    if "\0" in text:
        raise _unreadable(path, f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL byte")
    return text


def _open_quietly(path: str, flags: int) -> int:
    # A named pipe without a writer would block for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "config-unreadable", f"cannot read the configuration {path}", why, "name a YAML file you may read"
    )


def _distrust(path: Path) -> str:
    """Say why a file found in the working directory is not to be used; empty when it may."""
    try:
        link, file = path.lstat(), path.stat()
    except OSError:
        return "does not exist"
    me = os.geteuid()
    if not stat.S_ISREG(file.st_mode):
        return "is not a file"
    if link.st_uid not in (me, 0) or file.st_uid not in (me, 0):
        return "belongs to somebody else and is not used unless named"
    # Many systems give every user a group of the same number and a umask of 002.
    own_group = file.st_gid == file.st_uid
    if file.st_mode & stat.S_IWOTH or (file.st_mode & stat.S_IWGRP and not own_group):
        return "can be written by others and is not used unless named"
    return ""
