"""What a launch will cost at most, before it happens: boot, time limit and idle tail of every node, at today's price.

The one estimate that `asbx submit`, limits and budgets go by, so that they never disagree. It is an upper bound of the
usual course, not of every course: a job that is requeued, or ends early, costs another sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

from asbx.config.schema import Config
from asbx.decide.cost import total

_HOUR = timedelta(hours=1)
_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Course:
    """How long each node lives. limit: the job's time limit, None where there is none, so that no sum can be told."""

    boot: timedelta
    limit: timedelta | None
    idle: timedelta


@dataclass(frozen=True)
class Estimate:
    """A sum with its arithmetic. nodes: instances. price: of the dearest allowed offering, USD an instance-hour.

    volumes: EBS of one instance, USD an hour. usd: of everything, None where the price or the time limit is unknown.
    """

    nodes: int
    price: Decimal | None
    volumes: Decimal
    course: Course

    @property
    def per_hour(self) -> Decimal | None:
        """Return what all instances cost an hour, volumes included, in USD."""
        return None if self.price is None else self.nodes * (self.price + self.volumes)

    @property
    def duration(self) -> timedelta | None:
        """Return how long each instance lives; None without a time limit."""
        course = self.course
        return None if course.limit is None else course.boot + course.limit + course.idle

    @property
    def usd(self) -> Decimal | None:
        """Return the sum in USD, rounded up to a cent."""
        if self.per_hour is None or self.duration is None:
            return None
        hours = Decimal(int(self.duration.total_seconds())) / Decimal(int(_HOUR.total_seconds()))
        return total([self.per_hour * hours]).quantize(_CENT, ROUND_CEILING)

    @property
    def arithmetic(self) -> str:
        """Return the calculation as a sentence of one line."""
        if self.price is None:
            return f"{self.nodes} node(s) at a price that is not known"
        price = f"{self.price:f}" + (f" + {self.volumes:f} of volumes" if self.volumes else "")
        if self.duration is None:
            return f"{self.nodes} node(s) x {price} USD/h, without a time limit"
        course = self.course
        parts = [("boot", course.boot), ("time limit", course.limit), ("idle", course.idle)]
        told = " + ".join(f"{_hours(span)} h {name}" for name, span in parts if span)
        return f"{self.nodes} node(s) x {price} USD/h x ({told}) = {self.usd:f} USD"


def _hours(span: timedelta | None) -> str:
    return f"{(span or timedelta()) / _HOUR:.3g}"


def course(settings: Config, limit: timedelta | None) -> Course:
    """Return the longest usual course of a node at a site: a boot that ends just in time, the limit, the idle tail."""
    return Course(settings.resume_deadline, limit, timedelta(seconds=settings.slurm.suspend_time))
