"""What a job script asks of EC2: the whole judgement in one value, with a reason for each choice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from asbx.config.limits import PLAN_MOST_TYPES, SPOT_LONGEST_WITHOUT_CHECKPOINT, SPOT_SHORT_JOB
from asbx.decide.script.coupling import Coupling, Finding, coupling
from asbx.decide.script.fit import Fit, best, fits, of_gpu
from asbx.decide.script.geometry import Geometry, geometry
from asbx.decide.script.sbatch import Stating, Submission
from asbx.decide.script.shell import late_options, lines_of
from asbx.model.catalogue import TypeFacts

Purchase = Literal["spot", "on-demand", "mixed"]
_CHECKPOINT = (
    (r"\b(dmtcp_launch|dmtcp_restart|criu)\b", "a checkpointing tool"),
    (r"scontrol\s+requeue", "the script requeues itself"),
    (
        r"(-cpi|-cpt|--?checkpoint(-path|-dir|-interval|ing)?|--resume(-from(-checkpoint)?)?|--restart)\b",
        "restart options",
    ),
    (r"\btrap\b.*\b(USR1|USR2|TERM)\b", "a signal handler"),
    (r"\b(restart|checkpoint)[\w.-]*\.(h5|nc|dat|cpt|chk|pt|ckpt)\b", "checkpoint files"),
)


@dataclass(frozen=True)
class Reason:
    """Why something was chosen. about: types, placement, market, coupling, time."""

    about: str
    text: str


@dataclass(frozen=True)
class Advice:
    """The judgement on one component of a job.

    purchase: which markets. efa: whether it is needed. placement: `cluster` or "". cost: (least, most) USD over the
    time limit, None where prices or the limit are not known. notes: what is missing or odd.
    """

    geometry: Geometry
    finding: Finding
    types: tuple[Fit, ...]
    purchase: Purchase
    efa: bool
    placement: str
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()
    cost: tuple[Decimal, Decimal] | None = None

    @property
    def nodes(self) -> int:
        """Return how many nodes are to be launched."""
        return self.types[0].need.nodes if self.types else self.geometry.nodes[0]


@dataclass(frozen=True)
class Site:
    """What there is to choose from. hpc_from: nodes from which tight jobs prefer hpc types and need EFA.

    prices: USD an hour on demand by type; spot_prices alike, the cheapest zone. arch: of the image, "" for any.
    """

    types: Mapping[str, TypeFacts]
    hpc_from: int
    placed_from: int
    prices: Mapping[str, Decimal]
    spot_prices: Mapping[str, Decimal]
    arch: str = ""


def advise(submission: Submission, site: Site, index: int = 0) -> Advice:
    """Return the judgement on one component of a submission."""
    stated = submission.components[index]
    asked = geometry(stated)
    finding = coupling(submission.body, asked)
    tight = finding.coupling.is_tight
    found = fits(asked, site.types.values(), tight=tight, prices=dict(site.prices), arch=site.arch)
    chosen = best(found, PLAN_MOST_TYPES)
    nodes = chosen[0].need.nodes if chosen else asked.nodes[0]
    efa = tight and nodes >= site.hpc_from and any(one.efa for one in chosen)
    placement = "cluster" if tight and nodes >= max(site.placed_from, 2) else ""
    purchase, why = _market(submission.body, stated, asked, finding, nodes)
    reasons = [
        Reason("coupling", _coupled(finding)),
        *_about_types(chosen, found),
        *_network(chosen, site, tight=tight, required=efa),
        Reason("placement", _placed(placement, nodes, finding)),
        Reason("market", why),
    ]
    return Advice(
        asked,
        finding,
        chosen,
        purchase,
        efa,
        placement,
        tuple(reasons),
        (*submission.problems, *asked.problems, *late_options(submission.body), *_notes(asked, chosen, site)),
        _cost(chosen, asked, site, purchase),
    )


def _coupled(finding: Finding) -> str:
    seen = "; ".join(one.text for one in finding.evidence if one.says is finding.coupling)
    return f"{finding.coupling} ({finding.confidence:.0%} sure)" + (f": {seen}" if seen else "")


def _about_types(chosen: Sequence[Fit], found: Sequence[Fit]) -> Iterable[Reason]:
    if not chosen:
        return
    first = chosen[0]
    unit = "core(s)" if first.need.on_cores else "hardware thread(s)"
    words = [f"{first.need.cpus} {unit}"]
    if first.need.memory_mib:
        words.append(f"{first.need.memory_mib / 1024:.3g} GiB")
    if first.need.gpus:
        words.append(f"{first.need.gpus} GPU(s)")
    need = f"a node needs {' and '.join(words)}"
    text = f"{', '.join(one.name for one in chosen)}: {need}; of {first.name} {first.unused:.0%} stays unused"
    yield Reason("types", text)
    if len(found) > len(chosen):
        yield Reason("types", f"{len(found) - len(chosen)} other type(s) would hold it and waste more")


def _network(chosen: Sequence[Fit], site: Site, *, tight: bool, required: bool) -> Iterable[Reason]:
    """Say of EFA what the plan says: whether it is required."""
    if not chosen or not tight or chosen[0].need.nodes < 2:
        return
    if required:
        text = f"EFA is required: messages between {chosen[0].need.nodes} nodes ({site.hpc_from} or more)"
    elif chosen[0].efa:
        text = f"types with EFA first; it is required from {site.hpc_from} nodes on"
    else:
        text = "no EFA: no type that fits has it"
    yield Reason("types", text)


def _placed(placement: str, nodes: int, finding: Finding) -> str:
    if placement:
        return "one cluster placement group: its nodes talk to each other all the time"
    if nodes < 2:
        return "none: one node gains nothing from a group"
    return f"none: {finding.coupling} tasks do not wait for each other's messages"


def _market(body: str, stated: Stating, asked: Geometry, finding: Finding, nodes: int) -> tuple[Purchase, str]:
    """Return the markets, and why: by what an interruption would cost this job."""
    saves = [text for pattern, text in _CHECKPOINT if any(re.search(pattern, line) for line in lines_of(body))]
    if "signal" in stated:
        saves.append("--signal")
    limit = asked.time_limit
    hours = "" if limit is None or limit == timedelta.max else f"{limit.total_seconds() / 3600:.3g} h"
    if saves:
        return "mixed", f"spot first: it can go on after an interruption ({', '.join(dict.fromkeys(saves))})"
    if "no-requeue" in stated:
        return "on-demand", "on demand: it must not be requeued, so an interruption would lose it"
    if limit is None or limit > SPOT_LONGEST_WITHOUT_CHECKPOINT:
        what = f"up to {hours}" if hours else "no time limit"
        return "on-demand", f"on demand: {what}, and no sign of checkpoints: an interruption would lose all of it"
    if finding.coupling.is_tight and nodes > 1 and limit > SPOT_SHORT_JOB:
        return "on-demand", f"on demand: any of {nodes} nodes taken back would stop {hours} of work of all"
    if asked.array_tasks > 1 or finding.coupling is Coupling.FARM:
        return "mixed", "spot first: an interruption costs one of many independent tasks"
    return "mixed", f"spot first: at most {hours} are lost by an interruption, and it can be requeued"


def _notes(asked: Geometry, chosen: Sequence[Fit], site: Site) -> Iterable[str]:
    if not chosen:
        yield f"none of {len(site.types)} type(s) holds what one node must hold; the node group's own types stand"
    if asked.time_limit is None:
        yield "no time limit is stated: Slurm takes the partition's, and no cost can be told"
    if asked.gpu_type and not of_gpu(asked.gpu_type, site.types.values()):
        yield f"no candidate is known to have GPUs of type {asked.gpu_type}: types are chosen by number of GPUs only"


def _cost(chosen: Sequence[Fit], asked: Geometry, site: Site, purchase: Purchase) -> tuple[Decimal, Decimal] | None:
    """Return (least, most) for the whole time limit, all array tasks: of the types chosen, in the markets advised."""
    limit = asked.time_limit
    if limit is None or limit == timedelta.max:
        return None
    return _cost_of(chosen, asked, site, purchase, limit)


def cost_of(advice: Advice, site: Site, span: timedelta) -> tuple[Decimal, Decimal] | None:
    """Return (least, most) in USD where each task runs for so long; None where no price is known."""
    return _cost_of(advice.types, advice.geometry, site, advice.purchase, span)


def _cost_of(
    chosen: Sequence[Fit], asked: Geometry, site: Site, purchase: Purchase, span: timedelta
) -> tuple[Decimal, Decimal] | None:
    hours = Decimal(int(span.total_seconds())) / 3600 * asked.array_tasks
    tables = [site.prices] if purchase == "on-demand" else [site.spot_prices, site.prices]
    found = [table[one.name] * one.need.nodes * hours for one in chosen for table in tables if one.name in table]
    return (min(found), max(found)) if found else None
