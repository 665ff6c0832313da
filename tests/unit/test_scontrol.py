"""The door to slurmctld over programs that answer as Slurm's do: what is asked, and what becomes of the answers."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from asbx.errors import SlurmError
from asbx.slurm.process import SlurmCommands
from asbx.slurm.scontrol import Slurm
from asbx.slurm.topology import TopologyFile

# Answers `--version`, a queue and the requeue flags; refuses what names a job or node that is in `gone`.
_PROGRAM = """#!/bin/sh
cd "$(dirname "$0")"
for word in "$@"; do printf '%s\\t' "$word"; done >> said
printf '\\n' >> said
case "$*" in *--version*) cat version; exit 0;; esac
for name in $(cat gone); do case "$*" in *$name*) cat refusal >&2; exit 1;; esac; done
case "$*" in
*show*node*) cat nodes;;
*--json*) cat queue.json;;
*--Format=*) cat flags;;
*--format=*) format="${*##*--format=}"; mark="${format%%<*}"; sed "s/@/$mark/g" queue;;
esac
"""


class World:
    """A folder with scontrol, squeue and scancel in it."""

    def __init__(self, folder: Path, version: str = "22.05.8") -> None:
        self._folder = folder
        for name in ("scontrol", "squeue", "scancel"):
            (folder / name).write_text(_PROGRAM)
            (folder / name).chmod(0o755)
        self.write(version=f"slurm-wlm {version}\n", gone="", said="", queue="", flags="")
        self.write(refusal="Invalid job id specified\n")
        (folder / "slurm.conf").write_text("")
        self.door = Slurm(SlurmCommands(folder, folder / "slurm.conf"))

    def write(self, **files: str) -> None:
        """Set what the programs answer."""
        for name, text in files.items():
            (self._folder / name.replace("_", ".")).write_text(text)

    def said(self) -> list[list[str]]:
        """Return the command lines so far, but for the question for the version."""
        lines = [line.rstrip("\t").split("\t") for line in (self._folder / "said").read_text().splitlines()]
        return [line for line in lines if line != ["--version"]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a Slurm 22.05 with tasks 1 and 2 of array 3, the second of which has the array's number."""
    one = World(tmp_path)
    rows = [
        f"@<{n}@|{label}@|ada@|(null)@|PENDING@|7@|1:00:00@|(null)@|(null)@|x" for n, label in ((9, "3_1"), (3, "3_2"))
    ]
    rows += [f"@<{n}@|4+{n - 4}@|ada@|(null)@|PENDING@|7@|1:00:00@|(null)@|(null)@|x" for n in (4, 5)]
    one.write(queue="\n".join(rows) + "\n", flags=" 9 0 1 0 0:00\n 3 0 1 0 0:00\n 4 1 1 2 1:30\n 6 0 0 0 0:00\n")
    return one


def test_each_question_has_its_own_mark(world: World) -> None:
    """Nobody can know the mark of a question before it is asked."""
    for _ in range(2):
        assert [fact.job_id for fact in world.door.jobs([9, 3, 4, 77])] == [9, 3, 4]
    marks = {line[-1].removeprefix("--format=").partition("<")[0] for line in world.said()}
    assert len(marks) == 2
    assert all(len(mark) == 32 for mark in marks)
    assert world.said()[0][:3] == ["--noheader", "--array", "--jobs=9,3,4,77"]


def test_a_task_is_changed_without_its_array(world: World) -> None:
    """Job 3 is called 3_2, or scontrol would change every task of array 3."""
    world.door.jobs([9, 3])
    world.door.tell_job(3, 'one "line"\nonly ' + "x" * 600)
    world.door.postpone(9, timedelta(seconds=90))
    world.door.hold(3)
    told, postponed, held = world.said()[1:]
    assert told[:2] == ["update", "jobid=3_2"]
    assert told[2].startswith("admincomment=one 'line' only xxx")
    assert len(told[2]) == len("admincomment=") + 500
    assert postponed == ["update", "jobid=3_1", "starttime=now+90"]
    assert held == ["uhold", "3_2"]


def test_a_heterogeneous_job_is_put_off_as_a_whole(world: World) -> None:
    """Its components start together: the leader's number means all of them."""
    world.door.jobs([4, 5])
    world.door.postpone(5, timedelta(seconds=90))
    world.door.tell_job(5, "why")
    assert [line[1] for line in world.said()[1:]] == ["jobid=4", "jobid=4+1"]


