"""What host lists mean."""

from __future__ import annotations

import time

import pytest

from asbx.errors import UsageError
from asbx.model.hostlist import expand, fold, natural_key, unique_sorted


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "aws-cpu-[001-004,009],aws-gpu-7",
            "aws-cpu-001 aws-cpu-002 aws-cpu-003 aws-cpu-004 aws-cpu-009 aws-gpu-7",
        ),
        ("a1", "a1"),
        ("[1-3]", "1 2 3"),
        ("a-[9-10]", "a-9 a-10"),
        ("a-[09-10]", "a-09 a-10"),
        ("a-[098-101]", "a-098 a-099 a-100 a-101"),
        ("a-[001-4]", "a-001 a-002 a-003 a-004"),
        ("a-[9,010]", "a-9 a-010"),
        ("a[1-2]b[3-4],c7", "a1b3 a1b4 a2b3 a2b4 c7"),
        ("a[1-2][3,5]", "a13 a15 a23 a25"),
        ("b2,a1,b2", "b2 a1 b2"),
        ("a1, a2", "a1 a2"),
        ("127.80.[0-1].[5-6]", "127.80.0.5 127.80.0.6 127.80.1.5 127.80.1.6"),
        ("", ""),
    ],
)
def test_expand_reads_what_slurm_reads(text: str, names: str) -> None:
    """Lists mean what `scontrol show hostnames` says they mean."""
    assert expand(text) == tuple(names.split())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("ok,a-[4-1]", "a-[4-1]"),
        ("a-[]", "a-[]"),
        ("ok,,b", "''"),
        ("ok,", "''"),
        ("b,a-[1-3", "a-[1-3"),
        ("b,a-1-3]", "a-1-3]"),
        ("a[[1-2]]", "a[[1-2]]"),
        ("a[1-x]", "1-x"),
        ("a[1,]", "''"),
        ("a[1-3-5]", "1-3-5"),
        ("a[ 1-2]", "' 1-2'"),
        ("a[1-2].ec2.internal", "a[1-2].ec2.internal"),
        ("a b", "a b"),
        ("a{1-2}", "a{1-2}"),
        ("a;rm", "a;rm"),
        ("a\u0661", "a\u0661"),
        ("a[0-99999999]", "too long"),
        ("a[1-1000]b[1-1000]", "too long"),
        ("a[1-60000],b[1-60000]", "too long"),
        ("[" * 5000, "brackets do not match"),
    ],
)
def test_expand_names_the_faulty_part(text: str, part: str) -> None:
    """A list that cannot be read is refused as a whole, and the message shows which part is wrong."""
    with pytest.raises(UsageError) as caught:
        expand(text)
    assert caught.value.code == "hostlist"
    assert part in f"{caught.value.what} {caught.value.why}"
    assert len(str(caught.value)) < 300


def test_expand_counts_before_it_builds() -> None:
    """A list of 10^15 names is refused in no time."""
    started = time.perf_counter()
    with pytest.raises(UsageError):
        expand("a[0-999999999]b[0-999999]")
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            "aws-cpu-001 aws-cpu-002 aws-cpu-003 aws-cpu-004 aws-cpu-009 aws-gpu-7",
            "aws-cpu-[001-004,009],aws-gpu-7",
        ),
        ("127.80.0.5 127.80.0.6 127.80.0.9", "127.80.0.[5-6,9]"),
        ("127.80.0.254 127.80.1.1 127.80.1.2", "127.80.0.254,127.80.1.[1-2]"),
        ("ip-10-0-0-1 ip-10-0-0-2 ip-10-0-0-3", "ip-10-0-0-[1-3]"),
        ("a-9 a-10", "a-[9-10]"),
        ("a-09 a-10", "a-[09-10]"),
        ("a-99 a-100", "a-[99-100]"),
        ("a-9 a-010", "a-[9,010]"),
        ("a-3 a-2 a-1", "a-[3,2,1]"),
        ("a-1 b-1 a-2", "a-1,b-1,a-2"),
        ("a-1 a-1", "a-[1,1]"),
        ("login login", "login,login"),
        (
            "ip-10-0-0-1.ec2.internal ip-10-0-0-2.ec2.internal",
            "ip-10-0-0-1.ec2.internal,ip-10-0-0-2.ec2.internal",
        ),
        (
            "a1234567890123456789012 a1234567890123456789013",
            "a1234567890123456789012,a1234567890123456789013",
        ),
        ("", ""),
    ],
)
def test_fold_keeps_order_and_padding(names: str, text: str) -> None:
    """A folded list says the same names in the same order, no longer than it must be."""
    assert fold(names.split()) == text
    assert expand(text) == tuple(names.split())


@pytest.mark.parametrize("name", ["", "a,b", "a[1-2]", "a b", "a\n"])
def test_fold_refuses_what_would_read_as_something_else(name: str) -> None:
    """No name can smuggle a second one into a list."""
    with pytest.raises(UsageError):
        fold(["ok", name])


def test_fold_splits_ranges_slurm_would_refuse() -> None:
    """Slurm takes 65,536 names a range and no more."""
    assert fold(f"a{n}" for n in range(70_000)) == "a[0-65535,65536-69999]"


def test_names_sort_by_number() -> None:
    """a-9 comes before a-10, and repetitions go."""
    assert unique_sorted(["a-10", "a-9", "b-1", "a-10", "a-09"]) == ("a-09", "a-9", "a-10", "b-1")
    assert natural_key("a-9") < natural_key("a-10")


def _seconds(names: list[str]) -> float:
    started = time.perf_counter()
    assert len(expand(fold(names))) == len(names)
    return time.perf_counter() - started
