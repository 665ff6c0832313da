"""The network as Slurm's topology files say it: topology.conf for the tree plugin, topology.yaml from 25.05 on.

EC2 tells the network nodes above an instance from the top layer down; each becomes a switch. Nodes that are off, or of
which EC2 tells nothing, share a switch under the same root: a job could not span two fabrics (topology.conf(5)).
Formats: topology.conf(5), topology.yaml(5), Slurm's topology guide; the first read by slurmctld 22.05.8.

Peers' cautions: an empty topology.yaml crashes 25.11 (aws-samples PR 23), switch names end at 64 characters (OCI),
slurm-gcp avoids sizes that are a multiple of 4,096, and `scontrol reconfigure` is for real changes only
(cluster-toolkit PR 6236, #3316): `write_if_changed` says whether there was one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from asbx.config.schema import Slurm as SlurmSection
from asbx.errors import ConfigError
from asbx.model.hostlist import fold, unique_sorted

ROOT = "asbx-root"
REST = "asbx-rest"
# Of an id of EC2 so much stays in a name; with `asbx-l9-` before and a number behind it is below 64 characters.
_LONGEST_ID = 40
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_HEAD = "# Written by ASBX from what EC2 tells of its instances; changes made by hand are lost."
_PAGE = 4096
_NEW_FILE_MODE = 0o644


@dataclass
class _Switch:
    """A switch of the tree: nodes right below it, and switches by the id of their network node."""

    nodes: list[str] = field(default_factory=list)
    below: dict[str, _Switch] = field(default_factory=dict)


class _Line(NamedTuple):
    """One switch of the file. It has either nodes or switches: the tree plugin takes no line with both."""

    name: str
    nodes: str
    switches: str


def topology_conf(nodes: Iterable[str], paths: Mapping[str, Sequence[str]]) -> str:
    """Return topology.conf for all nodes of the cluster.

    paths: node -> its network nodes from the top layer down; nodes may be missing. Raises ConfigError without nodes.
    """
    lines = [
        f"SwitchName={line.name} " + (f"Switches={line.switches}" if line.switches else f"Nodes={line.nodes}")
        for line in _lines(nodes, paths)
    ]
    return _text([_HEAD, *lines])


def topology_yaml(nodes: Iterable[str], paths: Mapping[str, Sequence[str]], name: str = "default") -> str:
    """Return topology.yaml with one topology, the cluster's default. Raises ConfigError without nodes."""
    text = ["---", _HEAD, f'- topology: "{name}"', "  cluster_default: true", "  tree:", "    switches:"]
    for line in _lines(nodes, paths):
        text.append(f'      - switch: "{line.name}"')
        text.append(f'        children: "{line.switches}"' if line.switches else f'        nodes: "{line.nodes}"')
    return _text(text)


def _text(lines: Sequence[str]) -> str:
    text = "\n".join([*lines, ""])
    return text if len(text.encode()) % _PAGE else text + "\n"


def _lines(nodes: Iterable[str], paths: Mapping[str, Sequence[str]]) -> list[_Line]:
    """Return a line for each switch, those further up first, in an order that depends on the content only."""
    ordered = unique_sorted(nodes)
    if not ordered:
        raise ConfigError("topology-empty", "a topology without nodes cannot be written", "Slurm would not start")
    root = _Switch()
    for node in ordered:
        switch = root
        for network_node in paths.get(node, ()):
            switch = switch.below.setdefault(network_node, _Switch())
        switch.nodes.append(node)
    if not root.below:
        return [_Line(REST, fold(root.nodes), "")]
    return list(_walk(root, ROOT, 1, {ROOT, REST}))


def _walk(switch: _Switch, name: str, layer: int, taken: set[str]) -> Iterator[_Line]:
    """Yield the lines of a switch and of all below it. Nodes beside switches get a switch of their own."""
    children = {_name(network_node, layer, taken): switch.below[network_node] for network_node in sorted(switch.below)}
    if not children:
        yield _Line(name, fold(switch.nodes), "")
        return
    if switch.nodes:
        own = REST if name == ROOT else _name(f"{name.removeprefix('asbx-')}x", layer, taken)
        children[own] = _Switch(nodes=switch.nodes)
    yield _Line(name, "", ",".join(children))
    for child, below in children.items():
        yield from _walk(below, child, layer + 1, taken)


def _name(network_node: str, layer: int, taken: set[str]) -> str:
    """Return a name for a network node: short, and no other's."""
    base = f"asbx-l{layer}-{_UNSAFE.sub('', network_node.removeprefix('nn-'))[:_LONGEST_ID]}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return name


@dataclass(frozen=True)
class TopologyFile:
    """The file a cluster's topology plugin reads. is_whole: it must name every node, also those that are not ours."""

    path: Path
    is_yaml: bool
    is_whole: bool

    @property
    def _owed(self) -> Path:
        """Is there while Slurm has not read the file: a crash must not lose that (cluster-toolkit #3316)."""
        return self.path.with_name(f".{self.path.name}.unread")

    def write(self, nodes: Iterable[str], paths: Mapping[str, Sequence[str]]) -> bool:
        """Write what is new; return whether Slurm must read the file, which `done` then notes.

        Raises ConfigError: `topology-foreign` for a file that we have not written, `topology-empty`, `file-write`.
        """
        text = topology_yaml(nodes, paths) if self.is_yaml else topology_conf(nodes, paths)
        try:
            old = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else _HEAD
            if old.strip() and _HEAD not in old:
                why = "it was not written by ASBX, and would be lost"
                hint = "move it away, or set slurm.topology_file to a file that it includes"
                raise ConfigError("topology-foreign", f"{self.path} is left as it is", why, hint)
            if old != text:
                self._owed.touch()
            return write_if_changed(self.path, text) or self._owed.exists()
        except OSError as error:
            raise ConfigError("file-write", f"{self.path} cannot be written", str(error.strerror or error)) from None

    def done(self) -> None:
        """Note that Slurm has read the file."""
        with suppress(OSError):
            self._owed.unlink(missing_ok=True)


def topology_file(slurm: SlurmSection) -> TopologyFile | None:
    """Return the file a configuration asks for, None for none."""
    if slurm.topology == "none":
        return None
    usual = slurm.config_path.with_name(f"topology.{slurm.topology}")
    path = slurm.topology_file or usual
    return TopologyFile(path, slurm.topology == "yaml", path == usual)


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file whole or not at all, with the owner and mode it has; return False when it says that already.

    A link stays a link. Raises ConfigError (`file-write`).
    """
    real = path.resolve()
    try:
        if real.exists() and real.read_bytes() == text.encode():
            return False
        _replace(real, text)
    except OSError as error:
        raise ConfigError("file-write", f"{path} cannot be written", str(error.strerror or error)) from None
    return True


def _replace(path: Path, text: str) -> None:
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            _dress(file.fileno(), path)
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _dress(handle: int, path: Path) -> None:
    """Give a new file the owner and mode of the one it replaces."""
    if not path.exists():
        os.fchmod(handle, _NEW_FILE_MODE)
        return
    old = path.stat()
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, old.st_mode & 0o7777)
