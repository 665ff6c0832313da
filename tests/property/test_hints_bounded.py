"""A job's own words, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asbx.decide.hints import WORDS, hints
from asbx.model.market import Market

_WORD = st.sampled_from([*WORDS, "a", "asbx:", "asbx:market=", "spot", "=", ",", "extra-nodes=", "9" * 30, "٣"])
_TEXT = st.one_of(
    st.text(max_size=300),
    st.lists(st.one_of(_WORD, st.sampled_from("()[]&|,* "))).map("".join),
    st.text().map("asbx:".__add__),
)


@given(_TEXT, _TEXT, _TEXT)
def test_hints_never_raise_and_are_bounded(features: str, extra: str, comment: str) -> None:
    """Whatever a user writes, the answer has known values only, and little to repeat."""
    found = hints(features, extra, comment)
    assert found.efa in (None, "required", "preferred", "optional", "disabled")
    assert found.placement in (None, "cluster", "partition", "spread", "none")
    assert found.strategy in (None, "gang", "greedy", "best-effort")
    assert found.market in (None, Market.SPOT, Market.ON_DEMAND)
    assert found.extra_nodes is None or 0 <= found.extra_nodes <= 100
    assert len(found.unknown) <= 8
    assert all(len(text) <= 60 and text.isprintable() for text in found.unknown)


@given(st.sampled_from("([|&"), st.integers(1, 100_000))
def test_deep_constraints_cost_nothing(char: str, depth: int) -> None:
    """A constraint of any depth or length is read."""
    assert hints(char * depth + "efa").unknown == ()
