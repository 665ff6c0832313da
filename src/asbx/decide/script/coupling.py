"""How the processes of a job belong together: alone, a farm of independent tasks, MPI, or another collective run.

Found from evidence in the script, each piece with its line and weight, never from the number of nodes: two nodes may as
well run two programs that do not know each other. Evidence only ever comes from the script's own text, which is user
input: it narrows a launch and changes no limit.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from asbx.config.limits import COMMAND_MAX_CHARS
from asbx.decide.script.geometry import Geometry
from asbx.decide.script.sbatch import lines_of


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


@dataclass(frozen=True)
class Finding:
    """What the evidence amounts to. confidence: 0 to 1. library: openmpi, intelmpi, nccl, ... or ""."""

    coupling: Coupling
    confidence: float
    evidence: tuple[Evidence, ...]
    library: str = ""


# Launchers that start MPI programs whatever the geometry: mpirun and mpiexec in all their spellings (mpiexec.hydra,
# mpirun_rsh, petscmpiexec), those of resource managers, Charm++'s, and OpenFOAM's function around mpirun.
_LAUNCHER = re.compile(
    r"[\w.-]*mpi(run|exec)([._-]\w+)?|orterun|prterun|prun|ibrun|aprun|jsrun|mpprun|poe|charmrun|runParallel"
)
# How many processes a launcher starts: `-np 36`, `+p 4`, `-n=8`.
_COUNT = re.compile(r"(?:^|\s)(?:--?np?|-c|--ntasks|\+p)[\s=]*(\d+)\b")
# Applications that start MPI themselves are told so by an option (Abaqus, Fluent, LS-DYNA, ...).
_MPI_OPTION = re.compile(r"--?mpi([= ]\S+)?|mp_mode=mpi")
_WORKFLOWS = frozenset(["nextflow", "snakemake", "cromwell", "luigi", "parsl", "cwltool", "toil", "miniwdl", "redun"])
_FARMS = frozenset(["parallel", "launcher", "paramrun", "pylauncher", "disbatch", "gnu_parallel", "xargs"])
# Programs that are built with MPI under these names (their manuals): beside a launcher they add certainty, alone with
# several tasks they are evidence of their own.
_MPI_PROGRAMS = (
    (r"gmx_mpi(_d)?", "GROMACS with MPI"),
    (r"lmp(_mpi|_intel_cpu_intelmpi)?", "LAMMPS"),
    (r"vasp_(std|gam|ncl)", "VASP"),
    (r"(pw|cp|ph|neb|pp|epw)\.x", "Quantum ESPRESSO"),
    (r"cp2k\.(popt|psmp)", "CP2K with MPI"),
    (r"(wrf|real|ndown)\.exe", "WRF"),
    (r"xhpl|hpcg|xhpcg", "HPL or HPCG"),
    (r"(pmemd|sander)\.MPI|pmemd\.cuda\.MPI", "Amber with MPI"),
    (r"nwchem", "NWChem"),
    (r"siesta", "SIESTA"),
    (r"namd2|namd3", "NAMD"),
    (r"osu_[a-z_]+|IMB-[A-Z0-9]+|all_reduce_perf", "a communication benchmark"),
    (r"ior|mdtest", "IOR"),
    (r"cesm\.exe|fv3\.exe|icon|nemo(\.exe)?|roms[A-Z]*|MITgcmuv|ufs_model", "a climate or ocean model"),
    (r"raxml-ng-mpi|mb-mpi|examl|hmmsearch-mpi", "a bioinformatics program with MPI"),
)
_MPI_MODULES = (
    (r"open-?mpi|hpcx", "openmpi"),
    (r"impi|intel-?mpi|intel-oneapi-mpi", "intelmpi"),
    (r"mpich|cray-mpich", "mpich"),
    (r"mvapich2?", "mvapich"),
)
_MPI_VARIABLES = (
    (r"OMPI_[A-Z_]+|PRTE_[A-Z_]+", "openmpi"),
    (r"I_MPI_[A-Z_]+", "intelmpi"),
    (r"MPICH_[A-Z_]+", "mpich"),
    (r"MV2_[A-Z_]+", "mvapich"),
    (r"(FI_EFA|FI_PROVIDER|UCX|PSM2|SLURM_MPI_TYPE|PMIX)[A-Z_]*", ""),
)
_COLLECTIVE = (
    (r"torchrun\b(?=.*--nnodes)|torch\.distributed\.(run|launch)\b", 0.9, "PyTorch started over several nodes"),
    (r"\bdeepspeed\b(?=.*--(hostfile|num_nodes))|\bcolossalai run\b", 0.9, "DeepSpeed over several nodes"),
    (r"\baccelerate\s+launch\b(?=.*--(num_machines|multi_gpu))", 0.8, "Accelerate over several processes"),
    (r"\bhorovodrun\b", 0.9, "Horovod"),
    (r"\bNCCL_[A-Z_]+=|MASTER_ADDR=", 0.5, "settings of NCCL or of a collective's first rank"),
    (r"\bray\s+start\b.*--(head|address)", 0.6, "a Ray cluster"),
)
_PREFIXES = frozenset(
    [
        "exec",
        "time",
        "nice",
        "ionice",
        "env",
        "nohup",
        "stdbuf",
        "numactl",
        "taskset",
        "chrt",
        "timeout",
        "strace",
        "ltrace",
    ]
)
# They run the command that stands among their words: containers, and tools that enter an environment first.
_WRAPPERS = re.compile(
    r"singularity|apptainer|podman|docker|enroot|shifter|charliecloud|ch-run|sarus"
    r"|conda|mamba|micromamba|poetry|pixi|uv|spack|perf|xvfb-run|bash|sh"
)
_SHELLS = re.compile(r"#!\s*\S*(/env\s+(-S\s+)?)?\S*\b(ba|da|z|k|c|tc)?sh\b")
# Frameworks whose workers srun starts: they hand out tasks, and no worker waits for another.
_WORKERS = re.compile(r"dask|dask-(worker|scheduler)|spark-class|worker\.sh|start-worker\.sh|ipengine|celery|hq")
# Their words are text to them.
_QUOTING = frozenset(["echo", "printf", "which", "type", "grep", "sed", "awk", "module", "ml", "man"])
_COPIES = re.compile(r"cp|rsync|tar|unzip|sbcast|aws|rclone|dd|wget|curl")
_NEUTRAL = re.compile(r"|hostname|date|echo|sleep|true|bash|sh|ls|mkdir|rm|cat|nvidia-smi|env|uptime|free")


def coupling(body: str, geometry: Geometry) -> Finding:
    """Return how the processes of a script belong together. geometry: of its first component."""
    lines = list(lines_of(body))
    observed = [*_from_lines(lines, geometry), *_from_variables(lines), *_from_geometry(geometry)]
    if not _SHELLS.match(body):
        observed += _from_strings(body)
    evidence = tuple(_unique(observed))
    library = next((name for name in _libraries(lines) if name), "")
    scores = {kind: _together(one.weight for one in evidence if one.says is kind) for kind in Coupling}
    # A workflow that names MPI somewhere hands it to jobs of its own; a farm that starts mpirun is many MPI runs.
    kind = max(scores, key=lambda kind: scores[kind])
    if scores[kind] <= 0:
        return Finding(Coupling.ALONE, 0.9 if geometry.tasks == 1 else 0.5, evidence, library)
    if kind is Coupling.MPI and geometry.tasks == 1 and not _starts_several(evidence, geometry):
        # One task is no MPI run, whatever is loaded: the launcher starts one process.
        return Finding(Coupling.ALONE, 0.7, evidence, library)
    return Finding(kind, round(scores[kind], 2), evidence, library)


def _starts_several(evidence: Sequence[Evidence], geometry: Geometry) -> bool:
    """Whether a job of one task (as Slurm counts) starts several ranks: by number, or on nodes it has for itself."""
    launched = [one for one in evidence if one.launches]
    return any(one.launches > 1 for one in launched) or (bool(launched) and geometry.nodes_stated)


def _together(weights: Iterable[float]) -> float:
    """Return the certainty of independent pieces of evidence: what is left of the doubt of each, multiplied."""
    doubt = 1.0
    for weight in weights:
        doubt *= 1 - weight
    return 1 - doubt


def _unique(evidence: Sequence[Evidence]) -> Iterator[Evidence]:
    """Leave out what repeats: ten lines with mpirun convince no more than one."""
    seen: set[tuple[Coupling, str]] = set()
    for one in evidence:
        if (one.says, one.text) not in seen:
            seen.add((one.says, one.text))
            yield one


# -- from commands


def _from_lines(lines: Sequence[str], geometry: Geometry) -> Iterator[Evidence]:
    waits = any(words[0] == "wait" for line in lines for words in _commands(line))
    for line in lines:
        for pattern, weight, text in _COLLECTIVE:
            if re.search(pattern, line):
                yield Evidence(Coupling.COLLECTIVE, weight, text)
        held = re.match(r"(?:export\s+)?\w+=[\"']?([^\s\"']+)", line)
        if held and (_LAUNCHER.fullmatch(_base(held[1])) or re.search(r"=[\"']?srun\s.*--mpi=(?!none)", line)):
            yield Evidence(Coupling.MPI, 0.7, f"a variable holds {_base(held[1])}", _launched(line))
        if waits and re.search(r"[^&>]&\s*$|[^&>]&\s*(?:;\s*)?done\b", line) and not re.search(r"\bsrun\b", line):
            yield Evidence(Coupling.FARM, 0.5, "programs side by side in the background, then wait")
        for words in _commands(line):
            yield from _from_command(words, line, geometry)


def _from_command(words: Sequence[str], line: str, geometry: Geometry) -> Iterator[Evidence]:
    program = _base(words[0])
    if _LAUNCHER.fullmatch(program):
        yield Evidence(Coupling.MPI, 0.9, f"{program} starts the program", _launched(line))
    elif program == "srun":
        yield from _from_srun(words, line, geometry)
    elif (program if program != "java" else _jar(words)) in _WORKFLOWS:
        yield Evidence(Coupling.WORKFLOW, 0.95, f"{program} submits jobs of its own")
    elif program in _FARMS and (program != "xargs" or _value(words, "-P", "--max-procs") not in ("", "1")):
        yield Evidence(Coupling.FARM, 0.8, f"{program} starts tasks that do not know each other")
    elif program in ("module", "ml", "spack") and any(re.search(p, w) for w in words[1:] for p, _ in _MPI_MODULES):
        yield Evidence(Coupling.MPI, 0.4, "an MPI library is loaded")
    elif re.fullmatch(r"foam[A-Z]\w*|\w+Foam", program) and "-parallel" in words:
        yield Evidence(Coupling.MPI, 0.7, "OpenFOAM with -parallel")
    elif geometry.tasks > 1 and program not in _QUOTING and any(_MPI_OPTION.fullmatch(word) for word in words[1:]):
        yield Evidence(Coupling.MPI, 0.6, f"{program} is told to use MPI")
    if "mpi4py" in words or any(word.startswith("mpi4py.") for word in words):
        yield Evidence(Coupling.MPI, 0.6, "mpi4py")
    known = _known_program(words)
    if known and geometry.tasks > 1:
        yield Evidence(Coupling.MPI, 0.6, f"{known} and several tasks")


def _from_srun(words: Sequence[str], line: str, geometry: Geometry) -> Iterator[Evidence]:
    kind = next((word.partition("=")[2] for word in words if word.startswith("--mpi=")), "")
    tasks = _value(words, "-n", "--ntasks")
    if kind and kind != "none":
        yield Evidence(Coupling.MPI, 0.85, f"srun --mpi={kind}", int(tasks) if tasks.isdecimal() else 1)
    if re.search(r"--(het|pack)-group=\S*[,-]", line):
        yield Evidence(Coupling.MPI, 0.7, "one step over several components", 2)
    farm = _independent(words, line, geometry)
    if farm is not None:
        yield farm
    elif re.search(r"\bRANK=[\"']?\$\{?SLURM_PROCID", line):
        yield Evidence(Coupling.COLLECTIVE, 0.7, "SLURM_PROCID is the rank of a collective")
    elif tasks != "1" and geometry.tasks > 1 and kind != "none" and not _NEUTRAL.fullmatch(_payload(words)):
        yield Evidence(Coupling.MPI, 0.35, "srun starts one program with several tasks", geometry.tasks)


def _independent(words: Sequence[str], line: str, geometry: Geometry) -> Evidence | None:
    """Return what says that the tasks of a step, or the steps of a job, do not know each other."""
    tasks, program = _value(words, "-n", "--ntasks"), _payload(words)
    alone = tasks == "1" or (tasks == "" and geometry.tasks == 1)
    if "--multi-prog" in words:
        return Evidence(Coupling.FARM, 0.5, "srun --multi-prog: each task has a program of its own")
    if line.rstrip().endswith("&") and (alone or "--exclusive" in words or "--exact" in words):
        return Evidence(Coupling.FARM, 0.8, "srun steps of one task, side by side")
    if _WORKERS.fullmatch(program):
        return Evidence(Coupling.FARM, 0.7, f"{program}: workers that are handed tasks")
    if any("SLURM_PROCID" in word for word in words) and not re.search(r"\bRANK=", line):
        return Evidence(Coupling.FARM, 0.6, "each task picks its own work by SLURM_PROCID")
    if not alone and geometry.tasks > 1 and _COPIES.fullmatch(program):
        return Evidence(Coupling.FARM, 0.3, f"{program} on each node by itself")
    return None


def _from_strings(body: str) -> Iterator[Evidence]:
    """Look into a script that is no shell's (Python, Perl): a string that begins with a launcher is a command."""
    for found in re.finditer(r"[\"'](?:[^\s\"']{0,200}/)?([\w.]{1,60})(?=[\"'\s])([^\n]*)", body):
        if _LAUNCHER.fullmatch(found[1]):
            counted = _launched(re.sub(r"[\"',]+", " ", found[2]))
            yield Evidence(Coupling.MPI, 0.8, f"{found[1]} is called", counted)
    if re.search(r"^\s*(from|import)\s+mpi4py\b", body, re.MULTILINE):
        yield Evidence(Coupling.MPI, 0.6, "mpi4py")


