"""What a job script's text says of how its processes belong together: one observation each, with its weight.

Several readings of one text: the commands as the shell would run them, what they start, what the script writes and then
runs, variables, and, where it is no shell's script, the strings and imports of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from asbx.config.limits import COMMAND_MAX_CHARS
from asbx.decide.script.geometry import Geometry
from asbx.decide.script.programs import (
    COLLECTIVE,
    COPY,
    COUNT,
    FARM,
    FRAMEWORK,
    IMPORTS,
    INTERPRETER,
    LAUNCHER,
    LAUNCHER_VARIABLE,
    MPI_MODULES,
    MPI_VARIABLES,
    NEUTRAL,
    QUOTING,
    RANK,
    STARTERS,
    WORKER,
    WORKFLOW,
    built_with_mpi,
    is_opaque,
    starts_itself,
    told_mpi,
    told_processes,
)
from asbx.decide.script.shell import Script, base, commands, inside, is_shell, parse


class Coupling(StrEnum):
    """What ties processes together. MPI and COLLECTIVE need their nodes at once and close to each other."""

    ALONE = "alone"  # one process, perhaps with threads
    FARM = "farm"  # many that do not wait for each other
    WORKFLOW = "workflow"  # a program that submits jobs of its own
    MPI = "mpi"
    COLLECTIVE = "collective"  # NCCL and the like: PyTorch, Horovod without MPI, Ray

    @property
    def is_tight(self) -> bool:
        """Whether its nodes must come together."""
        return self in (Coupling.MPI, Coupling.COLLECTIVE)


@dataclass(frozen=True)
class Evidence:
    """One observation. weight: 0 to 1, how much it alone would convince; says: for which coupling it speaks.

    launches: processes that are started, 1 where no number is said, 0 where it is no launch.
    """

    says: Coupling
    weight: float
    text: str
    launches: int = 0


# It says nothing where all that runs is known: a build, a pipeline of tools.
_LOADED = Evidence(Coupling.MPI, 0.4, "an MPI library is loaded")


def observed(body: str, geometry: Geometry) -> Iterator[Evidence]:
    """Yield all there is to see. geometry: of the job's first component."""
    script = parse(body)
    yield from _from_script(script, geometry)
    if not is_shell(body):
        yield from _from_strings(body)
    if geometry.array_tasks > 1 and geometry.tasks == 1:
        yield Evidence(Coupling.FARM, 0.7, f"an array of {geometry.array_tasks} single tasks")


def library(body: str) -> str:
    """Return the MPI library a script names first by module or variable, `nccl`, or ""."""
    lines = parse(body).lines
    named = (
        name
        for line in lines
        for table, holds in ((MPI_MODULES, r"\b(module|ml|spack)\b.*({})"), (MPI_VARIABLES, r"\b({})="))
        for pattern, name in table
        if name and re.search(holds.format(pattern), line)
    )
    nccl = "nccl" if any(re.search(r"\bNCCL_|torchrun|torch\.distributed", line) for line in lines) else ""
    return next(named, nccl)


# -- from lines and commands


def _from_script(script: Script, geometry: Geometry, *, nested: bool = False) -> Iterator[Evidence]:
    """Read a script's lines. nested: it is a text the script writes and runs, and what it writes is not followed."""
    parts = [(line, [*_all_commands(line)]) for line in script.lines]
    started = {base(words[0]) for _, found in parts for words in found}
    waits, opaque = "wait" in started, any(map(is_opaque, started))
    run: dict[str, str] = {}
    for line, found in parts:
        yield from _from_line(line, waits=waits)
        for words in found:
            yield from (e for e in _from_command(words, line, geometry, script) if opaque or e is not _LOADED)
            name = _written_and_run(words, script)
            run |= {name: script.written[name]} if name else {}
    if not nested:
        for name, text in (*run.items(), *_fed(script)):
            yield from _from_text(text, name, geometry)


def _all_commands(line: str) -> Iterator[list[str]]:
    for words in commands(line):
        yield words
        yield from inside(words, STARTERS)


