"""Host lists for all inputs: round trip, and agreement with Slurm's own reading."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asbx.errors import UsageError
from asbx.model.hostlist import expand, fold, natural_key, unique_sorted

Slurm = Callable[[str], tuple[str, ...]]

_prefix = st.sampled_from(["aws-cpu-", "aws-gpu-", "127.80.0.", "127.80.1.", "ip-10-0-0-", "n", "a1b", "", "x-0"])
_number = st.builds(
    lambda value, width: f"{value:0{width}d}", st.integers(0, 120) | st.integers(0, 10**12), st.integers(1, 5)
)
_name = st.builds(str.__add__, _prefix, _number) | st.sampled_from(["login", "fs.internal", "a1.b2.c"])
_names = st.lists(_name, max_size=60)
_close = st.lists(st.builds(lambda n, w: f"n{n:0{w}d}", st.integers(0, 15), st.integers(1, 3)), max_size=60)

_range = st.builds(
    lambda first, more, width: f"{first:0{width}d}" + (f"-{first + more:0{width}d}" if more else ""),
    st.integers(0, 110),
    st.integers(0, 12),
    st.integers(1, 4),
)
_bracket = st.lists(_range, min_size=1, max_size=4).map(lambda ranges: f"[{','.join(ranges)}]")
_part = st.builds(
    lambda pieces: "".join(prefix + bracket for prefix, bracket in pieces),
    st.lists(st.tuples(st.sampled_from(["a-", "b", "10.0."]), _bracket), min_size=1, max_size=2),
)
_part |= st.sampled_from(["a-7", "login", "fs.internal"])
_text = st.lists(_part, min_size=1, max_size=5).map(",".join)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    """Return Slurm's own expansion. scontrol wants a configuration file even for this."""
    conf: Path = tmp_path_factory.mktemp("slurm") / "slurm.conf"
    conf.write_text("ClusterName=x\nSlurmctldHost=localhost\nNodeName=n\nPartitionName=p Nodes=n\n")
    env = {**os.environ, "SLURM_CONF": str(conf)}

    def hostnames(text: str) -> tuple[str, ...]:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", text], env=env, capture_output=True, text=True, check=True
        )
        assert not done.stderr
        return tuple(done.stdout.split())

    return hostnames


@given(_names | _close)
def test_folding_loses_nothing(names: list[str]) -> None:
    """expand(fold(x)) is x: order, padding and repetitions included."""
    assert expand(fold(names)) == tuple(names)


@given(_text)
def test_every_list_survives_a_round_trip(text: str) -> None:
    """Whatever can be expanded can be folded again to mean the same."""
    names = expand(text)
    assert expand(fold(names)) == names


@given(st.text(alphabet="a1-[],9 x.", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Reading a list either works or raises our own error, whatever the text."""
    try:
        names = expand(text)
    except UsageError:
        return
    assert expand(fold(names)) == names


@given(_names)
def test_sorting_is_total_and_idempotent(names: list[str]) -> None:
    """Sorted names are a set in one order, whatever order they came in."""
    once = unique_sorted(names)
    assert unique_sorted(reversed(once)) == once
    assert set(once) == set(names)
    assert [key for key, _ in groupby(map(natural_key, once))] == [natural_key(name) for name in once]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_text, min_size=1, max_size=20))
def test_slurm_expands_the_same(slurm: Slurm, texts: list[str]) -> None:
    """Our reading of a list is Slurm's."""
    batch = ",".join(texts)
    assert expand(batch) == slurm(batch)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=(_names | _close).filter(bool))
def test_slurm_reads_what_we_fold(slurm: Slurm, names: list[str]) -> None:
    """Slurm expands our folded lists to the same names in the same order."""
    assert slurm(fold(names)) == tuple(names)


def test_three_brackets_mean_the_same_set_as_in_slurm(slurm: Slurm) -> None:
    """With three brackets Slurm 22.05 turns the first before the second; the names are the same."""
    text = "a[1-2]b[3-4]c[5-6]"
    assert sorted(expand(text)) == sorted(slurm(text))
    assert expand(text)[1] == "a1b3c6"


def test_a_long_list_of_ours_is_accepted_by_slurm(slurm: Slurm) -> None:
    """A range longer than Slurm takes is cut where Slurm accepts it."""
    names = tuple(f"a{n}" for n in range(70_000))
    assert slurm(fold(names)) == names
