"""Whatever a job asks for: every type that is offered for it really holds it, over the whole catalogue."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asbx.aws.bundled import bundled
from asbx.config.limits import SLURM_SEES_OF_MEMORY
from asbx.decide.script.fit import best, fits
from asbx.decide.script.geometry import Geometry

TYPES = bundled()
GPUS = {
    "a100": {("A100", 40960), ("A100", 81920)},
    "nvidia_a100_80gb": {("A100", 81920)},
    "rtx-pro-4500": {("RTX PRO 4500", 32768)},
}


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Draw a request: nodes stated or not, memory by node or processor, GPUs by node or job."""
    stated = draw(st.booleans())
    nodes = draw(st.integers(1, 64)) if stated else 1
    per_node = draw(st.sampled_from((0, 0, 1, 4, 48, 96)))
    tasks = nodes * per_node if stated and per_node else draw(st.integers(nodes, nodes * 128))
    by_node = draw(st.booleans())
    return Geometry(
        (nodes, nodes),
        tasks,
        stated,
        cpus_per_task=draw(st.sampled_from((1, 1, 2, 8, 64))),
        tasks_per_node=per_node,
        threads_per_core=draw(st.sampled_from((0, 0, 1))),
        memory_mib=draw(st.sampled_from((0, 1024, 64_000, 1_000_000))) if by_node else 0,
        memory_per_cpu_mib=0 if by_node else draw(st.sampled_from((0, 500, 4000, 16_000))),
        memory_per_gpu_mib=0 if by_node else draw(st.sampled_from((0, 0, 24_000, 400_000))),
        gpus_per_node=draw(st.sampled_from((0, 0, 1, 8))) if by_node else 0,
        gpu_type=draw(st.sampled_from(("", "", "a100", "nvidia_a100_80gb", "rtx-pro-4500", "k80"))),
        gpus=0 if by_node else draw(st.sampled_from((0, 0, 1, 16))),
    )


@given(job=geometries(), tight=st.booleans())
def test_every_type_offered_holds_the_job(job: Geometry, tight: bool) -> None:
    """Nodes x tasks hold all tasks; each node has the processors, the memory as Slurm sees it, and the GPUs."""
    for fit in fits(job, TYPES.values(), tight=tight):
        facts, need = TYPES[fit.name], fit.need
        cpus = (
            facts.cores or facts.vcpus if (tight and not job.wants_gpus) or job.threads_per_core == 1 else facts.vcpus
        )
        assert need.nodes * need.tasks >= job.tasks
        assert need.nodes == job.nodes[0] or not job.nodes_stated
        assert need.tasks * job.cpus_per_task <= cpus
        seen = facts.memory_mib * SLURM_SEES_OF_MEMORY
        assert max(job.memory_mib, job.memory_per_cpu_mib * need.tasks * job.cpus_per_task) <= seen
        assert job.memory_per_gpu_mib * need.gpus <= seen
        assert need.gpus <= facts.gpus
        assert need.gpus >= job.gpus_per_node
        assert need.gpus * need.nodes >= job.gpus
        assert job.gpu_type not in GPUS or (facts.gpu_name, facts.gpu_memory_mib) in GPUS[job.gpu_type]
        assert 0 <= fit.unused <= 1


@given(job=geometries(), tight=st.booleans())
def test_the_best_are_alike(job: Geometry, tight: bool) -> None:
    """Alternatives have as many nodes and the same network, and none that wastes less was passed over."""
    found = fits(job, TYPES.values(), tight=tight)
    chosen = best(found, 5)
    assert len({(one.efa, one.need.nodes) for one in chosen}) <= 1
    if chosen and not tight:
        assert round(chosen[0].unused, 2) == min(round(one.unused, 2) for one in found)
    if chosen and tight and chosen[0].need.nodes > 1:
        assert chosen[0].efa or not any(one.efa for one in found)
