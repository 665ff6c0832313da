"""Which plan each job of a request goes by, and which jobs a plan stops.

In this order: the plan of the request itself (`--execution-plan`), the file of the plans folder that bears the job's
id, the one the job names (`asbx:plan=ID`), and where none of these is, what the job's own script tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from asbx.config.limits import SCONTROL_AT_ONCE, SCRIPT_AT_LAUNCH, SCRIPTS_A_REQUEST, SCRIPTS_AT_LAUNCH
from asbx.decide.hints import hints
from asbx.decide.script.guess import Guess, guess
from asbx.errors import ExitCode, PlanError, SlurmError
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure
from asbx.model.catalogue import TypeFacts
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.job import JobFacts, Request
from asbx.model.plan import NOWHERE, ExecutionPlan, Origin, parse_plan
from asbx.model.plan_file import PlanFile


@dataclass(frozen=True)
class Found:
    """A plan, or none, and where it comes from. why: what the analyzer found, "" where it did not look."""

    plan: ExecutionPlan | None = None
    origin: Origin = NOWHERE
    why: str = ""


_NONE = Found()


class JobPlans:
    """The plans of one request. stopped: jobs that are not launched for their plan's sake."""

    def __init__(
        self, doors: Doors, request: Request, facts: Mapping[int, JobFacts], whole: ExecutionPlan | None = None
    ) -> None:
        self._doors, self._request, self._facts = doors, request, facts
        self._whole = None if whole is None else Found(whole, Origin("--execution-plan", privileged=True))
        self._found: dict[int, Found] = {}
        self.stopped: dict[int, Failure] = {}
        self._is_silent = False

    def of(self, jobs: Sequence[int]) -> Found:
        """Return the plan of a gang: that of its first job that has one."""
        if self._whole is not None:
            return self._whole
        return next((self._found[job] for job in jobs if job in self._found), _NONE)

    def kinds(self) -> dict[int, ExecutionPlan]:
        """Return what each job's plan asks, without what makes no difference to a launch: alike jobs go together."""
        plans = ((job, found.plan) for job, found in self._found.items())
        bare = {"text": "", "job_id": None, "reasons": (), "unknown": (), "stated": ()}
        return {job: replace(plan, **bare) for job, plan in plans if plan is not None}  # type: ignore[arg-type]

    # -- files

    def look(self) -> None:
        """Read the plans folder for every job of the request."""
        if self._whole is not None or self._doors.plans is None:
            return
        for ask in self._request.jobs:
            fact = self._facts.get(ask.job_id, JobFacts(ask.job_id))
            named = hints("", ask.extra or fact.extra, fact.comment).plan
            if self._take(ask.job_id, fact, str(ask.job_id), is_named=False):
                continue
            if named:
                self._take(ask.job_id, fact, named, is_named=True)
        self._stop_fellows()

    def _stop_fellows(self) -> None:
        """Stop the other components of a heterogeneous job too: they start together or not at all."""
        leaders = {job: fact.leader for job, fact in self._facts.items() if fact.leader}
        why = {leaders[job]: failure for job, failure in self.stopped.items() if job in leaders}
        fellows = {job: why[leader] for job, leader in leaders.items() if leader in why}
        self.stopped = fellows | self.stopped

    def _take(self, job: int, fact: JobFacts, name: str, *, is_named: bool) -> bool:
        """Go by a file; return whether it counts. Of one that belongs to somebody else the job is not stopped."""
        assert self._doors.plans is not None
        file = self._doors.plans.read(name)
        if file is None:
            if is_named:
                self._stop(job, "plan-refused", f"it names the plan {name}, which is not in the plans folder")
            return False
        users = self._doors.config.policy.users_plans and bool(fact.user) and file.owner == fact.user
        if not file.privileged and not users:
            self._foreign(job, fact, file, is_named=is_named)
            return is_named
        self._read(job, file)
        return True

    def _foreign(self, job: int, fact: JobFacts, file: PlanFile, *, is_named: bool) -> None:
        why = f"the plan file {file.name}.json belongs to {file.owner}"
        if file.owner == fact.user:
            why += ", and policy.users_plans is off"
        elif fact.user:
            why += f", who is neither an administrator nor {fact.user}, whose job it is"
        else:
            why += ", and Slurm does not tell whose job it is"
        if is_named:
            self._stop(job, "plan-refused", why)
        else:
            self._say(f"{why}: it is passed over", job)

    def _read(self, job: int, file: PlanFile) -> None:
        if file.trouble:
            self._stop(job, "plan-refused", f"the plan file {file.name}.json is not read: {file.trouble}")
            return
        try:
            plan = parse_plan(file.text)
        except PlanError as error:
            self._stop(job, error.code, f"the plan file {file.name}.json: {error.what}: {error.why}")
            return
        if not plan.should_burst:
            why = f"the plan file {file.name}.json says should_burst=false; nothing was launched"
            self._stop(job, "plan-no-burst", why)
            return
        whose = "of an administrator" if file.privileged else f"of user {file.owner}"
        self._found[job] = Found(plan, Origin(f"plan file {file.name}.json {whose}", file.privileged))

    def _stop(self, job: int, code: str, why: str) -> None:
        self.stopped[job] = Failure(code, why, ExitCode.PLAN, hopeless=True)

    # -- scripts

    def analyze(self, gangs: Iterable[Gang]) -> None:
        """Read the scripts of jobs of several nodes that have no plan, a few processes of Slurm at a time.

        Nodes launched each for itself gain nothing from what a script tells. Without an answer nothing changes.
        """
        if self._whole is not None or not self._doors.config.analyzer.enabled:
            return
        wanted = [gang for gang in gangs if gang.whole and gang.jobs and self.of(gang.asking) is _NONE]
        if len(wanted) > SCRIPTS_A_REQUEST:
            left = len(wanted) - SCRIPTS_A_REQUEST
            self._say(f"the scripts of {left} job(s) are not read: {SCRIPTS_A_REQUEST} are read for one request")
        some = wanted[:SCRIPTS_A_REQUEST]
        if not some:
            return
        types = self._types(some)
        with self._doors.workers.pool(SCONTROL_AT_ONCE, "script") as pool:
            futures = [(gang, pool.submit(self._script, gang.jobs[0])) for gang in some]
        self._follow([(gang, future.result()) for gang, future in futures], types)

    def _follow(self, scripts: Iterable[tuple[Gang, str | None]], types: Mapping[str, TypeFacts]) -> None:
        """Go by what scripts tell, as far as they are not too long to be read while a launch waits."""
        guesses: dict[tuple[str, int], Guess] = {}  # the tasks of an array have one script
        left = SCRIPTS_AT_LAUNCH
        for gang, script in scripts:
            if not script:
                continue
            size = max(gang.size, len(gang.nodes))
            if (script, size) not in guesses:
                if len(script) > min(left, SCRIPT_AT_LAUNCH):
                    self._say("its script is not read: it, or those of its request together, are long", gang.jobs[0])
                    continue
                left -= len(script)
                guesses[script, size] = guess(script, size, self._doors.config.mpi, types)
            made = guesses[script, size]
            self._found[gang.jobs[0]] = Found(made.plan, Origin("analyzer"), made.why)

    def _script(self, job: int) -> str | None:
        """Return a job's script. Once slurmctld is silent it is not asked for the others: the launch waits."""
        if self._is_silent:
            return None
        try:
            return self._doors.scheduler.script(job)
        except SlurmError as error:
            self._is_silent = self._is_silent or error.code == "slurm-silent"
            self._say(f"its script is not known: {error.why}", job)
            return None

    def _types(self, gangs: Sequence[Gang]) -> Mapping[str, TypeFacts]:
        names = {part.group for gang in gangs for part in gang.parts}
        groups = [group for name in names if (group := self._doors.config.group(name)) is not None]
        return self._doors.catalogue.types({one.instance_type for g in groups for one in g.launch_template_overrides})

    def _say(self, text: str, job: int | None = None) -> None:
        self._doors.say(Event(EventKind.PLAN_NOTE, text, self._request.request_id, job_id=job, level="warning"))
