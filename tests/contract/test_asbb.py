"""The budget service over HTTP: what it was recorded to answer, as shipped and repaired, and everything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from socket import create_server
from threading import Event
from typing import Any

import pytest
from tests.fakes.asbb import Account, Answered, FakeAsbb, serving
from tests.fakes.samples import NOON

from asbx.budget.service import AsbbService
from asbx.config.companions import Asbb
from asbx.daemon.clock import RealClock
from asbx.decide.asbb import (
    Ask,
    Trace,
    Transaction,
    Word,
    check_question,
    find_charge,
    read_check,
    read_reconcile,
    read_transactions,
    wall_time,
)
from asbx.model.budget import Entry, EntryState, Reply

RECORDED = Path(__file__).parent.parent / "recorded" / "asbb"
NAMES = sorted(one.stem for one in RECORDED.glob("*.json"))
ASK = Ask("r-1/7", 7, "r-1", "proj1", "alice", "aws-cpu", 4, 16, 0, timedelta(hours=2))


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded question with its answer."""
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text(), parse_float=Decimal)
    return found


@contextmanager
def door(url: str, timeout: int = 5, folder: Path = Path("/nonexistent")) -> Iterator[AsbbService]:
    """Open the door."""
    service = AsbbService(Asbb(url=url, timeout_seconds=timeout, reconciliation_dir=str(folder)), RealClock())
    yield service
    service.close()


def check(answer: Answered | bytes | None, timeout: int = 5) -> Reply:
    """Ask for a hold where the answer is always the same."""
    with serving(lambda *_: answer) as url, door(url, timeout) as service:
        return service.check(check_question(ASK))


def replay(name: str) -> Reply:
    """Ask the recorded question of a server that gives the recorded answer."""
    one = recorded(name)["response"]
    body = json.loads(json.dumps(one["body"], default=float))
    return check((one["status"], one["content_type"], body))


# -- recorded answers

MEANT = {
    "budget-check-ok": (read_check, Word.YES),
    "budget-check-insufficient": (read_check, Word.NO),
    "budget-check-inactive": (read_check, Word.NO),
    "budget-check-unknown-account-asis": (read_check, Word.NO),
    "budget-check-missing-fields-asis": (read_check, Word.NO),
    "budget-check-ok-asis": (read_check, Word.DOUBT),
    "reconcile-lower": (read_reconcile, Word.YES),
    "reconcile-higher": (read_reconcile, Word.YES),
    "reconcile-twice": (read_reconcile, Word.YES),
    "asbx-epilog-asis": (read_reconcile, Word.AWAY),
    "asbx-reconcile-asis": (read_reconcile, Word.AWAY),
    "health-asis": (read_check, Word.DOUBT),
}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_answers_mean_what_they_did(name: str) -> None:
    """A 501 with success is no success, a 200 without `available` no approval, a 500 is in doubt."""
    read, word = MEANT[name]
    assert read(replay(name)).word is word


def test_what_a_recorded_approval_tells() -> None:
    """Transaction and hold, to the last digit."""
    answer = read_check(replay("budget-check-ok"))
    assert answer.transaction == "txn_1795469890639861358_639861"
    assert answer.hold == Decimal("23.040000000000003")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("budget-check-insufficient", "Insufficient budget; 10 USD remain there"),
        ("budget-check-inactive", "402 ACCOUNT_INACTIVE Account 'proj2' is not active Current status: suspended"),
        ("budget-check-unknown-account-asis", "404 NOT_FOUND Budget account 'nope' not found"),
        ("budget-check-missing-fields-asis", "400 VALIDATION_ERROR is required partition"),
        ("budget-check-ok-asis", "500 TRANSACTION_FAILED Transaction txn_1795469762442081353_442081 failed"),
    ],
)
def test_a_refusal_is_told_in_the_services_words(name: str, said: str) -> None:
    """With its status and code where it has one."""
    assert read_check(replay(name)).said == said


def test_the_question_is_the_one_that_was_recorded() -> None:
    """CPUs of one node, hours before minutes; our own key beside it."""
    question = check_question(ASK)
    assert question.pop("job_details") == {"asbx": "r-1/7", "slurm_job_id": "7"}
    assert question == recorded("budget-check-ok")["request"]["body"]


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (timedelta(days=2), "48:00:00"),
        (timedelta(minutes=90), "01:30:00"),
        (timedelta(seconds=1), "00:00:01"),
        (timedelta(0), "00:00:01"),
        (timedelta(days=365), "8760:00:00"),
    ],
)
def test_a_time_limit_never_has_days(limit: timedelta, text: str) -> None:
    """`2-00:00:00` would be one hour to it."""
    assert wall_time(limit) == text


