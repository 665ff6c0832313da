"""Which words of `asbx submit` are its own, and how a plan is attached."""

from __future__ import annotations

import pytest

from asbx.decide.attach import Attachment, Desk, Job, Way, attach, hint_words, with_comment
from asbx.decide.script.command_line import split
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan

PLAN = ExecutionPlan(should_burst=True, dialect="documented", text="", markets=(Market.ON_DEMAND,), placement="cluster")
OPEN, SHUT = Desk(""), Desk("the plans folder is closed")


def is_script(word: str) -> bool:
    """Whether a word is one of the scripts of these tests."""
    return word.endswith(".sh")


@pytest.mark.parametrize(
    ("words", "own", "rest", "script"),
    [
        ("job.sh", "", "job.sh", "job.sh"),
        ("--dry-run -N 4 job.sh", "--dry-run", "-N 4 job.sh", "job.sh"),
        ("-N 4 --dry-run job.sh a b", "--dry-run", "-N 4 job.sh a b", "job.sh"),
        ("-N4 -n8 --json --plan p.json job.sh", "--json --plan p.json", "-N4 -n8 job.sh", "job.sh"),
        ("--plan=p.json --config=c.yaml job.sh", "--plan=p.json --config=c.yaml", "job.sh", "job.sh"),
        # The value of an option of sbatch is that value, however it looks.
        ("-J --dry-run job.sh", "", "-J --dry-run job.sh", "job.sh"),
        ("--job-name --json job.sh", "", "--job-name --json job.sh", "job.sh"),
        ("-HJ --json job.sh", "", "-HJ --json job.sh", "job.sh"),
        # Beginnings and other spellings are sbatch's, as are short ones.
        ("--con=x --js -c 2 -h job.sh", "", "--con=x --js -c 2 -h job.sh", "job.sh"),
        # After the script everything is the script's.
        ("job.sh --dry-run --json", "", "job.sh --dry-run --json", "job.sh"),
        ("-N2 -- job.sh --json", "", "-N2 -- job.sh --json", "job.sh"),
        ("-N2 -- --json", "", "-N2 -- --json", "--json"),
        # Options nobody knows here go through, with a value that is no script.
        ("--spank-thing=3 job.sh", "", "--spank-thing=3 job.sh", "job.sh"),
        ("--spank-thing 3 --json job.sh", "--json", "--spank-thing 3 job.sh", "job.sh"),
        ("--spank-flag job.sh 3", "", "--spank-flag job.sh 3", "job.sh"),
        ("-%x --json job.sh", "--json", "-%x job.sh", "job.sh"),
        # Heterogeneous jobs, --wrap and stdin.
        ("-N1 : -N2 --json job.sh", "--json", "-N1 : -N2 job.sh", "job.sh"),
        ("--wrap hostname --json", "--json", "--wrap hostname", ""),
        ("--wrap=hostname", "", "--wrap=hostname", ""),
        ("-N 2", "", "-N 2", ""),
        ("--nice -N2 job.sh", "", "--nice -N2 job.sh", "job.sh"),
        ("--plan", "--plan", "", ""),
    ],
)
def test_every_word_has_one_owner(words: str, own: str, rest: str, script: str) -> None:
    """Own options are taken out, all other words stay as they are and where they are."""
    line = split(words.split(), is_script)
    assert own.split() == list(line.own)
    assert rest.split() == list(line.sbatch)
    assert script == line.script


def test_what_nobody_knows_is_told_and_kept_from_the_reader() -> None:
    """The reader of options gets only what it knows; words after the script that look like ours are named."""
    line = split(["--spank", "3", "-N2", "job.sh", "--dry-run"], is_script)
    assert line.unknown == ("--spank",)
    assert line.known == ("-N2", "job.sh", "--dry-run")
    assert line.stray == ("--dry-run",)
    assert split(["--version"], is_script).is_question
    assert split(["-V"], is_script).is_question
    assert not split(["-J", "--version", "job.sh"], is_script).is_question


@pytest.mark.parametrize(
    ("job", "desk", "way", "comment"),
    [
        (Job(), OPEN, Way.NAMED, "asbx:plan=p"),
        (Job(array_tasks=9, waits=True), OPEN, Way.NAMED, "asbx:plan=p"),
        (Job(comment="mine"), OPEN, Way.BY_ID, ""),
        (Job(comment="mine", array_tasks=9), OPEN, Way.NOTHING, ""),
        (Job(comment="mine", waits=True), OPEN, Way.NOTHING, ""),
        (Job(), SHUT, Way.HINTS, "asbx:market=on-demand,placement=cluster"),
        (Job(comment="mine"), SHUT, Way.NOTHING, ""),
        (Job(comment="asbx:plan=q", has_plan=True), OPEN, Way.NOTHING, ""),
        (Job(components=2), OPEN, Way.NOTHING, ""),
        (Job(only_tested=True), OPEN, Way.NOTHING, ""),
        (Job(is_ours=False), OPEN, Way.NOTHING, ""),
    ],
)
def test_the_users_comment_stays(job: Job, desk: Desk, way: Way, comment: str) -> None:
    """A comment is written only where there is none, and an answer always has its reason."""
    found = attach(job, desk, PLAN, "p")
    assert (way, comment) == (found.way, found.comment)
    assert found.why


def test_a_plan_the_user_gave_is_not_turned_into_hints() -> None:
    """Hints say less than a plan: where it cannot be attached, nothing is."""
    assert attach(Job(), SHUT, PLAN, "p", is_stated=True) == Attachment(Way.NOTHING, SHUT.refusal)


def test_a_comment_stands_before_the_users_words() -> None:
    """Their order is kept, and of two words of the same the user's counts."""
    assert with_comment(("-N2", "job.sh"), "asbx:plan=p") == ("--comment=asbx:plan=p", "-N2", "job.sh")
    assert with_comment(("-N2", "job.sh"), "") == ("-N2", "job.sh")


def test_hints_only_say_what_is_sure() -> None:
    """Mixed markets are the site's usual, so no hint; EFA is only ever preferred."""
    both = ExecutionPlan(
        should_burst=True, dialect="documented", text="", markets=(Market.SPOT, Market.ON_DEMAND), needs_efa=True
    )
    assert hint_words(both) == ("efa=preferred",)