def _from_line(line: str, *, waits: bool) -> Iterator[Evidence]:
    for pattern, weight, text in COLLECTIVE:
        if re.search(pattern, line):
            yield Evidence(Coupling.COLLECTIVE, weight, text)
    for pattern, _ in MPI_VARIABLES:
        set_ = re.search(rf"\b({pattern})=", line)
        if set_:
            yield Evidence(Coupling.MPI, 0.3, f"{set_[1]} is set")
    held = re.match(r"(?:export\s+)?(\w+)=[\"']?([^\s\"']+)", line)
    if held and LAUNCHER.fullmatch(base(held[2])):
        yield Evidence(Coupling.MPI, 0.7, f"a variable holds {base(held[2])}", _launched(line))
    elif held and held[2].upper() == "MPI":
        yield Evidence(Coupling.MPI, 0.6, f"{held[1]} says MPI")
    if waits and re.search(r"[^&>]&\s*$|[^&>]&\s*(?:;\s*)?done\b", line) and not re.search(r"\bsrun\b", line):
        yield Evidence(Coupling.FARM, 0.5, "programs side by side in the background, then wait")


def _from_command(words: Sequence[str], line: str, geometry: Geometry, script: Script) -> Iterator[Evidence]:
    program = base(words[0])
    if LAUNCHER.fullmatch(program):
        yield _from_launcher(program, words, line, script)
    elif program == "srun":
        yield from _from_srun(words, line, geometry, script)
    else:
        yield from _from_name(program, words)
        if geometry.tasks > 1 and geometry.wants_gpus and program in ("module", "ml") and FRAMEWORK.search(line):
            yield Evidence(Coupling.COLLECTIVE, 0.4, "a framework for training is loaded, for several tasks with GPUs")
        if geometry.tasks > 1 and not QUOTING.fullmatch(program):
            yield from _from_parallel(program, words, geometry.tasks)
    if any(word == "mpi4py" or word.startswith("mpi4py.") for word in words):
        yield Evidence(Coupling.MPI, 0.6, "mpi4py")
    known = next((name for name in map(built_with_mpi, words[1:]) if name), "")
    if known and geometry.tasks > 1 and not QUOTING.fullmatch(program):
        yield Evidence(Coupling.MPI, 0.6, f"{known} and several tasks")


def _from_name(program: str, words: Sequence[str]) -> Iterator[Evidence]:
    """Read a command that is known whatever the number of tasks."""
    if WORKFLOW.fullmatch(program if program != "java" else _jar(words)) or "--jobmode=slurm" in words:
        yield Evidence(Coupling.WORKFLOW, 0.95, f"{program} submits jobs of its own")
    elif program == "sbatch":
        # Weak: many a job that is something else submits its successor.
        yield Evidence(Coupling.WORKFLOW, 0.3, "it submits jobs of its own")
    elif FARM.fullmatch(program) and (program != "xargs" or _value(words, "-P", "--max-procs") not in ("", "1")):
        yield Evidence(Coupling.FARM, 0.8, f"{program} starts tasks that do not know each other")
    elif program in ("module", "ml", "spack") and any(re.search(p, w) for w in words[1:] for p, _ in MPI_MODULES):
        yield _LOADED
    elif re.fullmatch(r"foam[A-Z]\w*|\w+Foam", program) and "-parallel" in words:
        yield Evidence(Coupling.MPI, 0.7, "OpenFOAM with -parallel")


