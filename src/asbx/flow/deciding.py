"""Keep by which plan each job of a request is launched or stopped, for whoever asks later: one write for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from asbx.config.limits import PLAN_TEXT_KEPT
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure
from asbx.flow.plan import PartPlan
from asbx.flow.plans import Found, JobPlans
from asbx.flow.run import GangRun
from asbx.model.gang import Gang
from asbx.model.job import JobAsk, JobFacts, Request
from asbx.model.job_plan import NO_PLAN, FilledValue, JobPlan, PlannedRung
from asbx.model.plan import Origin

# A plan that stops a job is not read to its end; its refusal names the file.
_FOLDER = Found(origin=Origin("plans folder"))


class Decisions:
    """How the jobs of one request were decided."""

    def __init__(self, doors: Doors, request: Request, facts: Mapping[int, JobFacts], plans: JobPlans) -> None:
        self._doors, self._request, self._facts, self._plans = doors, request, facts, plans
        self._asks = {ask.job_id: ask for ask in request.jobs}
        self._now = doors.clock.now()

    def keep(self, runs: Sequence[GangRun], refused: Sequence[tuple[Gang, Failure]]) -> None:
        """Write them. Raises LedgerError."""
        self._doors.ledger.add_job_plans([*self._stopped(), *self._refused(refused), *self._planned(runs)])

    def keep_refused(self, failure: Failure) -> None:
        """Write that the plan of the request itself stops all of its jobs. Raises LedgerError."""
        found = self._plans.of(())
        self._doors.ledger.add_job_plans([self._row(job_id, found, failure=failure) for job_id in self._asks])

    def _stopped(self) -> Iterator[JobPlan]:
        for job_id, failure in self._plans.stopped.items():
            yield self._row(job_id, _FOLDER, failure=failure)

    def _refused(self, refused: Sequence[tuple[Gang, Failure]]) -> Iterator[JobPlan]:
        for gang, failure in refused:
            for job_id in gang.jobs:
                yield self._row(job_id, self._plans.of(gang.jobs), failure=failure, partition=_partition(gang))

    def _planned(self, runs: Sequence[GangRun]) -> Iterator[JobPlan]:
        for run in runs:
            parts = list({id(one.part): one.part for one in run.slices}.values())
            filled, rungs = tuple(_filled(parts)), tuple(_rungs(parts))
            for job_id in run.gang.jobs:
                row = self._row(job_id, parts[0].found, parts, partition=_partition(run.gang))
                yield replace(row, filled=filled, rungs=rungs)

    def _row(
        self,
        job_id: int,
        found: Found,
        parts: Sequence[PartPlan] = (),
        failure: Failure | None = None,
        partition: str = "",
    ) -> JobPlan:
        ask = self._asks.get(job_id, JobAsk(job_id, (), ()))
        fact = self._facts.get(job_id, JobFacts(job_id))
        prices = [part.price for part in parts if part.price is not None]
        text = found.plan.text if found.plan is not None else ""
        is_there = found.plan is not None or found is _FOLDER
        return JobPlan(
            job_id,
            self._request.request_id,
            self._now,
            found.origin.where if is_there else NO_PLAN,
            text if len(text) <= PLAN_TEXT_KEPT else "",
            found.why,
            "" if failure is None else f"{failure.code}: {failure.reason}",
            label=fact.label,
            name=fact.name,
            user=fact.user,
            account=fact.account,
            partition=ask.partition or partition,
            nodes=len(ask.nodes_alloc),
            price=max(prices) if len(prices) == len(parts) and prices else None,
            time_limit=fact.time_limit,
        )


def _partition(gang: Gang) -> str:
    return gang.parts[0].group.partition if gang.parts else ""


def _filled(parts: Sequence[PartPlan]) -> Iterator[FilledValue]:
    for part in parts:
        for one in part.filled:
            yield FilledValue(str(part.part.group), one.field, one.value, one.source)


def _rungs(parts: Sequence[PartPlan]) -> Iterator[PlannedRung]:
    for part in parts:
        for rung in part.choice.rungs:
            yield PlannedRung(str(part.part.group), rung.key, str(rung))
