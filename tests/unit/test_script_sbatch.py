"""Submissions are read as sbatch reads them: three sources, their order, and what cannot be understood."""

from __future__ import annotations

from datetime import timedelta

import pytest

from asbx.decide.script.geometry import Geometry, geometry
from asbx.decide.script.sbatch import read
from asbx.decide.script.shell import lines_of


def asks(script: str, *words: str, **environment: str) -> Geometry:
    """Return what a script (without its first line) asks for."""
    return geometry(read("#!/bin/bash\n" + script, words, environment).components[0])


def test_the_command_line_stands_above_the_environment_and_that_above_the_script() -> None:
    """sbatch(1), INPUT ENVIRONMENT VARIABLES."""
    script = "#!/bin/bash\n#SBATCH -p a -A one --time=1 -J x\n"
    (stated,) = read(script, ["-p", "c"], {"SBATCH_PARTITION": "b", "SBATCH_ACCOUNT": "two"}).components
    assert (stated["partition"].value, stated["partition"].source) == ("c", "command line")
    assert (stated["account"].value, stated["account"].source) == ("two", "SBATCH_ACCOUNT")
    assert (stated["time"].value, stated["time"].source) == ("1", "line 2")


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        (["-n4"], 4),
        (["-n", "4"], 4),
        (["--ntasks=4"], 4),
        (["--ntasks", "4"], 4),
        (["--tasks", "4"], 4),
        (["-HQn4"], 4),
        (["-vvv", "-n4", "job.sh", "-n9"], 4),
        (["-n4", "--", "-n9"], 4),
        (["-n2", "-n4"], 4),
    ],
)
def test_every_way_to_write_an_option(words: list[str], tasks: int) -> None:
    """Long, short, joined, apart, bundled; the last one counts, and what follows the script is the script's."""
    assert asks("", *words).tasks == tasks


def test_options_end_with_the_first_command() -> None:
    """Comments and blank lines do not end them; a doubled or a spaced mark is a comment."""
    script = "\n# note\n##SBATCH -n 9\n# SBATCH -n 8\n#SBATCH -n 2 # and why\necho\n#SBATCH -n 7\n"
    assert asks(script).tasks == 2


def test_quotes_and_escapes() -> None:
    """As a shell would group them."""
    stated = read("#!/bin/sh\n#SBATCH -J 'a b' --comment=\"x 'y'\" -o a\\ b\n").components[0]
    assert [stated[name].value for name in ("job-name", "comment", "output")] == ["a b", "x 'y'", "a b"]


def test_components() -> None:
    """Each has its own options; one command line is for all of them, several are one each."""
    script = "#!/bin/sh\n#SBATCH -n 4 -c 2\n#SBATCH hetjob\n#SBATCH -n 2\n"
    job = read(script, ["--mem=1G"])
    assert job.is_heterogeneous
    assert [(geometry(one).tasks, geometry(one).memory_mib) for one in job.components] == [(4, 1024), (2, 1024)]
    assert [geometry(one).cpus_per_task for one in job.components] == [2, 1]
    apart = read(script, ["-n", "8", ":", "-c", "3", "job.sh"])
    assert [(geometry(one).tasks, geometry(one).cpus_per_task) for one in apart.components] == [(8, 2), (2, 3)]


