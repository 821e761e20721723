"""The critical-difference diagram: learners on an axis of average ranks, bars over those that a test cannot part."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup

from ihomer.evaluation.significance import Significance
from ihomer.report.svg import SETTINGS, stripped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 620
"""Of the diagram in CSS pixels."""

_LONGEST = 26
"""Characters of a name that are shown."""

_CHARACTER, _LINE, _BAR, _RULER, _AXIS = 6.4, 18, 8, 16, 52
"""Width of a character, distance of the lines of names and of the bars, heights of ruler and axis from above."""

_KINDS = ("tick", "axis", "name", "group", "ruler", "rank", "label")


def figure(found: Significance) -> Figure:
    """The diagram as a matplotlib figure, to be saved in any format.

    Notes
    -----
    The axis has the best ranks on the right. Bars join learners whose average ranks lie within the critical difference,
    whose length is the ruler above the axis; where there is none, neither is drawn. A ruler that would be longer than
    the axis ends with it.

    References
    ----------
    Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006, figure 1.

    Examples
    --------
    >>> from ihomer.evaluation.significance import compare_learners
    >>> drawn = figure(compare_learners([[0.9, 0.8, 0.1], [0.8, 0.7, 0.2], [0.6, 0.7, 0.3]]))
    >>> drawn.savefig("ranks.pdf")  # doctest: +SKIP
    """
    return _figure(found, dict.fromkeys(found.learners, ""))[0]


def drawing(found: Significance, styles: Mapping[str, str]) -> Markup:
    """The diagram as SVG for the page.

    Parameters
    ----------
    found
        What was found about one metric.
    styles
        Class of the style sheet for each learner; one that is not there has none.
    """
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        drawn, height = _figure(found, styles)
        file = io.StringIO()
        drawn.savefig(file, format="svg")
    return stripped(file.getvalue(), (WIDTH, height), _description(found), _KINDS)


def _figure(found: Significance, styles: Mapping[str, str]) -> tuple[Figure, float]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    places = found.by_rank
    k = len(places)
    names = {name: name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name, _ in places}
    half = (k + 1) // 2
    right, left = (_margin([names[name] for name, _ in side]) for side in (places[:half], places[half:]))
    bars = _bars(found)
    first = _AXIS + 20 + _BAR * max((lane + 1 for lane, _, _ in bars), default=0)
    height = first + _LINE * (half - 1) + 10
    drawn = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    FigureCanvasSVG(drawn)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)

    def at(rank: float) -> float:
        return WIDTH - right - (rank - 1) / (k - 1) * (WIDTH - left - right)

    _axis(axes, k, at)
    if found.critical_difference is not None:
        _ruler(axes, found.critical_difference, k, at)
    for place, (name, rank) in enumerate(places):
        on_the_right = place < half
        y = first + _LINE * (place if on_the_right else k - 1 - place)
        end = WIDTH - right + 6 if on_the_right else left - 6
        style = styles.get(name, "")
        axes.plot([at(rank), at(rank), end], [_AXIS, y, y], color="0.35", linewidth=1, gid=f"name {style}")
        text = f"{rank:.2f} {names[name]}" if on_the_right else f"{names[name]} {rank:.2f}"
        _text(
            axes, end + (4 if on_the_right else -4), y + 4, text, "left" if on_the_right else "right", f"label {style}"
        )
    for lane, best, worst in bars:
        y = _AXIS + 12 + _BAR * lane
        ends = [at(best) + 4, at(worst) - 4]
        axes.plot(ends, [y, y], color="0", linewidth=4, solid_capstyle="round", gid="group")
    return drawn, height


def _bars(found: Significance) -> list[tuple[int, float, float]]:
    """Lane, best and worst rank of each group of learners; groups that overlap lie in different lanes."""
    ranks = dict(zip(found.learners, found.ranks, strict=True))
    bars: list[tuple[int, float, float]] = []
    for group in found.groups:
        best, worst = ranks[group[0]], ranks[group[-1]]
        # A bar that ends just before another begins would look like one with it.
        taken = {lane for lane, _, other in bars if other >= best - (len(ranks) - 1) / 10}
        bars.append((next(lane for lane in range(len(bars) + 1) if lane not in taken), best, worst))
    return bars


def _margin(names: list[str]) -> float:
    """Room for names and ranks beside the axis."""
    return 18 + _CHARACTER * (6 + max((len(name) for name in names), default=0))


def _axis(axes: Axes, k: int, at: Callable[[float], float]) -> None:
    axes.plot([at(1), at(k)], [_AXIS, _AXIS], color="0", linewidth=1, gid="axis")
    step = math.ceil(k / 12)
    for rank in range(1, k + 1):
        axes.plot([at(rank)] * 2, [_AXIS - 6, _AXIS], color="0", linewidth=1, gid="tick")
        if (rank - 1) % step == 0:
            _text(axes, at(rank), _AXIS - 10, str(rank), "center", "rank")


def _ruler(axes: Axes, difference: float, k: int, at: Callable[[float], float]) -> None:
    """The critical difference, from the left end of the axis."""
    start, end = at(k), at(max(1.0, k - difference))
    axes.plot([start, end], [_RULER, _RULER], color="0", linewidth=1, gid="ruler")
    for x in (start, end) if difference <= k - 1 else (start,):
        axes.plot([x, x], [_RULER - 4, _RULER + 4], color="0", linewidth=1, gid="ruler")
    longer = "" if difference <= k - 1 else ", longer than the axis"
    _text(axes, end + 8, _RULER + 4, f"CD = {difference:.2f}{longer}", "left", "rank")


def _text(axes: Axes, x: float, y: float, text: str, side: str, name: str) -> None:
    axes.text(x, y, text, fontsize=11, ha=side, va="baseline", parse_math=False, gid=name)


def _description(found: Significance) -> str:
    ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in found.by_rank)
    text = f"Average ranks over {len(found.data)} data sets, 1 is best: {ranks}."
    if found.critical_difference is None:
        return text
    groups = "; ".join(" and ".join((", ".join(group[:-1]), group[-1])) for group in found.groups) or "none"
    return f"{text} Critical difference {found.critical_difference:.2f}. Not told apart: {groups}."
