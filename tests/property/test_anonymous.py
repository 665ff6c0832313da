"""Nobody is named in an anonymized document, whatever people and jobs are called."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.fakes.past import account, evidence, launches

from asbx.aws.bundled import bundled
from asbx.decide.learn.anonymous import WORDS, Pseudonyms, anonymized
from asbx.decide.learn.document import document
from asbx.decide.learn.evidence import Evidence
from asbx.model.plan import KEYS, parse_plan

KEY = Pseudonyms(b"k" * 32)
# Long enough not to occur by chance in what every document says.
# Now and then as people are called: with a dot, or like a type of instance.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=7, max_size=30),
    st.from_regex(r"[a-z]{3,9}[.-][a-z]{3,9}", fullmatch=True),
    st.from_regex(r"/(home|scratch)/[a-z]{4,9}/[a-z]{3,9}\.sh", fullmatch=True),
).filter(lambda text: not text.isspace() and text not in WORDS)


def said(found: Evidence) -> str:
    """Return an anonymized document, as text with every letter as it is."""
    return json.dumps(anonymized(document(found), KEY), ensure_ascii=False)


NEUTRAL = said(evidence())


def occurs(name: str, text: str) -> bool:
    """Whether a name stands in a text, as it is or as JSON writes it."""
    return name in text or json.dumps(name, ensure_ascii=False)[1:-1] in text


@st.composite
def plans(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """Make a plan's JSON that has names wherever a plan may have a value, known keys and others."""
    value = st.one_of(st.sampled_from(names), st.lists(st.sampled_from(names), max_size=2), st.integers(0, 9))
    found: dict[str, Any] = {"should_burst": True, "job_metadata": {"job_name": names[0]}}
    for section, keys in KEYS.items():
        if section and "." not in section:
            found[section] = {key: draw(value) for key in [*keys.split(), *names]}
    found["instance_specification"]["spot_instance_config"] = {"max_spot_price": draw(value), "other": draw(value)}
    return found | {"asba_version": draw(st.sampled_from([names[0], "v0.3.0-dev", "0.3.0 " + names[0]]))}


@settings(max_examples=60)
@given(st.data(), NAMES, NAMES, NAMES, NAMES, NAMES)
def test_nobody_is_named(data: st.DataObject, user: str, project: str, name: str, path: str, partition: str) -> None:
    """No user, account, job name, path or partition is anywhere in it, keys of plans and notes included."""
    names = [user, project, name, path, partition]
    assume(not any(occurs(one, NEUTRAL) for one in names))
    found = evidence(plan_data=data.draw(plans(names)))
    job = account(user=user, account=project, name=name, partition=partition, comment=path, node_list=path)
    rows = tuple(replace(one, row=replace(one.row, user=user, account=project)) for one in launches())
    text = said(replace(found, account=job, launches=rows))
    assert not [one for one in names if occurs(one, text)]


@given(NAMES, NAMES)
def test_the_same_name_has_the_same_pseudonym(one: str, other: str) -> None:
    """So documents of a user can be told to be of one user, by one key; kinds and keys are apart."""
    assert KEY.of("user", one) == Pseudonyms(b"k" * 32).of("user", one)
    assert (KEY.of("user", one) == KEY.of("user", other)) == (one == other)
    assert KEY.of("user", one)[5:] != KEY.of("account", one)[8:]
    assert KEY.of("user", one) != Pseudonyms(b"other" * 7).of("user", one)


def test_what_teaches_is_kept() -> None:
    """Measurements, types, and the shape a plan asked for are those of the full document."""
    plan = {
        "should_burst": True,
        "job_metadata": {"user": "ada"},
        "instance_specification": {
            "instance_types": ["hpc7a.96xlarge"],
            "instance_count": 4,
            "subnet_ids": ["subnet-1"],
        },
        "mpi_configuration": {"is_mpi_job": True, "communication_pattern": "all_reduce"},
    }
    found = evidence(plan_data=plan, plan=parse_plan(json.dumps(plan)))
    full, bare = document(found), anonymized(document(found), KEY)
    for section in ("prediction_validation", "aws_performance_metrics", "mpi_optimization_results"):
        assert bare[section] == full[section]
    kept = bare["job_metadata"]["original_asba_prediction"]
    assert kept["instance_specification"] == {"instance_types": ["hpc7a.96xlarge"], "instance_count": 4}
    assert kept["mpi_configuration"] == {"is_mpi_job": True, "communication_pattern": "all_reduce"}
    assert bare["job_metadata"]["user_id"].startswith("user-")


def test_every_instance_type_is_kept() -> None:
    """Of the types EC2 has, none is taken for somebody's name."""
    types = sorted(bundled())
    plan = {"should_burst": True, "instance_specification": {"instance_types": types}}
    kept = anonymized(document(evidence(plan_data=plan)), KEY)["job_metadata"]["original_asba_prediction"]
    assert kept["instance_specification"]["instance_types"] == types
