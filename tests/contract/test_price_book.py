"""What every record of prices promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.ledger import FakeLedger
from tests.fakes.postgres import server
from tests.fakes.samples import NOON, price_change, spot_change

from asbx.errors import LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.market import Market
from asbx.model.price import PriceSource

HOUR = timedelta(hours=1)
Book = FakeLedger | SqlLedger


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    """Open every ledger there is."""
    if request.param == "fake":
        yield FakeLedger()
        return
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database())
    yield opened
    opened.close()


def test_prices_come_back_whole_and_in_order(book: Book) -> None:
    """By type, zone, market and time, whatever the order of telling; the digits are those of AWS."""
    changes = [spot_change("0.0311", NOON + HOUR), spot_change("0.0300", NOON), price_change("0.0892500000")]
    assert book.add_price_changes(changes) == 3
    assert book.price_changes(NOON, NOON + HOUR) == (changes[2], changes[1], changes[0])


def test_what_is_in_force_at_the_beginning_is_included(book: Book) -> None:
    """A bill that begins in the middle of a price needs that price, and none after its end."""
    early, mid, late = (spot_change(usd, NOON + n * HOUR) for n, usd in enumerate(("0.03", "0.04", "0.05")))
    book.add_price_changes([early, mid, late])
    half = timedelta(minutes=30)
    assert book.price_changes(NOON + half, NOON + HOUR + half) == (early, mid)
    assert book.price_changes(NOON + HOUR, NOON + HOUR) == (mid,)
    assert book.price_changes(NOON + 9 * HOUR, NOON + 9 * HOUR) == (late,)
    assert book.price_changes(NOON - 2 * HOUR, NOON - HOUR) == ()


def test_prices_are_found_by_type_zone_and_market(book: Book) -> None:
    """On-demand prices hold in every zone, so a question about a zone finds them too."""
    here, there = spot_change("0.03"), spot_change("0.04", zone="us-east-2b")
    listed, other = price_change(), price_change("0.10", instance_type="m7i.large")
    book.add_price_changes([here, there, listed, other])
    assert book.price_changes(NOON, NOON, instance_types=["c7i.large"]) == (listed, here, there)
    assert book.price_changes(NOON, NOON, zones=["us-east-2b"], markets=[Market.SPOT]) == (there,)
    assert book.price_changes(NOON, NOON, zones=["us-east-2b"]) == (listed, there, other)
    assert book.price_changes(NOON, NOON, instance_types=[]) == ()
    many = [f"x{number}.large" for number in range(1000)]
    assert book.price_changes(NOON, NOON, instance_types=[*many, "m7i.large"]) == (other,)


def test_the_same_again_is_no_change_but_younger(book: Book) -> None:
    """A price told again, or with a later beginning, has been learned again; history stays as it was."""
    first = spot_change("0.03")
    assert book.add_price_changes([first]) == 1
    assert book.add_price_changes([replace(first, learned_at=NOON + HOUR)]) == 0
    assert book.add_price_changes([spot_change("0.03", NOON + HOUR, learned_at=NOON + 2 * HOUR)]) == 0
    assert book.price_changes(NOON, NOON + 9 * HOUR) == (replace(first, learned_at=NOON + 2 * HOUR),)
    assert book.add_price_changes([first]) == 0
    assert book.price_changes(NOON, NOON) == (replace(first, learned_at=NOON + 2 * HOUR),)


def test_of_one_moment_the_price_told_first_stands(book: Book) -> None:
    """EC2 tells whole seconds, the newest first; what it says later of that moment replaces both."""
    book.add_price_changes([spot_change("0.05"), spot_change("0.03")])
    assert [str(one.usd) for one in book.price_changes(NOON, NOON)] == ["0.05"]
    book.add_price_changes([spot_change("0.04", learned_at=NOON + HOUR)])
    assert [str(one.usd) for one in book.price_changes(NOON, NOON)] == ["0.04"]


def test_a_price_that_comes_back_is_a_change(book: Book) -> None:
    """Up and down again within one span is three prices."""
    told = [spot_change(usd, NOON + n * HOUR) for n, usd in enumerate(("0.03", "0.05", "0.03"))]
    assert book.add_price_changes(reversed(told)) == 3
    assert book.price_changes(NOON, NOON + 9 * HOUR) == tuple(told)


def test_aws_stands_above_the_bundled_table(book: Book) -> None:
    """From the first price that AWS told on the table is not heard; before it the table is all there is."""
    table = price_change("0.08", NOON, source=PriceSource.BUNDLED)
    assert book.add_price_changes([table]) == 1
    assert book.add_price_changes([price_change("0.09", NOON + HOUR)]) == 1
    assert [one.source for one in book.price_changes(NOON, NOON + HOUR)] == [PriceSource.BUNDLED, PriceSource.PRICING]
    listed = price_change("0.07", NOON - HOUR)
    book.add_price_changes([listed])
    book.add_price_changes([replace(table, since=NOON + 2 * HOUR)])
    found = book.price_changes(NOON - HOUR, NOON + 9 * HOUR)
    assert [(one.usd, one.source) for one in found] == [
        (Decimal("0.07"), PriceSource.PRICING),
        (Decimal("0.09"), PriceSource.PRICING),
    ]


def test_times_need_a_zone(book: Book) -> None:
    """A naive time is refused, and nothing of that call is kept."""
    naive = datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(LedgerError) as caught:
        book.add_price_changes([price_change(), spot_change("0.03", naive)])
    assert caught.value.code == "ledger-value"
    assert book.price_changes(NOON, NOON) == ()


def test_what_an_instance_lived_under_is_kept(book: Book) -> None:
    """Prices nobody paid are forgotten once they are old; those of an instance never, and never the newest."""
    told = [spot_change(usd, NOON + n * HOUR) for n, usd in enumerate(("0.01", "0.02", "0.03", "0.04", "0.05"))]
    book.add_price_changes([*told, spot_change("0.9", NOON, "us-east-2b")])
    book.add_request(samples.request())
    book.add_intent(samples.intent())
    lived = NOON + HOUR + timedelta(minutes=30)
    row = replace(samples.instance_row("i-1"), market=Market.SPOT, launched_at=lived)
    book.answer_attempt(replace(samples.attempt(), answered_at=lived), [row])
    book.end_instances(["i-1"], "over", NOON + 2 * HOUR + timedelta(minutes=30))
    everything = (NOON, NOON + 9 * HOUR)
    assert book.forget_prices(NOON + 9 * HOUR, after=NOON + HOUR) == 1  # 0.04: unpaid, and not the newest
    assert book.forget_prices(NOON) == 0
    assert book.forget_prices(NOON + 9 * HOUR) == 1  # 0.01
    kept = book.price_changes(*everything, zones=["us-east-2a"])
    assert [str(one.usd) for one in kept] == ["0.02", "0.03", "0.05"]
    assert len(book.price_changes(*everything)) == 4


def test_what_an_instance_lives_under_is_kept(book: Book) -> None:
    """An on-demand price is needed wherever the instance is, and an instance without an end needs all since."""
    book.add_price_changes(
        [price_change("0.01"), price_change("0.02", NOON + HOUR), price_change("0.03", NOON + 2 * HOUR)]
    )
    book.add_request(samples.request())
    book.add_intent(samples.intent())
    row = replace(samples.instance_row("i-1"), launched_at=NOON + HOUR)
    book.answer_attempt(replace(samples.attempt(), answered_at=NOON), [row])
    assert book.forget_prices(NOON + 9 * HOUR) == 1
    assert [str(one.usd) for one in book.price_changes(NOON, NOON + 9 * HOUR)] == ["0.02", "0.03"]
