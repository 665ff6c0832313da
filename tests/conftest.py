"""How long the property tests search: `everyday` finds the same every time, `nightly` looks where nobody has looked."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A machine under load is slow now and then: no example has a deadline.
settings.register_profile("everyday", deadline=None, derandomize=True, stateful_step_count=12)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=10_000,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))
