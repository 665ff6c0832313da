"""Whatever stands in a trace: reading it ends in jobs or in words, and every job that is taken ends or is explained."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asbx.config.load import load_config
from asbx.errors import ConfigError
from asbx.sim.scenario import Ec2, Incidents
from asbx.sim.trace.job import TraceJob
from asbx.sim.trace.reading import Kind, read_trace
from asbx.sim.whatif.market import Surroundings
from asbx.sim.whatif.play import Question, play
from asbx.sim.whatif.policy import Policy, applied

BASE = load_config(Path(__file__).parents[2] / "examples" / "config.yaml", {}).config
NUMBERS = ["-1", "0", "1", "4", "1e400", "nan", "1.5", "2026-01-01T00:00:00", "1-00:00:00", "12.batch", "12_3", "cpu=4"]
TEXTS = ["x", "|", ",", '"', ";", "JobID", "State", "Submit", "Elapsed", "NCPUS", "Unknown", "COMPLETED"]
WORDS = st.sampled_from([*NUMBERS, *TEXTS, "\0", "\ufeff", "\r"])
LINES = st.lists(st.lists(WORDS, max_size=20).map(" ".join) | st.lists(WORDS, max_size=14).map("|".join), max_size=12)


@given(LINES, st.sampled_from(["auto", "swf", "sacct"]))
def test_any_text_is_read_or_refused(rows: list[str], kind: Kind) -> None:
    """No other error, and every line is counted."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t"
        file.write_text("\n".join(rows), encoding="utf-8", newline="")
        try:
            said = read_trace(file, kind)
        except ConfigError:
            return
    assert len(said.jobs) + said.bad_lines + sum(said.left_out.values()) <= said.lines
    assert all(job.procs > 0 and 0 < job.run_s <= job.limit_s for job in said.jobs)


JOBS = st.lists(
    st.tuples(
        st.integers(0, 20_000), st.integers(1, 4000), st.sampled_from([1, 3, 8, 30, 64, 9999]), st.integers(0, 2)
    ),
    min_size=1,
    max_size=12,
)


@settings(
    suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=max(6, settings().max_examples // 30)
)
@given(
    JOBS,
    st.sampled_from(["spot", "on-demand", "mixed"]),
    st.sampled_from([0.0, 5.0]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([{}, {"limits": {"rules": [{"name": "n", "max_nodes": 3}]}}]),
    st.integers(0, 1 << 20),
)
def test_every_job_ends_or_is_explained(
    rows: list[tuple[int, int, int, int]],
    buys: str,
    reclaims: float,
    never: float,
    sections: dict[str, object],
    seed: int,
) -> None:
    """What became of the jobs adds up to the trace, and the meter's total is EC2's bill, to the cent."""
    trace = [
        TraceJob(n, str(n), at, run, run, procs, gpus=gpus) for n, (at, run, procs, gpus) in enumerate(sorted(rows))
    ]
    trace = [TraceJob(1, "1", 0, 60, 60, 1), *trace]
    site = applied(BASE, Policy("p", sections, {"*": {"purchasing_option": buys}}))
    around = Surroundings(
        ec2=Ec2(spot_price_every=600), incidents=Incidents(spot_reclaims_per_day=reclaims, never_boots=never)
    ).model_copy(update={"cluster": Surroundings().cluster})
    (one,) = play(Question(trace, {"p": site}, around, [seed]))["p"]
    assert one.faults == ()
    assert sum(one.ends.values()) == len(trace)
    assert round(one.usd, 2) == round(one.cloud_usd, 2)
    assert one.ends["done"] == one.figures["jobs_done"]
