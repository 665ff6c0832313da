"""User data: the stub round the bootstrap."""

from __future__ import annotations

import base64
import subprocess
import zlib
from pathlib import Path

import pytest

from asbx.errors import ConfigError
from asbx.slurm.userdata import USER_DATA_MAX_BYTES, NodeSettings, node_program, node_user_data, packed


def test_fits_ec2s_limit() -> None:
    """The user data leaves room for a site's own lines below EC2's 16 KB."""
    assert len(node_user_data(NodeSettings(conf_server="head.cluster.internal:6817")).encode()) < 12_000


def test_refuses_what_ec2_would_not_take() -> None:
    """Settings that make it too long are refused with the limit."""
    with pytest.raises(ConfigError, match=str(USER_DATA_MAX_BYTES)):
        node_user_data(NodeSettings(slurmd_args=("x" * USER_DATA_MAX_BYTES,)))


def test_carries_the_program_whole() -> None:
    """What reaches Python on the node is the bootstrap, byte for byte."""
    text = node_user_data(NodeSettings())
    assert text.startswith("#!/bin/sh\n")
    inside = text.partition("<<'ASBX_NODE_END'\n")[2].partition("ASBX_NODE_END")[0]
    assert zlib.decompress(base64.b64decode(inside)).decode() == node_program()


def test_quotes_settings(tmp_path: Path) -> None:
    """Quotes, dollars and line breaks in settings reach the program as they are, whatever the shell thinks of them."""
    nasty = 'it\'s "$HOME" `id`\n\\'
    text = node_user_data(NodeSettings(slurmd_args=(nasty,), on_failure="stay"))
    program = tmp_path / "user-data"
    # The stub is run as it is, with a program in the place of the bootstrap that tells what it was told.
    teller = "import json, os\nprint(json.loads(os.environ['ASBX_NODE_SETTINGS'])['slurmd_args'][0], end='')\n"
    program.write_text(text.replace(packed(node_program()), packed(teller)))
    done = subprocess.run(["sh", str(program)], capture_output=True, text=True, check=True)
    assert done.stdout == nasty


def test_says_that_python_is_missing(tmp_path: Path) -> None:
    """An image without Python says so and powers off."""
    flag = tmp_path / "off"
    text = node_user_data(NodeSettings(poweroff=("/bin/touch", str(flag))))
    looked_for = "python3 /usr/libexec/platform-python /usr/local/bin/python3"
    assert looked_for in text
    program = tmp_path / "user-data"
    program.write_text(text.replace(looked_for, "no-such-python"))
    done = subprocess.run(["sh", str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "has no Python 3" in done.stderr
    assert flag.exists()
