"""The lines for slurm.conf and gres.conf, and the check of a slurm.conf that is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path, PurePath

import pytest
from tests.unit.test_config_rules import GROUP, changed

from asbx.config.schema import Config
from asbx.model.hostlist import expand
from asbx.slurm.conf_check import slurm_warnings
from asbx.slurm.writers import gres_conf, slurm_conf

GPU = {f"{GROUP}.slurm_specifications": {"CPUs": 8, "Gres": "gpu:a100:8,nvme:2", "Features": "a,b"}}


WORDS = "efa,efa-preferred,no-efa,pg-cluster,pg-partition,pg-spread,pg-none,gang,greedy,best-effort"


def lines(text: str) -> list[str]:
    """Return the lines Slurm reads: no comments, no blanks."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def line(text: str, key: str) -> str:
    """Return the one line that begins with a key."""
    (found,) = [line for line in lines(text) if line.startswith(f"{key}=")]
    return found


@pytest.mark.parametrize(
    ("numbers", "nodes"),
    [
        ({}, "aws-cpu-[0-19]"),
        ({"first_number": 1, "number_width": 3}, "aws-cpu-[001-020]"),
        ({"first_number": 1, "max_nodes": 1}, "aws-cpu-1"),
        ({"first_number": 95, "number_width": 2}, "aws-cpu-[95-114]"),
    ],
)
def test_node_lines_number_as_configured(numbers: dict[str, int], nodes: str) -> None:
    """NodeName is one folded range with first number and padding as configured."""
    config = changed({f"{GROUP}.{key}": value for key, value in numbers.items()})
    assert line(slurm_conf(config), "NodeName") == f"NodeName={nodes} Features={WORDS} State=CLOUD"
    assert len(expand(nodes)) == config.slurm.partitions[0].node_groups[0].max_nodes


def test_node_and_partition_options_are_carried_over() -> None:
    """What the site states about nodes and partitions stands on their lines, in Slurm's spelling of truth."""
    config = changed(
        {**GPU, "slurm.partitions.0.partition_options": {"Default": True, "MaxTime": "24:00:00", "Note": "a b"}}
    )
    text = slurm_conf(config)
    assert line(text, "NodeName").endswith(f"CPUs=8 Gres=gpu:a100:8,nvme:2 Features=a,b,{WORDS} State=CLOUD")
    assert line(text, "PartitionName") == (
        'PartitionName=aws Nodes=aws-cpu-[0-19] State=UP SuspendTime=350 Default=YES MaxTime=24:00:00 Note="a b"'
    )
    assert line(text, "GresTypes") == "GresTypes=gpu,nvme"


@pytest.mark.parametrize("key", ["Features", "features", "Feature"])
def test_words_for_constraints_join_the_site_s_features(key: str) -> None:
    """No feature stands twice, and the site's own keep their case and come first."""
    text = slurm_conf(changed({f"{GROUP}.slurm_specifications": {key: "EFA, gang,icelake", "CPUs": 4}}))
    rest = WORDS.replace("gang,", "")
    assert line(text, "NodeName") == f"NodeName=aws-cpu-[0-19] CPUs=4 Features=EFA,gang,icelake,{rest} State=CLOUD"


def test_only_cloud_partitions_are_powered_down() -> None:
    """SuspendTime is infinite globally and finite on the partition; the site's own word wins."""
    assert "SuspendTime=INFINITE" in lines(slurm_conf(changed({})))
    own = slurm_conf(changed({"slurm.partitions.0.partition_options": {"suspendtime": 99, "State": "DOWN"}}))
    assert line(own, "PartitionName") == "PartitionName=aws Nodes=aws-cpu-[0-19] suspendtime=99 State=DOWN"


def test_programs_are_absolute_paths() -> None:
    """Programs come from the configuration, else from the folder given."""
    config = changed({"slurm.suspend_program": "/opt/suspend"})
    text = slurm_conf(config, PurePath("/srv/bin"))
    assert line(text, "ResumeProgram") == "ResumeProgram=/srv/bin/aws-slurm-burst-resume"
    assert line(text, "SuspendProgram") == "SuspendProgram=/opt/suspend"
    assert line(text, "ResumeFailProgram") == "ResumeFailProgram=/srv/bin/aws-slurm-burst-resume-fail"
    assert "ASBX_SPOOL=/x" in slurm_conf(changed({"paths.spool": "/x"}))
    assert "ASBX_SPOOL" not in text


def test_gres_lines_name_devices_of_gpus() -> None:
    """GPUs are bound by device file, other resources are counted."""
    assert lines(gres_conf(changed(GPU))) == [
        "NodeName=aws-cpu-[0-19] Name=gpu Type=a100 File=/dev/nvidia[0-7]",
        "NodeName=aws-cpu-[0-19] Name=nvme Count=2",
    ]
    assert lines(gres_conf(changed({f"{GROUP}.slurm_specifications": {"gres": "gpu"}}))) == [
        "NodeName=aws-cpu-[0-19] Name=gpu File=/dev/nvidia0"
    ]
    assert lines(gres_conf(changed({}))) == []


