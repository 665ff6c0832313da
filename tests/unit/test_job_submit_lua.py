"""contrib/job_submit.lua in the Lua that Slurm itself uses, with a stand-in for what slurmctld gives it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from asbx.decide.hints import _VALUES, AMOUNTS, hints

SCRIPT = Path(__file__).parents[2] / "contrib" / "job_submit.lua"
# liblua5.1-0 comes with Debian's Slurm: slurm-wlm-basic-plugins depends on it.
LIBRARY = find_library("lua5.1")
_STAND_IN = """
said = {}
slurm = { SUCCESS = 0, ERROR = -1, NO_VAL = 4294967294 }
slurm.log_user = function(...) said[#said + 1] = string.format(...) end
"""
_ASK = """
said = {}
job = { comment = %s, partition = %s, min_nodes = %d }
local code = slurm_job_submit(job, {}, 1000)
return code .. "\\n" .. (job.comment or "") .. "\\n" .. table.concat(said, "\\n")
"""
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there is no liblua5.1 here")


class Lua:
    """As much of Lua's C interface as a test needs (Lua 5.1 reference manual, chapters 3 and 4)."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(LIBRARY)
        self._lib.luaL_newstate.restype = ctypes.c_void_p
        self._lib.lua_tolstring.restype = ctypes.c_char_p
        self._state = ctypes.c_void_p(self._lib.luaL_newstate())
        self._lib.luaL_openlibs(self._state)

    def run(self, text: str) -> str:
        """Run a chunk and return the text it returns; fail with Lua's own message."""
        code = self._lib.luaL_loadstring(self._state, text.encode()) or self._lib.lua_pcall(self._state, 0, 1, 0)
        said = self._lib.lua_tolstring(self._state, -1, None)
        self._lib.lua_settop(self._state, 0)
        assert code == 0, said
        return "" if said is None else str(said, "utf-8", "replace")

    def close(self) -> None:
        """Give everything back."""
        self._lib.lua_close(self._state)

    def submit(self, comment: str, partition: str | None = "aws", nodes: int = 1) -> tuple[bool, str, str]:
        """Return (whether a job may pass, its comment, what its user is told)."""
        quoted = "nil" if partition is None else f"[==[{partition}]==]"
        code, now, *told = self.run(_ASK % (f"[==[{comment}]==]", quoted, nodes)).split("\n")
        return code == "0", now, "\n".join(told)


def _lua(change: tuple[str, str] = ("", "")) -> Lua:
    lua = Lua()
    lua.run(_STAND_IN)
    lua.run(SCRIPT.read_text(encoding="utf-8").replace(*change))
    return lua


@pytest.fixture(scope="module")
def lua() -> Iterator[Lua]:
    """Load the script as it is shipped."""
    one = _lua()
    yield one
    one.close()


GOOD = [f"{key}={value}" for key, known in _VALUES.items() for value in known]
GOOD += [f"{name}=12.5" for name in AMOUNTS] + ["plan=wrf-large_2", "extra-nodes=0"]


@pytest.mark.parametrize("word", GOOD)
def test_every_hint_of_the_product_passes_unchanged(lua: Lua, word: str) -> None:
    """The script refuses and changes nothing the product would have read."""
    assert hints(comment=f"asbx:{word}").unknown == ()
    assert lua.submit(f"asbx:{word}") == (True, f"asbx:{word}", "")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("asbx:Market=OnDemand", "asbx:market=on-demand"),
        ("my run ASBX:efa=yes,placement=off  tail", "my run asbx:efa=required,placement=none  tail"),
        ("asbx:MAX_COST=20,max-cost=20", "asbx:max-cost=20"),
        ("asbx:strategy=all_or_nothing asbx:market=OD", "asbx:strategy=gang asbx:market=on-demand"),
    ],
)
def test_hints_are_spelled_as_the_product_reads_them(lua: Lua, said: str, read: str) -> None:
    """What is meant is clear, so it is written right; the rest of the comment stays."""
    assert lua.submit(said) == (True, read, "")
    assert hints(comment=read).unknown == ()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("asbx:market=spott", "market=spott is not understood; market is one of: spot, on-demand"),
        ("asbx:maket=spot", "maket is no hint; there are: auto-terminate-hours, "),
        ("asbx:plan=../../etc/passwd", "plan=../../etc/passwd is no name of a plan"),
        ("asbx:extra-nodes=3", "at most 0 in this partition"),
        ("asbx:max-cost=-3", "max-cost=-3 is no amount"),
        ("asbx:max-cost=0", "max-cost=0 is no amount"),
        ("asbx:max-cost=1e9", "max-cost=1e9 is no amount"),
        ("asbx:market=spot asbx:market=on-demand", "market is spot and on-demand at once"),
        ("asbx:efa=required,placement=spread", "efa=required wants its nodes close together"),
        ("asbx:efa=%s%n\x1b[31m", "efa=%s%n?[31m is not understood"),
        ("asbx:" + "x" * 9000, "xx.. is no hint"),
    ],
)
def test_a_slip_is_told_to_the_user_and_submits_nothing(lua: Lua, said: str, told: str) -> None:
    """The message names the word and what could stand there; nothing of it is taken for a format or a terminal's."""
    passed, _, message = lua.submit(said)
    assert not passed
    assert told in message
    assert "\x1b" not in message


def test_what_is_not_ours_is_left_alone(lua: Lua) -> None:
    """Other partitions, and comments without hints."""
    assert lua.submit("asbx:nonsense", partition="local") == (True, "asbx:nonsense", "")
    assert lua.submit("just a comment, market=spott") == (True, "just a comment, market=spott", "")
    assert not lua.submit("asbx:nonsense", partition=None)[0], "the default partition is ours"
    assert not lua.submit("asbx:nonsense", partition="local,aws")[0]


def test_a_partition_gives_its_market_and_refuses_others() -> None:
    """A site's own table: what it buys, and what jobs get that name no market."""
    lua = _lua(('markets = { "spot", "on-demand" }, market = nil', 'markets = { "spot" }, market = "spot"'))
    assert lua.submit("")[1] == "asbx:market=spot"
    assert lua.submit("my run")[1] == "my run asbx:market=spot"
    assert lua.submit("asbx:plan=p")[1] == "asbx:plan=p"
    assert "this partition buys spot only" in lua.submit("asbx:market=on-demand")[2]
    lua.close()


def test_slurmctld_is_hardly_held_up(lua: Lua) -> None:
    """Locks are held while it runs: a thousand jobs cost less CPU than one process that is started."""
    began = time.process_time()
    for _ in range(1000):
        lua.submit("my run asbx:market=spot,placement=cluster,efa=preferred,max-cost=20")
    assert time.process_time() - began < 1.0
