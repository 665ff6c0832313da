"""What a lab writes and remembers."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from asbx.config.schema import Config
from asbx.lab import conf, site, wrappers
from asbx.lab.account import Account
from asbx.lab.layout import Layout
from asbx.lab.processes import Process
from asbx.lab.record import Record, Wishes, load, require, save
from asbx.lab.slots import Slot, claim
from asbx.lab.trouble import LabError
from asbx.lab.up import up

_ACCOUNT = Account(("subnet-a", "subnet-b", "subnet-c"), "sg-1", {"cpu": "lt-1", "efa": "lt-2"}, "lab-notices")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Make a lab's folders. The path may be too long for sockets, which these tests do not open."""
    made = Layout(tmp_path / "lab")
    made.root.mkdir()
    for folder in made.own_folders():
        folder.mkdir()
    return made


@pytest.fixture
def record() -> Record:
    """Make a record of a small lab."""
    return Record(
        cluster="lab3",
        wishes=Wishes(nodes=4),
        slot=Slot(3, "127.0.0.1"),
        disguise={},
        emulator_url="http://127.0.0.1:1",
        processes=(Process("munged", 1, "boot:1"),),
    )


def test_record_survives_the_disk(layout: Layout, record: Record) -> None:
    """A record is read back as it was written."""
    save(layout, record)
    assert load(layout) == record


def test_a_lab_that_is_not_up_says_how_to_start_one(layout: Layout, record: Record) -> None:
    """Commands that need a lab name the command that makes one."""
    with pytest.raises(LabError) as nothing:
        require(layout)
    assert f"asbx lab up --state-dir {layout.root}" in nothing.value.hint
    save(layout, record)
    with pytest.raises(LabError):
        require(layout)


def test_a_damaged_record_is_an_error(layout: Layout) -> None:
    """A record nobody can read is reported, not taken for an absent one: its processes would be forgotten."""
    layout.record.write_text("{")
    with pytest.raises(LabError) as error:
        load(layout)
    assert error.value.code == "lab-record"


def test_refuses_a_path_sockets_do_not_fit(tmp_path: Path) -> None:
    """A folder too deep for unix sockets is refused before anything starts."""
    with pytest.raises(LabError) as error:
        Layout.at(tmp_path / ("x" * 60))
    assert error.value.code == "lab-path-long"


def test_refuses_a_folder_that_is_not_a_labs(layout: Layout) -> None:
    """Somebody's files are never mixed with a lab's."""
    (layout.root / "thesis.tex").write_text("")
    with pytest.raises(LabError) as error:
        up(layout, Wishes(), print)
    assert error.value.code == "lab-folder"
    assert (layout.root / "thesis.tex").exists()


def test_refuses_more_nodes_than_ports(tmp_path: Path) -> None:
    """A lab whose machines boot cannot have more nodes than its block of ports."""
    short = Layout(tmp_path / "l")
    with pytest.raises(LabError) as error:
        up(short, Wishes(nodes=1000), print)
    assert error.value.code == "lab-nodes"


def test_two_labs_have_different_slots(tmp_path: Path) -> None:
    """Slots claimed at the same time differ in ports and network, and a freed one can be claimed again."""
    first, held = claim(tmp_path, "127.0.0.1", 4)
    second, also_held = claim(tmp_path, "127.0.0.1", 4)
    also_held.close()
    third, again = claim(tmp_path, "127.0.0.1", 4)
    held.close()
    again.close()
    assert first.network != second.network
    assert first.slurmctld_port != second.slurmctld_port
    assert second == third


def test_the_configuration_is_the_products_own(layout: Layout, record: Record) -> None:
    """The lab's file has the nodes of the contract, all its paths in the state folder, and no way to real AWS."""
    config = site.write_config(layout, record, _ACCOUNT)
    assert isinstance(config, Config)
    assert config.aws.endpoint_url == record.emulator_url
    partitions = {one.partition_name: one for one in config.slurm.partitions}
    cpu = partitions["aws"].node_groups[0]
    assert (cpu.node_group_name, cpu.number_width, cpu.max_nodes) == ("cpu", 3, 4)
    assert len(cpu.launch_template_overrides) >= 2
    assert len(cpu.subnet_ids) == 3
    assert partitions["hpc"].node_groups[0].subnet_ids == ("subnet-a",)
    for path in (config.paths.spool, config.paths.state, config.paths.runtime, config.logging.file):
        assert path.is_relative_to(layout.root)


