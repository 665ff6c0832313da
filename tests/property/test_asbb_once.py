"""Whatever the budget service answers, loses or does late, and wherever we die: no launch is charged twice."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fakes.asbb import FAILURES, Account, FakeAsbb, FakeService
from tests.fakes.clock import FakeClock
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import Site, config

from asbx.config.schema import Config
from asbx.decide.asbb import Ask, Word
from asbx.flow.asbb import Desk
from asbx.flow.budgeting import Budgeting
from asbx.model.budget import EntryState

_FAILURES = st.sampled_from(["", "", "", *FAILURES])
_ACCOUNTS = ("phys", "bio")
# Later than any call that was lost may still be done.
_LATER = st.integers(1, 40)
_AMOUNTS = st.decimals("0", "3", places=2)


_CONFIG = Config.model_validate(config().model_dump(mode="json") | {"asbb": {"url": "http://127.0.0.1:8080"}})


class _DeadError(Exception):
    """The program has died."""


class BudgetService(RuleBasedStateMachine):
    """Launches are checked, given up or ended, passes work off what is owed, calls fail and programs die in between."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.asbb = FakeAsbb(self.clock.now)
        self.site = Site(_CONFIG, self.clock, scheduler=FakeScheduler(()))
        self.service = FakeService(self.asbb, self.clock)
        self.site.service = self.service
        self.asks: dict[str, Ask] = {}
        self.costs: dict[str, Decimal] = {}
        self.approved: set[str] = set()
        self.number = 0

    @initialize(
        names=st.booleans(), closes=st.booleans(), keeps=st.booleans(), lists=st.booleans(), shipped=st.booleans()
    )
    def begin(self, *, names: bool, closes: bool, keeps: bool, lists: bool, shipped: bool) -> None:
        """Choose what was never seen of the real one, and whether it is repaired."""
        self.choose(names=names, closes=closes, keeps=keeps, lists=lists, shipped=shipped)

    def choose(self, *, names: bool, closes: bool, keeps: bool, lists: bool, shipped: bool) -> None:
        """Set it up."""
        self.asbb.charge_names_job, self.asbb.charge_closes_hold = names, closes
        self.asbb.keeps_details, self.asbb.lists = keeps, lists
        self.asbb.as_shipped = shipped
        self.asbb.accounts = {name: Account(Decimal(20)) for name in _ACCOUNTS}

    @property
    def desk(self) -> Desk:
        """Return a desk, as each request and each pass has one of its own."""
        return Desk(self.site.doors, self.site.budgets, self.service)

    def _with(self, failures: list[str], dies_after: int, act: Any) -> Any:
        """Do something with these failures; die once so many calls are done (0: do not)."""
        self.service.next = list(failures)
        left = [dies_after]

        def count(_: str) -> None:
            left[0] -= 1
            if not left[0]:
                raise _DeadError

        self.service.after = count
        found = None
        with suppress(_DeadError):
            found = act()
        self.service.after = lambda _: None
        self.service.next = []
        return found

    @rule(account=st.sampled_from(_ACCOUNTS), failures=st.lists(_FAILURES, max_size=4), dies=st.integers(0, 3))
    def check(self, account: str, failures: list[str], dies: int) -> None:
        """Ask for a new launch."""
        self.number += 1
        job = (self.number + 1) // 2  # every job is launched twice
        request = f"r-{self.number}"
        key = f"{request}/{job}"
        self.asks[key] = Ask(key, job, request, account, "ada", "cpu", 1, 4, 0, timedelta(hours=1))
        self.try_again(key, failures, dies)

    @rule(account=st.sampled_from(_ACCOUNTS), cost=_AMOUNTS)
    def run(self, account: str, cost: Decimal) -> None:
        """Launch and end without trouble, so that much is owed."""
        self.check(account, [], 0)
        self.finish(next(reversed(self.asks)), cost)

    @precondition(lambda self: self.asks.keys() - self.costs.keys())
    @rule(data=st.data(), failures=st.lists(_FAILURES, max_size=4), dies=st.integers(0, 3))
    def check_again(self, data: st.DataObject, failures: list[str], dies: int) -> None:
        """Begin a launch's request again, as after a crash."""
        self.try_again(data.draw(st.sampled_from(sorted(self.asks.keys() - self.costs.keys()))), failures, dies)

    def try_again(self, key: str, failures: list[str], dies: int) -> None:
        """Ask for a launch, again where it was asked for before."""
        answer = self._with(failures, dies, lambda: self.desk.check(self.asks[key]))
        if answer is not None and answer.word is Word.YES:
            self.approved.add(key)

    @precondition(lambda self: self.asks.keys() - self.costs.keys())
    @rule(data=st.data(), cost=_AMOUNTS)
    def end(self, data: st.DataObject, cost: Decimal) -> None:
        """Let a launch end, or be given up for nothing."""
        key = data.draw(st.sampled_from(sorted(self.asks.keys() - self.costs.keys())))
        self.finish(key, cost)

    def finish(self, key: str, cost: Decimal) -> None:
        """Note what a launch cost."""
        self.costs[key] = cost
        self.desk.owe(self.asks[key].request_id, self.asks[key].job_id, cost)

    @rule(minutes=_LATER, failures=st.lists(_FAILURES, max_size=6), dies=st.integers(0, 4))
    def work_off(self, minutes: int, failures: list[str], dies: int) -> None:
        """Let time go by, then a pass."""
        self.play(minutes, failures, dies)

    def play(self, minutes: int, failures: list[str], dies: int) -> None:
        """Let time go by, then a pass with failures."""
        self.clock.advance(minutes=minutes)
        # Launches end by their rule alone: there are no instances here.
        one = Budgeting(self.site.doors)
        self._with(failures, dies, lambda: one._work_off(self.desk))

    @invariant()
    def nothing_is_charged_twice(self) -> None:
        """Each launch is charged at most once, and no more than it cost."""
        charged = Counter(row["secret_job"] for row in self.asbb.rows if row["type"] == "charge")
        assert all(count == 1 for count in charged.values())
        jobs = {entry.job: entry.key.rstrip("+") for entry in self.site.budgets.entries(EntryState)}
        for row in self.asbb.rows:
            if row["type"] == "charge":
                assert row["amount"] == self.costs[jobs[row["secret_job"]]]

    @invariant()
    def what_is_told_was_charged(self) -> None:
        """We believe that a launch was charged only where it was."""
        charged = {row["secret_job"] for row in self.asbb.rows if row["type"] == "charge"}
        for entry in self.site.budgets.entries([EntryState.TOLD]):
            assert entry.job in charged

    def teardown(self) -> None:
        """Once nothing fails any more, all that is owed comes to an end: told, void or in somebody's hands."""
        self.asbb.as_shipped = False
        for key in self.asks.keys() - self.costs.keys():
            self.finish(key, Decimal(0))
        for _ in range(10):
            self.clock.advance(hours=7)
            Budgeting(self.site.doors)._work_off(self.desk)
        self.nothing_is_charged_twice()
        self.what_is_told_was_charged()
        left = self.site.budgets.entries([EntryState.CHECKING, EntryState.OWED, EntryState.TELLING])
        assert not left