def test_a_wrapped_command_is_the_script() -> None:
    """`--wrap` needs no file."""
    job = read("", ["-n2", "--wrap", "srun hostname"])
    assert list(lines_of(job.body)) == ["srun hostname"]
    assert job.problems == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("#SBATCH --nod=2", "sbatch has no option --nod"),
        ("#SBATCH -Z", "sbatch has no option -Z"),
        ("#SBATCH -n", "-n needs a value"),
        ("#SBATCH --hold=yes", "--hold takes no value"),
        ("#SBATCH -J 'a", "a quote is not closed"),
        ("#SBATCH -n 2 hello", "'hello' is no option"),
        ("#SBATCH --mem=1.5G", "--mem '1.5G' cannot be read"),
        ("#SBATCH -N 4-2", "--nodes '4-2' cannot be read"),
        ("#SBATCH -t tomorrow", "--time 'tomorrow' cannot be read"),
        ("#SBATCH -a 5-1", "--array '5-1' cannot be read"),
        ("#SBATCH -a 0-999999999", "--array '0-999999999' cannot be read"),
        ("#SBATCH -n -3", "--ntasks '-3' cannot be read"),
        (f"#SBATCH -t {'9' * 30}", "cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_said_with_its_place(line: str, problem: str) -> None:
    """Never guessed: the line is named."""
    job = read(f"#!/bin/sh\n{line}\n")
    (said,) = (*job.problems, *geometry(job.components[0]).problems)
    assert problem in said
    assert said.startswith("line 2: ")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("90", timedelta(minutes=90)),
        ("10:30", timedelta(minutes=11)),
        ("1:30:00", timedelta(hours=1.5)),
        ("2-0", timedelta(days=2)),
        ("1-02:03", timedelta(days=1, hours=2, minutes=3)),
        ("1-02:03:04", timedelta(days=1, hours=2, minutes=4)),
        ("UNLIMITED", timedelta.max),
        ("0", timedelta.max),
        ("2-", timedelta(days=2)),
    ],
)
def test_times(text: str, limit: timedelta) -> None:
    """Every form of sbatch(1), rounded up to minutes as slurmctld does."""
    assert asks(f"#SBATCH -t {text}").time_limit == limit


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#SBATCH -N2 --ntasks-per-node=4", {"nodes": (2, 2), "tasks": 8, "tasks_per_node": 4}),
        ("#SBATCH -N 2-4 -n 6", {"nodes": (2, 4), "tasks": 6}),
        ("#SBATCH -N 4 -n 3", {"nodes": (3, 3), "tasks": 3}),
        ("#SBATCH -N 1k", {"nodes": (1024, 1024), "tasks": 1024}),
        ("#SBATCH -n 8 -c 2", {"tasks": 8, "cpus": 16, "nodes_stated": False}),
        ("#SBATCH -n 5 --ntasks-per-node=2", {"nodes": (3, 3), "tasks": 5}),
        ("#SBATCH -a 0-9:3%2", {"array_tasks": 4, "at_once": 2}),
        ("#SBATCH -a 1,3,5-7", {"array_tasks": 5, "at_once": 0}),
        ("#SBATCH --gres=gpu:a100:2,license:1 -N2", {"gpus_per_node": 2, "gpu_type": "a100"}),
        ("#SBATCH --gpus=h100:8", {"gpus": 8, "gpu_type": "h100"}),
        ("#SBATCH -n4 --gpus-per-task=1", {"gpus": 4, "tasks": 4}),
        ("#SBATCH --gpus=4 --ntasks-per-gpu=2", {"tasks": 8}),
        ("#SBATCH --gpus=4 --ntasks-per-gpu=2 -n 4", {"tasks": 8}),
        ("#SBATCH --ntasks-per-gpu=2 -n 8", {"tasks": 8, "gpus": 4}),
        ("#SBATCH --gpus=8 --gpus-per-task=2", {"tasks": 4, "gpus": 8}),
        ("#SBATCH -N 2 -B 2:4:1", {"tasks": 16, "threads_per_core": 1}),
        ("#SBATCH -N 2 --sockets-per-node=2", {"tasks": 4}),
        ("#SBATCH -N 2 --hint=nomultithread", {"tasks": 2, "threads_per_core": 1}),
        ("#SBATCH --mem-per-gpu=2G", {"memory_per_gpu_mib": 2048}),
        ("#SBATCH --mem=0", {"memory_mib": 0, "all_memory": True}),
        ("#SBATCH -a 1-3,2", {"array_tasks": 3}),
        ("#SBATCH -a [0-9:3]%2", {"array_tasks": 4, "at_once": 2}),
        ("#SBATCH --exclusive", {"is_exclusive": True}),
        ("#SBATCH --exclusive=user", {"is_exclusive": False}),
        ("#SBATCH --tres-per-node=gres/gpu=4", {"gpus_per_node": 4}),
        ("#SBATCH --mem=4G", {"memory_mib": 4096}),
        ("#SBATCH --mem-per-cpu=500K", {"memory_per_cpu_mib": 1}),
    ],
)
def test_what_is_asked_for(script: str, expected: dict[str, object]) -> None:
    """Counted as sbatch counts."""
    found = asks(script)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.problems == ()


def test_ways_to_state_memory_exclude_each_other() -> None:
    """A variable gives way to the script, otherwise than elsewhere; two ways in script and command line are refused."""
    found = asks("#SBATCH --mem=4G", SBATCH_MEM_PER_CPU="100")
    assert (found.memory_mib, found.memory_per_cpu_mib) == (4096, 0)
    assert asks("", SBATCH_MEM_PER_CPU="100").memory_per_cpu_mib == 100
    job = read("#!/bin/sh\n#SBATCH --mem=4G\n", ["--mem-per-cpu=1G"])
    assert job.problems == ("line 2: --mem and --mem-per-cpu exclude each other",)


def test_a_component_takes_over_some_options_of_the_one_before() -> None:
    """Time and memory of a node go on; tasks, processors, GPUs and memory of a processor do not."""
    script = "#!/bin/sh\n#SBATCH -n 4 -c 2 -t 10 --mem=1G --gpus=2\n#SBATCH hetjob\n#SBATCH -n 2\n"
    first, second = (geometry(one) for one in read(script).components)
    assert (second.time_limit, second.memory_mib) == (first.time_limit, 1024)
    assert (second.tasks, second.cpus_per_task, second.gpus) == (2, 1, 0)


def test_commands_of_a_script() -> None:
    """Continued lines are one; comments and here-documents are none."""
    body = "#!/bin/sh\n# srun a\nmpirun -n 4 \\\n  ./x\ncat <<EOF\nmpirun no\nEOF\nsrun b\n"
    assert [" ".join(line.split()) for line in lines_of(body)] == ["mpirun -n 4 ./x", "cat <<EOF", "srun b"]
