"""A slice of the fuzz with every test run; `make fuzz` runs a hundred thousand inputs."""

from __future__ import annotations

import json
import os

import pytest
from tests.fuzz import targets
from tests.fuzz.run import MOST_MEMORY_MIB, fuzz, memory_mib, run, table
from tests.fuzz.targets import TARGETS, Target

# How many inputs; the nightly run takes another seed each time it is told one.
COUNT = int(os.environ.get("ASBX_FUZZ_COUNT", "2000"))
SEED = os.environ.get("ASBX_FUZZ_SEED", "1")


def test_spoiled_input_is_refused_or_harmless() -> None:
    """Nothing but our own errors comes out of any door, in time, and no action on nonsense."""
    before = memory_mib()
    tallies = run(COUNT, SEED)
    findings = {f"{one.name}, input {number}": what for one in tallies for number, what in one.findings.items()}
    assert findings == {}, table(tallies)
    assert memory_mib() - before < MOST_MEMORY_MIB


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_good_input_is_taken(target: Target) -> None:
    """Else the fuzz would only see the first check refuse everything."""
    assert any(target.enter(text) for text in target.corpus)


def test_the_harness_sees_what_escapes() -> None:
    """A door that breaks, and one that hangs, are both findings."""

    def breaks(text: str) -> bool:
        return bool(json.loads(text))

    def hangs(_: str) -> bool:
        while True:
            pass

    assert len(fuzz(Target("broken", ("{}", "[1]"), breaks, 1), 50, "1").findings) > 5
    (tally,) = run(1, targets=(Target("hanging", ("x",), hangs, 1),), patience_s=0.1)
    assert "TooSlowError" in tally.findings[0]


def test_a_table_that_says_a_node_is_off_does_cost_its_instance() -> None:
    """So the sweep over a spoiled table is a real one: it would end instances if it believed it."""
    text = table_of(dict.fromkeys(targets.BOUND, "IDLE+CLOUD+POWERED_DOWN"))
    site, _ = targets.world()
    assert len(site.cloud.alive()) == len(targets.BOUND)
    targets.node_table_text(text)
    assert site.cloud.alive() == ()


def table_of(states: dict[str, str]) -> str:
    """Return a node table, whole: nodes that are not named are up."""
    rows = dict.fromkeys(targets.CLUSTER, "ALLOCATED+CLOUD") | states
    return "\n".join(f"NodeName={node} NodeAddr={node} NodeHostName={node} State={rows[node]} " for node in rows)


@pytest.mark.parametrize("state", ["", "POWERED_DOW", "ALLOCATED+CLOUD+", "IDLE+CLOUD+OFF", "+", "-", "\0"])
def test_a_garbled_state_costs_no_instance(state: str) -> None:
    """Everything else in the table is as it should be."""
    targets.node_table_text(table_of({targets.BOUND[0]: state}))
    site, _ = targets.world()
    assert len(site.cloud.alive()) == len(targets.BOUND)


def test_a_missing_row_costs_no_instance() -> None:
    """Nor does a name that only begins alike."""
    rows = table_of({}).splitlines()
    for first in ([], ["NodeName=aws-cpu-0000 State=IDLE+CLOUD+POWERED_DOWN "], ["NodeName="]):
        targets.node_table_text("\n".join([*first, *rows[1:]]))
        site, _ = targets.world()
        assert len(site.cloud.alive()) == len(targets.BOUND)
