"""Each code of EC2 at each call: no leak, no half gang, nobody left in the dark; the reference says what happens."""

from __future__ import annotations

import os

import pytest
from tests.flow.fault_matrix import CALLS, CODES, PAGE, head, play, section

# Every code in every way takes most of a minute; otherwise every code once, and every way for every meaning.
_FULL = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


@pytest.mark.parametrize("call", CALLS)
def test_every_code_at(call: str) -> None:
    """Whatever the call says, all promises are kept, and it comes to what docs/reference/faults.md says."""
    told = play(call, full=_FULL)
    assert {cell.code for cell in told} == set(CODES)
    assert section(call, told) in PAGE.read_text(encoding="utf-8"), "run python -m tests.flow.fault_matrix"


def test_the_reference_has_every_code() -> None:
    """Codes, meanings and promises are those of the code."""
    assert PAGE.read_text(encoding="utf-8").startswith(head()), "run python -m tests.flow.fault_matrix"