TestBudgetService = BudgetService.TestCase
TestBudgetService.settings = settings(max_examples=min(settings().max_examples, 1000))

# All 32 at night; by day each property both ways.
_VARIANTS = list(itertools.product((True, False), repeat=5))
if settings().max_examples < 1000:
    _VARIANTS = [_VARIANTS[number] for number in (0, 1, 2, 4, 8, 16, 28)]


def each(failures: Sequence[str], dies: int, act: Callable[[BudgetService, list[str], int], None]) -> None:
    """Play a case with every variant of the service, to its end."""
    for names, closes, keeps, lists, shipped in _VARIANTS:
        machine = BudgetService()
        machine.choose(names=names, closes=closes, keeps=keeps, lists=lists, shipped=shipped)
        act(machine, list(failures), dies)
        machine.nothing_is_charged_twice()
        machine.teardown()


@pytest.mark.parametrize("dies", range(4))
@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_of_a_reconcile(failure: str, dies: int) -> None:
    """Alone, and with another one when it is told again; the program may die at each call."""

    def act(machine: BudgetService, failures: list[str], dies: int) -> None:
        machine.check("phys", [], 0)
        machine.finish("r-1/1", Decimal("1.25"))
        machine.play(1, failures, dies)
        for minutes in (2, 5, 30, 90):
            machine.play(minutes, failures if again else [], dies)

    again = False
    each([failure], dies, act)
    again = True
    each([failure], dies, act)
    each(["", failure], dies, act)


@pytest.mark.parametrize("dies", range(4))
@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_of_a_check(failure: str, dies: int) -> None:
    """The launch is begun again at once or later, and ends; the next launch of the account is not confused by it."""

    def act(machine: BudgetService, failures: list[str], dies: int) -> None:
        machine.check("phys", failures, dies)
        machine.clock.advance(minutes=1)
        machine.try_again("r-1/1", failures, dies)
        machine.check("phys", [], 0)
        machine.clock.advance(minutes=5)
        machine.try_again("r-1/1", [], 0)
        machine.finish("r-1/1", Decimal("1.25"))
        machine.finish("r-2/1", Decimal("2.50"))

    each([failure], dies, act)
    each([failure, failure], dies, act)
