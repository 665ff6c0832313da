"""Write the user data that makes an instance a Slurm node: a small shell stub round the node bootstrap."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from asbx.errors import ConfigError

# EC2 takes 16 KB of user data before base64 (EC2 user guide, "Run commands when you launch an EC2 instance").
USER_DATA_MAX_BYTES = 16 * 1024
_NODE_FILE = "asbx_node.py"
_END = "ASBX_NODE_END"
_UNPACK = "import base64,sys,zlib;exec(zlib.decompress(base64.b64decode(sys.stdin.read())))"
_LINE = 100


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node is told. The keys and their meaning are those of `DEFAULTS` in node/asbx_node.py.

    conf_server: host[:port] of slurmctld for a configless slurmd, the normal way.
    slurm_conf: a file on the image instead. poweroff: the command run when the node cannot serve.
    """

    conf_server: str = ""
    slurm_conf: str = ""
    deadline_s: float = 300.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    slurmd: str = ""
    scontrol: str = ""
    slurmd_args: tuple[str, ...] = ()
    on_failure: Literal["poweroff", "stay"] = "poweroff"
    poweroff: tuple[str, ...] = ("shutdown", "-P", "now")
    watch_s: float = 5.0
    watch_rebalance: bool = False
    watch_hook: tuple[str, ...] = ()


def node_program() -> str:
    """Return the text of the node bootstrap: from the installed package, or from a source checkout.

    Raises ConfigError (`node-file`) when neither has it.
    """
    shipped = resources.files("asbx").joinpath("_node", _NODE_FILE)
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    checkout = Path(__file__).resolve().parents[3] / "node" / _NODE_FILE
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    raise ConfigError(
        "node-file",
        f"the node bootstrap {_NODE_FILE} is missing from this installation",
        f"looked for {shipped} and {checkout}",
        "install the package again",
    )


def packed(program: str) -> str:
    """Return a program as lines of letters, for `_UNPACK`: as it is, the bootstrap is too long for user data."""
    text = base64.b64encode(zlib.compress(program.encode(), 9)).decode()
    return "".join(f"{text[start : start + _LINE]}\n" for start in range(0, len(text), _LINE))


def node_user_data(settings: NodeSettings) -> str:
    """Return the user data of a launch template (plain text; EC2 wants it in base64).

    Raises ConfigError (`user-data-size`) when the settings make it longer than EC2 takes.
    """
    told = shlex.quote(json.dumps(asdict(settings), separators=(",", ":")))
    give_up = shlex.join(settings.poweroff) if settings.on_failure == "poweroff" else "exit 6"
    text = f"""#!/bin/sh
# Makes this instance the Slurm node its tags name (aws-slurm-burst).
export ASBX_NODE_SETTINGS={told}
for python in python3 /usr/libexec/platform-python /usr/local/bin/python3; do
  command -v "$python" >/dev/null 2>&1 && break
  python=
done
if [ -z "$python" ]; then
  echo "asbx-node: FAILED (status 6): this image has no Python 3" >&2
  {give_up}
  exit 6
fi
# `asbx config user-data --program` prints what is packed here.
exec "$python" -u -c '{_UNPACK}' <<'{_END}'
{packed(node_program())}{_END}
"""
    if len(text.encode()) > USER_DATA_MAX_BYTES:
        raise ConfigError(
            "user-data-size",
            f"the user data has {len(text.encode())} bytes",
            f"EC2 takes {USER_DATA_MAX_BYTES}",
            "shorten slurmd_args or the paths in the node settings",
        )
    return text
