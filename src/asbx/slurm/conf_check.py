"""What in an existing slurm.conf would break bursting. Reads text only; asks no slurmctld.

Source: slurm.conf(5) and the power saving guide of Slurm 22.05 and later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from asbx.config.schema import Config
from asbx.errors import UsageError
from asbx.model.hostlist import expand, fold, unique_sorted
from asbx.slurm.writers import CONTROLLER_WORDS, PROGRAMS, SCHEDULER_WORDS

_WORD = re.compile(r'([A-Za-z][A-Za-z0-9_]*)\s*(?:\+|-)?=\s*("[^"]*"|\S+)')
_PROGRAM = re.compile(rf"({'|'.join(PROGRAMS)})\s*=\s*(.+)", re.IGNORECASE)
# Slurm's default, slurm.conf(5).
_DEFAULT_RESUME_TIMEOUT = 60


@dataclass
class _SlurmConf:
    """A slurm.conf taken apart: single settings, partitions and nodes, all keys in lower case."""

    settings: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, dict[str, str]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)  # name -> state
    includes: bool = False
    controllers: int = 0
    unread: list[str] = field(default_factory=list)


def slurm_warnings(text: str, config: Config) -> tuple[str, ...]:
    """Return what breaks or weakens bursting, one sentence each, worst first."""
    conf = _read(text)
    return (
        *_program_warnings(conf),
        *_power_warnings(conf, config),
        *_list_warnings(conf),
        *_pair_warnings(conf, config),
        *_node_warnings(conf, config),
        *conf.unread,
    )


def _read(text: str) -> _SlurmConf:
    conf = _SlurmConf()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        stripped = line.split("#", 1)[0].strip()
        if stripped.lower().startswith("include"):
            conf.includes = True
            continue
        program = _PROGRAM.match(stripped)
        if program is not None:  # the rest of the line, to see arguments nobody will get
            conf.settings[program[1].lower()] = program[2].strip('"')
            continue
        words = {key.lower(): value.strip('"') for key, value in _WORD.findall(stripped)}
        conf.controllers += "slurmctldhost" in words
        if "partitionname" in words:
            _add_partition(conf, words)
        elif "nodename" in words:
            _add_nodes(conf, words)
        else:
            conf.settings.update(words)
    return conf


def _add_partition(conf: _SlurmConf, words: Mapping[str, str]) -> None:
    name = words["partitionname"]
    inherited = conf.partitions.get("DEFAULT", {})
    conf.partitions[name] = {**inherited, **words}


def _add_nodes(conf: _SlurmConf, words: Mapping[str, str]) -> None:
    if words["nodename"].upper() == "DEFAULT":
        return
    try:
        names = expand(words["nodename"])
    except UsageError as error:
        conf.unread.append(f"NodeName={words['nodename'][:60]} cannot be read: {error.why}")
        return
    conf.nodes.update(dict.fromkeys(names, words.get("state", "UNKNOWN").upper()))


def _program_warnings(conf: _SlurmConf) -> Iterator[str]:
    for key, name in PROGRAMS.items():
        path = conf.settings.get(key.lower(), "")
        if not path or path.lower() == "(null)":
            yield f"{key} is not set: name the absolute path of {name}"
        elif not path.startswith("/"):
            yield f"{key}={path} is not an absolute path: Slurm will not run it"
        elif " " in path:
            yield f"{key}={path} has arguments: Slurm takes the path of a program only"


def _power_warnings(conf: _SlurmConf, config: Config) -> Iterator[str]:
    settings = conf.settings
    ours = [partition.partition_name for partition in config.slurm.partitions]
    is_global = _is_finite(settings.get("suspendtime"))
    for name in ours:
        stated = conf.partitions.get(name, {}).get("suspendtime")
        if name in conf.partitions and not (_is_finite(stated) or (stated is None and is_global)):
            yield (
                f"partition {name} has no finite SuspendTime: power saving is off for it, "
                "and Slurm will not call ResumeProgram either"
            )
    if is_global and not (settings.get("suspendexcparts") or settings.get("suspendexcnodes")):
        yield (
            f"SuspendTime={settings['suspendtime']} holds for every node, on-premises ones too: set it on the "
            "cloud partitions and SuspendTime=INFINITE globally"
        )
    for key, usual in (("ResumeRate", 300), ("SuspendRate", 60)):
        rate = settings.get(key.lower(), f"{usual} (Slurm's default)")
        if rate != "0":
            yield f"{key} is {rate} nodes a minute: the nodes of a job come and go in parts; use {key}=0"
    timeout = settings.get("resumetimeout", str(_DEFAULT_RESUME_TIMEOUT))
    if timeout.isdigit() and int(timeout) < config.slurm.resume_timeout:
        yield (
            f"ResumeTimeout is {timeout} s, shorter than slurm.resume_timeout ({config.slurm.resume_timeout}): "
            "Slurm gives nodes up while they are still launched"
        )
    if settings.get("returntoservice") != "2":
        yield "ReturnToService is not 2: a node that registers late stays DOWN until somebody resumes it"


def _pair_warnings(conf: _SlurmConf, config: Config) -> Iterator[str]:
    if conf.controllers > 1 and config.ledger_url.startswith("sqlite"):
        yield (
            f"SlurmctldHost names {conf.controllers} hosts, but the ledger is an SQLite file of this one: after a "
            "failover nobody would know what was launched. Share one on PostgreSQL (ledger.url), with a daemon beside "
            "each slurmctld"
        )


def _list_warnings(conf: _SlurmConf) -> Iterator[str]:
    controller = _words(conf, "slurmctldparameters")
    scheduler = _words(conf, "schedulerparameters")
    for key, have, wanted in (
        ("SlurmctldParameters", controller, CONTROLLER_WORDS),
        ("SchedulerParameters", scheduler, SCHEDULER_WORDS),
    ):
        for word, why in wanted.items():
            if word not in have:
                yield f"{key} lacks {word}: {why}"
    if "cloud_dns" in controller:
        yield "SlurmctldParameters has cloud_dns: node addresses set by ASBX are then not sent to the nodes"
    if "extra_constraints" in scheduler:
        yield "SchedulerParameters has extra_constraints: it gives a job's --extra another meaning"
    if "cloud" not in _words(conf, "privatedata"):
        yield "PrivateData lacks cloud: before Slurm 23.02 powered-down nodes are invisible"


def _node_warnings(conf: _SlurmConf, config: Config) -> Iterator[str]:
    wanted = {name for partition, group in config.groups() for name in expand(partition.node_range(group))}
    ours = tuple(f"{partition.partition_name}-{group.node_group_name}-" for partition, group in config.groups())
    missing = unique_sorted(wanted - set(conf.nodes))
    if missing:
        beside = " (an included file may have them; it was not read)" if conf.includes else ""
        yield f"slurm.conf has no nodes {_short(missing)}{beside}"
    extra = unique_sorted(name for name in conf.nodes if name.startswith(ours) and name not in wanted)
    if extra:
        yield f"slurm.conf has nodes {_short(extra)}, which the configuration does not know: they cannot be launched"
    wrong = unique_sorted(
        name for name, state in conf.nodes.items() if name in wanted and state not in ("CLOUD", "FUTURE")
    )
    if wrong:
        yield f"nodes {_short(wrong)} are not State=CLOUD: Slurm takes them for machines that are there"
    for partition in config.slurm.partitions:
        if partition.partition_name not in conf.partitions and not conf.includes:
            yield f"slurm.conf has no partition {partition.partition_name}"


def _words(conf: _SlurmConf, key: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in conf.settings.get(key, "").split(","))


def _is_finite(text: str | None) -> bool:
    return text is not None and text.isdigit()


def _short(names: tuple[str, ...]) -> str:
    text = fold(names)
    return text if len(text) <= 120 else f"{text[:100]}.. ({len(names)} in all)"