def parse(folder: Path, text: str) -> str:
    """Let Slurm itself read a slurm.conf that includes the text; return what it complains about."""
    (folder / "aws-burst.conf").write_text(text)
    conf = folder / "slurm.conf"
    conf.write_text("ClusterName=x\nSlurmctldHost=localhost\ninclude aws-burst.conf\n")
    done = subprocess.run(
        ["scontrol", "show", "hostnames", "n1"],
        env={**os.environ, "SLURM_CONF": str(conf)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


@pytest.mark.parametrize("changes", [{}, GPU, {"slurm.partitions.0.partition_options": {"Default": "NO"}}])
def test_slurm_reads_what_we_write(tmp_path: Path, changes: dict[str, object]) -> None:
    """Slurm's own parser accepts every line, and would not accept a wrong one."""
    text = slurm_conf(changed(changes))
    assert parse(tmp_path, text) == ""
    assert "unrecognized key: SuspendTimes" in parse(tmp_path, text.replace("SuspendTime=INF", "SuspendTimes=INF"))


def check(text: str, config: Config | None = None) -> list[str]:
    """Return the warnings about a slurm.conf."""
    return list(slurm_warnings(text, config or changed({})))


def test_our_own_lines_pass_the_check() -> None:
    """What we print is what we ask for."""
    assert check(slurm_conf(changed({}))) == []
    assert check(slurm_conf(changed(GPU)), changed(GPU)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SuspendTime=350", "", "Slurm will not call ResumeProgram either"),
        ("SuspendTime=350", "SuspendTime=INFINITE", "has no finite SuspendTime"),
        ("SuspendTime=INFINITE", "SuspendTime=600", "holds for every node, on-premises ones too"),
        ("ResumeRate=0", "", "ResumeRate is 300 (Slurm's default)"),
        ("SuspendRate=0", "SuspendRate=100", "SuspendRate is 100 nodes a minute"),
        ("ReturnToService=2", "ReturnToService=1", "ReturnToService is not 2"),
        ("ResumeTimeout=600", "", "ResumeTimeout is 60 s, shorter than slurm.resume_timeout (600)"),
        ("ResumeProgram=/usr/local/bin/aws-slurm-burst-resume", "", "ResumeProgram is not set"),
        ("ResumeProgram=/usr", "ResumeProgram=usr", "is not an absolute path"),
        ("-suspend\n", "-suspend --config=/etc/x\n", "has arguments"),
        ("idle_on_node_suspend\n", "idle_on_node_suspend,cloud_dns\n", "has cloud_dns"),
        ("SlurmctldParameters=idle_on_node_suspend", "", "SlurmctldParameters lacks idle_on_node_suspend"),
        ("salloc_wait_nodes\n", "salloc_wait_nodes,extra_constraints\n", "has extra_constraints"),
        ("=sbatch_wait_nodes,", "=", "SchedulerParameters lacks sbatch_wait_nodes"),
        ("PrivateData=cloud", "PrivateData=jobs", "PrivateData lacks cloud"),
        ("NodeName=aws-cpu-[0-19]", "NodeName=aws-cpu-[0-17]", "slurm.conf has no nodes aws-cpu-[18-19]"),
        ("NodeName=aws-cpu-[0-19]", "NodeName=aws-cpu-[0-20]", "slurm.conf has nodes aws-cpu-20, which"),
        ("NodeName=aws-cpu-[0-19]", "NodeName=aws-cpu-[0-19", "cannot be read"),
        (" State=CLOUD", "", "are not State=CLOUD"),
        ("PartitionName=aws", "PartitionName=other", "slurm.conf has no partition aws"),
    ],
)
def test_settings_that_break_bursting_are_named(old: str, new: str, said: str) -> None:
    """Each setting that breaks or weakens bursting is found when it is changed."""
    text = slurm_conf(changed({}))
    assert text.count(old) >= 1
    assert any(said in warning for warning in check(text.replace(old, new)))


def test_slurm_conf_is_read_as_slurm_reads_it() -> None:
    """Case, continued lines, quotes, comments, DEFAULT partitions and includes are understood."""
    text = slurm_conf(changed({})).replace("ReturnToService=2", "returntoservice=2  # back")
    text = text.replace("PrivateData=cloud", 'PrivateData="jobs,\\\nCloud"'.replace("\\\n", ""))
    text = text.replace(" State=CLOUD", " \\\n  State=CLOUD").replace(" SuspendTime=350", "")
    assert check("PartitionName=DEFAULT SuspendTime=100\n" + text) == []
    elsewhere = "\n".join(line for line in text.splitlines() if not line.startswith(("NodeName", "  State", "Part")))
    assert "an included file may have them" in check(elsewhere + "\ninclude nodes.conf\n")[0]


def test_only_groups_that_may_have_efa_carry_its_feature() -> None:
    """`--constraint=efa` leads Slurm to nodes that can have it, not to the cheaper ones beside them."""
    assert ",efa," in f",{line(slurm_conf(changed({})), 'NodeName').split('Features=')[1].split()[0]},"
    for text in (slurm_conf(changed({}), has_efa=lambda _: False), slurm_conf(changed({f"{GROUP}.efa": "disabled"}))):
        words = line(text, "NodeName").split("Features=")[1].split()[0].split(",")
        assert "efa" not in words
        assert {"efa-preferred", "no-efa", "gang"} <= set(words)