def _launched(line: str) -> int:
    """Return the number of processes a launcher's line states, 1 where it states none."""
    return max((int(count[:9]) for count in _COUNT.findall(line)), default=1)


def _jar(words: Sequence[str]) -> str:
    """Return what `java -jar cromwell-84.jar` runs, without its version."""
    jar = next((word for word in words if word.endswith(".jar")), "")
    return re.sub(r"(-[\d.]+)?\.jar$", "", _base(jar))


def _base(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def _value(words: Sequence[str], letter: str, name: str) -> str:
    for index, word in enumerate(words):
        if word in (letter, name):
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word.startswith(letter) and not word.startswith("--") and word != letter:
            return word[len(letter) :]
    return ""


def _payload(words: Sequence[str]) -> str:
    """Return the program srun starts: the first word that is no option nor an option's value."""
    taking = re.compile(r"-[nNcptJwxm]|--(ntasks|nodes|cpus-per-task|partition|time|job-name|mem|output|error|chdir)")
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = bool(taking.fullmatch(word))
        else:
            return word.rsplit("/", 1)[-1]
    return ""


def _known_program(words: Sequence[str]) -> str:
    for word in words:
        base = word.rsplit("/", 1)[-1]
        for pattern, name in _MPI_PROGRAMS:
            if re.fullmatch(pattern, base):
                return name
    return ""


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the simple commands of a line as words, prefixes such as `time`, variables and containers left out."""
    for part in re.split(r"\|\||&&|[;|]|&(?=\s|$)|\bdo\b|\bthen\b|\belse\b|[({]\s", line):
        try:
            words = shlex.split(part, comments=True) if len(part) <= COMMAND_MAX_CHARS else part.split()
        except ValueError:  # a quote over several lines, or a construct of bash
            words = part.split()
        while words:
            if re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL) or words[0] in ("export", "if", "while", "!"):
                words = words[1:]
            elif _base(words[0]) in _PREFIXES:
                words = words[1:]
                while words and (words[0].startswith("-") or words[0][:1].isdigit()):
                    words = words[1:]
            else:
                break
        if words:
            yield words
            yield from _inside(words)


def _inside(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield what a wrapper runs: `apptainer exec image mpirun ...`, `conda run -n x srun ...`, `sh -c '...'`."""
    if not _WRAPPERS.fullmatch(_base(words[0])):
        return
    for index, word in enumerate(words[1:], 1):
        if _LAUNCHER.fullmatch(_base(word)) or _base(word) == "srun":
            yield list(words[index:])
            return
        if word == "-c" and _base(words[index - 1]) in ("bash", "sh") and index + 1 < len(words):
            yield from _commands(words[index + 1])
            return


# -- from variables, modules and numbers


def _from_variables(lines: Sequence[str]) -> Iterator[Evidence]:
    for line in lines:
        for pattern, _ in _MPI_VARIABLES:
            found = re.search(rf"\b({pattern})=", line)
            if found:
                yield Evidence(Coupling.MPI, 0.3, f"{found[1]} is set")


def _from_geometry(geometry: Geometry) -> Iterator[Evidence]:
    if geometry.array_tasks > 1 and geometry.tasks == 1:
        yield Evidence(Coupling.FARM, 0.7, f"an array of {geometry.array_tasks} single tasks")


def _libraries(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        loads = re.search(r"\b(module|ml|spack)\b", line)
        for pattern, name in _MPI_MODULES if loads else ():
            if re.search(pattern, line):
                yield name
        for pattern, name in _MPI_VARIABLES:
            if re.search(rf"\b({pattern})=", line):
                yield name
    if any(re.search(r"\bNCCL_|torchrun|torch\.distributed", line) for line in lines):
        yield "nccl"
