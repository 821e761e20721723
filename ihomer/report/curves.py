"""Metrics over the stream as SVG: drawn by matplotlib, then stripped to what a style sheet can colour."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ihomer.evaluation.result import SCOPES
from ihomer.report.svg import SETTINGS, stripped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 380, 232
"""Size of a panel in CSS pixels at which its text has the size of the page's small print."""

_TALLEST_MARK = 0.07
_MANY_MARKS = 24
"""A learner with more drifts than this gets ticks at the upper edge in place of lines over the whole height."""


@dataclass(frozen=True, slots=True)
class Line:
    """One learner in a panel.

    Parameters
    ----------
    title
        For the text that describes the panel.
    style
        Class of the style sheet that holds its colour and dashes.
    curve
        Points as in `Run.curve`.
    drifts, restructures
        Events at which to put marks.
    """

    title: str
    style: str
    curve: Sequence[Mapping[str, Any]]
    drifts: Sequence[int] = field(default=())
    restructures: Sequence[int] = field(default=())


def panel(
    metric: str,
    title: str,
    lines: Sequence[Line],
    scopes: Sequence[str] = ("window", "cumulative"),
    known: Sequence[int] = (),
    alarms: Mapping[str, Sequence[int]] | None = None,
) -> Markup:
    """SVG of one metric over the stream, or nothing where no line has a point.

    Parameters
    ----------
    metric
        Key of the metric in the curves' points.
    title
        Its name for the description that screen readers say.
    lines
        From the front to the back.
    scopes
        From the back to the front.
    known
        Events at which the stream itself says that it changes.
    alarms
        Events at which a detector said so of the stream itself, by kind, a word.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    series = [
        (
            f"{scope} {line.style}",
            [(point["event"], point[scope][metric]) for point in line.curve if _has(point, scope, metric)],
        )
        for scope in scopes
        for line in reversed(lines)
    ]
    series = [(name, points) for name, points in series if points]
    if not series:
        return Markup("")
    low, high = _limits([value for _, points in series for _, value in points])
    last = max(event for _, points in series for event, _ in points)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes((38 / WIDTH, 24 / HEIGHT, 1 - 54 / WIDTH, 1 - 34 / HEIGHT))
        axes.set_frame_on(False)
        axes.set_xlim(0, last)
        axes.set_ylim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(length=0, labelsize=11)
        axes.grid(axis="y", gid="grid")
        for event in [event for event in known if event <= last]:
            axes.plot([event, event], [0.0, 1.0], transform=axes.get_xaxis_transform(), gid="known")
        for kind, found in (alarms or {}).items():
            places = [event for event in found if event <= last]
            if places:
                bottom = 1.0 - _TALLEST_MARK if len(places) > _MANY_MARKS else 0.0
                _mark(axes, places, bottom, 1.0, f"alarm {kind}")
        for line in reversed(lines):
            upper = 1.0 - _TALLEST_MARK if len(line.drifts) > _MANY_MARKS else 0.0
            for kind, events, bottom, top in (
                ("drift", line.drifts, upper, 1.0),
                ("restructure", line.restructures, 0.0, _TALLEST_MARK),
            ):
                if events:
                    _mark(axes, events, bottom, top, f"{kind} {line.style}")
        for name, points in series:
            axes.plot([event for event, _ in points], [value for _, value in points], gid=name)
        file = io.StringIO()
        figure.savefig(file, format="svg")
    kinds = ("grid", "known", "alarm", "drift", "restructure", *SCOPES)
    return stripped(file.getvalue(), (WIDTH, HEIGHT), _description(metric, title, lines), kinds)


def _mark(axes: Axes, events: Sequence[int], bottom: float, top: float, name: str) -> None:
    """Upright lines at events, between two shares of the height."""
    x = [place for event in events for place in (event, event, math.nan)]
    axes.plot(x, [bottom, top, math.nan] * len(events), transform=axes.get_xaxis_transform(), gid=name)


def _has(point: Mapping[str, Any], scope: str, metric: str) -> bool:
    value = point.get(scope, {}).get(metric)
    return value is not None and math.isfinite(value)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the span of the values; down to 0 where that costs little room."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return (0.0 if 0 <= low < 0.3 * high else low - room), high + room


def _description(metric: str, title: str, lines: Sequence[Line]) -> str:
    ends = [
        f"{line.title} {line.curve[-1]['cumulative'][metric]:.3f}"
        for line in lines
        if line.curve and _has(line.curve[-1], "cumulative", metric)
    ]
    return f"{title} over the stream. At the end, over all events: {', '.join(ends)}."
