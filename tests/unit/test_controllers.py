"""Who is in control, from what `scontrol ping` prints; and what is said where the ledger does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.site import config

from asbx.errors import SlurmError
from asbx.model.control import Controller
from asbx.slurm.conf_check import slurm_warnings
from asbx.slurm.controllers import SlurmControllers
from asbx.slurm.process import SlurmCommands

# As 22.05.8 prints them.
_BOTH = "Slurmctld(primary) at ctl1 is UP\\nSlurmctld(backup) at ctl2 is UP\\n"
_ONE = "Slurmctld(primary) at ctl1 is DOWN\\nSlurmctld(backup) at ctl2 is UP\\n"
_STARS = "*****************************************\\n** RESTORE SLURMCTLD DAEMON TO SERVICE **\\n"
_NONE = f"Slurmctld(primary) at ctl1 is DOWN\\nSlurmctld(backup) at ctl2 is DOWN\\n{_STARS}"


def door(folder: Path, says: str, status: int = 0) -> SlurmControllers:
    """Return the door over a scontrol that says this."""
    program = folder / "scontrol"
    program.write_text(f"#!/bin/sh\nprintf '{says}'\nexit {status}\n")
    program.chmod(0o755)
    (folder / "slurm.conf").write_text("")
    return SlurmControllers(SlurmCommands(folder, folder / "slurm.conf"))


@pytest.mark.parametrize(
    ("says", "status", "up"),
    [
        (_BOTH, 0, [True, True]),
        (_ONE + _STARS, 0, [False, True]),
        (_NONE, 1, [False, False]),
        ("Slurmctld(primary) at vm is UP\\n", 0, [True]),
        (
            "Slurmctld(primary) at a is UP\\nSlurmctld(backup1) at b is UP\\nSlurmctld(backup2) at c is DOWN\\n",
            0,
            [1, 1, 0],
        ),
    ],
)
def test_all_controllers_are_listed_in_order(tmp_path: Path, says: str, status: int, up: list[bool]) -> None:
    """Up or down, one or several, whatever the exit status."""
    assert [one.is_up for one in door(tmp_path, says, status).controllers()] == [bool(one) for one in up]


def test_they_go_by_the_names_of_slurm_conf(tmp_path: Path) -> None:
    """Those are compared with the host's own."""
    assert door(tmp_path, _ONE).controllers() == (Controller("ctl1", False), Controller("ctl2", True))


def test_nothing_understood_is_nobody(tmp_path: Path) -> None:
    """Words we do not know make nobody a controller."""
    assert door(tmp_path, "all is well\\n").controllers() == ()


def test_slurm_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Not: that all are down."""
    with pytest.raises(SlurmError) as caught:
        SlurmControllers(SlurmCommands(tmp_path, tmp_path / "slurm.conf")).controllers()
    assert caught.value.code == "slurm-conf"


@pytest.mark.parametrize("status", [0, 1])
def test_serving_is_answering_more_than_a_ping(tmp_path: Path, status: int) -> None:
    """A question that is answered, or not."""
    assert door(tmp_path, "", status).serves() is (status == 0)


def test_two_controllers_on_one_file_are_warned_of() -> None:
    """The other host could not know what was launched."""
    two = "SlurmctldHost=ctl1\nSlurmctldHost=ctl2(10.0.0.2)\n"
    one = config()
    assert any("PostgreSQL" in line for line in slurm_warnings(two, one))
    assert not any("PostgreSQL" in line for line in slurm_warnings("SlurmctldHost=ctl1\n", one))
    shared = one.model_copy(update={"ledger": one.ledger.model_copy(update={"url": "postgresql://db/asbx"})})
    assert not any("PostgreSQL" in line for line in slurm_warnings(two, shared))
