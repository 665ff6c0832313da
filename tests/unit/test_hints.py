"""What a job asks of its launch."""

from __future__ import annotations

import pytest

from asbx.decide.hints import JobHints, hints
from asbx.model.market import Market


@pytest.mark.parametrize(
    ("features", "asked"),
    [
        ("", JobHints()),
        ("efa", JobHints(efa="required")),
        ("icelake&efa&pg-none", JobHints(efa="required", placement="none")),
        ("no-efa,greedy", JobHints(efa="disabled", strategy="greedy")),
        ("efa-preferred*4", JobHints(efa="preferred")),
        ("(a|b)&efa", JobHints(efa="required")),
        ("((best-effort))", JobHints(strategy="best-effort")),
        ("a|efa", JobHints()),
        ("(efa|a)&pg-spread", JobHints(placement="spread")),
        ("[rack1|rack2|efa]", JobHints()),
        ("[efa*2&gang*4]", JobHints()),
        ("[rack1|rack2]&gang", JobHints(strategy="gang")),
        ("myefa&efa2&xgang", JobHints()),
        ("EFA", JobHints()),
        ("(efa", JobHints()),
        ("efa)]", JobHints(efa="required")),
    ],
)
def test_words_of_a_constraint(features: str, asked: JobHints) -> None:
    """Whole words that every node must have are asked for; alternatives and other features are not."""
    assert hints(features) == asked


def test_hints_in_free_text() -> None:
    """One word of extra or comment that begins with `asbx:` holds them, wherever it stands."""
    asked = JobHints("required", "cluster", "greedy", Market.SPOT, 2)
    text = "asbx:market=spot,efa=required,placement=cluster,strategy=greedy,extra-nodes=2"
    assert hints(extra=text) == asked
    assert hints(comment=f"for ada {text} of physics") == asked
    assert hints(comment="asbx:market=on-demand asbx:placement=none") == JobHints(
        placement="none", market=Market.ON_DEMAND
    )
    assert hints(comment="see http://asbx:market=spot and xasbx:efa=required") == JobHints()


def test_the_constraint_counts_before_extra_before_comment() -> None:
    """What is said twice is taken from the surer place, in silence; the rest adds up."""
    found = hints("pg-none", "asbx:placement=spread,market=spot", "asbx:market=on-demand,strategy=greedy")
    assert found == JobHints(placement="none", market=Market.SPOT, strategy="greedy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("asbx:market=cheap", "comment market=cheap"),
        ("asbx:extra-nodes=many", "comment extra-nodes=many"),
        ("asbx:extra-nodes=-1", "comment extra-nodes=-1"),
        ("asbx:extra-nodes=101", "comment extra-nodes=101"),
        ("asbx:market=capacity-block", "comment market=capacity-block"),
        ("asbx:instance-type=p5.48xlarge", "comment instance-type=p5.48xlarge"),
        ("asbx:fast", "comment fast"),
        ("asbx:efa", "comment efa"),
        ("asbx:a\x1b[2J", "comment a?[2j"),
        ("asbx:" + "x" * 500, "comment " + "x" * 50 + ".."),
    ],
)
def test_what_is_not_understood_is_reported(text: str, said: str) -> None:
    """Unknown keys and values change nothing, and are repeated short and printable."""
    assert hints(comment=text) == JobHints(unknown=(said,))


def test_contradictions_are_reported() -> None:
    """Of two wishes in one place the first counts."""
    assert hints("pg-none&pg-spread") == JobHints(
        placement="none", unknown=("constraint pg-spread: none is asked for as well",)
    )
    assert hints(extra="asbx:efa=required,efa=disabled").efa == "required"
