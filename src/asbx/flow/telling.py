"""Put a sentence in front of what stands in a job's AdminComment, so that nothing anybody wrote there is lost."""

from __future__ import annotations

from asbx.config.limits import FREE_TEXT_MAX
from asbx.errors import SlurmError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind

_BETWEEN = " | "


def put_in_front(doors: Doors, job: int, words: str, about: str) -> None:
    """Tell a job; of sentences that begin with `about` only the newest stays. Two processes: no launch waits for it."""
    try:
        before = doors.scheduler.comment(job)
        rest = [one for one in before.split(_BETWEEN) if one and not one.startswith(about)]
        doors.scheduler.tell_job(job, _BETWEEN.join([words, *rest])[:FREE_TEXT_MAX])
    except SlurmError as error:  # it may have ended meanwhile
        doors.say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", job_id=job, level="debug"))
