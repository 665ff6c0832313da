"""Charts as PNG and SVG. matplotlib (the extra `charts`) is loaded when something is drawn, and by nothing else."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asbx.decide.reports.charts import Bars, Chart, Points, Series, Step
from asbx.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): told apart with any colour vision. Yellow is pale, so it comes last.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_GREY = "#999999"
_WIDTH, _HEIGHT, _DPI = 12.0, 6.0, 100  # inches and dots: 1200 x 600
_PAD = 0.15  # inches around it all
_NANO = 10**9
_STYLE: Any = {
    "figure.constrained_layout.w_pad": _PAD,
    "figure.constrained_layout.h_pad": _PAD,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 11,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    # Text stays text in SVG: it can be searched, read aloud, and copied.
    "svg.fonttype": "none",
    # The same chart is the same file, byte for byte.
    "svg.hashsalt": "asbx",
    # An account may be called $x$.
    "text.parse_math": False,
}


def missing() -> UsageError:
    """Return what is said where charts cannot be drawn."""
    return UsageError(
        "charts-missing",
        "charts need matplotlib, which is not installed here",
        "a head node does not need it otherwise",
        "pip install 'aws-slurm-burst[charts]'; tables and --json need nothing",
    )


def available() -> bool:
    """Whether charts can be drawn here."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError:
        return False
    return True


def png(chart: Chart) -> bytes:
    """Draw a chart, 1200 x 600 pixels. Raises UsageError (`charts-missing`)."""
    with _drawn(chart) as figure:
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
        return out.getvalue()


def svg(chart: Chart) -> str:
    """Draw a chart as an SVG element. Raises UsageError (`charts-missing`)."""
    with _drawn(chart) as figure:
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": chart.title})
        # A title is read aloud; RDF about it is of no use to anybody.
        return re.sub(r"\s*<metadata>.*?</metadata>", "", out.getvalue(), count=1, flags=re.DOTALL)


@contextmanager
def _drawn(chart: Chart) -> Iterator[Figure]:
    # SlurmUser may have no home: then the list of fonts is made anew each time, and nobody needs to hear of it.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        # The figure alone: pyplot would look for a screen.
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing() from error
    with rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script the font lacks is drawn as boxes; SVG has the text itself.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        figure.suptitle(chart.title, fontsize=14, fontweight="bold", x=_PAD / _WIDTH, ha="left")
        axes.set_title(chart.subtitle, fontsize=11, color="#444444", loc="left")
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        if chart.note:
            figure.supxlabel(chart.note, fontsize=10, color="#444444", x=_PAD / _WIDTH, ha="left")
        if isinstance(chart, Bars):
            _bars(figure, axes, chart)
        else:
            _points(figure, axes, chart)
        if chart.is_empty:
            axes.text(0.5, 0.5, chart.if_empty, transform=axes.transAxes, ha="center", va="center", color="#444444")
        yield figure


def _bars(figure: Figure, axes: Axes, chart: Bars) -> None:
    from matplotlib.patches import Patch

    places = range(len(chart.starts))
    floor = [0.0] * len(chart.starts)
    drawn = []
    for series, colour in zip(chart.series, _colours(chart.series), strict=True):
        heights = [value / _NANO for value in series.values]
        axes.bar(places, heights, bottom=floor, color=colour, width=0.85)
        drawn.append(Patch(color=colour))
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    _time_axis(axes, chart)
    axes.set_ylim(0, 1.05 * max(floor, default=0) or 1)
    _money_axis(axes)
    if drawn:
        # The last is on top of the bar, so it is on top of the legend.
        totals = [f"{_shown(one.label)}  {one.total / _NANO:,.2f}" for one in chart.series]
        figure.legend(
            drawn[::-1], totals[::-1], loc="outside right upper", frameon=False, title=chart.legend, alignment="left"
        )


def _time_axis(axes: Axes, chart: Bars) -> None:
    """Label at most a dozen bars, whole dates, never turned."""
    every = max(1, -(-len(chart.starts) // 12))
    places = range(0, len(chart.starts), every)
    form = "%b" if chart.step is Step.MONTH else "%d %b"
    texts, year = [], 0
    for place in places:
        day = chart.starts[place]
        texts.append(f"{day:{form}}" if day.year == year else f"{day:{form}}\n{day.year}")
        year = day.year
    axes.set_xticks(list(places), texts)
    # A lone bar is a bar, not a wall.
    room = max(0.5, 4 - len(chart.starts) / 2)
    axes.set_xlim(-room, len(chart.starts) - 1 + room)


def _points(figure: Figure, axes: Axes, chart: Points) -> None:
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    drawn = []
    marks = "os^D"
    for index, cloud in enumerate(chart.clouds):
        minutes = [seconds / 60 for seconds, _ in cloud.points]
        usd = [nanos / _NANO for _, nanos in cloud.points]
        drawn.append(
            axes.scatter(
                minutes, usd, s=22, alpha=0.6, color=_COLOURS[index], marker=marks[index], linewidths=0, clip_on=False
            )
        )
    axes.set_xlim(left=0, right=None if drawn else 1)
    amounts = [nanos for cloud in chart.clouds for _, nanos in cloud.points if nanos > 0]
    if amounts and max(amounts) > 100 * min(amounts):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0, top=None if amounts else 1)
    _money_axis(axes)
    if drawn:
        texts = [f"{_shown(cloud.label)}: {len(cloud.points):,} job(s)" for cloud in chart.clouds]
        figure.legend(drawn, texts, loc="outside right upper", frameon=False)


def _colours(series: Sequence[Series]) -> list[str]:
    return [_GREY if one.is_rest else _COLOURS[index] for index, one in enumerate(series)]


def _shown(label: str) -> str:
    """Return a label matplotlib shows: it leaves out those that begin with an underscore."""
    return f"\N{THIN SPACE}{label}" if label.startswith("_") else label


def _money_axis(axes: Axes) -> None:
    """Write amounts with as many digits as tell the ticks apart, and no exponent."""
    from matplotlib.ticker import FuncFormatter

    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _amount(value, 9).rstrip("0").rstrip(".")))
        return
    low, high = axes.get_ylim()
    ticks = [float(tick) for tick in axes.get_yticks() if low <= tick <= high]
    digits = next(count for count in range(10) if count == 9 or all(_is_whole(tick, count) for tick in ticks))
    axes.set_yticks(ticks, [_amount(tick, digits) for tick in ticks])


def _is_whole(tick: float, digits: int) -> bool:
    return abs(round(tick, digits) - tick) < 1e-12


def _amount(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"
