"""The network as topology.conf and topology.yaml."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.site import config

from asbx.errors import ConfigError
from asbx.model.hostlist import expand
from asbx.slurm.topology import TopologyFile, topology_conf, topology_file, topology_yaml, write_if_changed

NODES = expand("aws-cpu-[000-005]")
PATHS = {
    "aws-cpu-000": ("nn-1", "nn-2", "nn-3"),
    "aws-cpu-001": ("nn-1", "nn-2", "nn-3"),
    "aws-cpu-002": ("nn-1", "nn-2", "nn-4"),
    "aws-cpu-003": ("nn-5", "nn-6", "nn-7"),
}


def lines(text: str) -> list[str]:
    """Return the lines Slurm reads."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_each_network_node_is_a_switch() -> None:
    """Switches come before what is below them, and what EC2 tells nothing of hangs on one switch under the root."""
    assert lines(topology_conf(NODES, PATHS)) == [
        "SwitchName=asbx-root Switches=asbx-l1-1,asbx-l1-5,asbx-rest",
        "SwitchName=asbx-l1-1 Switches=asbx-l2-2",
        "SwitchName=asbx-l2-2 Switches=asbx-l3-3,asbx-l3-4",
        "SwitchName=asbx-l3-3 Nodes=aws-cpu-[000-001]",
        "SwitchName=asbx-l3-4 Nodes=aws-cpu-002",
        "SwitchName=asbx-l1-5 Switches=asbx-l2-6",
        "SwitchName=asbx-l2-6 Switches=asbx-l3-7",
        "SwitchName=asbx-l3-7 Nodes=aws-cpu-003",
        "SwitchName=asbx-rest Nodes=aws-cpu-[004-005]",
    ]


def test_without_any_instance_there_is_one_switch() -> None:
    """A cluster that is powered down has a topology too; one without nodes cannot."""
    assert lines(topology_conf(NODES, {})) == ["SwitchName=asbx-rest Nodes=aws-cpu-[000-005]"]
    assert lines(topology_conf(NODES, {"elsewhere": ("nn-1",)})) == ["SwitchName=asbx-rest Nodes=aws-cpu-[000-005]"]
    for write in (topology_conf, topology_yaml):
        with pytest.raises(ConfigError):
            write([], PATHS)


def test_nodes_beside_switches_get_a_switch_of_their_own() -> None:
    """A path that ends earlier than others is still a leaf."""
    paths = {"aws-cpu-000": ("nn-1",), "aws-cpu-001": ("nn-1", "nn-2")}
    assert lines(topology_conf(NODES[:2], paths)) == [
        "SwitchName=asbx-root Switches=asbx-l1-1",
        "SwitchName=asbx-l1-1 Switches=asbx-l2-2,asbx-l2-l11x",
        "SwitchName=asbx-l2-2 Nodes=aws-cpu-001",
        "SwitchName=asbx-l2-l11x Nodes=aws-cpu-000",
    ]


def test_yaml_says_the_same() -> None:
    """The tree of topology.yaml has the switches of topology.conf, with `children` and `nodes`."""
    (topology,) = yaml.safe_load(topology_yaml(NODES, PATHS))
    assert (topology["topology"], topology["cluster_default"]) == ("default", True)
    said = [
        f"SwitchName={row['switch']} "
        + (f"Switches={row['children']}" if "children" in row else f"Nodes={row['nodes']}")
        for row in topology["tree"]["switches"]
    ]
    assert said == lines(topology_conf(NODES, PATHS))


