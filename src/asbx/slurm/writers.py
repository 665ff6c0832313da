"""The lines of slurm.conf and gres.conf that belong to a configuration. Writes text only, never a file.

Source of every setting: slurm.conf(5), gres.conf(5) and Slurm's power saving guide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath

from asbx.config.schema import Config, NodeGroup, Partition
from asbx.decide.hints import WORDS

PROGRAMS = {
    "ResumeProgram": "aws-slurm-burst-resume",
    "SuspendProgram": "aws-slurm-burst-suspend",
    "ResumeFailProgram": "aws-slurm-burst-resume-fail",
}
USUAL_PROGRAMS = PurePath("/usr/local/bin")
# Words that must be in a list other settings share; the reason stands beside each.
CONTROLLER_WORDS = {"idle_on_node_suspend": "a node that failed is usable again after its power-down"}
SCHEDULER_WORDS = {
    "sbatch_wait_nodes": "a batch script starts when ALL its nodes are up; MPI needs that",
    "salloc_wait_nodes": "the same for salloc",
}
# Where the hooks look when nothing tells them otherwise (asbx.hooks.handover).
_USUAL_SPOOL = PurePath("/var/spool/asbx")
# Slurm reads both spellings on a NodeName line.
_FEATURES = ("features", "feature")
_GRES = re.compile(r"(?P<name>[A-Za-z0-9_]+)(?::(?P<type>[A-Za-z][A-Za-z0-9_.-]*))?(?::(?P<count>[0-9]+))?")


HasEfa = Callable[[NodeGroup], bool]


def slurm_conf(config: Config, programs: PurePath = USUAL_PROGRAMS, has_efa: HasEfa = lambda _: True) -> str:
    """Return lines to include in slurm.conf.

    programs: folder of our programs, for those the configuration names no path of. has_efa: whether a group has a type
    with EFA; where that is not known, yes.
    """
    return "\n".join(
        [
            "# Written by `asbx config slurm` from the ASBX configuration: change that, not this.",
            "# Put it beside slurm.conf and say there:  include aws-burst.conf",
            "# Where slurm.conf already sets one of these keys, keep one line: Slurm uses the last it reads.",
            "",
            *_power_saving(config, programs),
            "",
            *_gres_types(config),
            "# -- Nodes: State=CLOUD exists on paper until Slurm resumes it",
            *(_node_line(partition, group, has_efa) for partition, group in config.groups()),
            "",
            "# -- Partitions: SuspendTime here, so that only these nodes are ever powered down",
            *(_partition_line(config, partition) for partition in config.slurm.partitions),
            "",
        ]
    )


def gres_conf(config: Config) -> str:
    """Return lines for gres.conf, from the Gres= of each group; a comment when there is none."""
    lines = [line for partition, group in config.groups() for line in _gres_lines(partition, group)]
    head = "# Written by `asbx config gres` from the ASBX configuration: change that, not this."
    return "\n".join([head, *(lines or ["# no node group has a Gres= in its slurm_specifications"]), ""])


def option(options: dict[str, str | int | float | bool], name: str) -> str | None:
    """Return a Slurm option whatever its spelling (Slurm's keys know no case)."""
    return next((_slurm_value(value) for key, value in options.items() if key.lower() == name.lower()), None)


def _power_saving(config: Config, programs: PurePath) -> Iterator[str]:
    slurm = config.slurm
    yield "# -- Power saving"
    yield "# Absolute paths without arguments: that is all Slurm takes."
    if config.paths.spool != _USUAL_SPOOL:
        yield f"# paths.spool is {config.paths.spool}, and Slurm passes its programs no environment: name wrapper"
        yield f"# scripts here that set ASBX_SPOOL={config.paths.spool} and ASBX_SOCKET={config.paths.socket}."
    stated = (slurm.resume_program, slurm.suspend_program, slurm.resume_fail_program)
    for (key, name), path in zip(PROGRAMS.items(), stated, strict=True):
        yield f"{key}={path or programs / name}"
    yield "# Never by default, so that on-premises nodes need no exclusion list; the partitions below say when."
    yield "SuspendTime=INFINITE"
    yield "# Launch, boot and slurmd must fit in; later nodes are DOWN and their jobs requeued."
    yield f"ResumeTimeout={slurm.resume_timeout}"
    yield "# A node may be used again so long after its power-down."
    yield f"SuspendTimeout={slurm.suspend_timeout}"
    yield "# Nodes a minute; 0 is all at once. With a rate the nodes of an MPI job arrive in parts."
    yield f"ResumeRate={slurm.resume_rate}"
    yield f"SuspendRate={slurm.suspend_rate}"
    yield "# A node that registers after all comes back by itself."
    yield "ReturnToService=2"
    for key, words in (("SlurmctldParameters", CONTROLLER_WORDS), ("SchedulerParameters", SCHEDULER_WORDS)):
        for word, why in words.items():
            yield f"# {word}: {why}."
        yield "# If you have this key already, add the words to your line."
        yield f"{key}={','.join(words)}"
    yield "# Without it powered-down nodes are invisible before Slurm 23.02."
    yield "PrivateData=cloud"
    yield "# slurmctld talks to cloud nodes directly: the others may not be able to reach each other yet."
    yield f"TreeWidth={slurm.tree_width}"


def _gres_types(config: Config) -> Iterator[str]:
    names = {match["name"] for _, group in config.groups() for match in _gres(group)}
    if names:
        yield "# -- Generic resources, as in gres.conf (`asbx config gres`)"
        yield f"GresTypes={','.join(sorted(names))}"
        yield ""


def _node_line(partition: Partition, group: NodeGroup, has_efa: HasEfa) -> str:
    options = _options({k: v for k, v in group.slurm_specifications.items() if k.lower() not in _FEATURES})
    features = ",".join(_features(group, has_efa=has_efa(group)))
    return " ".join([f"NodeName={partition.node_range(group)}", *options, f"Features={features}", "State=CLOUD"])


def _features(group: NodeGroup, *, has_efa: bool) -> list[str]:
    """Return the site's features of a group and the words a job may name to say how it wants to be launched.

    Every group has all of them: Slurm would otherwise refuse the job at once, where ASBX can say what is missing. Only
    `efa` stands where it can be had alone, or Slurm would choose the cheaper nodes beside them for `--constraint=efa`.
    """
    words = [word for word in WORDS if word != "efa" or (has_efa and group.efa != "disabled")]
    stated = [option(group.slurm_specifications, key) or "" for key in _FEATURES]
    own = [word.strip() for text in stated for word in text.split(",")]
    return list(dict.fromkeys([*filter(None, own), *words]))


def _partition_line(config: Config, partition: Partition) -> str:
    nodes = ",".join(partition.node_range(group) for group in partition.node_groups)
    words = [f"PartitionName={partition.partition_name}", f"Nodes={nodes}"]
    if option(partition.partition_options, "State") is None:
        words.append("State=UP")
    if option(partition.partition_options, "SuspendTime") is None:
        words.append(f"SuspendTime={config.slurm.suspend_time}")
    return " ".join([*words, *_options(partition.partition_options)])


def _options(options: dict[str, str | int | float | bool]) -> Iterator[str]:
    for key, value in options.items():
        text = _slurm_value(value)
        yield f'{key}="{text}"' if " " in text else f"{key}={text}"


def _slurm_value(value: str | float) -> str:
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return {"true": "YES", "false": "NO"}.get(str(value).lower(), str(value))


def _gres(group: NodeGroup) -> Iterator[re.Match[str]]:
    """Yield name, type and count of each generic resource a group has."""
    for part in (option(group.slurm_specifications, "Gres") or "").split(","):
        match = _GRES.fullmatch(part.strip())
        if match is not None:
            yield match


def _gres_lines(partition: Partition, group: NodeGroup) -> Iterator[str]:
    for match in _gres(group):
        count = int(match["count"] or 1)
        words = [f"NodeName={partition.node_range(group)}", f"Name={match['name']}"]
        if match["type"]:
            words.append(f"Type={match['type']}")
        if match["name"] == "gpu":
            # With device files Slurm can bind each job to its own GPUs.
            words.append("File=/dev/nvidia0" if count == 1 else f"File=/dev/nvidia[0-{count - 1}]")
        else:
            words.append(f"Count={count}")
        yield " ".join(words)
