"""Charts as they are drawn: every text is there, and none is cut."""

from __future__ import annotations

import builtins
import re
import struct
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from asbx.cli import drawing
from asbx.cli.main import main
from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import Sum
from asbx.decide.reports import charts
from asbx.decide.reports.charts import Chart, Frame
from asbx.decide.reports.waits import JobWait

FIRST = date(2026, 3, 1)
LONG = "a-very-long-account-name-of-the-department-of-theoretical-chemistry"
_SVG = "{http://www.w3.org/2000/svg}"


def accounts(count: int, days: int, scale: int = 10**9) -> Chart:
    """Return a chart of accounts, some of whose names are hard to draw."""
    names = [f"account-{number:02d}" for number in range(count)]
    names[: min(4, count)] = [LONG, "_hidden", "$a^b$", "x<&>y"][: min(4, count)]
    some = [
        Sum(Kind.RUN, (str(FIRST + timedelta(day)), name), 60, scale * (count - rank) * (1 + day % 7), 0)
        for day in range(days)
        for rank, name in enumerate(names)
    ]
    return charts.accounts(some, Frame(FIRST, FIRST + timedelta(days - 1)))


def waits(count: int) -> Chart:
    """Return a chart of jobs whose costs differ a thousandfold."""
    some = [JobWait(n, ("spot", "on-demand")[n % 2], 60 + 7 * n, 10 ** (7 + n % 4)) for n in range(count)]
    return charts.waits(some, Frame(FIRST, FIRST + timedelta(30)), left_out=3 if count else 0)


def waste() -> Chart:
    """Return a chart of waste by kind."""
    return charts.waste([Sum(kind, (str(FIRST),), 60, 10**9, 0) for kind in Kind], Frame(FIRST, FIRST))


CHARTS = {
    "one account, one day": accounts(1, 1),
    "one account, 400 days": accounts(1, 400, 3),
    "60 accounts, one day": accounts(60, 1),
    "60 accounts, 31 days, millions": accounts(60, 31, 10**15),
    "60 accounts, 400 days": accounts(60, 400),
    "6 accounts, 900 days": accounts(6, 900),
    "nothing": charts.accounts([], Frame(FIRST, FIRST + timedelta(30))),
    "waste": waste(),
    "no job": waits(0),
    "one job": waits(1),
    "400 jobs": waits(400),
}


@pytest.fixture(params=CHARTS)
def chart(request: pytest.FixtureRequest) -> Chart:
    """Return each chart."""
    return CHARTS[request.param]


def texts(svg: str) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield each text of a picture with its left, right, top and bottom edge in the picture's own units."""
    for one in ET.fromstring(svg).iter(f"{_SVG}text"):
        style, text = one.get("style", ""), "".join(one.itertext())
        size = float((re.search(r"font-size: ([\d.]+)px", style) or ["", "10"])[1])
        weight = "bold" if "font-weight: 700" in style else "normal"
        box = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans", weight=weight)).get_extents()
        found = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", one.get("transform", ""))
        x, y = (float(found[1]), float(found[2])) if found else (float(one.get("x", 0)), float(one.get("y", 0)))
        anchor = {"middle": box.width / 2, "end": box.width}.get(
            (re.search(r"text-anchor: (\w+)", style) or ["", ""])[1], 0.0
        )
        if "rotate(-90" in one.get("transform", ""):
            yield text, x - box.height, x, y + anchor - box.width, y + anchor
        else:
            yield text, x - anchor, x - anchor + box.width, y - box.height, y


def test_no_text_is_cut(chart: Chart) -> None:
    """Title, period, both axes with their units and every name stand within the picture; those of one line apart."""
    svg = drawing.svg(chart)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    found = list(texts(svg))
    lines: dict[int, list[tuple[float, float, str]]] = {}
    for text, left, right, top, bottom in found:
        assert left >= 0, text
        assert top >= 0, text
        assert right <= float(size[1]), text
        assert bottom <= float(size[2]), text
        lines.setdefault(round(bottom), []).append((left, right, text))
    for line in lines.values():
        for (_, right, one), (left, _, other) in pairwise(sorted(line)):
            assert right < left, (one, other)
    said = " ".join(text for text, *_ in found)
    for wanted in (chart.title, chart.subtitle, chart.x_label, chart.y_label, chart.note):
        assert wanted in said
    names = [one.label for one in (chart.series if isinstance(chart, charts.Bars) else chart.clouds)]
    assert all(name in said for name in names)
    assert (chart.if_empty in said) == chart.is_empty


@pytest.mark.parametrize("name", ["60 accounts, one day", "400 jobs"])
def test_a_png_has_its_size(name: str) -> None:
    """It is 1200 pixels wide."""
    data = drawing.png(CHARTS[name])
    assert data.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", data[16:24]) == (1200, 600)


def test_the_same_chart_is_the_same_file() -> None:
    """No date, no random name: a report that did not change is not a new file."""
    assert drawing.svg(waste()) == drawing.svg(waste())


def test_without_the_library_it_is_said(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has not installed the extra is told what to install."""
    from tests.fakes import billing  # noqa: PLC0415

    there = builtins.__import__

    def gone(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "matplotlib":
            raise ImportError(name)
        return there(name, *args, **kwargs)

    path = billing.site(tmp_path)
    monkeypatch.setattr(builtins, "__import__", gone)
    assert main(["cost", "chart", "--output", str(tmp_path / "x.png"), "--config", str(path)]) == 2
    assert "aws-slurm-burst[charts]" in capsys.readouterr().err
    assert not drawing.available()
    folder = tmp_path / "out"
    assert main(["cost", "report", "-m", "2024-03", "-A", "physics", "-o", str(folder), "--config", str(path)]) == 0
    assert "no charts" in capsys.readouterr().err
    assert "<svg" not in (folder / "cost-2024-03-physics.html").read_text(encoding="utf-8")