# -- the fake is like the recorded one


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("budget-check", "reconcile"))])
def test_the_fake_answers_as_was_recorded(name: str) -> None:
    """Status and body, but for numbers of transactions and times."""
    one = recorded(name)
    fake = FakeAsbb(lambda: NOON, as_shipped=name.endswith("-asis"))
    fake.accounts = {
        "proj1": Account(Decimal(1000)),
        "proj2": Account(Decimal(10), "suspended" if name == "budget-check-inactive" else "active"),
        "NSF-ABC123": Account(Decimal(1000)),
    }
    body = dict(one["request"]["body"])
    if name.startswith("reconcile"):
        asked = recorded("budget-check-ok")["request"]["body"]
        if name == "reconcile-higher":
            asked = asked | {"partition": "cpu", "nodes": 1, "cpus": 4, "wall_time": "01:00:00"}
        body["transaction_id"] = fake.answer("POST", "/api/v1/budget/check", asked)[2]["transaction_id"]
        if name == "reconcile-twice":
            fake.answer("POST", one["request"]["path"], body)
    status, kind, said = fake.answer("POST", one["request"]["path"], body)
    expected = one["response"]
    assert (status, kind) == (expected["status"], expected["content_type"])
    assert shape(said) == shape(expected["body"])
    if name == "reconcile-twice":
        assert fake.charges() == [Decimal("10.5")] * 2


_VARYING = {"transaction_id", "request_id", "timestamp", "recommendation", "advisor_confidence", "hold_percentage"}


def shape(body: Any) -> Any:
    """Return a body to the cent, without what differs each time."""
    if isinstance(body, dict):
        return {key: shape(value) for key, value in body.items() if key not in _VARYING}
    if isinstance(body, int | Decimal) and not isinstance(body, bool):
        return round(Decimal(body), 2)
    return "txn" if isinstance(body, str) and body.startswith("Transaction txn_") else body


# -- everything else a network may answer

