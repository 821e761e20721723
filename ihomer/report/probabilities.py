"""What the page says about probabilities: how far they can be trusted, which cut-offs they need."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ihomer.evaluation.result import METRICS, Run
from ihomer.report.svg import SETTINGS, stripped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 380, 380
"""Size of the reliability diagram in CSS pixels."""

_LEFT, _RIGHT, _TOP, _BOTTOM, _COUNTS, _GAP = 44, 12, 10, 24, 76, 22
"""Margins, height of the histogram, and the room between it and the diagram."""

_KINDS = ("grid", "even", "cells", "reliable", "bin")

MOST_ROWS = 30
"""Labels in a table of cut-offs."""


@dataclass(frozen=True, slots=True)
class Bins:
    """The pooled bins of one learner, as in `Run.calibration`."""

    title: str
    style: str
    calibration: Mapping[str, Any]


def calibration(runs: Sequence[Run], titles: Sequence[str], styles: Mapping[str, str]) -> dict[str, Any] | None:
    """The reliability diagram of those runs that gave probabilities, and a row of numbers for each."""
    known = [
        Bins(title, styles[title], run.calibration)
        for title, run in zip(titles, runs, strict=True)
        if run.calibration is not None and run.calibration["n"]
    ]
    if not known:
        return None
    return {
        "drawing": reliability(known),
        "rows": [
            (bins.title, bins.style, f"{bins.calibration['n_cells']:,}", METRICS["ece"].text(bins.calibration["ece"]))
            for bins in known
        ],
    }


def reliability(known: Sequence[Bins]) -> Markup:
    """SVG of the share of labels present against their mean probability, a dot a bin, over the number of cells."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Dots are lines of no length, which simplifying would remove.
    with rc_context(SETTINGS | {"path.simplify": False}):
        drawn = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
        FigureCanvasSVG(drawn)
        across = (_LEFT / WIDTH, 1 - (_LEFT + _RIGHT) / WIDTH)
        base = _BOTTOM + _COUNTS + _GAP
        upper = drawn.add_axes((across[0], base / HEIGHT, across[1], 1 - (base + _TOP) / HEIGHT))
        lower = drawn.add_axes((across[0], _BOTTOM / HEIGHT, across[1], _COUNTS / HEIGHT))
        for axes in (upper, lower):
            axes.set_frame_on(False)
            axes.set_xlim(0, 1)
            axes.tick_params(length=0, labelsize=11)
            axes.grid(axis="y", gid="grid")
        upper.set_ylim(0, 1)
        upper.set_xticks([])
        upper.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        lower.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        upper.plot([0, 1], [0, 1], gid="even")
        _count_axis(lower, max(max(bins.calibration["n"]) for bins in known))
        for bins in reversed(known):
            _draw(upper, lower, bins)
        file = io.StringIO()
        drawn.savefig(file, format="svg")
    errors = ", ".join(f"{bins.title} {bins.calibration['ece']:.3f}" for bins in known)
    description = (
        "Share of labels present against their probability, and below it how many cells had such a probability. "
        f"Calibration error: {errors}."
    )
    return stripped(file.getvalue(), (WIDTH, HEIGHT), description, _KINDS)


def _count_axis(axes: Axes, most: int) -> None:
    """Powers of ten, since most labels of most events are improbable."""
    top = max(1, math.ceil(math.log10(most + 1)))
    axes.set_ylim(0, top)
    marks = range(0, top + 1, math.ceil(top / 3))
    axes.set_yticks(list(marks), [f"{10 ** (mark % 3)}{' kMGTP'[mark // 3].strip()}" for mark in marks])


def _draw(upper: Axes, lower: Axes, bins: Bins) -> None:
    found = bins.calibration
    upper.plot(found["mean_probability"], found["share_present"], gid=f"reliable {bins.style}")
    for x, y in zip(found["mean_probability"], found["share_present"], strict=True):
        upper.plot([x, x], [y, y], gid=f"bin {bins.style}")
    xs: list[float] = []
    ys: list[float] = []
    for low, high, n in zip(found["low"], found["high"], found["n"], strict=True):
        if xs and xs[-1] != low:
            xs += [xs[-1], low]
            ys += [0.0, 0.0]
        xs += [low, high]
        ys += [math.log10(n + 1)] * 2
    lower.plot([xs[0], *xs, xs[-1]], [0.0, *ys, 0.0], gid=f"cells {bins.style}")


def thresholds(runs: Sequence[Run], titles: Sequence[str], styles: Mapping[str, str]) -> list[dict[str, Any]]:
    """A table for each learner with probabilities: F1 of labels as decided, from ½ on, and at the best cut-off.

    The most frequent labels have a row; more would make a page of many streams too long to open.
    """
    tables = []
    for title, run in zip(titles, runs, strict=True):
        if run.baseline:
            continue
        entries = [entry for entry in run.per_label if entry.get("f1_at_half") is not None]
        rows = [
            (
                str(entry["label"]),
                f"{int(entry.get('support') or 0):,}",
                [_text(entry.get(key)) for key in ("f1", "f1_at_half", "threshold", "f1_at_threshold")],
            )
            for entry in sorted(entries, key=lambda entry: -int(entry.get("support") or 0))[:MOST_ROWS]
        ]
        if rows:
            tables.append({"title": title, "style": styles[title], "rows": rows, "n_labels": len(run.per_label)})
    return tables


def _text(value: Any) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"