def test_every_node_has_a_port_of_its_own(layout: Layout, record: Record) -> None:
    """Ports in slurm.conf are those the runner forwards to, in the order of the node names."""
    config = site.write_config(layout, record, _ACCOUNT)
    ports = [str(group.slurm_specifications["Port"]) for part in config.slurm.partitions for group in part.node_groups]
    names = site.node_names(record)
    assert ports[0] == f"[{record.slot.node_port(0)}-{record.slot.node_port(3)}]"
    assert ports[1].startswith(f"[{record.slot.node_port(names.index('aws-hpc-001'))}-")
    assert ports[2].startswith(f"[{record.slot.node_port(names.index('hpc-efa-000'))}-")


def test_any_number_of_nodes_without_machines(layout: Layout, record: Record) -> None:
    """Where nothing boots, nodes share a port, so that thousands fit."""
    many = replace(record, wishes=Wishes(nodes=5000, machines=False))
    group = site.write_config(layout, many, _ACCOUNT).slurm.partitions[0].node_groups[0]
    assert group.slurm_specifications["Port"] == record.slot.node_port(0)


def test_joins_the_products_lines_with_the_labs() -> None:
    """Comma lists are joined, the lab's word counts elsewhere, and no setting stands twice."""
    product = (
        "SlurmctldParameters=idle_on_node_suspend,power_save_interval=30\nReturnToService=1\nNodeName=a State=CLOUD"
    )
    text = conf.slurm_conf(product, {"SlurmctldParameters": "power_save_interval=2", "ReturnToService": "2"})
    lines = text.splitlines()
    assert "SlurmctldParameters=idle_on_node_suspend,power_save_interval=2" in lines
    assert "ReturnToService=2" in lines
    assert "ReturnToService=1" not in lines
    assert "NodeName=a State=CLOUD" in lines


def test_binds_to_loopback_only(layout: Layout, record: Record) -> None:
    """Slurm's daemons are told not to listen on every interface."""
    settings = conf.lab_settings(layout, record)
    assert settings["CommunicationParameters"] == "NoCtldInAddrAny,NoInAddrAny"
    assert settings["SlurmctldHost"] == "localhost(127.0.0.1)"


def test_task_prolog_respects_the_user(tmp_path: Path) -> None:
    """Tasks get the MPI settings one machine needs, but what the user has set stays."""
    program = tmp_path / "prolog"
    program.write_text(conf.task_prolog({}))
    shown = subprocess.run(
        ["sh", str(program)], env={"OMPI_MCA_pml": "ob1"}, capture_output=True, text=True, check=True
    )
    assert "export FI_TCP_IFACE=lo" in shown.stdout
    assert "OMPI_MCA_pml" not in shown.stdout


def test_wrappers_bring_their_environment(layout: Layout, record: Record, tmp_path: Path) -> None:
    """What slurmctld starts works in an empty environment and adds no HOME, which would mark a person's call."""
    shown = tmp_path / "aws-slurm-burst-resume"
    shown.write_text('#!/bin/sh\n/usr/bin/env; echo "argument $1"\n')
    shown.chmod(0o755)
    wrappers.write_wrappers(layout, record, commands=tmp_path)
    done = subprocess.run(
        [layout.bin / "resume-program", "aws-cpu-[000-003]"],
        env={"SLURM_RESUME_FILE": "/proc/1/fd/7"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert f"ASBX_CONFIG={layout.config}" in lines
    assert f"ASBX_SPOOL={layout.root / 'spool'}" in lines
    assert f"AWS_ENDPOINT_URL={record.emulator_url}" in lines
    assert "SLURM_RESUME_FILE=/proc/1/fd/7" in lines
    assert "argument aws-cpu-[000-003]" in lines
    assert not any(line.startswith("HOME=") for line in lines)
