"""Tables as CSV."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest

from asbx.cli import csv_text
from asbx.errors import UsageError


@pytest.mark.parametrize("name", ["=1+1", "+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "-1+1|cmd", "=-1"])
def test_no_name_is_a_formula(name: str) -> None:
    """What a spreadsheet would run gets an apostrophe, which it does not show."""
    assert csv_text.safe(name) == f"'{name}"


@pytest.mark.parametrize("text", ["physics", "-12.5", "0.000000001", "a=b", "", 'say "x", y', "Zürich 化学"])
def test_all_else_stays_as_it_is(text: str) -> None:
    """Names and numbers come back from any reader of CSV as they went in."""
    out = io.StringIO()
    assert csv_text.write(out, ["a", "b"], [[text, None]]) == 1
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [["a", "b"], [text, ""]]
    assert out.getvalue().endswith("\r\n")


def test_a_file_is_whole_and_private(tmp_path: Path) -> None:
    """It is UTF-8, nobody else may read it, and a failure leaves what was there."""
    path = tmp_path / "out.csv"
    csv_text.save(path, ["wer"], [["Jürgen"]])
    assert path.read_bytes() == "wer\r\nJürgen\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="cannot be written"):
        csv_text.save(tmp_path / "not" / "there.csv", ["a"], [])
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