ODD: dict[str, tuple[Answered | bytes | None, Word]] = {
    "html": ((200, "text/html", "<html>welcome</html>"), Word.DOUBT),
    "json-as-text": ((200, "text/plain", '{"available": true, "transaction_id": "t"}'), Word.DOUBT),
    "no-type": ((200, "", '{"available": true, "transaction_id": "t"}'), Word.DOUBT),
    "half": ((200, "application/json", '{"available": tr'), Word.DOUBT),
    "deep": ((200, "application/json", "[" * 100_000), Word.DOUBT),
    "nan": ((200, "application/json", '{"available": true, "transaction_id": "t", "hold_amount": NaN}'), Word.DOUBT),
    "list": ((200, "application/json", [True]), Word.DOUBT),
    "null": ((200, "application/json", None), Word.DOUBT),
    "no-transaction": ((200, "application/json", {"available": True}), Word.DOUBT),
    "available-as-text": ((200, "application/json", {"available": "true", "transaction_id": "t"}), Word.DOUBT),
    "created": ((201, "application/json", {"available": True, "transaction_id": "t"}), Word.DOUBT),
    "redirect": ((302, "", ""), Word.DOUBT),
    "no-route": ((404, "text/plain", "404 page not found"), Word.AWAY),
    "method": ((405, "", ""), Word.AWAY),
    "conflict": ((409, "application/json", {"error": {"code": "DUPLICATE_ACCOUNT", "message": "x"}}), Word.NO),
    "unauthorized": ((401, "application/json", {"error": {"code": "UNAUTHORIZED", "message": "x"}}), Word.AWAY),
    "gateway": ((502, "text/html", "<html>"), Word.DOUBT),
    "busy": ((503, "application/json", {"error": {"code": "SERVICE_UNAVAILABLE", "message": "x"}}), Word.DOUBT),
    "cut": (None, Word.DOUBT),
    "garbage": (b"220 smtp ready\r\n", Word.DOUBT),
    "cut-body": (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", Word.DOUBT),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_answers_are_no_approval(name: str) -> None:
    """What cannot be understood may have been done; what is refused was not."""
    answer, word = ODD[name]
    assert read_check(check(answer)).word is word


def test_a_service_that_is_not_there_was_asked_nothing() -> None:
    """So nothing can have been held."""
    with create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    with door(f"http://127.0.0.1:{port}") as service:
        answer = read_check(service.check(check_question(ASK)))
    assert answer.word is Word.AWAY
    assert "ConnectError" in answer.said


def test_a_service_that_does_not_answer_in_time_may_have_done_it() -> None:
    """The wait is bounded by the time-out."""
    ends = Event()

    def slow(*_: object) -> Answered:
        ends.wait(10)
        return 200, "application/json", {}

    clock = RealClock()
    with serving(slow) as url, door(url, timeout=1) as service:
        began = clock.elapsed()
        answer = read_check(service.check(check_question(ASK)))
        took = clock.elapsed() - began
        ends.set()
    assert answer.word is Word.DOUBT
    assert took < timedelta(seconds=5)


def test_a_charge_from_before_our_question_is_another_clusters() -> None:
    """Job numbers are not the service's: two clusters have a job 7, and each owes its own."""
    asked = datetime(2026, 3, 1, 12, tzinfo=UTC)
    entry = Entry("r-1/7", 7, "7", "r-1", "phys", EntryState.TELLING, asked, "txn_2", Decimal(5), Decimal(3))
    hold = Transaction("txn_2", "hold", "pending", "", Decimal(5), asked, "")
    other = Transaction("txn_1", "charge", "completed", "7", Decimal(9), asked - timedelta(days=1), "")
    mine = replace(other, at=asked + timedelta(hours=2))
    assert find_charge([hold, other], entry, is_whole=True) is Trace.NOT_DONE
    assert find_charge([hold, mine], entry, is_whole=True) is Trace.DONE


def test_one_time_out_is_waited_for_and_no_other() -> None:
    """Each launch would wait as long, and once more for the list of transactions: nothing is sent meanwhile."""
    calls: list[str] = []
    answer = Event()

    def slow(_method: str, path: str, _body: Any) -> Answered:
        calls.append(path)
        answer.wait(10)
        return (200, "application/json", {})

    with serving(slow) as url, door(url, timeout=1) as service:
        assert service.check(check_question(ASK)).sent
        for reply in (service.check(check_question(ASK)), service.transactions("phys", 200), service.reconcile({})):
            assert (reply.status, reply.sent) == (0, False)
            assert read_check(reply).word is Word.AWAY
        answer.set()
        assert service.health().status == 200  # somebody looks whether it is there again
        assert service.check(check_question(ASK)).status == 200
    assert len(calls) == 3


def test_the_path_of_the_url_may_be_stated_or_not() -> None:
    """Both forms call the same; nothing beside the four real endpoints is ever called."""
    fake = FakeAsbb(lambda: NOON, {"proj1": Account(Decimal(1000))})
    with serving(fake.answer) as url:
        for one in (url, f"{url}/", f"{url}/api/v1"):
            with door(one) as service:
                assert service.health().status == 200
                assert read_check(service.check(check_question(ASK))).word is Word.YES
                assert len(read_transactions(service.transactions("proj1", 50)) or ()) == len(fake.rows)
                service.reconcile({"transaction_id": "txn_1", "actual_cost": 1, "job_id": "7"})
    assert {path.partition("?")[0] for _, path, _ in fake.calls} == {
        "/health",
        "/api/v1/budget/check",
        "/api/v1/budget/reconcile",
        "/api/v1/transactions",
    }


def test_an_empty_account_lists_null() -> None:
    """Which is no trouble; a list with null metadata is answered with 500, and then nothing is known."""
    fake = FakeAsbb(lambda: NOON, {"proj1": Account(Decimal(1000))})
    with serving(fake.answer) as url, door(url) as service:
        assert read_transactions(service.transactions("proj1", 50)) == ()
        fake.lists = False
        assert read_transactions(service.transactions("proj1", 50)) is None


def test_a_document_is_left_whole_and_once(tmp_path: Path) -> None:
    """Where it cannot be left, that is said."""
    folder = tmp_path / "spool"
    with door("http://127.0.0.1:9", folder=folder) as service:
        assert service.leave("job-7-asbb-reconciliation.json", {"a": 1}) == ""
        assert service.leave("job-7-asbb-reconciliation.json", {"a": 2}) == ""
    (found,) = folder.iterdir()
    assert json.loads(found.read_text()) == {"a": 1}
    (tmp_path / "file").write_text("")
    with door("http://127.0.0.1:9", folder=tmp_path / "file") as service:
        assert "file" in service.leave("x.json", {})