@given(st.dictionaries(st.sampled_from(NODES), st.lists(st.text(max_size=80), max_size=4)))
def test_every_node_hangs_on_the_root_once(paths: dict[str, list[str]]) -> None:
    """Whatever EC2 tells: one root, every switch named once, short, with one parent; every node on one of them."""
    text = topology_conf(NODES, paths)
    rows = [re.fullmatch(r"SwitchName=([A-Za-z0-9-]{1,64}) (Switches|Nodes)=(\S+)", line) for line in lines(text)]
    found = [row.groups() for row in rows if row is not None]
    assert len(found) == len(rows)
    names = [name for name, _, _ in found]
    children = [child for _, kind, below in found if kind == "Switches" for child in below.split(",")]
    nodes = [node for _, kind, below in found if kind == "Nodes" for node in expand(below)]
    assert len(set(names)) == len(names)
    assert sorted([*children, names[0]]) == sorted(names)
    assert sorted(nodes) == sorted(NODES)
    assert text == topology_conf(reversed(NODES), dict(reversed(paths.items())))
    assert len(text) % 4096


def test_a_file_is_written_only_when_it_changes(tmp_path: Path) -> None:
    """Owner and mode stay, a link stays a link, nothing is left beside it; the same text writes nothing."""
    real, link = tmp_path / "real.conf", tmp_path / "topology.conf"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert write_if_changed(link, "new\n")
    assert not write_if_changed(link, "new\n")
    assert real.read_text() == "new\n"
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real.conf", "topology.conf"]


def test_the_owner_of_a_file_stays(tmp_path: Path) -> None:
    """A file of SlurmUser stays SlurmUser's when root writes it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = tmp_path / "topology.conf"
    path.write_text("old")
    os.chown(path, 12345, 12346)
    assert write_if_changed(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


def test_a_new_file_can_be_read_by_all(tmp_path: Path) -> None:
    """Slurmd and users' commands read it too; where it cannot be written, that is an error of ours."""
    path = tmp_path / "topology.conf"
    assert write_if_changed(path, "new")
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(ConfigError):
        write_if_changed(tmp_path / "none" / "topology.conf", "new")


@pytest.mark.parametrize("is_yaml", [False, True])
def test_slurm_must_read_a_file_until_it_has(tmp_path: Path, *, is_yaml: bool) -> None:
    """A reconfigure that failed is owed, also by another program; the same file again is not read again."""
    file = TopologyFile(tmp_path / "topology", is_yaml=is_yaml, is_whole=True)
    assert file.write(NODES, PATHS)
    assert TopologyFile(file.path, is_yaml=is_yaml, is_whole=True).write(NODES, PATHS)
    file.done()
    assert not file.write(NODES, PATHS)
    assert file.write(NODES, {})
    file.done()
    file.done()
    assert [path.name for path in tmp_path.iterdir()] == ["topology"]


def test_a_file_of_others_is_left_alone(tmp_path: Path) -> None:
    """It would be lost; an empty one is nobody's."""
    path = tmp_path / "topology.conf"
    file = TopologyFile(path, is_yaml=False, is_whole=True)
    path.write_text("SwitchName=leaf Nodes=old-[1-9]\n")
    with pytest.raises(ConfigError, match=r"left as it is"):
        file.write(NODES, PATHS)
    assert path.read_text() == "SwitchName=leaf Nodes=old-[1-9]\n"
    assert [one.name for one in tmp_path.iterdir()] == ["topology.conf"]
    path.write_text("\n")
    assert file.write(NODES, PATHS)
    with pytest.raises(ConfigError):
        TopologyFile(tmp_path / "none" / "topology.conf", is_yaml=False, is_whole=True).write(NODES, PATHS)


def test_where_the_file_is(tmp_path: Path) -> None:
    """Beside slurm.conf under Slurm's own name, for all nodes; elsewhere as stated, for ours."""
    slurm = config().slurm.model_copy(update={"config_path": tmp_path / "slurm.conf"})
    assert topology_file(slurm) is None
    usual = topology_file(slurm.model_copy(update={"topology": "yaml"}))
    assert usual == TopologyFile(tmp_path / "topology.yaml", is_yaml=True, is_whole=True)
    beside = slurm.model_copy(update={"topology": "conf", "topology_file": tmp_path / "cloud.conf"})
    assert topology_file(beside) == TopologyFile(tmp_path / "cloud.conf", is_yaml=False, is_whole=False)