def test_batch_jobs_that_forbid_requeues_are_found(world: World) -> None:
    """One look and one update; interactive jobs are left out: Slurm requeues none. Only they have a terminal."""
    assert world.door.make_requeueable([9, 3, 4, 6]) == (9, 3)
    assert world.said()[1:] == [["update", "jobid=9,3", "requeue=1"]]
    world.door.notify(9, "a batch job")
    world.door.notify(6, "at a terminal")
    assert world.said()[2:] == [["notify", "6", "at a terminal"]]
    world.door.undo_requeueable([])
    assert len(world.said()) == 3


def test_jobs_that_are_gone_are_no_error(world: World) -> None:
    """Slurm refuses a question for a single job that is gone; another refusal is one."""
    world.write(gone="77")
    assert world.door.jobs([77]) == ()
    assert world.door.make_requeueable([77]) == ()
    world.door.undo_requeueable([9, 77])
    world.door.notify(77, "x")
    with pytest.raises(SlurmError):
        world.door.hold(77)
    world.write(refusal="Access/permission denied\n")
    with pytest.raises(SlurmError):
        world.door.jobs([77])


def test_what_slurm_refuses_of_one_node_strands_no_other(world: World) -> None:
    """Every reason is said and everything powered down before the refusal is raised."""
    world.write(gone="aws-gpu-9", refusal="Invalid node name specified\n")
    with pytest.raises(SlurmError, match="Invalid node name"):
        world.door.fail_each([(["aws-gpu-9"], "a"), (["aws-cpu-1", "aws-cpu-2"], "b")])
    updates = [line[1:] for line in world.said() if line[0] == "update"]
    parked = "nodeaddr=255.255.255.255,255.255.255.255"
    assert updates[1] == ["nodename=aws-cpu-[1-2]", parked, "state=down", "reason=b"]
    assert updates[2] == ["nodename=aws-cpu-[1-2],aws-gpu-9", "state=power_down"]


def test_later_versions_are_asked_for_json(tmp_path: Path) -> None:
    """From 23.02 on the queue is read as JSON, with the extra of a job."""
    world = World(tmp_path, "23.02.7")
    world.write(queue_json=json.dumps({"jobs": [{"job_id": 2, "extra": "asbx:market=spot"}, {"job_id": 3}]}))
    (found,) = world.door.jobs([2])
    assert found.extra == "asbx:market=spot"
    assert world.said()[0] == ["--noheader", "--array", "--jobs=2", "--json"]


def test_nodes_are_drained_and_taken_back(world: World) -> None:
    """One update each; the reason is one line."""
    world.door.drain(["n-1", "n-2"], 'asbx:block-ends "x"\ny')
    world.door.undrain(["n-1", "n-2"])
    assert world.said() == [
        ["update", "nodename=n-[1-2]", "state=drain", "reason=asbx:block-ends 'x' y"],
        ["update", "nodename=n-[1-2]", "state=undrain"],
    ]


def test_slurm_reads_a_topology_once(tmp_path: Path) -> None:
    """Written and read; the same again is neither. A reconfigure that fails is tried again though the file is there."""
    world = World(tmp_path)
    commands = SlurmCommands(tmp_path, tmp_path / "slurm.conf")
    assert not world.door.write_topology({"n-1": ()})
    assert world.said() == []
    door = Slurm(commands, TopologyFile(tmp_path / "topology.conf", is_yaml=False, is_whole=False))
    world.write(gone="reconfigure")
    with pytest.raises(SlurmError):
        door.write_topology({"n-1": ("nn-1",), "n-2": ()})
    world.write(gone="")
    assert door.write_topology({"n-1": ("nn-1",), "n-2": ()})
    assert not door.write_topology({"n-1": ("nn-1",), "n-2": ()})
    assert [line for line in world.said() if line == ["reconfigure"]] == [["reconfigure"]] * 2
    assert "SwitchName=asbx-rest Nodes=n-2" in (tmp_path / "topology.conf").read_text()


def test_a_whole_topology_has_the_sites_own_nodes_too(tmp_path: Path) -> None:
    """Those on the premises share the switch of nodes of which nothing is known."""
    world = World(tmp_path)
    world.write(nodes="NodeName=old-1 State=IDLE\nNodeName=n-1 State=IDLE+CLOUD\n")
    door = Slurm(
        SlurmCommands(tmp_path, tmp_path / "slurm.conf"),
        TopologyFile(tmp_path / "topology.conf", is_yaml=False, is_whole=True),
    )
    assert door.write_topology({"n-1": ("nn-1",)})
    assert "SwitchName=asbx-rest Nodes=old-1" in (tmp_path / "topology.conf").read_text()


