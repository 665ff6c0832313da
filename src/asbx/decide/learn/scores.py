"""How well a plan foretold what happened.

    accuracy(actual, predicted) = 1 - |actual - predicted| / max(actual, predicted), cut to 0..1

for cost and run time; 1 where both agree, 0.5 where one is twice the other. The overall score is the mean of those that
are known. Null without a prediction: a limit is none. Of the advisor's own plans the cost limit is its estimate times
1.2 (seen in every plan it wrote), so the estimate is told from it; the documented dialect states a limit only.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from asbx.config.limits import ADVISOR_MARGIN
from asbx.model.plan import ExecutionPlan


def accuracy(actual: float | None, predicted: float | None) -> float | None:
    """Return how close a prediction was, from 0 to 1; None where one of both is missing or not above 0."""
    if actual is None or predicted is None or actual <= 0 or predicted <= 0:
        return None
    return min(max(1 - abs(actual - predicted) / max(actual, predicted), 0.0), 1.0)


def predicted_cost(plan: ExecutionPlan | None) -> Decimal | None:
    """Return the advisor's estimate in USD."""
    if plan is None or plan.dialect != "real" or plan.max_total_cost is None:
        return None
    return plan.max_total_cost / ADVISOR_MARGIN


def predicted_runtime(plan: ExecutionPlan | None) -> timedelta | None:
    """Return the advisor's estimate of the run time."""
    return None if plan is None or plan.is_guess else plan.expected_runtime


def overall(*scores: float | None) -> float | None:
    """Return the mean of those scores that are known."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None
