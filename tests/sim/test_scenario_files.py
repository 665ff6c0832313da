"""Scenarios are read strictly, and what is wrong is said in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from asbx.errors import ConfigError
from asbx.sim.scenario import load_scenario

GOOD = 'name = "x"\nlasts = "1h"\n[[groups]]\nname = "cpu"\nnodes = 2\ntypes = ["c7i.large"]\n'


def refused(tmp_path: Path, text: str) -> ConfigError:
    """Return what is said of a scenario."""
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_scenario(file)
    return caught.value


def test_lengths_of_time_have_units(tmp_path: Path) -> None:
    """`1.5h` is 5400 seconds, a bare number is seconds."""
    file = tmp_path / "s.toml"
    file.write_text(GOOD.replace('"1h"', '"1.5h"') + "[ec2]\nspot_price_every = 60\n", encoding="utf-8")
    read = load_scenario(file)
    assert (read.lasts, read.ec2.spot_price_every) == (5400.0, 60.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "is not TOML"),
        (GOOD.replace('"1h"', '"1 hour"'), "lasts is not a length of time such as 90s"),
        (GOOD + "colour = 1\n", "groups[0].colour is no key of a scenario"),
        (GOOD + '[[streams]]\ngroup = "aws-gpu"\ncount = 1\n', "no group is called 'aws-gpu'; there are aws-cpu"),
        (GOOD + '[[incidents.zone_outages]]\nat = 0\nlasts = 1\nzone = "z"\n', "no zone is called 'z'"),
        (GOOD + "[incidents]\nnever_boots = 2\n", "incidents.never_boots Input should be less than or equal to 1"),
        ('name = "x"\n', "has 2 faults"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    """Every fault names its key."""
    error = refused(tmp_path, text)
    assert said in f"{error.what} {error.why}"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """No traceback for a path that is not there."""
    with pytest.raises(ConfigError) as caught:
        load_scenario(tmp_path / "none.toml")
    assert caught.value.code == "scenario-file"


def test_a_site_asbx_would_refuse_is_refused(tmp_path: Path) -> None:
    """`config` is checked by the schema of the configuration."""
    file = tmp_path / "s.toml"
    file.write_text(GOOD + "[config.slurm]\nsuspend_tim = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="suspend_tim"):
        load_scenario(file).site(tmp_path)
