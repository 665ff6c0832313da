"""How long nodes were waited for, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes import billing
from tests.fakes.postgres import server

from asbx.ledger.store import SqlLedger, open_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    """Open both databases with a month in them."""
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database())
    billing.fill(opened)
    yield opened
    opened.close()


def test_what_registered_is_told(ledger: SqlLedger) -> None:
    """From when Slurm's request arrived; what never became a node is left out, and what was launched at other times."""
    found = ledger.arrivals(billing.MARCH.begin, billing.MARCH.end)
    assert [one.jobs for one in found] == [(1,), (2,), (3,), (5,), (), (7,)]
    assert found[0].asked_at == billing.BEGIN - timedelta(minutes=1)
    assert found[0].registered_at == billing.BEGIN + timedelta(minutes=3)
    assert (found[0].launch, found[0].market) == ("r-1", "spot")
    assert ledger.arrivals(billing.MARCH.end, billing.MARCH.end + timedelta(days=30)) == ()
    assert len(ledger.arrivals(None, billing.BEGIN + timedelta(days=1))) == 1