def test_tenants_are_found_with_two_processes(world: World) -> None:
    """Who is on the nodes, and who of them may be requeued; both by numbers a user cannot forge."""
    world.write(queue="4|4+0|RUNNING|aws-cpu-[000-001]\n3|3_2|COMPLETING|aws-cpu-001\n")
    found = world.door.tenants(["aws-cpu-000", "aws-cpu-001"])
    assert [(one.job_id, one.can_requeue, one.restarts, one.is_leaving) for one in found] == [
        (4, True, 2, False),
        (3, False, 0, True),
    ]
    assert found[0].used == timedelta(seconds=90)
    assert len(world.said()) == 2
    assert "-waws-cpu-[000-001]" in world.said()[0]


@pytest.mark.parametrize(("target", "words"), [("batch", ["--batch"]), ("steps", []), ("all", ["--full"])])
def test_a_signal_goes_where_the_site_wants_it(world: World, target: str, words: list[str]) -> None:
    """By the names of just these jobs; that one is gone is no error."""
    world.door.jobs([3, 4])
    world.door.signal([3, 4], "USR1", target)
    assert world.said()[-1] == ["--signal=USR1", *words, "3_2", "4+0"]
    world.write(gone="3_2")
    world.door.signal([3], "USR1", target)


def test_a_job_is_cancelled_by_its_own_name(world: World) -> None:
    """Not the array it is a task of; that one is gone is no error."""
    world.door.jobs([3, 4])
    world.door.cancel([3, 4])
    assert world.said()[-1] == ["3_2", "4+0"]
    world.write(gone="3_2")
    world.door.cancel([3])


def test_what_a_job_was_told_is_read(world: World) -> None:
    """Its first line, as administrators write none; a job that is gone has none."""
    world.write(flags="asbx:limit a; it runs on | by hand      \n")
    assert world.door.comment(9) == "asbx:limit a; it runs on | by hand"
    world.write(gone="9")
    assert world.door.comment(9) == ""


def test_a_requeue_takes_all_components(world: World) -> None:
    """What Slurm does not let be requeued is said to the caller; silence is an error."""
    world.door.jobs([4, 5])
    assert world.door.requeue(5)
    assert world.said()[-1] == ["requeue", "4"]
    world.write(gone="requeue", refusal="Requested operation is presently disabled for job 4\n")
    assert not world.door.requeue(5)
    world.write(refusal="Unable to contact slurm controller (connect failure)\n")
    with pytest.raises(SlurmError):
        world.door.requeue(5)


def test_a_command_that_prints_without_end_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no cluster has to tell is refused before anybody tries to understand it."""
    monkeypatch.setattr("asbx.slurm.process.SLURM_MAX_OUTPUT", 1000)
    (tmp_path / "scontrol").write_text("#!/bin/sh\nhead -c 2000 /dev/zero | tr '\\0' x\n")
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "slurm.conf").write_text("")
    with pytest.raises(SlurmError, match="slurm-output"):
        SlurmCommands(tmp_path, tmp_path / "slurm.conf").run("scontrol", "show", "node")


def test_nodes_are_retired_in_one_process(tmp_path: Path) -> None:
    """Slurm drains them, waits for their jobs and powers them down: one update."""
    world = World(tmp_path)
    world.door.retire(["aws-cpu-000", "aws-cpu-001"], 'asbx:drift another "type"')
    assert world.said() == [
        ["update", "nodename=aws-cpu-[000-001]", "state=power_down_asap", "reason=asbx:drift another 'type'"]
    ]


_SCRIPTS = """#!/bin/sh
case "$*" in
*--version*) echo "slurm-wlm 22.05.8"; exit 0;;
"write batch_script 4 -") echo "job script retrieval failed: Invalid job id specified"; exit 0;;
"write batch_script 5 -") echo "job script retrieval failed" >&2; exit 1;;
*) echo "$*" >> "$(dirname "$0")/said"; printf '#!/bin/sh\\nsrun hostname\\n';;
esac
"""


def test_a_script_is_asked_for_once_for_all_tasks_of_an_array(world: World, tmp_path: Path) -> None:
    """Tasks have the script of their array; what Slurm says of a job that is gone is not taken for one."""
    (tmp_path / "scontrol").write_text(_SCRIPTS)
    world.door.jobs([9, 3])
    assert [world.door.script(job) for job in (9, 3)] == ["#!/bin/sh\nsrun hostname\n"] * 2
    assert world.door.script(12) == "#!/bin/sh\nsrun hostname\n"
    asked = [line for line in world.said() if "batch_script" in line[0]]
    assert asked == [["write batch_script 9 -"], ["write batch_script 12 -"]]
    assert world.door.script(4) is None
    assert world.door.script(5) is None
