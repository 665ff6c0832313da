"""Where the page may be served."""

from __future__ import annotations

import pytest
from tests.fakes.site import config

from asbx.config.rules import check
from asbx.config.telemetry import Telemetry


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9815", ("127.0.0.1", 9815)), ("[::1]:80", ("::1", 80)), ("127.9.9.9:0", ("127.9.9.9", 0)), ("", None)],
)
def test_loopback_is_allowed(listen: str, address: tuple[str, int] | None) -> None:
    """Both families, any port, or nowhere."""
    assert Telemetry(listen=listen).address == address


@pytest.mark.parametrize("listen", ["9815", "127.0.0.1", "localhost:9815", "0.0.0.0:9815", "10.0.0.1:1", "::1:x"])
def test_anything_else_is_refused(listen: str) -> None:
    """Other machines' addresses, names, and what is no address."""
    site = config().model_copy(update={"telemetry": Telemetry(listen=listen)})
    assert [problem.key for problem in check(site).problems] == [("telemetry", "listen")]


def test_other_machines_may_be_let_in() -> None:
    """By a key of its own, so that no typing error does it."""
    assert Telemetry(listen="10.0.0.1:9815", allow_remote=True).address == ("10.0.0.1", 9815)
