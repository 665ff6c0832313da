"""How the plan of a job that is being submitted gets to the daemon, without touching what its user said.

A plan that lies in the plans folder before sbatch is called, and that the job names in its comment, is there whenever
Slurm asks for the job's nodes; every task of an array names it too. A file under the job's id can only be written when
sbatch has told the id, and Slurm may ask for nodes before that. So the first is done wherever the comment is free, the
second where the user has a comment. Where the folder cannot be reached, the comment has hints of what they can say of
the plan; the daemon reads the job's own script in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan


class Way(StrEnum):
    """How it gets there."""

    NAMED = "named"  # in the folder before sbatch is called, named by the job's comment
    BY_ID = "by-id"  # in the folder under the job's id, once sbatch has told it
    HINTS = "hints"  # as words of the comment
    NOTHING = "nothing"


@dataclass(frozen=True)
class Desk:
    """What the submitter may do. refusal: why the plans folder is of no use to them, "" where it is of use."""

    refusal: str


@dataclass(frozen=True)
class Job:
    """What matters of a submission. comment: the user's own. has_plan: the user's words name a plan already."""

    comment: str = ""
    has_plan: bool = False
    components: int = 1
    array_tasks: int = 1
    waits: bool = False
    only_tested: bool = False
    is_ours: bool = True


@dataclass(frozen=True)
class Attachment:
    """How, and why so. comment: what the job's comment becomes, "" where it stays."""

    way: Way
    why: str
    comment: str = ""


def attach(job: Job, desk: Desk, plan: ExecutionPlan | None, name: str, *, is_stated: bool = False) -> Attachment:
    """Return how a plan is attached. name: of its file. is_stated: the user gave the plan; hints are no such plan."""
    why = _why_not(job, plan)
    if why:
        return Attachment(Way.NOTHING, why)
    assert plan is not None
    if not desk.refusal and not job.comment:
        return Attachment(Way.NAMED, "the job's comment names it", f"asbx:plan={name}")
    if not desk.refusal and job.array_tasks == 1 and not job.waits:
        why = "the comment is the user's, so it is put under the job's id when sbatch has told it"
        return Attachment(Way.BY_ID, why)
    if is_stated or job.comment:
        return Attachment(Way.NOTHING, desk.refusal or _too_late(job))
    words = hint_words(plan)
    if not words:
        return Attachment(Way.NOTHING, f"{desk.refusal}, and no hint says more than the job's script does")
    return Attachment(Way.HINTS, desk.refusal, f"asbx:{','.join(words)}")


def _why_not(job: Job, plan: ExecutionPlan | None) -> str:
    """Return why no plan is attached at all, "" where one is."""
    if job.only_tested:
        return "--test-only submits nothing"
    if not job.is_ours:
        return "its partition is none that bursts"
    if job.components > 1:
        return f"a plan is for one component, and the job has {job.components}"
    if job.has_plan:
        return "the job names a plan itself"
    return "there is no plan" if plan is None else ""


def _too_late(job: Job) -> str:
    what = "the tasks of an array have ids of their own" if job.array_tasks > 1 else "--wait tells the id too late"
    return f"the comment is the user's, and {what}"


def hint_words(plan: ExecutionPlan) -> tuple[str, ...]:
    """Return what of a plan hints can say. EFA only as preferred: what the site has is not known where hints serve."""
    market = plan.markets[0] if len(plan.markets) == 1 else None
    words = {
        "market": market.value if isinstance(market, Market) else "",
        "placement": plan.placement,
        "efa": "preferred" if plan.needs_efa or plan.prefers_efa else "",
    }
    return tuple(f"{key}={value}" for key, value in words.items() if value)


def with_comment(words: tuple[str, ...], comment: str) -> tuple[str, ...]:
    """Return sbatch's words with a comment before them: the user's own keep their order and the last word."""
    return (f"--comment={comment}", *words) if comment else words
