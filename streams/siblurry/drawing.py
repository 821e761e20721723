"""A scenario as a picture: every class a row, time from left to right, darker where more of its events are."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from streams.siblurry.arrangement import BLURRY, DISJOINT, Arrangement

COLOURS = {DISJOINT: "#0072b2", BLURRY: "#d55e00"}
_BINS = 240
_FAINTEST = 0.12
"""How dark a stretch with a single event is at least, so that visitors are seen."""


def draw(arrangement: Arrangement, title: str | None = None) -> Figure:
    """Classes over time, disjoint ones above blurry ones, each kind by the session of its home."""
    placed = np.flatnonzero(arrangement.home >= 0)
    is_blurry = np.array([arrangement.kind[number] == BLURRY for number in placed], bool)
    rows = placed[np.lexsort((arrangement.home[placed], is_blurry))]
    kinds = [arrangement.kind[number] for number in rows]
    bins = min(_BINS, max(1, len(arrangement)))
    counts = arrangement.counts(bins)[rows]
    density = counts / np.maximum(1, counts.max(initial=0, axis=1, keepdims=True))
    shade = np.where(counts > 0, _FAINTEST + (1 - _FAINTEST) * density, 0)[:, :, np.newaxis]
    colours = np.array([to_rgb(COLOURS[kind]) for kind in kinds]).reshape(len(rows), 1, 3)
    figure = Figure(figsize=(9, min(9.0, 2.2 + 0.06 * max(len(rows), 20))), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(
        1 - shade * (1 - colours),
        aspect="auto",
        interpolation="nearest",
        extent=(0, len(arrangement), len(rows), 0),
    )
    ends = arrangement.ends
    for end in ends[:-1]:
        axes.axvline(end, color="#1b1f24", linewidth=0.9)
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1):
        if end - start >= 0.03 * len(arrangement):
            axes.text((start + end) / 2, -0.015 * len(rows), str(number), ha="center", va="bottom", color="#57606a")
    n_disjoint = kinds.count(DISJOINT)
    if 0 < n_disjoint < len(kinds):
        axes.axhline(n_disjoint, color="#9aa3ac", linewidth=0.8)
    axes.set_xlabel("events")
    axes.set_ylabel("classes")
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors="#57606a")
    figure.legend(
        handles=[
            Patch(color=colour, label=f"{kinds.count(kind)} {kind}")
            for kind, colour in COLOURS.items()
            if kind in kinds
        ],
        loc="outside upper right",
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure
