"""What is known of programs by name: launchers, workflow engines, farms, applications, and how each runs in parallel.

Data, from the programs' own manuals. Three kinds of application matter. Built with MPI: parallel where something starts
them several times (mpirun, srun), one process where they are called by themselves. Starting themselves: parallel when
an option tells them so, whatever launcher they call inside. With threads alone: one process with any number of tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Launchers that start MPI programs whatever the geometry: mpirun and mpiexec in all their spellings (mpiexec.hydra,
# mpirun_rsh, petscmpiexec), those of resource managers, Charm++'s, and OpenFOAM's function around mpirun.
LAUNCHER = re.compile(
    r"[\w.-]*mpi(run|exec)([._-]\w+)?|orterun|prterun|prun|ibrun|aprun|jsrun|mpprun|poe|charmrun|runParallel"
)
# The name of a variable that holds a launcher which the script does not tell (it is sourced, or the site's).
LAUNCHER_VARIABLE = re.compile(r"\$\{?(\w*(?:(?<!CO)MPI|LAUNCH|SRUN)\w*)\b.*", re.IGNORECASE)
STARTERS = re.compile(rf"{LAUNCHER.pattern}|srun")
# What a launcher or srun tells each process of its place among all: PMI, PMIx, Open MPI, MVAPICH, ALPS, Flux, Slurm.
RANK = re.compile(r"\b(SLURM_PROCID|OMPI_COMM_WORLD_RANK|PMIX?_RANK|MV2_COMM_WORLD_RANK|ALPS_APP_PE|FLUX_TASK_RANK)\b")
# How many processes a launcher starts: `-np 36`, `+p 4`, `-n=8`.
COUNT = re.compile(r"(?:^|\s)(?:--?np?|-c|--ntasks|\+p)[\s=]*(\d+)\b")

WORKFLOW = re.compile(
    r"nextflow|snakemake|cromwell|luigi|parsl|cwltool|toil(-[\w-]+)?|miniwdl|redun|pegasus-(run|plan)|esmcaf"
)
FARM = re.compile(r"parallel|launcher|paramrun|pylauncher|disbatch|gnu_parallel|xargs")
# Frameworks whose workers srun starts: they hand out tasks, and no worker waits for another.
WORKER = re.compile(r"dask|dask-(worker|scheduler)|spark-class|worker\.sh|start-worker\.sh|ipengine|celery|hq")
COPY = re.compile(r"cp|rsync|tar|unzip|sbcast|aws|rclone|dd|wget|curl")
NEUTRAL = re.compile(r"|hostname|date|echo|sleep|true|bash|sh|ls|mkdir|rm|cat|nvidia-smi|env|uptime|free")
INTERPRETER = re.compile(r"(ba|da|z|k|c|tc)?sh|python[\d.]*|perl|Rscript|R|julia|ruby")
# Their words are text to them, files they do not run, or settings of what is built.
QUOTING = re.compile(
    r"echo|printf|which|type|e?grep|sed|awk|module|ml|man|cat|tee|cp|mv|ln|rm|ls|cd|mkdir|chmod|touch|tar|sbatch|scontrol|mailx?|logger"
    r"|cmake|make|ninja|meson|configure|pip3?|git|g?cc|g\+\+|gfortran|icx?|icpx?|ifort|ifx|nvcc|mpi(cc|cxx|f90|fort)"
)

# Of the shell itself: they start nothing.
SHELL_WORD = re.compile(
    r"set|setenv|unset|source|\.|\[\[?|test|fi|done|for|foreach|end|endif|case|esac|in|ulimit|limit|trap|wait|exit|return"
    r"|local|readonly|declare|umask|shopt|pushd|popd|kill|\}|\)|;;|@|:|\W*"
)

# Built with MPI under these names.
_BUILT = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"gmx_mpi(_d)?|mdrun_mpi(_d)?", "GROMACS with MPI"),
        (r"lmp(_\w+)?", "LAMMPS"),
        (r"vasp_(std|gam|ncl)", "VASP"),
        (r"(pw|cp|ph|neb|pp|epw|projwfc|dos)\.x", "Quantum ESPRESSO"),
        (r"cp2k\.(popt|psmp)", "CP2K with MPI"),
        (r"(wrf|real|ndown)\.exe", "WRF"),
        (r"xhpl|hpcg|xhpcg", "HPL or HPCG"),
        (r"(pmemd|sander)(\.cuda)?\.MPI", "Amber with MPI"),
        (r"nwchem", "NWChem"),
        (r"siesta", "SIESTA"),
        (r"namd[23]", "NAMD"),
        (r"osu_[a-z_]+|IMB-[A-Z0-9]+|all_reduce_perf", "a communication benchmark"),
        (r"ior|mdtest", "IOR"),
        (
            r"cesm\.exe|fv3\.exe|icon|nemo(\.exe)?|xios_server\.exe|oceanx?|roms[A-Z]*|[Mm][Ii][Tt]gcmuv|ufs_model",
            "a climate or ocean model",
        ),
        (r"ramses[123]d|Gadget\d|P-?Gadget\d|Arepo|gizmo|GIZMO|enzo(\.exe)?|flash4", "an astrophysics code"),
        (r"raxml-ng-mpi|examl(-\w+)?", "a bioinformatics program with MPI"),
    )
)
# A name that says MPI: relion_refine_mpi, iqtree2-mpi, lmp_mpi, ABYSS-P.MPI.
_NAMED = re.compile(r"(\w+[-_.])+mpi([-_.][\w.+-]+)*", re.IGNORECASE)
_FILES = re.compile(r".*\.(py|sh|in|inp|log|out|txt|conf|cfg|yaml|yml|json|nml|sif|simg|tar|gz|c|f90|cpp|h)", re.DOTALL)

# Start their own parallel processes, over MPI or its like: program, and what on the line tells them to.
_SELF_STARTING = tuple(
    (re.compile(program), re.compile(told), name)
    for program, told, name in (
        (r"orca", r"", "ORCA"),
        (r"molpro", r"\s-n[\s=]*(?!1\b)\S", "Molpro"),
        (r"fluent", r"\s-t\s*(?!1\b)\S", "Fluent"),
        (r"cfx5solve", r"\s-par(t|-dist|-local|allel)?\b", "CFX"),
        (r"abaqus|abq\d+\w*", r"\scpus=(?!1\b)(?!.*mp_mode=threads)", "Abaqus"),
        (r"(ansys|mapdl)\d*", r"\s-dis\b", "ANSYS Mechanical"),
        (r"comsol", r"\s-(nn\s+(?!1\b)|mpibootstrap)", "COMSOL over nodes"),
        (r"starccm\+", r"\s-(np|on|machinefile|batchsystem)\b", "STAR-CCM+"),
        (r"nek[bl]*mpi", r"", "Nek5000"),
        (r"parallel_computation\.py|shape_optimization\.py", r"\s-n\s*(?!1\b)\S", "SU2"),
        (r"ams|adf|dftb|band", r"", "the Amsterdam Modeling Suite"),
        (r"pam", r"\s--mpi\b", "DIRAC"),
        (r"dalton", r"\s-N\s*(?!1\b)\S", "Dalton"),
        (r"pymolcas", r"\s-np\s*(?!1\b)\S", "OpenMolcas"),
        (r"runmpi\w*|runP(crystal|properties)\w*", r"", "CRYSTAL"),
        (r"(telemac[23]d|tomawac|artemis|gaia)\.py", r"\s--ncsize[\s=]*(?!1\b)\S", "TELEMAC"),
        (r"case\.run|\.case\.run", r"", "CESM"),
    )
)

MPI_MODULES = (
    (r"open-?mpi|hpcx", "openmpi"),
    (r"impi|intel-?mpi|intel-oneapi-mpi", "intelmpi"),
    (r"mpich|cray-mpich", "mpich"),
    (r"mvapich2?", "mvapich"),
)
MPI_VARIABLES = (
    (r"OMPI_[A-Z_]+|PRTE_[A-Z_]+", "openmpi"),
    (r"I_MPI_[A-Z_]+", "intelmpi"),
    (r"MPICH_[A-Z_]+", "mpich"),
    (r"MV2_[A-Z_]+", "mvapich"),
    (r"(FI_EFA|FI_PROVIDER|UCX|PSM2|SLURM_MPI_TYPE|PMIX)[A-Z_]*", ""),
)
COLLECTIVE = (
    (r"torchrun\b(?=.*--nnodes)|torch\.distributed\.(run|launch)\b", 0.9, "PyTorch started over several nodes"),
    (r"\bdeepspeed\b(?=.*--(hostfile|num_nodes))|\bcolossalai run\b", 0.9, "DeepSpeed over several nodes"),
    (r"\baccelerate\s+launch\b(?=.*--(num_machines|multi_gpu))", 0.8, "Accelerate over several processes"),
    (r"\bhorovodrun\b", 0.9, "Horovod"),
    (r"\bNCCL_[A-Z_]+=|MASTER_ADDR=", 0.5, "settings of NCCL or of a collective's first rank"),
    (r"\bray\s+start\b.*--(head|address)", 0.6, "a Ray cluster"),
)
# Frameworks whose processes, where several are started on GPUs, train one model together.
FRAMEWORK = re.compile(r"\b(pytorch|tensorflow|jax|horovod|deepspeed)\b", re.IGNORECASE)
# What a program in Python imports to speak to others.
IMPORTS = (
    (r"mpi4py", "mpi", 0.6, "mpi4py"),
    (r"CIME\b", "mpi", 0.7, "CIME runs a climate model with the machine's own launcher"),
    (r"multiprocessing|concurrent\.futures|joblib", "alone", 0.5, "processes of one Python on one node"),
    (r"pylauncher", "farm", 0.8, "pylauncher starts tasks that do not know each other"),
    (r"dask_jobqueue|parsl|submitit", "workflow", 0.7, "a library that submits jobs of its own"),
)

# Options and variables that tell a program to use MPI: `-mpi=intel`, `mp_mode=mpi`, `-mpibootstrap slurm`,
# `PARA_ARCH=MPI`, `-start-method "Intel MPI Distributed Parallel"`; not `--without-mpi`, `-mpi=none`, or file names.
_OPTION = re.compile(r"--?(?!no|without|disable)(\w+-)*mpi(\w*)(=(?!no|off|false|0).*)?|\w+=mpi", re.IGNORECASE)
_WORDS = re.compile(r"[\w -]*\b(?<!no )mpi\b[\w -]*", re.IGNORECASE)
# An option for the number of processes.
_PROCESSES = re.compile(r"--?(np|nprocs?|ncsize|ntasks|ranks|num[-_]?procs)(?:=(\d+|\$\{?SLURM_NTASKS\}?))?")


def told_processes(words: Sequence[str], tasks: int) -> bool:
    """Whether a program is given the number of the job's tasks as its number of processes."""
    for word, after in zip(words, (*words[1:], ""), strict=True):
        found = _PROCESSES.fullmatch(word)
        if found and (found[2] or after).strip("${}") in (str(tasks), "SLURM_NTASKS"):
            return True
    return False


def built_with_mpi(word: str) -> str:
    """Return the name of the application whose MPI build that program is, "" for none."""
    base = word.rsplit("/", 1)[-1]
    found = next((name for pattern, name in _BUILT if pattern.fullmatch(base)), "")
    if not found and _NAMED.fullmatch(base) and not LAUNCHER.fullmatch(base) and not _FILES.fullmatch(base):
        return f"{base}, by its name a program with MPI"
    return found


def starts_itself(program: str, line: str) -> tuple[str, bool]:
    """Return an application that can start several processes itself, "" for none, and whether this line tells it to."""
    found = [(name, bool(told.search(line))) for pattern, told, name in _SELF_STARTING if pattern.fullmatch(program)]
    return found[0] if found else ("", False)


def is_opaque(program: str) -> bool:
    """Whether nothing is known of what a program starts, so that it might call mpirun itself."""
    return not any(known.fullmatch(program) for known in (QUOTING, NEUTRAL, SHELL_WORD))


def told_mpi(words: Sequence[str]) -> bool:
    """Whether an argument tells a program to use MPI."""
    return any(_OPTION.fullmatch(one) or (" " in one and _WORDS.fullmatch(one)) for one in words)