def _from_parallel(program: str, words: Sequence[str], tasks: int) -> Iterator[Evidence]:
    """Read a command of a job of several tasks: one that starts processes itself, or that is one process."""
    itself, is_told = starts_itself(program, " ".join(words)[:COMMAND_MAX_CHARS])
    variable = LAUNCHER_VARIABLE.fullmatch(words[0])
    if itself and is_told:
        yield Evidence(Coupling.MPI, 0.7, f"{itself} starts parallel processes itself")
    elif told_mpi(words[1:]):
        yield Evidence(Coupling.MPI, 0.6, f"{program} is told to use MPI")
    elif variable and len(words) > 1:
        yield Evidence(Coupling.MPI, 0.6, f"${variable[1]} is a launcher, by its name", 1)
    elif built_with_mpi(program) or itself:
        # A program with MPI that nothing starts several times is one process.
        yield Evidence(Coupling.ALONE, 0.5, f"{program} is called by itself: one process")
    elif is_opaque(program) and told_processes(words, tasks):
        yield Evidence(Coupling.MPI, 0.35, f"{program} is told to use as many processes as there are tasks")


def _from_launcher(program: str, words: Sequence[str], line: str, script: Script) -> Evidence:
    if _picks_own_work(words, script):
        return Evidence(Coupling.FARM, 0.8, f"{program} starts copies that pick their own work by rank")
    return Evidence(Coupling.MPI, 0.9, f"{program} starts the program", _launched(line))


def _from_srun(words: Sequence[str], line: str, geometry: Geometry, script: Script) -> Iterator[Evidence]:
    kind = next((word.partition("=")[2] for word in words if word.startswith("--mpi=")), "")
    tasks = _value(words, "-n", "--ntasks")
    if kind and kind != "none":
        yield Evidence(Coupling.MPI, 0.85, f"srun --mpi={kind}", int(tasks[:9]) if tasks.isdecimal() else 1)
    if re.search(r"--(het|pack)-group=\S*[,-]", line):
        yield Evidence(Coupling.MPI, 0.7, "one step over several components", 2)
    if "--multi-prog" in words:
        yield _from_multi_prog(_text_of(next((w for w in words[1:] if base(w) in script.written), ""), script))
        return
    farm = _independent(words, line, geometry, script)
    if farm is not None:
        yield farm
    elif re.search(r"\bRANK=[\"']?\$\{?SLURM_PROCID", line):
        yield Evidence(Coupling.COLLECTIVE, 0.7, "SLURM_PROCID is the rank of a collective")
    elif tasks != "1" and geometry.tasks > 1 and kind != "none" and not NEUTRAL.fullmatch(_payload(words)):
        yield Evidence(Coupling.MPI, 0.35, "srun starts one program with several tasks", geometry.tasks)


def _independent(words: Sequence[str], line: str, geometry: Geometry, script: Script) -> Evidence | None:
    """Return what says that the tasks of a step, or the steps of a job, do not know each other."""
    tasks, program = _value(words, "-n", "--ntasks"), _payload(words)
    alone = tasks == "1" or (tasks == "" and geometry.tasks == 1)
    # Steps of several tasks in the background are parallel programs side by side: those have ranks that wait.
    shared = not (tasks.isdecimal() and int(tasks[:9]) > 1) and ("--exclusive" in words or "--exact" in words)
    if line.rstrip().endswith("&") and (alone or shared):
        return Evidence(Coupling.FARM, 0.8, "srun steps of one task, side by side")
    if WORKER.fullmatch(program):
        return Evidence(Coupling.FARM, 0.7, f"{program}: workers that are handed tasks")
    if _picks_own_work(words, script):
        return Evidence(Coupling.FARM, 0.6, "each task picks its own work by its rank")
    if not alone and geometry.tasks > 1 and COPY.fullmatch(program):
        return Evidence(Coupling.FARM, 0.3, f"{program} on each node by itself")
    return None


def _picks_own_work(words: Sequence[str], script: Script) -> bool:
    """Whether what is started takes its rank for the number of its own piece of work, and is no rank of a collective.

    It says so on the line, or in a file the script writes; not one that sets something and goes on with its arguments.
    """
    texts = [*words[1:], _text_of(_payload(words), script)]
    return any(map(_takes_rank, texts))


@lru_cache(maxsize=256)  # one file may be started by thousands of lines
def _takes_rank(text: str) -> bool:
    return bool(RANK.search(text)) and not re.search(r"\bRANK=|[\"\s]\\?\$[@*]", text)


