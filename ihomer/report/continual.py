"""Continual evaluations on the page: one seed's sessions, the any-time accuracy in them, and classes by session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from ihomer.evaluation.repeats import MeanRun
from ihomer.evaluation.result import CURVES_CONTINUAL, METRICS, Run
from ihomer.report.curves import Line, panel

KINDS = ("disjoint", "blurry")

_COLUMN, _GAP, _HEIGHT = 22, 14, 240
_TALLEST_ROW, _NAMED_ROW = 18, 11


def section(runs: Sequence[Run], names: Sequence[str], styles: Mapping[str, str]) -> dict[str, Any] | None:
    """What the page shows of the first seed, or None where the runs are of no scenario."""
    ones = [run.repeats[0] if isinstance(run, MeanRun) else run for run in runs]
    seeds = [run.data.get("scenario", {}).get("seed") for run in ones]
    alike = [place for place, seed in enumerate(seeds) if seed == seeds[0]]
    if seeds[0] is None:
        return None
    scenario = ones[0].data["scenario"]
    lines = [Line(names[place], styles[names[place]], ones[place].curve) for place in alike]
    ends = scenario["ends"]
    metric = METRICS[CURVES_CONTINUAL[0]]
    rows = sorted(
        (row for row, kind in enumerate(scenario["kind"]) if kind in KINDS),
        key=lambda row: (KINDS.index(scenario["kind"][row]), scenario["home"][row]),
    )
    return {
        "seed": seeds[0],
        "settings": _settings(scenario),
        "encoders": _encoders(ones, names, alike),
        "metric": metric,
        "panel": panel(metric.key, metric.title, lines, known=ends[:-1]),
        "events": _heat_map(scenario, rows, _shares(scenario), "share of a class's events in each session"),
        "accuracies": [
            (
                names[place],
                styles[names[place]],
                _heat_map(scenario, rows, _accuracies(ones[place]), f"accuracy of {names[place]} after each session"),
            )
            for place in alike
        ],
        "n_rows": len(rows),
        "n_sessions": len(ends),
    }


def _settings(scenario: Mapping[str, Any]) -> str:
    """The scenario in words."""
    sizes = "of random size" if scenario["varying"] else "of equal size"
    return (
        f"{scenario['sessions']} sessions {sizes}, {scenario['n']:g} % of the classes disjoint, {scenario['m']:g} % of "
        "the samples of the others away from home"
    )


def _encoders(runs: Sequence[Run], names: Sequence[str], places: Sequence[int]) -> list[tuple[str, str]]:
    """What the encoders of learners were trained on, where that is known, each with its learners."""
    learners: dict[str, list[str]] = {}
    for place in places:
        if (told := runs[place].data.get("encoder_training")) is not None:
            learners.setdefault(str(told), []).append(names[place])
    return [(", ".join(found), told) for told, found in learners.items()]


def _shares(scenario: Mapping[str, Any]) -> list[list[float | None]]:
    return [[count / max(1, sum(row)) for count in row] for row in scenario["counts"]]


def _accuracies(run: Run) -> list[list[float | None]]:
    return [list(entry.get("accuracy_by_session", ())) for entry in run.per_label]


def _heat_map(
    scenario: Mapping[str, Any], rows: Sequence[int], values: Sequence[Sequence[float | None]], what: str
) -> Markup:
    """A cell for each class and session, the fuller the higher its value from 0 to 1; empty where there is none."""
    n_sessions = len(scenario["ends"])
    height = min(_TALLEST_ROW, _HEIGHT / max(1, len(rows)))
    n_disjoint = sum(scenario["kind"][row] == KINDS[0] for row in rows)
    gap = 4 if 0 < n_disjoint < len(rows) else 0
    cells = []
    for place, row in enumerate(rows):
        y = place * height + (gap if place >= n_disjoint else 0)
        for session, value in enumerate(values[row]):
            if value is not None:
                cells.append(
                    f'<rect class="{scenario["kind"][row]}" x="{session * _COLUMN}" y="{y:.1f}" width="{_COLUMN - 1}" '
                    f'height="{max(height - 1, height * 0.8):.1f}" fill-opacity="{value:.2f}"/>'
                )
    texts = [
        f'<text x="{session * _COLUMN + _COLUMN / 2:g}" y="-3" text-anchor="middle">{session + 1}</text>'
        for session in range(n_sessions)
    ]
    width, tall = n_sessions * _COLUMN, len(rows) * height + gap
    return Markup(
        f'<svg viewBox="0 {-_GAP} {width} {tall + _GAP:.1f}" width="{width}" height="{tall + _GAP:.0f}" role="img" '
        f'aria-label="{escape(what)}"><title>{escape(what)}</title>{"".join(texts)}{"".join(cells)}</svg>'
    )
