"""The options of sbatch: names, letters, whether they take a value, and the environment variables that set them.

Source: sbatch(1) of Slurm 22.05 and its changes up to 26.05. An option sbatch has and this table has not makes a word
after it look like the script; so unknown options are reported, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Takes(StrEnum):
    """Whether an option has a value: always, only as `--name=value`, or never."""

    VALUE = "value"
    MAYBE = "maybe"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Option:
    """One option. letter: its short form, "" for none. variables: of the environment, the first that is set counts."""

    name: str
    takes: Takes
    letter: str = ""
    variables: tuple[str, ...] = ()


# name [/letter] [$VARIABLE ...]
_WITH_VALUE = """
account/A$SBATCH_ACCOUNT acctg-freq$SBATCH_ACCTG_FREQ array/a$SBATCH_ARRAY_INX batch$SBATCH_BATCH bb bbf
begin/b chdir/D cluster-constraint clusters/M$SBATCH_CLUSTERS$SLURM_CLUSTERS comment
constraint/C$SBATCH_CONSTRAINT container$SBATCH_CONTAINER container-id core-spec/S$SBATCH_CORE_SPEC
cores-per-socket cpu-freq cpus-per-gpu$SBATCH_CPUS_PER_GPU cpus-per-task/c deadline
delay-boot$SBATCH_DELAY_BOOT dependency/d distribution/m$SBATCH_DISTRIBUTION error/e$SBATCH_ERROR exclude/x
export$SBATCH_EXPORT export-file extra extra-node-info/B gid gpu-bind$SBATCH_GPU_BIND gpu-freq$SBATCH_GPU_FREQ
gpus/G$SBATCH_GPUS gpus-per-node$SBATCH_GPUS_PER_NODE gpus-per-socket gpus-per-task$SBATCH_GPUS_PER_TASK
gres$SBATCH_GRES gres-flags$SBATCH_GRES_FLAGS hint$SBATCH_HINT$SLURM_HINT input/i$SBATCH_INPUT
job-name/J$SBATCH_JOB_NAME kill-on-invalid-dep licenses/L mail-type mail-user mcs-label
mem$SBATCH_MEM_PER_NODE mem-bind$SBATCH_MEM_BIND mem-per-cpu$SBATCH_MEM_PER_CPU mem-per-gpu$SBATCH_MEM_PER_GPU
mincpus network$SBATCH_NETWORK nodefile/F nodelist/w nodes/N ntasks/n ntasks-per-core ntasks-per-gpu
ntasks-per-node ntasks-per-socket oom-kill-step open-mode$SBATCH_OPEN_MODE output/o$SBATCH_OUTPUT
partition/p$SBATCH_PARTITION power$SBATCH_POWER prefer priority profile$SBATCH_PROFILE qos/q$SBATCH_QOS
reservation$SBATCH_RESERVATION segment signal$SBATCH_SIGNAL sockets-per-node switches$SBATCH_REQ_SWITCH
thread-spec$SBATCH_THREAD_SPEC threads-per-core$SBATCH_THREADS_PER_CORE time/t$SBATCH_TIMELIMIT time-min tmp
tres-bind tres-per-job tres-per-node tres-per-socket tres-per-task uid wait-all-nodes$SBATCH_WAIT_ALL_NODES
wckey$SBATCH_WCKEY wrap
"""
_WITH_OR_WITHOUT = """
exclusive$SBATCH_EXCLUSIVE get-user-env$SBATCH_GET_USER_ENV nice no-kill/k$SBATCH_NO_KILL propagate
requeue$SBATCH_REQUEUE resv-ports
"""
_WITHOUT = """
consolidate-segments contiguous disable-stdout-job-summary help/h hold/H ignore-pbs$SBATCH_IGNORE_PBS
no-requeue$SBATCH_NO_REQUEUE overcommit/O$SBATCH_OVERCOMMIT oversubscribe/s parsable quiet/Q reboot
spread-job$SBATCH_SPREAD_JOB spread-segments stepmgr test-only usage
use-min-nodes$SBATCH_USE_MIN_NODES verbose/v version/V wait/W$SBATCH_WAIT
"""
# Other spellings sbatch accepts (slurm_opt.c of 22.05: each option may have several long names).
ALIASES = {
    "tasks": "ntasks",
    "tasks-per-node": "ntasks-per-node",
    "tasks-per-core": "ntasks-per-core",
    "tasks-per-socket": "ntasks-per-socket",
    "workdir": "chdir",
    "licences": "licenses",
    "cluster": "clusters",
    "share": "oversubscribe",
    "mem_bind": "mem-bind",
    "cpu_freq": "cpu-freq",
}


def _read(text: str, takes: Takes) -> list[Option]:
    found = []
    for word in text.split():
        names, *variables = word.split("$")
        name, _, letter = names.partition("/")
        found.append(Option(name, takes, letter, tuple(variables)))
    return found


OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        *_read(_WITH_VALUE, Takes.VALUE),
        *_read(_WITH_OR_WITHOUT, Takes.MAYBE),
        *_read(_WITHOUT, Takes.NOTHING),
    )
}
LETTERS: Mapping[str, Option] = {option.letter: option for option in OPTIONS.values() if option.letter}


def by_name(name: str) -> Option | None:
    """Return an option by its long name, an alias, or a beginning that only one has (getopt_long(3))."""
    name = ALIASES.get(name, name)
    if name in OPTIONS:
        return OPTIONS[name]
    near = [option for known, option in OPTIONS.items() if known.startswith(name)] if name else []
    return near[0] if len(near) == 1 else None