def _text_of(name: str, script: Script) -> str:
    """Return the beginning of a file the script writes: it is looked at anew for each command that starts it."""
    return script.written.get(base(name), "")[:COMMAND_MAX_CHARS]


def _from_multi_prog(text: str) -> Evidence:
    """Read srun's file of programs (srun(1), MULTIPLE PROGRAM CONFIGURATION): `0-3 ./a %t`. text: "" if not told."""
    for line in text.split("\n"):
        ranks, _, program = line.partition(" ")
        if any(map(built_with_mpi, program.split())) or (re.search(r"[-,*]", ranks) and not re.search("%[to]", line)):
            return Evidence(Coupling.MPI, 0.7, "srun --multi-prog: programs of several ranks in one step", 2)
    return Evidence(Coupling.FARM, 0.5, "srun --multi-prog: each task has a program of its own")


# -- from what the script writes and runs, and from scripts that are no shell's


def _written_and_run(words: Sequence[str], script: Script) -> str:
    """Return the file that a here-document writes and this command runs, by itself or by an interpreter, or ""."""
    name = base(words[0])
    if INTERPRETER.fullmatch(name) or STARTERS.fullmatch(name):
        name = next((base(word) for word in words[1:] if base(word) in script.written), "")
    return name if name in script.written and "--multi-prog" not in words else ""


def _fed(script: Script) -> Iterator[tuple[str, str]]:
    """Yield interpreters and the here-documents they are fed with: `python - <<EOF`."""
    for document in script.documents:
        for words in commands(document.opener.partition("<<")[0]):
            found = next((base(word) for word in words if INTERPRETER.fullmatch(base(word))), "")
            if found and not document.target:
                yield found, document.text


def _from_text(text: str, name: str, geometry: Geometry) -> Iterator[Evidence]:
    if re.fullmatch(r".*\.(c|t?c|k)?sh|(ba|da|z|k|c|tc)?sh", name) or (is_shell(text) and text.startswith("#!")):
        yield from _from_script(parse(text), geometry, nested=True)
    else:
        yield from _from_strings(text)


def _from_strings(body: str) -> Iterator[Evidence]:
    """Look into a script that is no shell's (Python, Perl): a string that begins with a launcher is a command."""
    for found in re.finditer(r"[\"'](?:[^\s\"']{0,200}/)?([\w.]{1,60})(?=[\"'\s])([^\n]*)", body):
        if LAUNCHER.fullmatch(found[1]):
            counted = _launched(re.sub(r"[\"',]+", " ", found[2]))
            yield Evidence(Coupling.MPI, 0.8, f"{found[1]} is called", counted)
    for pattern, says, weight, text in IMPORTS:
        if re.search(rf"^\s*(from|import)\s+{pattern}\b", body, re.MULTILINE):
            yield Evidence(Coupling(says), weight, text)


# -- words


def _launched(line: str) -> int:
    """Return the number of processes a launcher's line states, 1 where it states none."""
    return max((int(count[:9]) for count in COUNT.findall(line)), default=1)


def _jar(words: Iterable[str]) -> str:
    """Return what `java -jar cromwell-84.jar` runs, without its version."""
    jar = next((word for word in words if word.endswith(".jar")), "")
    return re.sub(r"(-[\d.]+)?\.jar$", "", base(jar))


def _value(words: Sequence[str], letter: str, name: str) -> str:
    for index, word in enumerate(words):
        if word in (letter, name):
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word.startswith(letter) and not word.startswith("--") and word != letter:
            return word[len(letter) :]
    return ""


_TAKING = re.compile(
    r"-[nNcptJwxm]|--?np?|--(ntasks|nodes|cpus-per-task|partition|time|job-name|mem|output|error|chdir)"
)


def _payload(words: Sequence[str]) -> str:
    """Return the program a launcher starts: the first word that is no option nor an option's value."""
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = bool(_TAKING.fullmatch(word))
        else:
            return base(word)
    return ""
