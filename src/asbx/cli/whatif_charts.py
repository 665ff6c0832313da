"""Charts of a what-if, by matplotlib: what it cost, how long jobs waited, how many nodes ran. Loaded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from asbx.cli.drawing import missing
from asbx.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from asbx.sim.whatif.outcome import Outcome

_SIZE, _DPI = (12.0, 6.0), 100  # 1200 x 600 pixels
# Okabe and Ito's palette: told apart by those who see colours otherwise, too.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
# Kinds of cost from the bottom up: name in the meter, what it is called, colour.
_KINDS = (
    ("run", "jobs", "#0072b2"),
    ("boot", "boot", "#56b4e9"),
    ("idle", "idle", "#e69f00"),
    ("given-back", "waste: given back", "#d55e00"),
    ("never-registered", "waste: never a node", "#7f3b08"),
)
_TEXT: dict[Any, Any] = {
    "figure.constrained_layout.w_pad": 0.15,
    "figure.constrained_layout.h_pad": 0.12,
    "font.size": 14,
    "axes.titlesize": 16,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "asbx",
}
_SHORTEST_S = 1.0

Results = Mapping[str, "Sequence[Outcome]"]


def ready(folder: Path) -> None:
    """Make the folder and see that matplotlib is there, before anything is played. Raises UsageError, ConfigError."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise missing() from None
    mpl.use("Agg")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("charts-folder", f"{folder} cannot be made", str(error.strerror), "name a folder") from None


def draw(results: Results, folder: Path, kind: str, prices: str) -> Iterator[Path]:
    """Write the charts and yield their paths. Of several seeds, cost is the mean and curves are the first one's.

    prices: whose they are, in a word.
    """
    from matplotlib import pyplot as plt

    charts: tuple[tuple[str, Callable[[Axes, Results], None]], ...] = (
        ("cost", partial(_cost, prices=prices)),
        ("waits", _waits),
        ("nodes", _nodes),
    )
    for name, paint in charts:
        with plt.rc_context(_TEXT):
            figure, axes = plt.subplots(figsize=_SIZE, dpi=_DPI, layout="constrained")
            paint(axes, results)
            figure.legend(loc="outside lower center", ncols=3, frameon=False)
            path = folder / f"{name}.{kind}"
            try:
                figure.savefig(path, metadata={"Date": None} if kind == "svg" else {"Software": None})
            except OSError as error:
                raise ConfigError("charts-folder", f"{path} cannot be written", str(error.strerror)) from None
            finally:
                plt.close(figure)
        yield path


def _cost(axes: Axes, results: Results, prices: str) -> None:
    names = list(results)
    bottoms = [0.0] * len(names)
    totals = [fmean(float(one.usd) for one in outcomes) for outcomes in results.values()]
    for kind, label, colour in _KINDS:
        parts = [fmean(float(one.kinds.get(kind, 0)) for one in outcomes) for outcomes in results.values()]
        if any(parts):
            axes.barh(range(len(names)), parts, left=bottoms, label=label, color=colour, height=0.6)
            bottoms = [one + part for one, part in zip(bottoms, parts, strict=True)]
    for place, total in enumerate(totals):
        axes.text(total, place, f"  {total:,.2f}", va="center")
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, max(totals) * 1.15 or 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"cost, USD, at {prices} prices{_of_seeds(results)}")
    axes.set_title("What the trace cost under each policy")


def _waits(axes: Axes, results: Results) -> None:
    longest = _SHORTEST_S
    for place, (name, outcomes) in enumerate(results.items()):
        waits = [max(one, _SHORTEST_S) for one in outcomes[0].waits]
        if waits:
            longest = max(longest, waits[-1])
            shares = [(n + 1) / len(waits) * 100 for n in range(len(waits))]
            axes.step(
                waits, shares, where="post", label=_short(name), color=_COLOURS[place], linestyle=_LINES[place], lw=2.2
            )
    axes.set_xscale("log")
    ticks = [(s, t) for s, t in _TICKS if s <= longest * 3]
    axes.set_xticks([s for s, _ in ticks], [t for _, t in ticks])
    axes.minorticks_off()
    axes.set_xlim(_SHORTEST_S, longest * 1.5)
    axes.set_ylim(0, 101)
    axes.set_xlabel("wait from submission to the first start")
    axes.set_ylabel("jobs that waited no longer, %")
    axes.set_title("How long jobs waited")


_TICKS = (
    *((1, "1 s"), (10, "10 s"), (60, "1 min"), (300, "5 min"), (1800, "30 min"), (7200, "2 h"), (43_200, "12 h")),
    *((172_800, "2 d"), (864_000, "10 d"), (4_320_000, "50 d")),
)


def _nodes(axes: Axes, results: Results) -> None:
    last = max((outcomes[0].nodes[-1][0] for outcomes in results.values() if outcomes[0].nodes), default=1.0)
    unit, hours = ("days", 24.0) if last > 72 else ("hours", 1.0)
    for place, (name, outcomes) in enumerate(results.items()):
        points = outcomes[0].nodes
        axes.step(
            [at / hours for at, _ in points],
            [count for _, count in points],
            where="post",
            label=_short(name),
            color=_COLOURS[place],
            linestyle=_LINES[place],
            lw=1.8,
        )
    axes.set_xlim(0, max(last / hours, 0.1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"time since the first job, {unit}")
    axes.set_ylabel("instances that are paid for")
    axes.set_title("How many nodes ran")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}.."


def _of_seeds(results: Results) -> str:
    count = len(next(iter(results.values())))
    return "" if count == 1 else f" (mean of {count} seeds)"
